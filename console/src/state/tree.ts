/** The tree of the namespace as rows: what is open, what a search leaves. Pure. */
import { splitPath } from "@millstream/client";
import { type Tag } from "./tags";

export interface Place {
  name: string;
  path: string;
  children: Map<string, Place>;
  tags: Tag[];
  count: number;
}

export type Row =
  | { type: "place"; key: string; level: number; place: Place; isOpen: boolean }
  | { type: "tag"; key: string; level: number; tag: Tag };

/** `known` are places whose tags need not all be known; their counts are given. */
export function buildTree(tags: Iterable<Tag>, known: ReadonlyMap<string, { count: number }> = new Map()): Place {
  const root: Place = { name: "", path: "", children: new Map(), tags: [], count: 0 };
  for (const path of known.keys()) for (const place of onTheWay(root, path)) place.count = known.get(place.path)?.count ?? 0;
  for (const tag of tags) {
    let place = root;
    root.count++;
    for (place of onTheWay(root, tag.asset)) if (!known.has(place.path)) place.count++;
    place.tags.push(tag);
  }
  return root;
}

/** The places from the root to one, made where they are not there. */
function onTheWay(root: Place, asset: string): Place[] {
  const found: Place[] = [];
  let place = root;
  for (const part of asset.split("/")) {
    let child = place.children.get(part);
    if (child === undefined) {
      child = { name: splitPath(part)[0], path: place.path ? `${place.path}/${part}` : part, children: new Map(), tags: [], count: 0 };
      place.children.set(part, child);
    }
    found.push((place = child));
  }
  return found;
}

/** The tags at a place and below it, as the tree has them. */
export const belowOf = (tags: Tag[], path: string): Tag[] =>
  tags.filter((tag) => tag.asset === path || tag.asset.startsWith(`${path}/`)).sort((a, b) => (a.path < b.path ? -1 : 1));

/** Rows from top to bottom; a search opens all that it leaves. */
export function rowsOf(root: Place, open: ReadonlySet<string>, isAllOpen: boolean): Row[] {
  const rows: Row[] = [];
  const visit = (place: Place, level: number): void => {
    for (const child of sorted([...place.children.values()])) {
      const isOpen = isAllOpen || open.has(child.path);
      rows.push({ type: "place", key: `place ${child.path}`, level, place: child, isOpen });
      if (isOpen) visit(child, level + 1);
    }
    for (const tag of sorted(place.tags)) rows.push({ type: "tag", key: tag.key, level, tag });
  };
  visit(root, 1);
  return rows;
}

/** A browser takes as long to make it as for all else in the first picture, and few plants need it. */
let collator: Intl.Collator | undefined;

/** As people count: numbers by their size, no matter the case. */
export function sorted<T extends { name: string }>(list: T[]): T[] {
  if (list.every((one) => ASCII.test(one.name))) return list.sort((a, b) => compareAscii(a.name, b.name));
  const { compare } = (collator ??= new Intl.Collator(undefined, { numeric: true }));
  return list.sort((a, b) => compare(a.name, b.name));
}

const ASCII = /^[ -~]*$/;
const [ZERO, NINE, FIRST_UPPER, LAST_UPPER, FIRST_LOWER, LAST_LOWER] = [..."09AZaz"].map((one) => one.charCodeAt(0));
const isDigit = (code: number): boolean => code >= ZERO && code <= NINE;

/** What a collator says of ASCII, but for the order of signs among each other: signs, numbers, letters. */
function compareAscii(a: string, b: string): number {
  let i = 0;
  let j = 0;
  let byCase = 0;
  while (i < a.length && j < b.length) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(j);
    if (isDigit(x) && isDigit(y)) {
      const m = numberAt(a, i);
      const n = numberAt(b, j);
      if (m.length !== n.length) return m.length - n.length;
      if (m !== n) return m < n ? -1 : 1;
      i = endOfNumber(a, i);
      j = endOfNumber(b, j);
    } else {
      if (x !== y && rankOf(x) !== rankOf(y)) return rankOf(x) - rankOf(y);
      byCase ||= y - x; // "a" before "A"
      i++;
      j++;
    }
  }
  return a.length - i - (b.length - j) || byCase;
}

function endOfNumber(text: string, at: number): number {
  while (at < text.length && isDigit(text.charCodeAt(at))) at++;
  return at;
}

const numberAt = (text: string, at: number): string => text.slice(at, endOfNumber(text, at)).replace(/^0+/, "");

function rankOf(code: number): number {
  if (code >= FIRST_LOWER && code <= LAST_LOWER) return 0x200 + code;
  if (code >= FIRST_UPPER && code <= LAST_UPPER) return 0x200 + code - FIRST_UPPER + FIRST_LOWER;
  return isDigit(code) ? 0x100 + code : code;
}

/** Each word stands somewhere in the path, the description or the unit. */
export function fits(tag: Tag, text: string): boolean {
  const { description, unit } = tag.info.description ?? {};
  const all = `${tag.path} ${tag.kind} ${String(description ?? "")} ${String(unit ?? "")}`.toLowerCase();
  return text.toLowerCase().split(/\s+/).every((word) => all.includes(word));
}

/** What is open at the beginning: down to where it branches, and a level more. */
export function firstOpen(root: Place): Set<string> {
  const open = new Set<string>();
  let places = [...root.children.values()];
  while (places.length > 0 && open.size + places.length <= 12) {
    for (const place of places) open.add(place.path);
    places = places.flatMap((place) => [...place.children.values()]);
  }
  return open;
}
