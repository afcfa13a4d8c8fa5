/** The tags that are known, each with its newest value as a signal: what changes redraws one cell. In a plant with more
 * than one list holds, places are known with their numbers, and their tags once they are opened. */
import { parsePath, readLive, type Part, type Reading, type TagInfo } from "@millstream/client";
import { signal, type Signal } from "@preact/signals";
import { unitText } from "../format";
import { FIRST } from "./first";
import { client, connections, isProvider, linkState, POLL_S, session } from "./hub";
import { drawInto, keyOf, put, take, type Latest, type Target } from "./live";
import { isRatio } from "./ratio";

export interface Tag extends Target {
  key: string;
  asset: string;
  name: string;
  info: TagInfo;
}

export interface KnownPlace {
  count: number;
  isWhole: boolean;
}

const RELOAD_MS = 30_000;
const ASK_MS = 30;
const ASKED_AT_ONCE = 60;
const LIST_MAX = 10_000;
const SAMPLE_KINDS: ReadonlySet<string> = new Set(["tag", "state", "count", "kpi"]);
const KINDS_ELSEWHERE = ["state", "count", "kpi"];

export const tags = signal<ReadonlyMap<string, Tag>>(new Map());
/** Empty once all tags are known: then the tree is made of them. */
export const places = signal<ReadonlyMap<string, KnownPlace>>(new Map());
export const tagsCount = signal(0);
/** Whether something was opened that has more tags than one list holds. */
export const isTruncated = signal(false);
export const isLoaded = signal(false);

const unasked = new Set<Tag>();
const loading = new Set<string>();
let asking: ReturnType<typeof setTimeout> | undefined;

export { follow, hearAll, keyOf } from "./live";
export const unitOf = (tag: Tag): string => (isRatio(tag) ? "%" : unitText(tag.reading.value?.unit ?? String(tag.info.description?.unit ?? "")));
export const hasValues = (tag: Tag): boolean => SAMPLE_KINDS.has(tag.kind);

/** Keep the list, and the newest values of what is in sight, until the page is left. */
export function startTags(): void {
  drawInto((key) => tags.peek().get(key));
  connections.subscribe((count) => {
    if (count === 0) return;
    void refresh();
    askAgain();
  });
  setInterval(() => session.peek() && connections.peek() > 0 && void refresh(), RELOAD_MS);
  setInterval(() => linkState.value === "polling" && askAgain(), POLL_S * 1000);
}

/** The first picture: the top of the tree with its values, in one answer. Throws MillstreamError. */
export async function loadFirst(): Promise<void> {
  takePart(await client.history.tree("", FIRST));
  isLoaded.value = true;
}

/** Ask for the list again; of a large plant, for its places and what other pages show. */
export async function refresh(): Promise<void> {
  if (isProvider.peek()) return; // who runs the hub has no tags
  try {
    const top = await client.history.tree("", { open: FIRST.open, limit: 0 });
    tagsCount.value = top.count;
    if (top.count > LIST_MAX) {
      const known = new Map(places.peek());
      for (const place of top.places) {
        known.set(place.path, { count: place.count, isWhole: known.get(place.path)?.isWhole ?? false });
      }
      places.value = known;
      for (const kind of KINDS_ELSEWHERE) takeList((await client.history.tags("*", kind)).tags, true);
    } else {
      const found = await client.history.tags();
      takeList(found.tags, found.truncated);
      places.value = new Map();
    }
    isLoaded.value = true;
  } catch {
    return; // the link says that the hub is away; what was known stays, with its age
  }
}

/** A place was opened: what lies in it, where not all is in one list. */
export async function loadPlace(path: string): Promise<void> {
  if (tagsCount.peek() <= LIST_MAX || loading.has(path) || places.peek().get(path)?.isWhole !== false) return;
  loading.add(path);
  try {
    const part = await client.history.tree(path);
    takePart(part);
    if (part.places.some((place) => place.path === path && !place.is_whole)) isTruncated.value = true;
    places.value = new Map(places.peek()).set(path, { count: places.peek().get(path)?.count ?? 0, isWhole: true });
  } catch {
    return; // as above; it is asked for again when it is opened again
  } finally {
    loading.delete(path);
  }
}

/** In a plant with more tags than are known here: those that fit a text, too. */
export async function findMore(text: string): Promise<void> {
  try {
    takeList((await client.history.tags(`*${glob(text)}*`)).tags, true);
  } catch {
    return; // as above
  }
}

function takePart(part: Part): void {
  tagsCount.value = Math.max(tagsCount.peek(), part.count);
  takeList(part.tags, true);
  const next = new Map(places.peek());
  for (const place of part.places) next.set(place.path, { count: place.count, isWhole: place.is_whole || next.get(place.path)?.isWhole === true });
  places.value = next;
  put(part.newest);
}

function takeList(infos: TagInfo[], isPart: boolean): void {
  const known = tags.peek();
  const next = new Map<string, Tag>(isPart ? known : []);
  let isNew = known.size !== next.size;
  for (const info of infos) {
    const key = keyOf(info.kind, info.tag);
    const before = known.get(key);
    const isSame = before !== undefined && JSON.stringify(before.info.description) === JSON.stringify(info.description);
    isNew ||= !isSame;
    next.set(key, isSame ? before : before === undefined ? makeTag(key, info) : { ...before, info });
  }
  if (isNew || known.size !== next.size) tags.value = next;
}

/** Text in a pattern of the hub: what means something there stands for any letter. */
const glob = (text: string): string => text.replace(/[*?[\]]/g, "?");

function makeTag(key: string, info: TagInfo): Tag {
  const latest: Latest = { isWatched: false };
  const watched = (): void => {
    latest.isWatched = true;
    if (latest.unread !== undefined) readLive(latest.unread, put);
    else if (reading.peek() === undefined) ask(tag);
    latest.unread = undefined;
  };
  const reading: Signal<Reading | undefined> = signal<Reading | undefined>(undefined, {
    watched, unwatched: () => { latest.isWatched = false; },
  });
  const tag: Tag = { key, path: info.tag, kind: info.kind, ...parsePath(info.tag), info, reading, latest };
  return tag;
}

/** The newest value of a tag that somebody looks at, gathered with others for a moment into few questions. Events have
 * none. */
function ask(tag: Tag): void {
  if (!SAMPLE_KINDS.has(tag.kind)) return;
  unasked.add(tag);
  asking ??= setTimeout(() => {
    asking = undefined;
    const all = [...unasked];
    unasked.clear();
    for (const kind of new Set(all.map((one) => one.kind))) {
      const names = all.filter((one) => one.kind === kind).map((one) => glob(one.path));
      for (let at = 0; at < names.length; at += ASKED_AT_ONCE) {
        client.history.last(names.slice(at, at + ASKED_AT_ONCE), kind).then(take, () => undefined);
      }
    }
  }, ASK_MS);
}

/** What came while nobody heard. */
function askAgain(): void {
  for (const tag of tags.peek().values()) if (tag.latest.isWatched) ask(tag);
}
