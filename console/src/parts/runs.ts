/** States over time as runs of one state. Pure. */
import { placeOf } from "./thin";

/** What each sample says; null where it says nothing. */
export type States = (string | null)[];

export interface Run {
  state: string;
  fromMs: number;
  /** Infinity while it lasts. */
  toMs: number;
}

/** What is seen between two times, cut there. A state lasts until another is said, the last one as long as it is known to. */
export function runsOf(times: number[], states: States, fromMs: number, toMs: number, endMs = toMs): Run[] {
  const found: Run[] = [];
  const first = placeOf(times, fromMs);
  for (let at = times[first] === fromMs ? first : Math.max(0, first - 1); at < times.length && times[at] < toMs; at++) {
    const [state, last] = [states[at], found[found.length - 1]];
    const [from, to] = [Math.max(fromMs, times[at]), Math.min(toMs, times[at + 1] ?? Math.max(endMs, times[at]))];
    if (state === null || to <= from) continue;
    if (last?.state === state && last.toMs === from) last.toMs = to;
    else found.push({ state, fromMs: from, toMs: to });
  }
  return found;
}

/** For how much of what is known each state held, the longest first. */
export function sharesOf(runs: Run[]): [string, number][] {
  const sums = new Map<string, number>();
  let all = 0;
  for (const { state, fromMs, toMs } of runs) {
    sums.set(state, (sums.get(state) ?? 0) + toMs - fromMs);
    all += toMs - fromMs;
  }
  return [...sums].map(([state, ms]): [string, number] => [state, ms / all]).sort(([, one], [, other]) => other - one);
}
