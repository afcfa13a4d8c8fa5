/** The audit as rows: who, what, where, with the rest in a line. Pure. */
import { type StoredEvent } from "@millstream/client";
import { timeText } from "../format";
import { type Word } from "../words";
import { eventText, factText, valueOfFact } from "../words/codes";
import { dataOf } from "./alarms";

export interface AuditRow {
  key: string;
  timeMs: number;
  /** In words, where there are any; `code` is what searches, records and programs call it. */
  type: string;
  code: string;
  who: string;
  from: string;
  path: string;
  changes: Difference[];
  text: string;
  isRefused: boolean;
}

/** One thing that differs; null: it was not there, or is no longer. */
export interface Difference {
  name: string;
  before: string | null;
  after: string | null;
}

const EVERY = ["millstream.audit.*", "millstream.command.*", "millstream.write.*", "millstream.config.*", "millstream.history.*"];
/** A page that stays open tells it with each new credential, every few minutes: it would hide what people did. */
const GOES_ON = "millstream.audit.session.refreshed";
export const KINDS: { name: Word; types: string[]; without?: string }[] = [
  { name: "all", types: EVERY, without: GOES_ON },
  { name: "sessions", types: ["millstream.audit.session.*"] },
  { name: "people", types: ["millstream.audit.login_user.*"] },
  { name: "commands", types: ["millstream.command.*"] },
  { name: "writes", types: ["millstream.write.*"] },
  { name: "configurations", types: ["millstream.config.*", "millstream.audit.config.*", "millstream.audit.rollout.*", "millstream.audit.module.*"] },
  { name: "flows", types: ["millstream.audit.flow.*"] },
  { name: "operatorActs", types: ["millstream.audit.operator.*"] },
  { name: "deadLetters", types: ["millstream.audit.dead_letter.*"] },
];

const TEXT_MAX = 1000;
const YEAR_2001_MS = 1e12; // no length of a time is as long
const APART = ["from", "before", "after"];
const WHO = ["who", "name", "author", "by", "user"];
const REFUSED = /(refused|failed|locked|violation|unknown)$/;

/** Those in which each word of `text` stands somewhere. */
export function auditRows(events: StoredEvent[], text: string): AuditRow[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const rows = events.map((event): AuditRow => {
    const data = dataOf(event);
    const named = WHO.find((one) => typeof data[one] === "string" && data[one] !== "");
    const rest = Object.entries(data).filter(([name, value]) => name !== named && !APART.includes(name) && value !== null && value !== "");
    const changes = differences(data.before, data.after);
    return {
      key: `${event.tag} ${event.id} ${event.timestamp_ns}`, timeMs: Number(event.timestamp_ns) / 1e6,
      type: eventText(event.type) ?? "", code: event.type.replace(/^millstream\./, ""), who: named === undefined ? "" : String(data[named]),
      from: String(data.from ?? data.host ?? ""), changes, path: event.tag.split(":")[0],
      text: rest.map(([name, value]) => factOf(name, value)).join(" · "),
      isRefused: REFUSED.test(event.type),
    };
  });
  return rows.filter((row) => {
    const changed = row.changes.map((one) => `${one.name} ${one.before ?? ""} ${one.after ?? ""}`).join(" ");
    const all = `${row.type} ${row.code} ${row.who} ${row.from} ${row.path} ${changed} ${row.text}`.toLowerCase();
    return words.every((word) => all.includes(word));
  });
}

const factOf = (name: string, value: unknown): string => `${factText(name)} ${valueSaid(name, value)}`;

/** Unix seconds or nanoseconds, as their names say that they are, are told as a time. */
export function valueSaid(name: string, value: unknown): string {
  const ms = typeof value !== "number" ? 0 : name.endsWith("_ns") ? value / 1e6 : name.endsWith("_s") ? value * 1000 : 0;
  return ms > YEAR_2001_MS ? timeText(ms) : typeof value === "string" ? valueOfFact(name, value, TEXT_MAX) : JSON.stringify(value);
}

/** What differs between two states, by the path of each value; nothing for an event that tells of none. */
export function differences(before: unknown, after: unknown): Difference[] {
  const [old, now] = [leaves("", before), leaves("", after)];
  const names = [...new Set([...now.keys(), ...old.keys()])];
  return names
    .map((name) => ({ name, before: old.get(name) ?? null, after: now.get(name) ?? null }))
    .filter((one) => one.before !== one.after);
}

function leaves(path: string, value: unknown): Map<string, string> {
  if (value === null || value === undefined) return new Map();
  if (typeof value !== "object" || Array.isArray(value)) return new Map([[path, typeof value === "string" ? value : JSON.stringify(value)]]);
  return new Map(Object.entries(value).flatMap(([name, each]) => [...leaves(path ? `${path}.${name}` : name, each)]));
}
