/** What comes from the plant, drawn evenly: each tag at most ten times a second, and never so many in one frame that the
 * next one is late. */
import { assetSubject, fromSubject, readLive, type Reading } from "@millstream/client";
import { type Msg } from "@nats-io/nats-core";
import { type Signal } from "@preact/signals";
import { client } from "./hub";
import { nextSlice } from "./pace";

/** What came of a tag that nobody looks at stays unread: decoding costs more than all else that is done with it. */
export interface Latest {
  isWatched: boolean;
  unread?: Msg;
}

/** What live values are for. */
export interface Target {
  path: string;
  kind: string;
  reading: Signal<Reading | undefined>;
  latest: Latest;
}

const ROUND_MS = 100;
const FRAME_MS = 1000 / 60;

interface Follow {
  count: number;
  stop: () => void;
}

/** By key, the newest that came since the last round. */
const arrived = new Map<string, Msg | Reading>();
const keys = new Map<string, string>();
const follows = new Map<string, Follow>();
const listeners = new Set<(readings: Reading[]) => void>();
let targetOf: (key: string) => Target | undefined = () => undefined;
let due: [string, Msg | Reading][] = [];
let slice = Infinity;
let count = 0;
let frameMs = 0;
let roundMs = -ROUND_MS;
let isPlanned = false;

export const keyOf = (kind: string, path: string): string => `${kind} ${path}`;

/** Where what comes goes to. */
export function drawInto(find: (key: string) => Target | undefined): void {
  targetOf = find;
}

/** Hear a place's values of one kind while somebody shows them; the function ends it. */
export function follow(asset: string, kind: string): () => void {
  const subject = `${assetSubject(asset)}._${kind}.>`;
  const known = follows.get(subject) ?? { count: 0, stop: client.liveMessages(subject, hear) };
  known.count++;
  follows.set(subject, known);
  return () => {
    if (--known.count > 0) return;
    follows.delete(subject);
    known.stop();
  };
}

/** Hear every reading of what is followed, for a chart. */
export function hearAll(listener: (readings: Reading[]) => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Readings that were asked for. */
export function take(readings: Reading[]): void {
  for (const reading of readings) arrived.set(keyOf(reading.kind, reading.path), reading);
  plan();
}

/** The same, shown with the next picture. */
export function put(readings: Reading[]): void {
  for (const reading of readings) {
    const target = targetOf(keyOf(reading.kind, reading.path));
    const before = target?.reading.peek();
    // History lags behind live: an older value never takes the place of a newer one.
    if (target !== undefined && (before === undefined || reading.timeMs >= before.timeMs)) target.reading.value = reading;
  }
}

function hear(message: Msg): void {
  if (listeners.size > 0) return readLive(message, heard);
  arrived.set(keyOfSubject(message.subject), message);
  plan();
}

function heard(readings: Reading[]): void {
  take(readings);
  for (const listener of listeners) listener(readings);
}

function plan(): void {
  if (isPlanned) return;
  isPlanned = true;
  // Until shortly after the frame before, so that the round is drawn with the one that is due, not with the next.
  const waitMs = roundMs + ROUND_MS - FRAME_MS - performance.now();
  if (waitMs > 0) setTimeout(() => requestAnimationFrame(draw), waitMs);
  else requestAnimationFrame(draw);
}

function draw(atMs: number): void {
  const isNext = due.length > 0;
  if (!isNext) {
    due = [...arrived].reverse(); // taken from its end
    arrived.clear();
    count = due.length;
    roundMs = atMs;
  }
  slice = nextSlice(slice, count, isNext ? atMs - frameMs : FRAME_MS);
  frameMs = atMs;
  for (let n = 0; n < slice; n++) {
    const next = due.pop();
    if (next === undefined) break;
    show(...next);
  }
  if (due.length > 0) requestAnimationFrame(draw);
  else {
    isPlanned = false;
    if (arrived.size > 0) plan();
  }
}

function show(key: string, found: Msg | Reading): void {
  if ("timeMs" in found) return put([found]);
  const target = targetOf(key);
  if (target?.latest.isWatched) readLive(found, put, target);
  else if (target !== undefined) target.latest.unread = found;
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
