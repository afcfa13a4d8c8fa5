/** Alarms after ISA-18.2: each event tells the whole alarm, so the newest of a path is how it stands. Pure. */
import { type StoredEvent } from "@millstream/client";
import { durationText, numberText, timeText } from "../format";
import { type Severity } from "../parts/severity";
import { t } from "../words";
import { factText, valueOfFact, whyText } from "../words/codes";

export interface Alarm {
  path: string;
  severity: Severity;
  /** As the flow names it: unacknowledged, acknowledged, returned, latched, shelved, ... */
  state: string;
  isActive: boolean;
  sinceMs: number;
  text: string;
  response: string;
  value: string;
  count: number;
  /** Shelved until then; 0: not. */
  untilMs: number;
}

const SEVERITIES: Severity[] = ["critical", "high", "medium", "low", "info"];
const QUIET: ReadonlySet<string> = new Set(["shelved", "suppressed", "out_of_service"]);
const SAID: Record<string, Severity> = { warning: "medium", error: "high", urgent: "critical" };

export type AlarmData = Record<string, unknown>;

export function dataOf(row: StoredEvent): AlarmData {
  try {
    const found = JSON.parse(row.data ?? "{}") as unknown;
    return found !== null && typeof found === "object" ? (found as AlarmData) : { text: String(found) };
  } catch {
    return { text: row.data };
  }
}

export function severityOf(row: StoredEvent): Severity {
  const found = dataOf(row);
  const said = String(found.priority ?? found.severity ?? "").toLowerCase();
  return SEVERITIES.find((one) => one === said) ?? SAID[said] ?? (row.kind === "alarm" ? "medium" : "info");
}

export function textOf(row: StoredEvent): string {
  const { text, message, severity: _severity, ...others } = dataOf(row);
  const said = [text, message].find((one) => typeof one === "string" && one !== "");
  return typeof said === "string" ? said : factsText(others);
}

const DIGITS = 4;
const FACTS_MAX = 8;
const A_TIME = /^\d{4}-\d\d-\d\dT[\d:.]+Z$/;

/** What an event without a message says, in one line: its first facts by their names, without those made of others. */
export function factsText(data: AlarmData): string {
  const shown = Object.entries(data).flatMap(([name, value]) => {
    if (value === null || typeof value === "object") return [];
    if (typeof value === "number") return [`${factText(name)} ${measured(name, Number(value.toPrecision(DIGITS)))}`];
    return [`${factText(name)} ${A_TIME.test(String(value)) ? timeText(Date.parse(String(value))) : valueText(name, value)}`];
  });
  if (shown.length === 0) return JSON.stringify(data);
  return shown.slice(0, FACTS_MAX).join(" · ") + (shown.length > FACTS_MAX ? " …" : "");
}

/** A number with the unit that its name bears; that of a share is a percent. */
export function measured(name: string, value: number): string {
  if (RATIO.test(name)) return `${numberText(Math.round(value * 1000) / 10)} %`;
  const unit = UNITS.find(([end]) => name.endsWith(end))?.[1];
  if (unit === "s") return value < 1 ? `${numberText(value)} s` : durationText(value);
  return unit === undefined ? numberText(value) : `${numberText(value)} ${unit}`;
}

const RATIO = /^(oee|teep|availability|performance|quality|known|covered|first_pass_yield|.*_ratio)$/;
const UNITS = [["_wh", "Wh"], ["_w", "W"], ["_s", "s"]] as const;
const valueText = (name: string, value: unknown): string => (typeof value === "boolean" ? t(value ? "yes" : "no") : valueOfFact(name, String(value)));

/** Who asked for a change, and why; empty where nobody did. */
export function saidBy(row: StoredEvent): string {
  const { who, why } = dataOf(row);
  return [who, typeof why === "string" ? whyText(why) : ""].filter((one) => typeof one === "string" && one !== "").join(": ");
}

/** What needs somebody, the most urgent first; behind them what is shelved or suppressed. `told` is newest first. */
export function currentAlarms(told: StoredEvent[]): Alarm[] {
  const newest = new Map<string, StoredEvent>();
  for (const row of told) if (row.kind === "alarm" && !newest.has(row.tag)) newest.set(row.tag, row);
  const alarms = [...newest.values()].flatMap((row) => alarmOf(row) ?? []);
  const rank = (one: Alarm): number => (QUIET.has(one.state) ? 100 : 0) + (one.state === "unacknowledged" ? 0 : 10) + SEVERITIES.indexOf(one.severity);
  return alarms.sort((a, b) => rank(a) - rank(b) || b.sinceMs - a.sinceMs);
}

const SEEN: ReadonlySet<string> = new Set([...QUIET, "acknowledged", "latched_acknowledged"]);

/** How many of them wait for somebody, and how urgent the most urgent of these is. */
export function waitingOf(alarms: Alarm[]): { count: number; worst: Severity } {
  const waiting = alarms.filter((one) => !SEEN.has(one.state));
  return { count: waiting.length, worst: SEVERITIES.find((severity) => waiting.some((one) => one.severity === severity)) ?? "info" };
}

const FLOOD_MS = 10 * 60_000;
const FLOOD_COUNT = 10;
const OPERATOR_LEVELS = 2;
const RAISED = "millstream.alarm.raised";

/** More than ten alarms in ten minutes below one place, more than a person can look at (ISA-18.2, as the flow `alarm_flood`
 * counts without a word on it). */
export interface Flood {
  place: string;
  count: number;
  /** The most frequent first, of the same the earliest. */
  alarms: { path: string; severity: Severity; text: string; count: number; firstMs: number }[];
}

/** The largest first. `told` is newest first. */
export function floodsOf(told: StoredEvent[], nowMs: number): Flood[] {
  const found = new Map<string, Map<string, Flood["alarms"][number]>>();
  for (const row of told) {
    const atMs = Number(row.timestamp_ns) / 1e6;
    if (row.type !== RAISED || atMs < nowMs - FLOOD_MS) continue;
    const place = row.tag.split(":")[0].split("/").slice(0, OPERATOR_LEVELS).join("/");
    const alarms = found.get(place) ?? new Map<string, Flood["alarms"][number]>();
    const before = alarms.get(row.tag);
    alarms.set(row.tag, { path: row.tag, severity: before?.severity ?? severityOf(row), text: before?.text ?? textOf(row), count: (before?.count ?? 0) + 1, firstMs: atMs });
    found.set(place, alarms);
  }
  const floods = [...found].map(([place, alarms]) => ({
    place,
    count: [...alarms.values()].reduce((sum, one) => sum + one.count, 0),
    alarms: [...alarms.values()].sort((a, b) => b.count - a.count || a.firstMs - b.firstMs),
  }));
  return floods.filter((one) => one.count > FLOOD_COUNT).sort((a, b) => b.count - a.count);
}

const VALUE_DIGITS = 5;
const shown = (value: unknown): string => (typeof value === "number" ? numberText(Number.isInteger(value) ? value : Number(value.toPrecision(VALUE_DIGITS))) : Array.isArray(value) ? value.map(shown).join(", ") : String(value));

function alarmOf(row: StoredEvent): Alarm | undefined {
  const data = dataOf(row);
  const state = String(data.state ?? "");
  if (state === "" || (state === "normal" && !data.is_active) || data.change === "removed") return undefined;
  const limit = data.limit === undefined ? "" : ` / ${shown(data.limit)}`;
  return {
    path: row.tag, severity: severityOf(row), state, isActive: data.is_active === true,
    sinceMs: Date.parse(String(data.since ?? "")) || Number(row.timestamp_ns) / 1e6,
    text: textOf(row), response: String(data.response ?? ""), count: Number(data.count ?? 0),
    untilMs: Date.parse(String(data.until ?? "")) || 0,
    value: data.value === undefined ? "" : `${shown(data.value)}${limit}`,
  };
}
