/** Where the clock's round times lie on a picture of some hours. Pure. */

export interface Mark {
  ms: number;
  text: string;
}

const MINUTE_MS = 60_000;
const STEPS_MIN = [1, 2, 5, 10, 15, 30, 60, 120, 240, 360, 720, 1440, 2880];
const MARKS_MAX = 8;
const DAY_MIN = 1440;

/** `offsetMin`: how much later it is here than in UTC, in minutes. A mark of whole days says the day, others the time. */
export function marksOf(fromMs: number, toMs: number, offsetMin: number, asUtc: boolean): Mark[] {
  const shift = asUtc ? 0 : offsetMin * MINUTE_MS;
  const step = STEPS_MIN.find((one) => (toMs - fromMs) / (one * MINUTE_MS) <= MARKS_MAX) ?? DAY_MIN * 7;
  const marks: Mark[] = [];
  for (let at = Math.ceil((fromMs + shift) / (step * MINUTE_MS)) * step * MINUTE_MS; at <= toMs + shift; at += step * MINUTE_MS) {
    const told = new Date(at).toISOString();
    const isDay = step >= DAY_MIN || told.slice(11, 16) === "00:00";
    marks.push({ ms: at - shift, text: isDay ? `${told.slice(8, 10)}.${told.slice(5, 7)}.` : told.slice(11, 16) });
  }
  return marks;
}
