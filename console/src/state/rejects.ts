/** What is said of parts: where it goes, which reasons there are, and whether it can be. Pure; the edge judges again. */
import { type Fact, type Lot, type PartKind } from "@millstream/client";
import { type Word } from "../words";

/** A tag as far as it is looked at here. */
interface Named {
  path: string;
  kind: string;
  asset: string;
}

const DAY_MS = 86_400_000;
const COUNTERS = /^(.+:.*\bquality)\/(scrap|rework)$/;

/** Where the flow of this place, or of what lies in it, takes what is said: its counters tell, and what was told before.
 * Where nothing was rejected yet, `hasFlow` says whether such a flow runs at all. */
export function targetsOf(all: Named[], asset: string, lots: Lot[], hasFlow: boolean): string[] {
  const isHere = (place: string): boolean => place === asset || place.startsWith(`${asset}/`);
  const counted = all.flatMap((tag) => (tag.kind === "count" && isHere(tag.asset) ? (COUNTERS.exec(tag.path)?.[1] ?? []) : []));
  const found = [...new Set([...counted, ...lots.map((lot) => lot.path)])].sort();
  return found.length === 0 && hasFlow ? [`${asset}:quality`] : found;
}

/** Those that were imported for parts of this kind, or for any; empty where none were, and any word will do. */
export function knownReasons(reasons: Fact[], kind: PartKind): string[] {
  const fits = (one: Fact): boolean => ["", ...(kind === "good" ? ["scrap", "rework"] : [kind])].includes(String(one.data.kind ?? ""));
  return reasons.filter(fits).map((one) => one.path.slice(one.path.lastIndexOf("/") + 1)).sort();
}

/** Why it cannot be said; undefined when it can. */
export function partFault(count: string, kind: PartKind, known: string[], reason: string, dated?: number[]): Word | undefined {
  if (count === "" || !(Number(count) > 0)) return "countAboveZero";
  if (reason !== "" && kind !== "good" && known.length > 0 && !known.includes(reason)) return "noSuchReason";
  if (dated === undefined) return undefined;
  const length = dated[1] - dated[0];
  return length > 0 && length <= DAY_MS ? undefined : "spanOfADay";
}

/** As the hub takes it; `dated` is from when to when, in Unix ms. */
export function spanOf(span: string, dated?: number[]): { start: string; end: string } {
  if (dated === undefined) return { start: span, end: "now" };
  return { start: new Date(dated[0]).toISOString(), end: new Date(dated[1]).toISOString() };
}
