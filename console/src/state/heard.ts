/** What the nodes say of the sources of what is in sight: asked only while something there is old. */
import { type NodeStatus } from "@millstream/client";
import { computed, signal } from "@preact/signals";
import { client, session } from "./hub";
import { sourceOf, UNKNOWN, type Said, type Source } from "./source";
import { tags, type Tag } from "./tags";

const ROUND_MS = 5000;
const SOON_MS = 20;
const ASK_MS = 4000;
const WANTED_MS = 12_000; // so long after its last look a place is asked about
const SITES_MS = 60_000; // so often the list of sites is asked for
const SITES_ASKED_MAX = 50; // of one round
const ASKED_AT_ONCE = 16;

/** Counts the rounds, so that who showed something old draws it again. */
export const rounds = signal(0);

/** By place, when somebody looked last. */
const wanted = new Map<string, number>();
const said = new Map<string, Said>();
let sites: { name: string; path: string }[] = [];
let hub: Said | undefined;
let sitesMs = -SITES_MS;
let timer: ReturnType<typeof setTimeout> | undefined;

const connectorOf = (tag: Tag): string | undefined => {
  const source = tag.info.description?.source as { connector?: string } | undefined;
  return source?.connector;
};

const connectors = computed(() => {
  const found = new Map<string, Set<string>>();
  for (const tag of tags.value.values()) {
    const name = connectorOf(tag);
    if (name === undefined) continue;
    const here = found.get(tag.asset);
    if (here === undefined) found.set(tag.asset, new Set([name]));
    else here.add(name);
  }
  return found;
});
const NONE: ReadonlySet<string> = new Set();

/** What is known of where a tag's value comes from; whoever asks is told the next round, too. */
export function sourceNow(tag: Tag): Source {
  if (!wanted.has(tag.asset)) plan(SOON_MS);
  wanted.set(tag.asset, performance.now());
  if (rounds.value === 0) return UNKNOWN;
  const site = siteOf(tag.asset);
  if (site === undefined) return UNKNOWN;
  const { path, asset, kind } = tag;
  const sourced = { path, asset, kind, connector: connectorOf(tag), connectors: connectors.value.get(asset) ?? NONE };
  return sourceOf(sourced, said.get(site), hub?.status.flows?.length ? hub : undefined);
}

/** The site whose path is nearest above a place. */
function siteOf(asset: string): string | undefined {
  const above = sites.filter(({ path }) => asset === path || asset.startsWith(`${path}/`));
  return above.sort((a, b) => b.path.length - a.path.length)[0]?.name;
}

function plan(waitMs: number): void {
  if (waitMs === SOON_MS) clearTimeout(timer);
  timer = setTimeout(() => void round(), waitMs);
}

async function round(): Promise<void> {
  const since = performance.now() - WANTED_MS;
  for (const [asset, atMs] of wanted) if (atMs < since) wanted.delete(asset);
  if (wanted.size > 0 && session.peek()) await ask().catch(() => undefined); // what was said before grows old by itself
  rounds.value++;
  if (wanted.size > 0) plan(ROUND_MS);
}

async function ask(): Promise<void> {
  if (performance.now() - sitesMs > SITES_MS || hub?.status.role === "edge" || hub?.status.flows?.length) {
    const { node } = await client.http.json<{ node: NodeStatus | null }>("/api/v1/status");
    if (node === null) return;
    sitesMs = performance.now();
    hub = { status: node, atMs: client.now() };
    sites = node.role === "edge" ? [{ name: node.name, path: node.path ?? "" }] : (node.edges ?? []);
  }
  if (hub?.status.role === "edge") return void said.set(hub.status.name, hub);
  const names = [...new Set([...wanted.keys()].flatMap((asset) => siteOf(asset) ?? []))].slice(0, SITES_ASKED_MAX);
  const next = async (): Promise<void> => {
    for (let name = names.shift(); name !== undefined; name = names.shift()) {
      const status = await client.ask<NodeStatus>(`millstream.node.${name}.status`, undefined, ASK_MS).catch(() => undefined);
      if (status !== undefined) said.set(name, { status, atMs: client.now() });
    }
  };
  await Promise.all(Array.from({ length: ASKED_AT_ONCE }, next));
}
