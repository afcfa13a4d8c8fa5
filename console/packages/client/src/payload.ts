/** What messages of the namespace hold: one sample as JSON, or many as an Arrow block (docs/adr/0003). */
import { readArrow } from "./arrow";

export type Value = number | bigint | string | boolean | null | Uint8Array | Value[] | { [name: string]: Value };

/** One value of one tag. `timeMs` is the source's time (UTC, with fractions), `quality` an OPC UA status code. */
export interface Reading {
  path: string;
  kind: string;
  value: Value;
  timeMs: number;
  quality: number;
  unit?: string;
}

export const ARROW_TYPE = "application/vnd.apache.arrow.stream";
const BAD_DECODING_ERROR = 0x80070000;
const LONG_DIGITS = /[:[,]\s*-?\d{16,}/;
const SAMPLE_TIMES = /"(?:timestamp|ingest)_ns":\s*\d+/g;
const SPECIAL_NUMBERS: Record<string, number> = { NaN, Infinity, "-Infinity": -Infinity };
const decoder = new TextDecoder();

/** The severity of a quality. */
export function severity(quality: number): "good" | "uncertain" | "bad" {
  const top = quality >>> 30;
  return top === 0 ? "good" : top === 1 ? "uncertain" : "bad";
}

/** The readings of one message, in source order. What cannot be decoded is one bad reading. */
export async function decodeMessage(
  path: string, kind: string, data: Uint8Array, contentType: string,
): Promise<Reading[]> {
  if (contentType !== ARROW_TYPE) return [decodeJson(path, kind, data)];
  try {
    return await decodeBlock(path, kind, data);
  } catch {
    return [unreadable(path, kind)];
  }
}

/** One sample, at once; what is none is a bad reading. */
export function decodeJson(path: string, kind: string, data: Uint8Array): Reading {
  try {
    return decodeSample(path, kind, decoder.decode(data));
  } catch {
    return unreadable(path, kind);
  }
}

function unreadable(path: string, kind: string): Reading {
  return { path, kind, value: null, timeMs: 0, quality: BAD_DECODING_ERROR };
}

/** One JSON sample. Throws for what is none. */
export function decodeSample(path: string, kind: string, text: string): Reading {
  const raw = parseSample(text);
  const nanoseconds = raw.timestamp_ns ?? raw.ingest_ns;
  const timeMs = nanoseconds === undefined ? Number(raw.timestamp_ms) : Number(nanoseconds) / 1e6;
  if (!Number.isFinite(timeMs)) throw new Error("a sample without a time");
  const unit = typeof raw.unit === "string" ? raw.unit : undefined;
  return { path, kind, value: fromJson(raw.value), timeMs, quality: Number(raw.quality ?? 0), unit };
}

/** Whether this browser can read integers of JSON without losing digits. */
export const keepsDigits: boolean = JSON.parse("1", ((_name: string, _value: unknown, context?: { source?: string }) =>
  context?.source !== undefined) as (name: string, value: unknown) => unknown) as boolean;

/** Of a sample it is the value whose digits count: its times are shown to the millisecond, and keeping all of theirs would cost
 * more than all else that is done with it. */
function parseSample(text: string): Record<string, unknown> {
  if (!LONG_DIGITS.test(text.replace(SAMPLE_TIMES, ""))) {
    const raw = JSON.parse(text) as Record<string, unknown>;
    if (typeof raw.value !== "object") return raw; // within another one, what looks like a time may be a value
  }
  return parseJson(text) as Record<string, unknown>;
}

/** JSON whose integers keep all their digits: those that a double cannot hold become a bigint. */
export function parseJson(text: string): unknown {
  if (!LONG_DIGITS.test(text)) return JSON.parse(text);
  type Source = { source?: string };
  const keep = (_name: string, value: unknown, context?: Source): unknown =>
    typeof value === "number" && !Number.isSafeInteger(value) && /^-?\d+$/.test(context?.source ?? "")
      ? BigInt(context?.source ?? "0")
      : value;
  return JSON.parse(text, keep as (name: string, value: unknown) => unknown);
}

/** What JSON cannot say is written in special forms. */
export function fromJson(raw: unknown): Value {
  if (Array.isArray(raw)) return raw.map(fromJson);
  if (raw === null || typeof raw !== "object") return (raw ?? null) as Value;
  const entries = Object.entries(raw as Record<string, unknown>);
  if (entries.length === 1) {
    const [name, inner] = entries[0];
    if (name === "$float") return SPECIAL_NUMBERS[String(inner)] ?? NaN;
    if (name === "$int") return BigInt(String(inner));
    if (name === "$bytes") return Uint8Array.from(atob(String(inner)), (letter) => letter.charCodeAt(0));
    if (name === "$dict") return Object.fromEntries((inner as [string, unknown][]).map(([k, v]) => [k, fromJson(v)]));
  }
  return Object.fromEntries(entries.map(([key, value]) => [key, fromJson(value)]));
}

async function decodeBlock(path: string, kind: string, data: Uint8Array): Promise<Reading[]> {
  const table = await readArrow(data);
  const unit = table.metadata.get("unit");
  return table.rows().map((row) => ({
    path, kind, unit, value: row.value as Value, timeMs: row.timestamp as number, quality: (row.quality ?? 0) as number,
  }));
}
