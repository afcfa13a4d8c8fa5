/** The tags that are known, each with its newest value as a signal: what changes redraws one cell. */
import { assetSubject, parsePath, type Reading, type TagInfo } from "@millstream/client";
import { signal, type Signal } from "@preact/signals";
import { client, connections, linkState, POLL_S, session } from "./hub";

export interface Tag {
  key: string;
  path: string;
  asset: string;
  name: string;
  kind: string;
  info: TagInfo;
  reading: Signal<Reading | undefined>;
}

const SAMPLE_KINDS = ["tag", "state", "count", "kpi"];
const FLUSH_MS = 100;
const RELOAD_MS = 30_000;

export const tags = signal<ReadonlyMap<string, Tag>>(new Map());
export const isTruncated = signal(false);
export const isLoaded = signal(false);

const pending = new Map<string, Reading>();
const follows = new Map<string, { count: number; stop: () => void }>();
const listeners = new Set<(readings: Reading[]) => void>();
let isFlushPlanned = false;

export const keyOf = (kind: string, path: string): string => `${kind} ${path}`;
export const unitOf = (tag: Tag): string => tag.reading.value?.unit ?? String(tag.info.description?.unit ?? "");

/** Keep the list and the newest values until the page is left. */
export function startTags(): void {
  connections.subscribe((count) => count > 0 && void refresh());
  setInterval(() => session.value && void refresh(), RELOAD_MS);
  setInterval(() => linkState.value === "polling" && void loadLast(), POLL_S * 1000);
}

/** Ask for the list and the newest values again. */
export async function refresh(): Promise<void> {
  try {
    const found = await client.history.tags();
    const known = tags.peek();
    const next = new Map<string, Tag>();
    for (const info of found.tags) {
      const key = keyOf(info.kind, info.tag);
      const before = known.get(key);
      next.set(key, before === undefined ? makeTag(key, info) : { ...before, info });
    }
    isTruncated.value = found.truncated;
    tags.value = next;
    await loadLast();
    isLoaded.value = true;
  } catch {
    return; // the link says that the hub is away; what was known stays, with its age
  }
}

function makeTag(key: string, info: TagInfo): Tag {
  return { key, path: info.tag, kind: info.kind, ...parsePath(info.tag), info, reading: signal(undefined) };
}

async function loadLast(): Promise<void> {
  const kinds = SAMPLE_KINDS.filter((kind) => [...tags.peek().values()].some((tag) => tag.kind === kind));
  const found = await Promise.allSettled(kinds.map((kind) => client.history.last("*", kind)));
  for (const one of found) if (one.status === "fulfilled") take(one.value);
}

/** Hear a place's values of one kind while somebody shows them; the function ends it. */
export function follow(asset: string, kind: string): () => void {
  const subject = `${assetSubject(asset)}._${kind}.>`;
  const known = follows.get(subject);
  if (known !== undefined) known.count++;
  else follows.set(subject, { count: 1, stop: listen(subject) });
  return () => {
    const entry = follows.get(subject);
    if (entry === undefined || --entry.count > 0) return;
    follows.delete(subject);
    entry.stop();
  };
}

function listen(subject: string): () => void {
  return client.live(subject, (readings) => {
    take(readings);
    for (const hear of listeners) hear(readings);
  });
}

/** Hear every reading of what is followed, for a chart. */
export function hearAll(hear: (readings: Reading[]) => void): () => void {
  listeners.add(hear);
  return () => listeners.delete(hear);
}

/** What came since the last picture is drawn together. */
function take(readings: Reading[]): void {
  for (const reading of readings) pending.set(keyOf(reading.kind, reading.path), reading);
  if (isFlushPlanned) return;
  isFlushPlanned = true;
  setTimeout(flush, FLUSH_MS);
}

function flush(): void {
  isFlushPlanned = false;
  for (const [key, reading] of pending) {
    const tag = tags.peek().get(key);
    const before = tag?.reading.peek();
    // History lags behind live: an older value never takes the place of a newer one.
    if (tag !== undefined && (before === undefined || reading.timeMs >= before.timeMs)) tag.reading.value = reading;
  }
  pending.clear();
}
