/** The sites of a hub: one question to all of them, commands, and what each should run. */
import { newId, type Asked } from "./acts";
import { type Http } from "./http";

export interface FleetMatch {
  node: string;
  state: string;
  facts?: Record<string, unknown> | null;
  reason?: string | null;
  code?: string | null;
}

/** `missing` are not reached, with when they last were; `absent` lack a fact that was asked for. */
export interface FleetAccount {
  expected: number;
  answered: number;
  matching: number;
  absent: string[];
  failed: string[];
  silent: string[];
  unreadable: string[];
  missing: Record<string, number | null>;
  took_ms: number;
}

export interface SiteCommand {
  id: string;
  node: string;
  type: string;
  who: string;
  state: string;
  created_ns: number;
  changed_ns: number;
  is_over: boolean;
  args?: Record<string, unknown>;
  code?: string;
  reason?: string;
  result?: unknown;
  progress?: number;
  text?: string;
}

export interface SiteState {
  edge: string;
  path: string;
  desired: number;
  runs: number | null;
  state: string;
  author: string | null;
  why: string | null;
}

export interface Revision {
  edge: string;
  revision: number;
  based_on: number;
  author: string;
  time_ns: number;
  comment?: string;
  kind?: string;
  restores?: number;
  rollout?: string;
  is_signed: boolean;
}

export interface SiteConfig {
  edge: string;
  path: string;
  history: Revision[];
  revision: number;
  document: string;
  needs_signature: boolean;
  report: Record<string, unknown> | null;
}

export interface Finding {
  line: number;
  column: number;
  path: string;
  message: string;
  hint: string | null;
  code: string;
}

export interface PathChange {
  path: string;
  old: string | null;
  new: string | null;
}

export interface Blame {
  path: string;
  value: string;
  revision: number;
  author: string;
  time_ns: number;
  comment: string;
}

export interface Rollout {
  name: string;
  author: string;
  created_ns: number;
  state?: string;
  reason?: string | null;
  comment?: string;
  stage: number;
  ends: number[];
  counts: Record<string, number>;
  sites: { edge: string; revision: number; state?: string; code?: string; reason?: string }[];
}

export type RolloutAction = "stop" | "resume" | "cancel" | "rollback";

export class Sites {
  constructor(private readonly http: Http) {}

  query = (filter: string | null, select: string[] = []): Promise<{ nodes: FleetMatch[]; summary: FleetAccount }> =>
    this.http.json("/api/v1/fleet/query", "POST", { filter, select });

  // -- commands ------------------------------------------------------------------------------------------------------

  async commands(limit = 50): Promise<SiteCommand[]> {
    return (await this.http.json<{ commands: SiteCommand[] }>(`/api/v1/commands?limit=${limit}`)).commands;
  }

  send = (ask: { type: string; nodes: string[]; args?: Record<string, unknown>; expires?: string; key?: string }): Promise<Asked> =>
    this.http.json("/api/v1/commands/send", "POST", { ...ask, key: ask.key ?? newId() });
  cancel = (id: string, nodes?: string[]): Promise<Asked> => this.http.json("/api/v1/commands/cancel", "POST", { id, nodes });
  fileAddress = (id: string, node: string): string =>
    `${this.http.base}/api/v1/commands/${encodeURIComponent(id)}/file?${new URLSearchParams({ node })}`;

  // -- configurations ------------------------------------------------------------------------------------------------

  async states(): Promise<SiteState[]> {
    return (await this.http.json<{ sites: SiteState[] }>("/api/v1/configs")).sites;
  }

  config = (edge: string, revision?: number): Promise<SiteConfig> =>
    this.http.json(`/api/v1/configs/${encodeURIComponent(edge)}${revision ? `?revision=${revision}` : ""}`);
  schema = (): Promise<Record<string, unknown>> => this.http.json("/api/v1/configs/schema");
  check = (edge: string, document: string): Promise<{ findings: Finding[]; changes: PathChange[] }> =>
    this.http.json("/api/v1/configs/check", "POST", { edge, document });
  put = (ask: { edge: string; document: string; based_on: number; comment: string }): Promise<Asked & { revision: Revision }> =>
    this.http.json("/api/v1/configs/put", "POST", ask);
  rollBack = (ask: { edge: string; to: number; comment: string }): Promise<Asked & { revision: Revision }> =>
    this.http.json("/api/v1/configs/rollback", "POST", ask);

  async diff(edge: string, old: number, now: number): Promise<PathChange[]> {
    const path = `/api/v1/configs/${encodeURIComponent(edge)}/diff?old=${old}&new=${now}`;
    return (await this.http.json<{ changes: PathChange[] }>(path)).changes;
  }

  async blame(edge: string): Promise<Blame[]> {
    return (await this.http.json<{ blame: Blame[] }>(`/api/v1/configs/${encodeURIComponent(edge)}/blame`)).blame;
  }

  // -- roll-outs -----------------------------------------------------------------------------------------------------

  async rollouts(): Promise<Rollout[]> {
    return (await this.http.json<{ rollouts: Rollout[] }>("/api/v1/rollouts")).rollouts;
  }

  rollOut = (ask: { sites: string[]; document: string; stages: string[]; comment: string }): Promise<Asked> =>
    this.http.json("/api/v1/rollouts/start", "POST", ask);
  askRollout = (name: string, action: RolloutAction): Promise<Asked> =>
    this.http.json("/api/v1/rollouts/ask", "POST", { name, action });
}
