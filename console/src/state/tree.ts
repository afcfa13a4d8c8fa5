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

const collator = new Intl.Collator(undefined, { numeric: true });
function sorted<T extends { name: string }>(list: T[]): T[] {
  return list.sort((a, b) => collator.compare(a.name, b.name));
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
