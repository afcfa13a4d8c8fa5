/** What people do: alarms and stops. The hub knows from the session who asks, and refuses who may not. */
import { type Http } from "./http";

export type AlarmAction = "acknowledge" | "reset" | "shelve" | "unshelve" | "remove" | "restore" | "comment";
export type StopAction = "reason" | "clear" | "split" | "merge";

/** `shelf` is how long to shelve, such as "2h"; `occurrence` the count of the alarm that somebody saw. */
export interface AlarmAsk {
  path: string;
  action: AlarmAction;
  why?: string;
  shelf?: string;
  occurrence?: number;
  /** Asked again with the same, it counts once. */
  id?: string;
}

/** Of the stop of `path` (`acme/plant1/press:downtime`) in which `at` lies. */
export interface StopAsk {
  path: string;
  action: StopAction;
  at: string;
  reason?: string;
  category?: string;
  why?: string;
  id?: string;
}

/** `is_taken`: the edge has it; else it is stored, and taken as soon as the edge can. */
export interface Asked {
  id: string;
  is_taken: boolean;
}

/** Of the parts of `path` (`acme/plant1/press:quality`) that were made in a time; with `lot`, what somebody said is put
 * right: a `count` of 0 takes it back. */
export interface PartAsk {
  path: string;
  count?: number;
  kind?: PartKind | "";
  start?: string;
  end?: string;
  reason?: string;
  /** Parts are meant that were counted with this reason. */
  instead_of?: string;
  why?: string;
  lot?: string;
  id?: string;
}

export type PartKind = "scrap" | "rework" | "good";

/** Parts that were no good: counted (`by` "rule" or null) or said by a person. */
export interface Lot {
  path: string;
  lot: string;
  start: string;
  end: string;
  kind: PartKind;
  count: number;
  reason: string | null;
  by: string | null;
  who: string | null;
  why: string | null;
}

/** One reason: how many parts, their share of all, and that of it with those before it. */
export interface RejectRow {
  reason: string;
  count: number;
  share: number;
  cumulative: number;
}

export interface Stop {
  path: string;
  start: string;
  end: string | null;
  duration_s: number | null;
  state: string;
  category: string;
  reason: string | null;
  by: string | null;
  who: string | null;
  why: string | null;
}

/** One reason: how often, how long, its share of all, and that of it with those before it. */
export interface ParetoRow {
  reason: string;
  count: number;
  seconds: number;
  share: number;
  cumulative: number;
}

/** Rows of a time with a Pareto of them. `since`: what was before may be missing (RFC 3339), `doubt` why; null: nothing
 * is. */
export interface Whole<Row> {
  pareto: Row[];
  since: string | null;
  doubt: string | null;
}

/** All that a figure of OEE is made of; the fields: docs/how-to/oee.md. */
export interface Why {
  path: string;
  value?: number | null;
  start: string;
  end: string;
  stops: Stop[];
  [more: string]: unknown;
}

/** A tag that may be written, and within which bounds. */
export interface WritableTag {
  node: string;
  tag: string;
  interval_s: number;
  unit?: string;
  minimum?: number;
  maximum?: number;
  allow_null?: boolean;
}

/** What a machine made of a write: `read_back` is what it showed afterwards, in the tag's unit. */
export interface Written extends Asked {
  state: string;
  reason?: string;
  read_back?: unknown;
  answer?: unknown;
}

/** Something that the plant knows beside its data, such as an order: the newest word on it. */
export interface Fact {
  path: string;
  what: string;
  time: string;
  who: string;
  data: Record<string, unknown>;
}

export class Acts {
  constructor(private readonly http: Http) {}

  askAlarm = (ask: AlarmAsk): Promise<Asked> => this.http.json("/api/v1/alarms/ask", "POST", { ...ask, id: ask.id ?? newId() });
  askStop = (ask: StopAsk): Promise<Asked> => this.http.json("/api/v1/downtime/ask", "POST", { ...ask, id: ask.id ?? newId() });

  askParts = (ask: PartAsk): Promise<Asked & { lot: Lot | null }> => this.http.json("/api/v1/quality/ask", "POST", { ...ask, id: ask.id ?? newId() });

  /** Scrap and rework of a place; `start` as for stops. */
  rejects(path: string, start: string): Promise<{ rejects: Lot[] } & Whole<RejectRow>> {
    return this.http.json(`/api/v1/quality?${new URLSearchParams({ path, start })}`);
  }

  /** Stops of a place; `start` is RFC 3339 or relative, such as "-8h". */
  stops(path: string, start: string): Promise<{ stops: Stop[] } & Whole<ParetoRow>> {
    return this.http.json(`/api/v1/downtime?${new URLSearchParams({ path, start })}`);
  }

  async writable(): Promise<WritableTag[]> {
    return (await this.http.json<{ writable: WritableTag[] }>("/api/v1/writable")).writable;
  }

  /** Throws MillstreamError with what became of it. */
  write = (path: string, value: unknown, id = newId(), valid = "10s"): Promise<Written> =>
    this.http.json("/api/v1/write", "POST", { path, value, valid, id });

  /** What is known of a place and below it; `what` is "order", "product", ... */
  async facts(path: string, what: string): Promise<Fact[]> {
    return (await this.http.json<{ facts: Fact[] }>(`/api/v1/context?${new URLSearchParams({ path, what })}`)).facts;
  }

  why = (tag: string): Promise<Why> => this.http.json(`/api/v1/why?${new URLSearchParams({ tag })}`);
}

/** One that counts once. `randomUUID` is not there on a page without TLS. */
export function newId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
