{{- define "millstream.fullname" -}}
{{- printf "%s-%s" .Release.Name .Values.role | trunc 26 | trimSuffix "-" -}}
{{- end -}}

{{- define "millstream.selector" -}}
app.kubernetes.io/name: millstream
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: {{ .Values.role }}
{{- end -}}

{{- define "millstream.labels" -}}
{{ include "millstream.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end -}}

{{- define "millstream.replicas" -}}
{{- if eq .Values.role "hub" }}{{ int .Values.hub.members }}{{ else }}1{{ end -}}
{{- end -}}

{{- define "millstream.config" -}}
{{- $name := include "millstream.fullname" . -}}
{{- $server := dict "host" "0.0.0.0" "port" (int .Values.service.port) "monitor_port" 8222 -}}
{{- if eq .Values.role "hub" -}}
{{- $hub := dict "hub" (dict "name" $name "data_dir" "/data/hub") "server" (merge (dict "leaf_port" (int .Values.service.leafPort)) $server) -}}
{{- if gt (int .Values.hub.members) 1 -}}
{{- $members := dict -}}
{{- range $i := until (int .Values.hub.members) -}}
{{- $_ := set $members (printf "%s-%d" $name $i) (printf "%s-%d.%s-members:6222" $name $i $name) -}}
{{- end -}}
{{- $_ := set $hub "cluster" (dict "member" "__MEMBER__" "members" $members "secret" (dict "file" "/cluster-secret/cluster")) -}}
{{- end -}}
{{ toYaml (merge $hub .Values.hub.config) }}
{{- else -}}
{{- $edge := merge (dict "data_dir" "/data/edge") (.Values.edge.config.edge | default dict) -}}
{{ toYaml (merge (dict "edge" $edge "server" $server) .Values.edge.config) }}
{{- end -}}
{{- end -}}
