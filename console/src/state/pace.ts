/** How many cells are written in one frame, so that the next one is not late. Pure. */

const FRAMES = 2; // of one round, where the machine is fast enough: each has a price of its own, however few cells are written
const AT_ONCE_MIN = 40; // so many in one frame are too few to spread
const AT_ONCE_LEAST = 8;
const LATE_MS = 25;
const ROUND_MS_MAX = 1000; // however slow the machine is, all that came is drawn in that time
const FASTER = 1.25;

/** Of `count` in this round, after a frame that took `gapMs`; `before` is what the last one had. A frame that was late
 * had too many: then each value is drawn less often, and the page stays smooth. */
export function nextSlice(before: number, count: number, gapMs: number): number {
  const most = Math.max(AT_ONCE_MIN, Math.ceil(count / FRAMES));
  const least = Math.max(AT_ONCE_LEAST, Math.ceil((count * gapMs) / ROUND_MS_MAX));
  const wanted = gapMs > LATE_MS ? before / 2 : before * FASTER;
  return Math.max(least, Math.min(most, Math.ceil(wanted)));
}
