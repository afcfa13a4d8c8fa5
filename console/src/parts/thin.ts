/** A line as a picture can show it: of each column of pixels its first, least, greatest and last value (M4, Jugel et al. 2014),
 * so that no extreme vanishes however many samples there are, and what is drawn costs what the picture is wide. Pure. */
import { type Line } from "./chart";

const KEPT = 4; // of a column

/** What of `line` is seen from `fromMs` to `toMs` in so many columns, with the value before and the one behind, to which the line
 * goes on. What fits as it is stays as it is. */
export function thinned(line: Line, fromMs: number, toMs: number, columns: number): Line {
  const { times, values, low } = line;
  const first = Math.max(0, placeOf(times, fromMs) - 1);
  const end = Math.min(times.length, placeOf(times, toMs) + 1);
  if (end - first <= KEPT * columns) {
    if (first === 0 && end === times.length) return line;
    return { ...line, times: times.slice(first, end), values: values.slice(first, end), low: low?.slice(first, end) };
  }
  const kept = keptOf(line, first, end, fromMs, (toMs - fromMs) / columns);
  const of = <T>(list: T[]): T[] => kept.map((at) => list[at]);
  return { ...line, times: of(times), values: of(values), low: low && of(low) };
}

/** The indices that stay, rising. */
function keptOf({ times, values, low = values }: Line, first: number, end: number, fromMs: number, columnMs: number): number[] {
  const kept: number[] = [];
  for (let at = first; at < end; ) {
    const untilMs = fromMs + columnMs * (Math.floor((times[at] - fromMs) / columnMs) + 1);
    const begin = at;
    let [least, greatest] = [-1, -1];
    for (; at < end && (at === begin || times[at] < untilMs); at++) {
      const high = values[at];
      const small = low[at];
      if (high !== null && (greatest < 0 || high > (values[greatest] as number))) greatest = at;
      if (small !== null && (least < 0 || small < (low[least] as number))) least = at;
    }
    let before = -1;
    for (const one of [begin, Math.min(least, greatest), Math.max(least, greatest), at - 1]) {
      if (one > before) kept.push((before = one));
    }
  }
  return kept;
}

/** The index of the first time that is not before `ms`. */
export function placeOf(times: number[], ms: number): number {
  let [least, most] = [0, times.length];
  while (least < most) {
    const middle = (least + most) >> 1;
    if (times[middle] < ms) least = middle + 1;
    else most = middle;
  }
  return least;
}
