/** The tags that are known, each with its newest value as a signal: what changes redraws one cell. */
import { assetSubject, fromSubject, parsePath, readLive, type Reading, type TagInfo } from "@millstream/client";
import { type Msg } from "@nats-io/nats-core";
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
  latest: Latest;
}

/** What came of a tag that nobody looks at stays unread: decoding costs more than all else that is done with it. */
interface Latest {
  isWatched: boolean;
  unread?: Msg;
}

const FLUSH_MS = 100;
const RELOAD_MS = 30_000;
const ASK_MS = 30;
const PATTERNS_AT_ONCE = 50;

interface Follow {
  count: number;
  asset: string;
  kind: string;
  stop: () => void;
}

export const tags = signal<ReadonlyMap<string, Tag>>(new Map());
export const isTruncated = signal(false);
export const isLoaded = signal(false);

/** By subject, the newest message that came since the last picture. */
const arrived = new Map<string, Msg>();
const keys = new Map<string, string>();
const pending = new Map<string, Reading>();
const follows = new Map<string, Follow>();
const unasked = new Set<Follow>();
let asking: ReturnType<typeof setTimeout> | undefined;
const listeners = new Set<(readings: Reading[]) => void>();
let isFlushPlanned = false;
let flushedMs = 0;

export const keyOf = (kind: string, path: string): string => `${kind} ${path}`;
export const unitOf = (tag: Tag): string => tag.reading.value?.unit ?? String(tag.info.description?.unit ?? "");

/** Keep the list, and the newest values of what is followed, until the page is left. */
export function startTags(): void {
  connections.subscribe((count) => {
    if (count === 0) return;
    void refresh();
    askLast([...follows.values()]);
  });
  setInterval(() => session.value && void refresh(), RELOAD_MS);
  setInterval(() => linkState.value === "polling" && askLast([...follows.values()]), POLL_S * 1000);
}

/** Ask for the list again. */
export async function refresh(): Promise<void> {
  try {
    const found = await client.history.tags();
    isTruncated.value = found.truncated;
    takeList(found.tags, found.truncated);
    isLoaded.value = true;
  } catch {
    return; // the link says that the hub is away; what was known stays, with its age
  }
}

/** In a plant with more tags than one list holds: those that fit a text, too. */
export async function findMore(text: string): Promise<void> {
  try {
    takeList((await client.history.tags(`*${glob(text)}*`)).tags, true);
  } catch {
    return; // as above
  }
}

function takeList(infos: TagInfo[], isPart: boolean): void {
  const known = tags.peek();
  const next = new Map<string, Tag>(isPart ? known : []);
  let isNew = false;
  for (const info of infos) {
    const key = keyOf(info.kind, info.tag);
    const before = known.get(key);
    isNew ||= before === undefined;
    next.set(key, before === undefined ? makeTag(key, info) : { ...before, info });
  }
  tags.value = next;
  if (isNew) askLast([...follows.values()]);
}

/** Text in a pattern of the hub: what means something there stands for any letter. */
const glob = (text: string): string => text.replace(/[*?[\]]/g, "?");

function makeTag(key: string, info: TagInfo): Tag {
  const latest: Latest = { isWatched: false };
  const watched = (): void => {
    latest.isWatched = true;
    if (latest.unread !== undefined) readLive(latest.unread, take);
    latest.unread = undefined;
  };
  const reading = signal<Reading | undefined>(undefined, { watched, unwatched: () => { latest.isWatched = false; } });
  return { key, path: info.tag, kind: info.kind, ...parsePath(info.tag), info, reading, latest };
}

/** The newest values of places, gathered for a moment into few questions. */
function askLast(wanted: Follow[]): void {
  for (const one of wanted) unasked.add(one);
  asking ??= setTimeout(() => {
    asking = undefined;
    const all = [...unasked];
    unasked.clear();
    for (const kind of new Set(all.map((one) => one.kind))) {
      const patterns = all.filter((one) => one.kind === kind).map((one) => `${glob(one.asset)}:*`);
      for (let at = 0; at < patterns.length; at += PATTERNS_AT_ONCE) {
        client.history.last(patterns.slice(at, at + PATTERNS_AT_ONCE), kind).then(take, () => undefined);
      }
    }
  }, ASK_MS);
}

/** The newest values of a place and what comes after, of one kind, while somebody shows them; the function ends it. */
export function follow(asset: string, kind: string): () => void {
  const subject = `${assetSubject(asset)}._${kind}.>`;
  const known = follows.get(subject);
  if (known !== undefined) known.count++;
  else {
    const made = { count: 1, asset, kind, stop: listen(subject) };
    follows.set(subject, made);
    askLast([made]);
  }
  return () => {
    const entry = follows.get(subject);
    if (entry === undefined || --entry.count > 0) return;
    follows.delete(subject);
    unasked.delete(entry);
    entry.stop();
  };
}

function listen(subject: string): () => void {
  return client.liveMessages(subject, (message) => {
    if (listeners.size > 0) readLive(message, heard);
    else {
      arrived.set(message.subject, message);
      planFlush();
    }
  });
}

function heard(readings: Reading[]): void {
  take(readings);
  for (const hear of listeners) hear(readings);
}

/** Hear every reading of what is followed, for a chart. */
export function hearAll(hear: (readings: Reading[]) => void): () => void {
  listeners.add(hear);
  return () => listeners.delete(hear);
}

/** What came since the last picture is drawn together. */
function take(readings: Reading[]): void {
  for (const reading of readings) pending.set(keyOf(reading.kind, reading.path), reading);
  planFlush();
}

function planFlush(): void {
  if (isFlushPlanned) return;
  isFlushPlanned = true;
  setTimeout(flush, Math.max(0, flushedMs + FLUSH_MS - performance.now()));
}

function flush(): void {
  isFlushPlanned = false;
  flushedMs = performance.now();
  for (const [subject, message] of arrived) {
    const tag = tags.peek().get(keyOfSubject(subject));
    if (tag?.latest.isWatched) readLive(message, put);
    else if (tag !== undefined) tag.latest.unread = message;
  }
  arrived.clear();
  put([...pending.values()]);
  pending.clear();
}

function put(readings: Reading[]): void {
  for (const reading of readings) {
    const tag = tags.peek().get(keyOf(reading.kind, reading.path));
    const before = tag?.reading.peek();
    // History lags behind live: an older value never takes the place of a newer one.
    if (tag !== undefined && (before === undefined || reading.timeMs >= before.timeMs)) tag.reading.value = reading;
  }
}

/** The same few subjects come again and again. */
function keyOfSubject(subject: string): string {
  let found = keys.get(subject);
  if (found === undefined) {
    const address = fromSubject(subject);
    found = address === undefined ? "" : keyOf(address.kind, address.path);
    keys.set(subject, found);
  }
  return found;
}
