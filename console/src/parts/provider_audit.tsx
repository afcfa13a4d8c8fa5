/** What happened at the hub's servers, to which tenant, and with the people of who runs it: of a tenant's audit nothing. */
import { type ProviderEvent, type StoredEvent } from "@millstream/client";
import { plain } from "../format";
import { address, go, route } from "../router";
import { auditRows, type AuditRow } from "../state/audit";
import { client, PROVIDER_POLL_S } from "../state/hub";
import { useLoaded } from "../state/loaded";
import { t } from "../words";
import { Changes, SPANS, Type } from "./audit";
import { Table } from "./table";
import { Age } from "./value";

export function ProviderAudit(): preact.JSX.Element {
  const query = route.value.query;
  const text = query.get("text") ?? "";
  const span = Object.keys(SPANS).find((one) => one === query.get("span")) ?? "-7d";
  const { data, why } = useLoaded(() => client.tenants.events(span), [span], PROVIDER_POLL_S * 1000);
  const rows = auditRows((data ?? []).map(asStored), text);
  const show = (more: Record<string, string>, isStep = true): void => go(address("admin", { view: "audit", text, span, ...more }), isStep);
  return (
    <section aria-label={t("audit")}>
      <div class="bar">
        <label>{t("span")} <select value={span} onChange={(event) => show({ span: event.currentTarget.value })}>
          {Object.entries(SPANS).map(([one, [word, n]]) => <option key={one} value={one}>{t(word, { n })}</option>)}
        </select></label>
        <label class="grow">{t("search")} <input type="search" value={text} maxLength={200} onInput={(event) => show({ text: event.currentTarget.value }, false)} /></label>
      </div>
      <p><small>{t("providerAuditHint")}</small></p>
      {why && <p class="look" role="status">{t("failed", { why: plain(why, 300) })}</p>}
      <Table<AuditRow> caption={t("audit")} rows={rows} keyOf={(row) => row.key} empty={data ? t("noAudit") : t("loading")} columns={[
        { head: t("age"), isShort: true, cell: (row) => <Age timeMs={row.timeMs} /> },
        { head: t("type"), isShort: true, cell: (row) => <Type of={row} /> },
        { head: t("user"), isShort: true, cell: (row) => plain(row.who, 128) },
        { head: t("fromWhere"), isShort: true, cell: (row) => plain(row.from, 128) },
        { head: t("beforeAfter"), cell: (row) => <Changes of={row} /> },
        { head: t("details"), cell: (row) => <span class="muted">{plain(row.text, 400)}</span> },
      ]} />
    </section>
  );
}

/** As the history has the events of a tenant. */
const asStored = (one: ProviderEvent): StoredEvent => ({
  tag: one.source, kind: "event", timestamp: "", timestamp_ns: one.time_ns ?? 0, id: one.id, source: one.source, type: one.type, subject: null,
  data: JSON.stringify(one.data),
});
