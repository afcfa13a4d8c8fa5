/** The audit as rows: who, what, where, with the rest in a line. Pure. */
import { type StoredEvent } from "@millstream/client";
import { type Word } from "../words";
import { dataOf } from "./alarms";

export interface AuditRow {
  key: string;
  timeMs: number;
  type: string;
  who: string;
  path: string;
  text: string;
  isRefused: boolean;
}

const EVERY = ["millstream.audit.*", "millstream.command.*", "millstream.write.*", "millstream.config.*", "millstream.history.*"];
export const KINDS: { name: Word; types: string[] }[] = [
  { name: "all", types: EVERY },
  { name: "sessions", types: ["millstream.audit.session.*"] },
  { name: "people", types: ["millstream.audit.login_user.*"] },
  { name: "commands", types: ["millstream.command.*"] },
  { name: "writes", types: ["millstream.write.*"] },
  { name: "configurations", types: ["millstream.config.*"] },
  { name: "deadLetters", types: ["millstream.audit.dead_letter.*"] },
];

const WHO = ["who", "name", "author", "by", "user"];
const REFUSED = /(refused|failed|locked|violation|unknown)$/;

/** Those in which each word of `text` stands somewhere. */
export function auditRows(events: StoredEvent[], text: string): AuditRow[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const rows = events.map((event): AuditRow => {
    const data = dataOf(event);
    const named = WHO.find((one) => typeof data[one] === "string" && data[one] !== "");
    const rest = Object.entries(data).filter(([name, value]) => name !== named && value !== null && value !== "");
    return {
      key: `${event.tag} ${event.id} ${event.timestamp_ns}`, timeMs: Number(event.timestamp_ns) / 1e6,
      type: event.type.replace(/^millstream\./, ""), who: named === undefined ? "" : String(data[named]), path: event.tag.split(":")[0],
      text: rest.map(([name, value]) => `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`).join(" "),
      isRefused: REFUSED.test(event.type),
    };
  });
  return rows.filter((row) => {
    const all = `${row.type} ${row.who} ${row.path} ${row.text}`.toLowerCase();
    return words.every((word) => all.includes(word));
  });
}
