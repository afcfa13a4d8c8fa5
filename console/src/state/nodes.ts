/** How hub and edges are: asked again and again while a page shows it. */
import { type NodeStatus } from "@millstream/client";
import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { client, session } from "./hub";

export const EDGES_ASKED_MAX = 200; // of one round; the rest is known by its link only
const ROUND_MS = 3000;
const ASKED_AT_ONCE = 16;
const ASK_MS = 2500;

export interface EdgeInfo {
  name: string;
  path: string;
  reached_ns: number | null;
  status?: NodeStatus;
  /** A second, by "connector NAME", "stream NAME" or "flow NAME". */
  rates: ReadonlyMap<string, number>;
}

export interface LedgerAccount {
  messages: number;
  samples: number;
  records: number;
  gaps: number;
  repeats: number;
  out_of_order: number;
  surplus: number;
  samples_missing: number;
  unrecorded: number;
  first_seq: number;
  last_seq: number;
  is_clean: boolean;
  /** First and last sequence of what is missing, newest last; the newest ones only. */
  missing?: [number, number][];
}

export const hub = signal<NodeStatus | undefined>(undefined);
/** As those of an edge. */
export const hubRates = signal<ReadonlyMap<string, number>>(new Map());
export const edges = signal<EdgeInfo[]>([]);
export const ledger = signal<Record<string, LedgerAccount> | undefined>(undefined);
export const nodesProblem = signal("");
/** When the nodes answered last, by the hub's clock; 0 before. */
export const nodesMs = signal(0);
/** Whether the nodes have answered yet: before that nobody knows that there is none. */
export const isNodesKnown = signal(false);

/** Some counts are looked at by their node every few seconds only: one that stands still so long has kept its rate. */
const STILL_MS = 10_000;
const before = new Map<string, { count: number; atMs: number; rate?: number }>();
let watchers = 0;
let isAsking = false;

/** Keep the above fresh while the component is shown. */
export function useNodes(): void {
  useEffect(() => {
    watchers++;
    void ask();
    const timer = setInterval(() => void ask(), ROUND_MS);
    return () => {
      watchers--;
      clearInterval(timer);
    };
  }, []);
}

async function ask(): Promise<void> {
  if (isAsking || watchers === 0 || !session.peek()) return;
  isAsking = true;
  try {
    const found = await client.http.json<{ node: NodeStatus | null }>("/api/v1/status");
    const isEdge = found.node?.role === "edge";
    hub.value = isEdge ? undefined : (found.node ?? undefined);
    hubRates.value = hub.value === undefined ? new Map() : ratesOf(`hub ${hub.value.name}`, hub.value);
    ledger.value = (await client.http.json<{ origins: Record<string, LedgerAccount> }>("/api/v1/ledger")).origins;
    edges.value = isEdge ? [itself(found.node as NodeStatus)] : await askEdges(found.node?.edges ?? []);
    isNodesKnown.value = true;
    nodesMs.value = client.now();
    nodesProblem.value = "";
  } catch (error) {
    nodesProblem.value = (error as Error).message;
  } finally {
    isAsking = false;
  }
}

/** The edge that serves its own site. */
function itself(node: NodeStatus): EdgeInfo {
  return { name: node.name, path: node.path ?? "", reached_ns: node.started_ns, status: node, rates: ratesOf(node.name, node) };
}

async function askEdges(known: NonNullable<NodeStatus["edges"]>): Promise<EdgeInfo[]> {
  const found: EdgeInfo[] = known.map((edge) => ({ ...edge, rates: new Map() }));
  const waiting = found.filter((edge) => edge.reached_ns !== null).slice(0, EDGES_ASKED_MAX);
  const next = async (): Promise<void> => {
    for (let edge = waiting.shift(); edge !== undefined; edge = waiting.shift()) {
      edge.status = await client.ask<NodeStatus>(`millstream.node.${edge.name}.status`, undefined, ASK_MS).catch(() => undefined);
      edge.rates = ratesOf(edge.name, edge.status);
    }
  };
  await Promise.all(Array.from({ length: ASKED_AT_ONCE }, next));
  return found;
}

type Raw = Record<string, unknown>;

/** What a node counts, by what it counts: samples of a connector, messages of a stream and over a bridge, events of a flow. */
function countsOf(status: NodeStatus | undefined): [string, number][] {
  const partitions = (flow: Raw): Raw[] => (flow.partitions ?? []) as Raw[];
  return [
    ...(status?.connectors ?? []).map((one): [string, number] => [`connector ${String(one.name)}`, Number(one.samples_received ?? 0)]),
    ...(status?.streams ?? []).map((one): [string, number] => [`stream ${String(one.name)}`, Number(one.last_seq ?? 0)]),
    ...(status?.sources ?? []).map((one): [string, number] => [`bridge ${String(one.stream)} ${String(one.origin)}`, Number(one.cursor_seq ?? 0)]),
    ...(status?.flows ?? []).map((one): [string, number] => [`flow ${String(one.name)}`, partitions(one).reduce((sum, part) => sum + Number(part.events ?? 0), 0)]),
  ];
}

/** Of each of these what came a second since the round before. */
function ratesOf(node: string, status: NodeStatus | undefined): Map<string, number> {
  const rates = new Map<string, number>();
  const atMs = performance.now();
  for (const [name, count] of countsOf(status)) {
    const last = before.get(`${node} ${name}`);
    if (last !== undefined && count === last.count && atMs - last.atMs < STILL_MS) {
      if (last.rate !== undefined) rates.set(name, last.rate);
      continue;
    }
    const rate = last !== undefined && count >= last.count && atMs > last.atMs ? ((count - last.count) * 1000) / (atMs - last.atMs) : undefined;
    if (rate !== undefined) rates.set(name, rate);
    before.set(`${node} ${name}`, { count, atMs, rate });
  }
  return rates;
}
