/** What is stored: tags, last values, ranges, windows and events, over the query API. Samples come as Arrow. */
import { readArrow, type Columns } from "./arrow";
import { type Http } from "./http";
import { ARROW_TYPE, fromJson, keepsDigits, parseJson, type Reading, type Value } from "./payload";

export interface TagInfo {
  tag: string;
  kind: string;
  description: Record<string, unknown> | null;
}

/** A part of the namespace. `places` are told with the number of tags at and below them; one that `is_whole` has all that
 * lies directly in it among `tags`, which are in order from top to bottom. */
export interface Part {
  count: number;
  places: { path: string; count: number; is_whole: boolean }[];
  tags: TagInfo[];
  newest: Reading[];
}

/** Values of one tag in order of time; `quality` is 0 where it is good. */
export interface Series {
  times: number[];
  values: Value[];
  quality: number[];
  isTruncated: boolean;
}

/** The least and the greatest value of each window, so that no extreme vanishes. Null where nothing was stored. `bad` are
 * the windows in which something is not usable. */
export interface Extremes {
  times: number[];
  min: (number | null)[];
  max: (number | null)[];
  bad: number[];
}

export interface StoredEvent {
  tag: string;
  kind: string;
  timestamp: string;
  timestamp_ns: number;
  id: string;
  source: string;
  type: string;
  subject: string | null;
  data: string | null;
}

type Parameters = Record<string, string | number | undefined | (string | number)[]>;

export class History {
  constructor(private readonly http: Http) {}

  async tags(pattern = "*", kind?: string): Promise<{ tags: TagInfo[]; truncated: boolean }> {
    return this.http.json(`/api/v1/tags${search({ pattern, kind })}`);
  }

  /** What lies directly in `place` ("" is the root). With `open` also in the places below, while a level opens no more
   * than that many; with `values` each tag's newest value, too. */
  async tree(place: string, more: { open?: number; limit?: number; values?: boolean } = {}): Promise<Part> {
    const values = more.values && keepsDigits ? "true" : undefined;
    const text = await this.http.text(`/api/v1/tree${search({ place, open: more.open, limit: more.limit, values })}`);
    const found = parseJson(text) as Part & { last: Record<string, { data: Record<string, unknown>[] }> };
    return { ...found, newest: Object.entries(found.last).flatMap(([kind, { data }]) => data.map((row) => readingOfJson(row, kind))) };
  }

  /** The newest value of each tag that fits. None: an empty list. As JSON where that keeps all digits: what a page shows
   * first does not wait until Arrow is loaded. */
  async last(tag: string | string[], kind = "tag"): Promise<Reading[]> {
    if (!keepsDigits) return (await this.columns("last", { tag, kind })).rows().map((row) => readingOf(row, row.value as Value, kind));
    const found = parseJson(await this.http.text(`/api/v1/last${search({ tag, kind })}`)) as { data: Record<string, unknown>[] };
    return found.data.map((row) => readingOfJson(row, kind));
  }

  /** Values as stored; times are Unix ms. */
  async range(tag: string, startMs: number, endMs: number, kind = "tag", limit = 100_000): Promise<Series> {
    return seriesOf(await this.columns("range", { tag, kind, start: ns(startMs), end: ns(endMs), limit }));
  }

  /** The newest value before a time, as stored; undefined where there is none. */
  async before(tag: string, ms: number, kind = "tag"): Promise<{ timeMs: number; value: Value; quality: number } | undefined> {
    const { times, values, quality } = seriesOf(await this.columns("range", { tag, kind, end: ns(ms), limit: 1, descending: "true" }));
    return times.length === 0 ? undefined : { timeMs: times[0], value: values[0], quality: quality[0] };
  }

  /** The same as its site holds it: also what the link does not carry, such as waveforms. Truncated where the site has
   * more than one answer holds. */
  async raw(tag: string, startMs: number, endMs: number, kind = "tag"): Promise<Series> {
    return seriesOf(await this.columns("fleet/data", { tag, kind, start: ns(startMs), end: ns(endMs) }));
  }

  /** The extremes of windows of `everyMs`. */
  async extremes(tag: string, startMs: number, endMs: number, everyMs: number, kind = "tag"): Promise<Extremes> {
    const windows = { tag, kind, start: ns(startMs), end: ns(endMs), every: ns(everyMs), limit: 100_000 };
    const [table, all] = await Promise.all([
      this.columns("window", { ...windows, aggregate: ["min", "max", "count"] }),
      this.columns("window", { ...windows, aggregate: ["count"], quality: "any" }),
    ]);
    const number = (value: unknown): number | null => (typeof value === "number" ? value : null);
    const times = table.column("timestamp") as number[];
    const counts = table.column("count");
    const usable = new Map(times.map((time, at) => [time, counts[at]]));
    const everything = all.column("count");
    const bad = (all.column("timestamp") as number[]).filter((time, at) => everything[at] !== (usable.get(time) ?? 0));
    return { times, min: table.column("min").map(number), max: table.column("max").map(number), bad };
  }

  /** What is stored of a span, as a text that is another one once something came late or was put right: how many samples, and
   * their least, greatest and mean. One short answer, whatever the span holds. */
  async stamp(tag: string, startMs: number, endMs: number, kind = "tag"): Promise<string> {
    const windows = { tag, kind, start: ns(startMs), end: ns(endMs), every: ns(Math.max(1, endMs - startMs)), quality: "any" };
    const table = await this.columns("window", { ...windows, aggregate: ["count", "min", "max", "mean"] });
    return ["count", "min", "max", "mean"].map((name) => table.column(name).join(",")).join(" ");
  }

  /** The newest first; `type` is a CloudEvents type, a final `*` stands for any ending, `start` such as "-7d"; those of the
   * type `without` are left out. */
  async events(pattern = "*", kind = "event", limit = 200, type?: string, start?: string, without?: string): Promise<StoredEvent[]> {
    const path = `/api/v1/events${search({ tag: pattern, kind, limit, descending: "true", type, start, without })}`;
    return (await this.http.json<{ data: StoredEvent[] }>(path)).data;
  }

  /** Where a browser gets samples as stored as a file: "csv", "arrow" or "parquet"; of tags of several kinds as one. */
  rangeAddress(tags: { path: string; kind: string }[], startMs: number, endMs: number, format: string): string {
    const [tag, kind] = [tags.map((one) => one.path), tags.map((one) => one.kind)];
    return `${this.http.base}/api/v1/range${search({ tag, kind, start: ns(startMs), end: ns(endMs), format, limit: 100_000 })}`;
  }

  private async columns(question: string, parameters: Parameters): Promise<Columns> {
    return readArrow(await this.http.bytes(`/api/v1/${question}${search(parameters)}`, ARROW_TYPE));
  }
}

const seriesOf = (table: Columns): Series => ({
  times: table.column("timestamp") as number[],
  values: table.column("value") as Value[],
  quality: table.column("quality") as number[],
  isTruncated: table.metadata.get("truncated") === "true",
});

const readingOfJson = (row: Record<string, unknown>, kind: string): Reading =>
  readingOf({ ...row, timestamp: Number(row.timestamp_ns) / 1e6 }, fromJson(row.value), kind);

function readingOf(row: Record<string, unknown>, value: Value | undefined, kind: string): Reading {
  return {
    path: row.tag as string, kind: (row.kind as string) ?? kind, value: value ?? null, timeMs: row.timestamp as number,
    quality: (row.quality ?? 0) as number, unit: (row.unit as string | null) ?? undefined,
  };
}

function search(parameters: Parameters): string {
  const found = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const one of Array.isArray(value) ? value : [value]) if (one !== undefined) found.append(name, String(one));
  }
  return `?${found}`;
}

/** Nanoseconds of milliseconds, exact as text: a number cannot hold them. */
function ns(ms: number): string {
  const whole = Math.floor(ms);
  return `${BigInt(whole) * 1_000_000n + BigInt(Math.round((ms - whole) * 1e6))}`;
}
