/** Columns that stay what they are while a picture moves along the time: each begins at a multiple of its width, so that what stays
 * in sight is not looked at again, and does not flicker where samples come to lie in another column. */
import { type Values } from "./peaks";
import { columnsOf, type Columns } from "./thin";

interface Kept extends Columns {
  columnMs: number;
  /** The number of its first column, and of the values that there were. */
  first: number;
  count: number;
}

const kept = new WeakMap<Values, Kept>();

/** As `columnsOf`, but all of it up to one column earlier; what that pushes out at the end is in the last one. */
export function steadyColumns(times: number[], values: Values, fromMs: number, toMs: number, width: number): Columns {
  const columnMs = (toMs - fromMs) / width;
  const first = Math.floor(fromMs / columnMs);
  const before = kept.get(values);
  const isAlike = before?.columnMs === columnMs && before.count === values.length && before.least.length === width + 1;
  const found = isAlike ? moved(before, first, times, values) : { ...part(times, values, columnMs, first, width + 1), columnMs, first, count: values.length };
  kept.set(values, found);
  const [least, greatest] = [found.least.slice(0, width), found.greatest.slice(0, width)];
  least[width - 1] = Math.min(least[width - 1], found.least[width]);
  greatest[width - 1] = Math.max(greatest[width - 1], found.greatest[width]);
  return { least, greatest };
}

const part = (times: number[], values: Values, columnMs: number, first: number, count: number): Columns =>
  columnsOf(times, values, first * columnMs, (first + count) * columnMs, count);

/** What was there before, and what has come into sight at one end of it. */
function moved(before: Kept, first: number, times: number[], values: Values): Kept {
  const { columnMs, count } = before;
  const [by, all] = [first - before.first, before.least.length];
  if (by === 0) return before;
  const come = Math.min(all, Math.abs(by));
  const fresh = part(times, values, columnMs, by > 0 ? first + all - come : first, come);
  const joined = (old: Float64Array, added: Float64Array): Float64Array => {
    const next = new Float64Array(all);
    next.set(by > 0 ? old.subarray(come) : old.subarray(0, all - come), by > 0 ? 0 : come);
    next.set(added, by > 0 ? all - come : 0);
    return next;
  };
  return { columnMs, count, first, least: joined(before.least, fresh.least), greatest: joined(before.greatest, fresh.greatest) };
}
