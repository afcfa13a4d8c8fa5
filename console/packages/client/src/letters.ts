/** What could not become data, and the way of one message. */
import { type Asked } from "./acts";
import { type Http } from "./http";

export interface DeadLetter {
  id: string;
  time: string;
  source: string;
  node: string;
  code: string;
  reason: string;
  path: string | null;
  bytes: number;
  content_type: string | null;
  contract: string | null;
  part: string | null;
  traceparent: string | null;
  preview: string;
}

/** With its bytes; `isCut`: there are more. */
export interface OpenLetter extends DeadLetter {
  subject: string | null;
  payload: Uint8Array;
  isCut: boolean;
}

export interface Station {
  time_ns: number | null;
  where: string;
  what: string;
}

export interface Trace {
  stream: string;
  seq: number;
  subject: string;
  traceparent: string | null;
  is_complete: boolean;
  /** Streams of which only the newest messages were looked through for a trace id: the trace may have begun before. */
  looked: { stream: string; messages: number; stored: number; from_ns: number | null; to_ns: number | null }[];
  stations: Station[];
}

/** A contract as it was published; `paths` are patterns. */
export interface Contract {
  name: string;
  version: number;
  kind: string;
  paths: string[];
  schema: unknown;
  unit?: string;
  description?: string;
  enforced?: boolean;
}

export class Letters {
  constructor(private readonly http: Http) {}

  list(limit = 100): Promise<{ letters: DeadLetter[]; total: number }> {
    return this.http.json(`/api/v1/dead-letters?limit=${limit}`);
  }

  async open(id: string): Promise<OpenLetter> {
    const raw = await this.http.json<DeadLetter & { subject: string | null; payload: string; is_cut: boolean }>(`/api/v1/dead-letters/${encodeURIComponent(id)}`);
    const { payload, is_cut: isCut, ...letter } = raw;
    return { ...letter, isCut, payload: Uint8Array.from(atob(payload), (letter) => letter.charCodeAt(0)) };
  }

  /** Stored once, however often it is asked; `payload` are the bytes put right, as text. */
  replay = (ask: { id: string; path?: string; payload?: string; why?: string }): Promise<Asked & { stored: string }> =>
    this.http.json("/api/v1/dead-letters/replay", "POST", ask);
  drop = (ask: { id: string; why: string }): Promise<Asked> => this.http.json("/api/v1/dead-letters/drop", "POST", ask);

  /** Of a tag's newest message, STREAM:SEQUENCE, or a trace id. */
  trace = (what: string, kind = "tag"): Promise<Trace> => this.http.json(`/api/v1/trace?${new URLSearchParams({ what, kind })}`);

  async contracts(tag: string, kind = "tag"): Promise<Contract[]> {
    return (await this.http.json<{ contracts: Contract[] }>(`/api/v1/contracts?${new URLSearchParams({ tag, kind })}`)).contracts;
  }
}
