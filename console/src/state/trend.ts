/** One tag over time: history first, then live, without a seam. What is wide is asked for as extremes of windows. */
import { severity, type Reading, type Series, type Value } from "@millstream/client";
import { type Line, type Mark } from "../parts/chart";
import { peaksOf } from "../parts/peaks";
import { runsOf, sharesOf } from "../parts/runs";
import { endOf, placeOf } from "../parts/thin";
import { client, connections } from "./hub";
import { extend, marksOf } from "./marks";
import { isRatio } from "./ratio";
import { follow, hearAll, type Tag } from "./tags";

export const RAW_MS_MAX = 20 * 60_000;
const WINDOWS = 1000;
const SURE = 0.9; // of the time that one answer held: the next stretch may be a little denser
const POINTS_MAX = 120_000;
const SPARE_MAX = 5000; // beyond it, so that not each sample that comes moves all others

export class TrendLine {
  line: Line;
  isNumeric = true;
  readonly scale: number;
  /** The site has more samples of the span than one answer holds; what it gave ends there. */
  isCut = false;
  private readonly stops: (() => void)[] = [];
  private early: Reading[] | undefined = [];
  /** A longer span would be more samples than one answer of the hub holds. */
  private rawMs = RAW_MS_MAX;
  /** What the samples that are there were asked for. */
  private held: { fromMs: number; toMs: number; over: number } | undefined;
  /** The span that was loaded, and how it stood just before. */
  private watched: { fromMs: number; toMs: number; stamp: Promise<string | undefined> } | undefined;
  private asked = 0;

  constructor(
    readonly tag: Tag,
    private readonly onChange: () => void,
    /** So much earlier: an earlier time laid over this one. It stands still. */
    readonly earlierMs = 0,
    private readonly label = tag.path,
    /** From the site itself, not from the hub's history: what the link does not carry is only there. */
    private readonly isFromSite = false,
  ) {
    this.line = { label, times: [], values: [], marks: [] };
    this.scale = isRatio(tag) ? 100 : 1;
    if (earlierMs === 0) this.stops.push(hearAll((readings) => this.hear(readings)), follow(tag.asset, tag.kind));
  }

  /** Whether something of what is shown came late or was put right since it was loaded; then it is loaded again. A new span
   * that was not loaded since it stood begins to be watched here. Throws MillstreamError. */
  async refresh(fromMs: number, toMs: number): Promise<boolean> {
    const span = this.held ?? { fromMs, toMs };
    const watched = this.watched;
    const before = watched?.fromMs === span.fromMs && watched.toMs === span.toMs ? await watched.stamp : undefined;
    const stamp = await this.stampOf(span.fromMs, span.toMs);
    if (before === undefined) this.watched = { fromMs: span.fromMs, toMs: span.toMs, stamp: Promise.resolve(stamp) };
    if (before === undefined || before === stamp) return false;
    await this.load(span.fromMs, span.toMs, true);
    return true;
  }

  /** What is stored of a span, as a mark that moves when something of it came late. */
  private stampOf(fromMs: number, toMs: number): Promise<string> {
    return client.history.stamp(this.tag.path, fromMs - this.earlierMs, toMs - this.earlierMs, this.tag.kind);
  }

  /** History of a span; live values that come meanwhile are kept and put behind it. What lies within samples that are there is
   * not asked for again, while the link held, unless it `isMoved`. Throws MillstreamError. */
  async load(fromMs: number, toMs: number, isMoved = false): Promise<void> {
    const [mine, over] = [++this.asked, connections.peek()];
    if (isMoved || this.held === undefined || fromMs < this.held.fromMs || toMs > this.held.toMs || over !== this.held.over) {
      this.early ??= [];
      const heldToMs = Math.min(toMs, client.now());
      let isNew = false;
      // Before the samples: what comes between the two is loaded once more, and never missed. Of what goes on, nothing is late.
      const stamp = toMs > heldToMs || this.isFromSite ? undefined : this.stampOf(fromMs, toMs).catch(() => undefined);
      try {
        const line = await this.stored(fromMs - this.earlierMs, toMs - this.earlierMs);
        if (mine !== this.asked) return; // something newer was asked for, and comes
        this.line = line;
        this.watched = stamp && { fromMs, toMs, stamp };
        isNew = true;
        this.held = line.isRaw && !this.isCut ? { fromMs, toMs: heldToMs, over } : undefined;
      } finally {
        if (mine === this.asked) this.goOn(isNew);
      }
    } else this.goOn(false);
  }

  /** What came meanwhile, and all that comes from now on. */
  private goOn(isNew: boolean): void {
    const early = this.early ?? [];
    this.early = undefined;
    this.append(early);
    if (isNew || early.length > 0) this.onChange();
  }

  private async stored(fromMs: number, toMs: number): Promise<Line> {
    const isState = await this.saysStates();
    if (!isState && toMs - fromMs > this.rawMs) return this.windows(fromMs, toMs);
    return (await this.samples(fromMs, toMs, isState)) ?? this.windows(fromMs, toMs);
  }

  /** Of states no window tells more than that there were some: all of a span are asked for, as they are few. */
  private async saysStates(): Promise<boolean> {
    const { path, kind, reading } = this.tag;
    if (kind === "state") return true;
    const value = reading.peek()?.value ?? (await client.history.last(path, kind))[0]?.value;
    return typeof value === "boolean" || typeof value === "string";
  }

  /** Undefined where there are more than one answer of the hub holds: what it leaves out would be missing without a word. */
  private async samples(fromMs: number, toMs: number, isState: boolean): Promise<Line | undefined> {
    const { path, kind } = this.tag;
    const found = await (this.isFromSite ? client.history.raw(path, fromMs, toMs, kind) : client.history.range(path, fromMs, toMs, kind));
    this.isCut = found.isTruncated && (this.isFromSite || isState);
    if (found.isTruncated && !this.isCut) {
      this.rawMs = SURE * (found.times[found.times.length - 1] - found.times[0]);
      return undefined;
    }
    if (isState) return this.stateLine(found, fromMs);
    this.isNumeric = found.values.every((value) => value === null || numeric(value) !== null);
    const values = found.values.map((value, at) => (severity(found.quality[at]) === "bad" ? null : this.scaled(numeric(value))));
    const times = this.moved(found.times);
    return { label: this.label, times, values, marks: marksOf(times, found.quality), isRaw: true };
  }

  /** What was said before the span holds in it until something else is said. */
  private async stateLine({ times, values, quality }: Series, fromMs: number): Promise<Line> {
    this.isNumeric = false;
    const before = this.isFromSite ? undefined : await client.history.before(this.tag.path, fromMs, this.tag.kind);
    if (before !== undefined) [times, values, quality] = [[before.timeMs, ...times], [before.value, ...values], [before.quality, ...quality]];
    const states = values.map((value, at) => stateOf(value, quality[at]));
    const moved = this.moved(times);
    return { label: this.label, times: moved, values: states.map(() => null), states, marks: marksOf(moved, quality), isRaw: true };
  }

  private async windows(fromMs: number, toMs: number): Promise<Line> {
    const everyMs = Math.max(1, Math.ceil((toMs - fromMs) / WINDOWS));
    const found = await client.history.extremes(this.tag.path, fromMs, toMs, everyMs, this.tag.kind);
    const marks = this.moved(found.bad).map((time): Mark => ({ fromMs: time, toMs: time + everyMs, isBad: true }));
    return { label: this.label, times: this.moved(found.times), values: found.max.map(this.scaled), low: found.min.map(this.scaled), marks };
  }

  /** As its unit beside it is. */
  private readonly scaled = (value: number | null): number | null => (value === null ? null : value * this.scale);

  private moved(times: number[]): number[] {
    return this.earlierMs === 0 ? times : times.map((time) => time + this.earlierMs);
  }

  /** The least and the greatest value of a span; null where there is none. */
  extremes(fromMs: number, toMs: number): [number | null, number | null] {
    const { times, values, low } = this.line;
    const [first, end] = [placeOf(times, fromMs), endOf(times, toMs)];
    const [lows, highs] = [peaksOf(low ?? values), peaksOf(values)];
    lows.look(first, end);
    const least = lows.least;
    highs.look(first, end);
    return [least === Infinity ? null : least, highs.greatest === -Infinity ? null : highs.greatest];
  }

  /** Of states: for how much of a span each held, as far as they are known; undefined where there are numbers. */
  shares(fromMs: number, toMs: number, nowMs: number): [string, number][] | undefined {
    const { times, states } = this.line;
    return states && sharesOf(runsOf(times, states, fromMs, toMs, nowMs));
  }

  close(): void {
    for (const stop of this.stops) stop();
  }

  private hear(readings: Reading[]): void {
    const mine = readings.filter((one) => one.path === this.tag.path && one.kind === this.tag.kind);
    if (mine.length === 0) return;
    if (this.early !== undefined) this.early.push(...mine);
    else {
      this.append(mine);
      this.onChange();
    }
  }

  /** What history has already is left out: times only rise. */
  private append(readings: Reading[]): void {
    const { times, values, low, states } = this.line;
    for (const reading of readings) {
      if (reading.timeMs <= (times[times.length - 1] ?? -Infinity)) continue;
      const value = states !== undefined || reading.quality >>> 30 >= 2 ? null : this.scaled(numeric(reading.value));
      extend((this.line.marks ??= []), reading.timeMs, reading.quality);
      times.push(reading.timeMs);
      values.push(value);
      low?.push(value);
      states?.push(stateOf(reading.value, reading.quality));
    }
    if (times.length <= POINTS_MAX + SPARE_MAX) return;
    const [kept, marks] = [<T>(list: T[]): T[] => list.slice(-POINTS_MAX), this.line.marks];
    this.line = { ...this.line, times: kept(times), values: kept(values), low: low && kept(low), states: states && kept(states), marks };
    if (this.held !== undefined) this.held.fromMs = Math.max(this.held.fromMs, this.line.times[0]);
  }
}

function stateOf(value: Value, quality: number): string | null {
  return value === null || severity(quality) === "bad" ? null : String(value);
}

export function numeric(value: unknown): number | null {
  if (typeof value === "number") return Number.isFinite(value) ? value : null;
  if (typeof value === "boolean") return value ? 1 : 0;
  return typeof value === "bigint" ? Number(value) : null;
}

/** What a span shows as CSV: RFC 4180, one row a value. A cell that a spreadsheet would work out stays text. */
export function csvOf(lines: TrendLine[], fromMs: number, toMs: number): string {
  const rows = ["path,time,value,least"];
  for (const { line, tag, scale } of lines) {
    const stored = (value: number | null | undefined): number | string => (typeof value === "number" ? (scale === 1 ? value : Number((value / scale).toPrecision(15))) : "");
    line.times.forEach((time, at) => {
      if (time < fromMs || time > toMs) return;
      const state = line.states?.[at];
      rows.push([cell(tag.path), new Date(time).toISOString(), state ? cell(state) : stored(line.values[at]), stored(line.low?.[at])].join(","));
    });
  }
  return `${rows.join("\r\n")}\r\n`;
}

function cell(text: string): string {
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return `"${safe.replaceAll('"', '""')}"`;
}
