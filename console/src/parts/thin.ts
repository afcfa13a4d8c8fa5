/** A line as a picture can show it: from where to where it goes in each column of pixels, so that no extreme vanishes however
 * many samples there are, and what is drawn costs what the picture is wide (after M4, Jugel et al. 2014). Pure. */
import { peaksOf, type Values } from "./peaks";

/** `least` is greater than `greatest` where the line is not. */
export interface Columns {
  least: Float64Array;
  greatest: Float64Array;
}

/** Each column's extremes, also of the way from one value to the next, from the one before and to the one behind. What is no
 * value is left out. */
export function columnsOf(times: number[], values: Values, fromMs: number, toMs: number, width: number): Columns {
  const found = { least: new Float64Array(width).fill(Infinity), greatest: new Float64Array(width).fill(-Infinity) };
  const peaks = peaksOf(values);
  const columnMs = (toMs - fromMs) / width;
  const end = endOf(times, toMs);
  let at = placeOf(times, fromMs);
  let before = lastOf(values, 0, at);
  let count = 1; // of samples in the column before: mostly as many as in the next
  const go = (to: number): void => {
    if (before >= 0 && to >= 0) join(found, (times[before] - fromMs) / columnMs, values[before] as number, (times[to] - fromMs) / columnMs, values[to] as number);
  };
  while (at < end) {
    const column = Math.min(width - 1, Math.floor((times[at] - fromMs) / columnMs));
    const next = column === width - 1 ? end : placeNear(times, fromMs + (column + 1) * columnMs, at + 1, end, at + count);
    count = next - at;
    peaks.look(at, next);
    if (peaks.least <= peaks.greatest) {
      widen(found, column, peaks.least);
      widen(found, column, peaks.greatest);
      go(values[at] === null ? firstOf(values, at, next) : at);
      before = lastOf(values, at, next);
    }
    at = next;
  }
  go(firstOf(values, end, times.length));
  return found;
}

/** Where the way from one place (in columns) to another goes from column to column. */
function join(found: Columns, x0: number, y0: number, x1: number, y1: number): void {
  const last = Math.min(found.least.length, Math.floor(x1));
  for (let border = Math.max(0, Math.floor(x0) + 1); border <= last; border++) {
    const value = y0 + ((y1 - y0) * (border - x0)) / (x1 - x0);
    widen(found, border - 1, value);
    widen(found, border, value);
  }
}

/** A typed array has no place outside, and forgets what is put there. */
function widen({ least, greatest }: Columns, column: number, value: number): void {
  if (value < least[column]) least[column] = value;
  if (value > greatest[column]) greatest[column] = value;
}

/** The index of the first value from `first` to before `end`; -1 where there is none. */
export function firstOf(values: Values, first: number, end: number): number {
  for (let at = first; at < end; at++) if (values[at] !== null) return at;
  return -1;
}

/** The same of the last one. */
export function lastOf(values: Values, first: number, end: number): number {
  for (let at = end - 1; at >= first; at--) if (values[at] !== null) return at;
  return -1;
}

/** The least and the greatest value that is seen between two times, where the line comes in and goes out as well; undefined
 * where there is none. */
export function extentOf(times: number[], values: Values, fromMs: number, toMs: number): [number, number] | undefined {
  const [first, end] = [placeOf(times, fromMs), endOf(times, toMs)];
  const peaks = peaksOf(values);
  peaks.look(first, end);
  let { least, greatest } = peaks;
  for (const [edgeMs, at] of [[fromMs, first], [toMs, end]]) {
    const [before, behind] = [lastOf(values, 0, at), firstOf(values, at, values.length)];
    if (before < 0 || behind < 0) continue;
    const [y0, y1] = [values[before] as number, values[behind] as number];
    const value = y0 + ((y1 - y0) * (edgeMs - times[before])) / (times[behind] - times[before]);
    [least, greatest] = [Math.min(least, value), Math.max(greatest, value)];
  }
  return least > greatest ? undefined : [least, greatest];
}

/** The index of the first time that is not before `ms`, from `least` to `most`. */
export function placeOf(times: number[], ms: number, least = 0, most = times.length): number {
  while (least < most) {
    const middle = (least + most) >> 1;
    if (times[middle] < ms) least = middle + 1;
    else most = middle;
  }
  return least;
}

const NEAR = 4;

/** As `placeOf`, where it is thought to be around `guess`. */
function placeNear(times: number[], ms: number, least: number, most: number, guess: number): number {
  const [low, high] = [guess - NEAR, guess + NEAR];
  if (low < least || high >= most || times[low] >= ms || times[high] < ms) return placeOf(times, ms, least, most);
  return placeOf(times, ms, low + 1, high);
}

/** The index of the first time that is after `ms`. */
export function endOf(times: number[], ms: number): number {
  let end = placeOf(times, ms);
  while (times[end] === ms) end++;
  return end;
}
