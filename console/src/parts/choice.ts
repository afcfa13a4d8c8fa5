/** Which part of which stop somebody means. Pure. */
import { type Stop } from "@millstream/client";

/** A stop, or a part of one. */
export interface Chosen {
  stop: Stop;
  fromMs: number;
  toMs: number;
}

export const startOf = (stop: Stop): number => Date.parse(stop.start);
export const endOf = (stop: Stop, toMs: number): number => (stop.end === null ? toMs : Date.parse(stop.end));

/** The stop that has most of a stretch, and what of the stretch lies in it; all of the stop for a click. */
export function chosenOf(stops: Stop[], fromMs: number, toMs: number, nowMs: number): Chosen | undefined {
  const parts = stops.map((stop) => ({ stop, fromMs: Math.max(fromMs, startOf(stop)), toMs: Math.min(toMs, endOf(stop, nowMs)) }));
  const best = parts.filter((part) => part.toMs >= part.fromMs).sort((a, b) => b.toMs - b.fromMs - (a.toMs - a.fromMs))[0];
  if (best === undefined) return undefined;
  return fromMs === toMs ? { stop: best.stop, fromMs: startOf(best.stop), toMs: endOf(best.stop, nowMs) } : best;
}
