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
export const edges = signal<EdgeInfo[]>([]);
export const ledger = signal<Record<string, LedgerAccount> | undefined>(undefined);
export const nodesProblem = signal("");
/** Whether the nodes have answered yet: before that nobody knows that there is none. */
export const isNodesKnown = signal(false);

const before = new Map<string, { count: number; atMs: number }>();
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
    ledger.value = (await client.http.json<{ origins: Record<string, LedgerAccount> }>("/api/v1/ledger")).origins;
    edges.value = isEdge ? [itself(found.node as NodeStatus)] : await askEdges(found.node?.edges ?? []);
    isNodesKnown.value = true;
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

/** Samples a second of each connector, since the round before. */
function ratesOf(edge: string, status: NodeStatus | undefined): Map<string, number> {
  const rates = new Map<string, number>();
  const atMs = performance.now();
  for (const connector of status?.connectors ?? []) {
    const name = String(connector.name);
    const count = Number(connector.samples_received ?? 0);
    const last = before.get(`${edge} ${name}`);
    if (last !== undefined && count >= last.count && atMs > last.atMs) {
      rates.set(name, ((count - last.count) * 1000) / (atMs - last.atMs));
    }
    before.set(`${edge} ${name}`, { count, atMs });
  }
  return rates;
}
