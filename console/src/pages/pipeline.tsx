/** The path of data as it is: where it comes in, where it lies, how far behind each step is, and what is missing. */
import { bytesText, numberText, plain } from "../format";
import { DeadLetters } from "../parts/letters";
import { Table } from "../parts/table";
import { TraceSection } from "../parts/trace";
import { Age } from "../parts/value";
import { edges, hub, isNodesKnown, nodesProblem, useNodes } from "../state/nodes";
import { stateText, t } from "../words";
import { LedgerSection } from "./ledger";

type Raw = Record<string, unknown>;

export function PipelinePage(): preact.JSX.Element {
  useNodes();
  return (
    <>
      {nodesProblem.value && <p class="look" role="status">{t("failed", { why: plain(nodesProblem.value) })}</p>}
      <LedgerSection />
      <Connectors />
      <Streams />
      <Flows />
      <DeadLetters />
      <TraceSection />
    </>
  );
}

function Connectors(): preact.JSX.Element {
  const rows = edges.value.flatMap((edge) =>
    (edge.status?.connectors ?? []).map((raw) => ({ edge: edge.name, raw, rate: edge.rates.get(String(raw.name)) })),
  );
  return (
    <Table caption={t("connectors")} rows={rows} keyOf={(row) => `${row.edge} ${String(row.raw.name)}`} empty={t(isNodesKnown.value ? "none" : "loading")}
      columns={[
        { head: t("site"), cell: (row) => plain(row.edge) },
        { head: t("name"), cell: (row) => plain(String(row.raw.name)) },
        { head: t("type"), cell: (row) => plain(String(row.raw.type)) },
        { head: t("state"), cell: (row) => <ConnectorState raw={row.raw} /> },
        { head: t("rate"), isNumber: true, cell: (row) => (row.rate === undefined ? "–" : t("perSecond", { n: numberText(Math.round(row.rate)) })) },
        { head: t("samples"), isNumber: true, cell: (row) => numberText(Number(row.raw.samples_stored)) },
        { head: t("bad"), isNumber: true, cell: (row) => numberText(Number(row.raw.samples_bad)) },
        { head: t("gaps"), isNumber: true, cell: (row) => numberText(Number(row.raw.source_gaps)) },
        { head: t("age"), cell: (row) => <Age timeMs={Number(row.raw.last_sample_ns ?? 0) / 1e6} /> },
        { head: t("errors"), cell: (row) => plain(String(row.raw.error ?? ""), 200) },
      ]} />
  );
}

function ConnectorState({ raw }: { raw: Raw }): preact.JSX.Element {
  const state = String(raw.state);
  const isFine = ["connected", "running", "ended"].includes(state);
  return <span class={`mark ${isFine ? "muted" : "act"}`}>{isFine ? "✓" : "■"} {plain(stateText(state))}</span>;
}

function Streams(): preact.JSX.Element {
  const nodes = [...edges.value.flatMap((edge) => edge.status ?? []), ...(hub.value ? [hub.value] : [])];
  const rows = nodes.flatMap((node) => (node.streams ?? []).map((raw) => ({ node, raw, behind: behindOf(node, String(raw.name)) })));
  return (
    <Table caption={t("streams")} rows={rows} keyOf={(row) => `${row.node.name} ${String(row.raw.name)}`} empty={t(isNodesKnown.value ? "none" : "loading")}
      columns={[
        { head: t("node"), cell: (row) => plain(row.node.name) },
        { head: t("name"), cell: (row) => plain(String(row.raw.name)) },
        { head: t("messages", { n: "" }).trim(), isNumber: true, cell: (row) => numberText(Number(row.raw.messages)) },
        { head: t("size"), isNumber: true, cell: (row) => bytesText(Number(row.raw.bytes)) },
        { head: t("position"), isNumber: true, cell: (row) => numberText(Number(row.raw.last_seq)) },
        { head: t("lag"), isNumber: true, cell: (row) => (row.behind === undefined ? "–" : numberText(row.behind)) },
      ]} />
  );
}

/** Of an edge: what the hub has not got yet; of the hub: what the history has not got yet. */
function behindOf(node: { role: string; uplink?: Raw; [more: string]: unknown }, stream: string): number | undefined {
  if (node.role === "edge") return stream.endsWith("_I") && node.uplink ? Number(node.uplink.behind_messages ?? 0) : undefined;
  const historian = node.historian as { streams?: Raw[] } | null | undefined;
  const found = historian?.streams?.find((one) => one.stream === stream);
  return found === undefined ? undefined : Number(found.lag_messages);
}

function Flows(): preact.JSX.Element {
  const nodes = [...edges.value.flatMap((edge) => edge.status ?? []), ...(hub.value ? [hub.value] : [])];
  const rows = nodes.flatMap((node) => (node.flows ?? []).map((raw) => ({ node: node.name, raw })));
  return (
    <Table caption={t("flows")} rows={rows} keyOf={(row) => `${row.node} ${String(row.raw.name)}`} empty={t(isNodesKnown.value ? "noFlows" : "loading")}
      columns={[
        { head: t("node"), cell: (row) => plain(row.node) },
        { head: t("name"), cell: (row) => plain(String(row.raw.name)) },
        { head: t("type"), cell: (row) => plain(String(row.raw.type)) },
        { head: t("state"), cell: (row) => <ConnectorState raw={{ state: row.raw.state }} /> },
        { head: t("errors"), isNumber: true, cell: (row) => numberText(Number(row.raw.rejected ?? 0) + Number(row.raw.broken ?? 0)) },
      ]} />
  );
}
