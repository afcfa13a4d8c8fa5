/** What needs somebody: alarms that nodes raise now, and what was told as alarm or event, newest first. */
import { type StoredEvent } from "@millstream/client";
import { useEffect, useState } from "preact/hooks";
import { numberText, plain, timeText } from "../format";
import { AlarmAskForm, AlarmButtons, backOf, type AlarmForm } from "../parts/alarm_acts";
import { mayAct, Told, useAsking } from "../parts/ask";
import { SeverityMark } from "../parts/mark";
import { Path } from "../parts/written";
import { Table, type Column } from "../parts/table";
import { Age } from "../parts/value";
import { address, go, route } from "../router";
import { currentAlarms, floodsOf, saidBy, severityOf, textOf, type Alarm, type Flood } from "../state/alarms";
import { client, connections, now } from "../state/hub";
import { edges, hub, useNodes } from "../state/nodes";
import { stateText, t } from "../words";
import { eventText } from "../words/codes";

const RELOAD_MS = 3000;
const TOLD_MAX = 1000;
const SHOWN_MAX = 200;
const FLOOD_ROWS = 10;
const ALARM = "millstream.alarm.";

export function AlarmsPage(): preact.JSX.Element {
  useNodes();
  const hasEvents = route.value.query.get("events") === "1";
  const [told, setTold] = useState<StoredEvent[]>([]);
  const [why, setWhy] = useState("");
  const [loads, setLoads] = useState(0);
  const again = (): void => setLoads((count) => count + 1);
  useEffect(() => {
    const load = (): void => void eventsOf(hasEvents).then(
      (found) => { setTold(found); setWhy(""); },
      (error: Error) => setWhy(error.message),
    );
    const end = connections.subscribe((count) => count > 0 && load());
    const timer = setInterval(load, RELOAD_MS);
    return () => { end(); clearInterval(timer); };
  }, [hasEvents, loads]);
  return (
    <>
      <NodeAlarms />
      {floodsOf(told, now.value).map((one) => <FloodPanel key={one.place} flood={one} />)}
      <Current alarms={currentAlarms(told)} again={again} />
      <p>
        <label><input type="checkbox" checked={hasEvents}
          onChange={(event) => go(address("alarms", { events: event.currentTarget.checked ? "1" : undefined }))} /> {t("eventsToo")}</label>
      </p>
      {why && <p class="look" role="status">{t("failed", { why: plain(why, 300) })}</p>}
      <Table caption={t("history")} rows={told.slice(0, SHOWN_MAX)} keyOf={(row) => `${row.tag} ${row.id} ${row.timestamp_ns}`} empty={t("noAlarms")} columns={[
        { head: t("severity"), cell: (row) => <SeverityMark severity={severityOf(row)} /> },
        { head: t("age"), cell: (row) => <Age timeMs={Number(row.timestamp_ns) / 1e6} /> },
        { head: t("type"), cell: (row) => <span title={plain(row.type, 100)}>{plain(typeText(row.type), 100)}</span> },
        { head: t("message"), cell: (row) => plain(textOf(row), 300) },
        { head: t("path"), cell: (row) => <Path of={row.tag} /> },
        { head: t("saidBy"), cell: (row) => plain(saidBy(row), 300) },
      ]} />
    </>
  );
}

function Current({ alarms, again }: { alarms: Alarm[]; again: () => void }): preact.JSX.Element {
  const { outcome, isBusy, ask } = useAsking(again);
  const [open, setOpen] = useState<{ alarm: Alarm; form: AlarmForm }>();
  const acts: Column<Alarm> = {
    head: t("acts"),
    cell: (row) => (
      <AlarmButtons alarm={row} isBusy={isBusy} open={(form) => setOpen({ alarm: row, form })}
        send={(action) => void ask(row.path, (id) => client.acts.askAlarm({ id, path: row.path, action, occurrence: row.count }), () => backOf(row, action))} />
    ),
  };
  return (
    <>
      <Table caption={t("alarms")} rows={alarms} keyOf={(row) => row.path} empty={<>{t("noActive")} <a href="docs/how-to/alarms.html">{t("howAlarms")}</a></>} columns={[
        { head: t("severity"), cell: (row) => <span class={row.state === "unacknowledged" ? "unacknowledged" : ""}><SeverityMark severity={row.severity} /></span> },
        { head: t("state"), cell: (row) => <StateCell alarm={row} /> },
        { head: t("since"), cell: (row) => <Age timeMs={row.sinceMs} /> },
        { head: t("message"), cell: (row) => <><b>{plain(row.text, 300)}</b> {row.response && <small>→ {plain(row.response, 200)}</small>}</> },
        { head: t("path"), cell: (row) => <Path of={row.path} /> },
        { head: t("valueAndLimit"), isNumber: true, cell: (row) => plain(row.value, 40) },
        ...(mayAct() ? [acts] : []),
      ]} />
      <Told outcome={outcome} />
      {open && (
        <AlarmAskForm key={`${open.form} ${open.alarm.path}`} {...open} isBusy={isBusy} cancel={() => setOpen(undefined)}
          ask={(send, back) => void ask(open.alarm.path, send, back).then((isDone) => isDone && setOpen(undefined))} />
      )}
    </>
  );
}

/** What is behind a flood: the first, and what comes again and again. */
function FloodPanel({ flood }: { flood: Flood }): preact.JSX.Element {
  const place = plain(flood.place, 200);
  return (
    <section class="panel" aria-label={t("flood", { what: place })}>
      <h2 class="act foreign">■ {t("flood", { what: place })}</h2>
      <p role="status">{t("floodHint", { n: numberText(flood.count) })}</p>
      <Table caption={t("floodBy")} rows={flood.alarms.slice(0, FLOOD_ROWS)} keyOf={(row) => row.path} columns={[
        { head: t("severity"), cell: (row) => <SeverityMark severity={row.severity} /> },
        { head: t("message"), cell: (row) => <b>{plain(row.text, 300)}</b> },
        { head: t("path"), cell: (row) => <Path of={row.path} /> },
        { head: t("raised"), isNumber: true, cell: (row) => numberText(row.count) },
        { head: t("first"), cell: (row) => <Age timeMs={row.firstMs} /> },
      ]} />
    </section>
  );
}

function StateCell({ alarm }: { alarm: Alarm }): preact.JSX.Element {
  if (alarm.state === "unacknowledged") return <b>{plain(stateText(alarm.state), 40)}</b>;
  return <>{plain(stateText(alarm.state), 40)} {alarm.untilMs > 0 && <small>{t("until", { time: timeText(alarm.untilMs) })}</small>}</>;
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

/** Of an alarm what happened to it, of other events what they tell of; a type of somebody's own is shown as it is. */
function typeText(type: string): string {
  return type.startsWith(ALARM) ? stateText(type.slice(ALARM.length)) : eventText(type) ?? type;
}

async function eventsOf(hasEvents: boolean): Promise<StoredEvent[]> {
  const kinds = hasEvents ? ["alarm", "event"] : ["alarm"];
  const found = await Promise.all(kinds.map((kind) => client.history.events("*", kind, TOLD_MAX)));
  return found.flat().sort((a, b) => Number(b.timestamp_ns) - Number(a.timestamp_ns));
}
