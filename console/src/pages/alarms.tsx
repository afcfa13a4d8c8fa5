/** What needs somebody: alarms that nodes raise now, and what was told as alarm or event, newest first. */
import { type StoredEvent } from "@millstream/client";
import { useEffect, useState } from "preact/hooks";
import { plain } from "../format";
import { SeverityMark, type Severity } from "../parts/mark";
import { Table } from "../parts/table";
import { Age } from "../parts/value";
import { address, go, route } from "../router";
import { client, connections } from "../state/hub";
import { edges, hub, useNodes } from "../state/nodes";
import { t } from "../words";

const RELOAD_MS = 3000;
const SEVERITIES: Severity[] = ["critical", "high", "medium", "low", "info"];

export function AlarmsPage(): preact.JSX.Element {
  useNodes();
  const hasEvents = route.value.query.get("events") === "1";
  const [told, setTold] = useState<StoredEvent[]>([]);
  const [why, setWhy] = useState("");
  useEffect(() => {
    const load = (): void => void eventsOf(hasEvents).then(
      (found) => { setTold(found); setWhy(""); },
      (error: Error) => setWhy(error.message),
    );
    const end = connections.subscribe((count) => count > 0 && load());
    const timer = setInterval(load, RELOAD_MS);
    return () => { end(); clearInterval(timer); };
  }, [hasEvents]);
  return (
    <>
      <NodeAlarms />
      <p>
        <label><input type="checkbox" checked={hasEvents}
          onChange={(event) => go(address("alarms", { events: event.currentTarget.checked ? "1" : undefined }))} /> {t("eventsToo")}</label>
      </p>
      {why && <p class="look" role="status">{t("failed", { why: plain(why, 300) })}</p>}
      <Table caption={t("alarms")} rows={told} keyOf={(row) => `${row.tag} ${row.id} ${row.timestamp_ns}`} empty={t("noAlarms")} columns={[
        { head: t("severity"), cell: (row) => <SeverityMark severity={severityOf(row)} /> },
        { head: t("age"), cell: (row) => <Age timeMs={Number(row.timestamp_ns) / 1e6} /> },
        { head: t("path"), cell: (row) => plain(row.tag, 200) },
        { head: t("type"), cell: (row) => plain(row.type, 100) },
        { head: t("message"), cell: (row) => plain(textOf(row), 300) },
      ]} />
    </>
  );
}

/** What hub and edges say of themselves now. */
function NodeAlarms(): preact.JSX.Element | null {
  const nodes = [...(hub.value ? [hub.value] : []), ...edges.value.flatMap((edge) => edge.status ?? [])];
  const rows = nodes.flatMap((node) => (node.alarms ?? []).map((raw) => ({ node: node.name, raw })));
  if (rows.length === 0) return null;
  return (
    <Table caption={t("alarmsOpen")} rows={rows} keyOf={(row) => `${row.node} ${String(row.raw.code)} ${String(row.raw.message)}`} columns={[
      { head: t("severity"), cell: () => <SeverityMark severity="high" /> },
      { head: t("node"), cell: (row) => plain(row.node) },
      { head: t("age"), cell: (row) => <Age timeMs={Number(row.raw.since_ns ?? 0) / 1e6} /> },
      { head: t("type"), cell: (row) => plain(String(row.raw.code)) },
      { head: t("message"), cell: (row) => plain(String(row.raw.message), 300) },
    ]} />
  );
}

async function eventsOf(hasEvents: boolean): Promise<StoredEvent[]> {
  const kinds = hasEvents ? ["alarm", "event"] : ["alarm"];
  const found = await Promise.all(kinds.map((kind) => client.history.events("*", kind)));
  return found.flat().sort((a, b) => Number(b.timestamp_ns) - Number(a.timestamp_ns));
}

function dataOf(row: StoredEvent): Record<string, unknown> {
  try {
    const found = JSON.parse(row.data ?? "{}") as unknown;
    return found !== null && typeof found === "object" ? (found as Record<string, unknown>) : { text: String(found) };
  } catch {
    return { text: row.data };
  }
}

export function severityOf(row: StoredEvent): Severity {
  const found = dataOf(row);
  const said = String(found.severity ?? found.priority ?? "").toLowerCase();
  return SEVERITIES.find((one) => one === said) ?? (said === "warning" ? "medium" : said === "error" ? "high" : row.kind === "alarm" ? "medium" : "info");
}

function textOf(row: StoredEvent): string {
  const { text, message, severity: _severity, ...others } = dataOf(row);
  return [text, message].find((one) => typeof one === "string") as string | undefined ?? JSON.stringify(others);
}
