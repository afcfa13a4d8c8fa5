/** Who did what, and what was refused: events of the plant's own history, by kind, person and time. */
import { plain } from "../format";
import { address, go, route } from "../router";
import { auditRows, KINDS, valueSaid, type AuditRow } from "../state/audit";
import { client } from "../state/hub";
import { useLoaded } from "../state/loaded";
import { t, type Word } from "../words";
import { factText } from "../words/codes";
import { Table } from "./table";
import { Age } from "./value";

const AUDIT_MS = 10_000;
const ROWS_MAX = 1000;
const CHANGES_MAX = 12; // lines of one act; what else differs is in the event
export const SPANS: Record<string, [Word, number]> = { "-1h": ["unitH", 1], "-1d": ["unitD", 1], "-7d": ["unitD", 7], "-30d": ["unitD", 30], "-365d": ["unitD", 365] };

export function Audit(): preact.JSX.Element {
  const query = route.value.query;
  const kind = KINDS.find((one) => one.name === query.get("kind")) ?? KINDS[0];
  const text = query.get("text") ?? "";
  const span = Object.keys(SPANS).find((one) => one === query.get("span")) ?? "-7d";
  const { data, why } = useLoaded(() => load(kind, span), [kind.name, span], AUDIT_MS);
  const rows = auditRows(data ?? [], text);
  const show = (more: Record<string, string>, isStep = true): void => go(address("admin", { view: "audit", kind: kind.name, text, span, ...more }), isStep);
  return (
    <section aria-label={t("audit")}>
      <div class="bar">
        <label>{t("kind")} <select value={kind.name} onChange={(event) => show({ kind: event.currentTarget.value })}>
          {KINDS.map((one) => <option key={one.name} value={one.name}>{t(one.name)}</option>)}
        </select></label>
        <label>{t("span")} <select value={span} onChange={(event) => show({ span: event.currentTarget.value })}>
          {Object.entries(SPANS).map(([one, [word, n]]) => <option key={one} value={one}>{t(word, { n })}</option>)}
        </select></label>
        <label class="grow">{t("search")} <input type="search" value={text} maxLength={200} onInput={(event) => show({ text: event.currentTarget.value }, false)} /></label>
      </div>
      {why && <p class="look" role="status">{t("failed", { why: plain(why, 300) })}</p>}
      {kind.without && <p class="muted"><small>{t("auditWithout")} <a href={address("admin", { view: "audit", kind: "sessions", text, span })}>{t("sessions")}</a></small></p>}
      <Table<AuditRow> caption={t("audit")} rows={rows} keyOf={(row) => row.key} empty={data ? t("noAudit") : t("loading")} columns={[
        { head: t("age"), isShort: true, cell: (row) => <Age timeMs={row.timeMs} /> },
        { head: t("type"), isShort: true, cell: (row) => <Type of={row} /> },
        { head: t("user"), isShort: true, cell: (row) => plain(row.who, 128) },
        { head: t("fromWhere"), isShort: true, cell: (row) => plain(row.from, 128) },
        { head: t("path"), isShort: true, cell: (row) => plain(row.path, 200) },
        { head: t("beforeAfter"), cell: (row) => <Changes of={row} /> },
        { head: t("details"), cell: (row) => <span class="muted">{plain(row.text, 400)}</span> },
      ]} />
    </section>
  );
}

/** What happened, in words, and as a search or a program calls it. */
export function Type({ of }: { of: AuditRow }): preact.JSX.Element {
  const said = of.type || plain(of.code, 100);
  return <>{of.isRefused ? <b class="act">■ {said}</b> : said} {of.type && <small>{plain(of.code, 100)}</small>}</>;
}

/** A line for each value that differs. The arrow is read as a word, too. */
export function Changes({ of }: { of: AuditRow }): preact.JSX.Element | null {
  if (of.changes.length === 0) return null;
  const state = (name: string, text: string | null): preact.JSX.Element => (text === null ? <span class="muted">{t("notThere")}</span> : <span>{plain(valueSaid(name, /_n?s$/.test(name) && /^\d+$/.test(text) ? Number(text) : text), 120)}</span>);
  return (
    <ul class="changes">
      {of.changes.slice(0, CHANGES_MAX).map((one) => (
        <li key={one.name}><b>{factText(one.name)}</b>: {state(one.name, one.before)} <span aria-label={t("becomes")} role="img">→</span> {state(one.name, one.after)}</li>
      ))}
      {of.changes.length > CHANGES_MAX && <li class="muted">{t("andMore", { n: of.changes.length - CHANGES_MAX })}</li>}
    </ul>
  );
}

async function load({ types, without }: (typeof KINDS)[number], start: string): Promise<Awaited<ReturnType<typeof client.history.events>>> {
  const found = await Promise.all(types.map((type) => client.history.events("*", "event", ROWS_MAX, type, start, without)));
  return found.flat().sort((a, b) => Number(b.timestamp_ns) - Number(a.timestamp_ns)).slice(0, ROWS_MAX);
}
