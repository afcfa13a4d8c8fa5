/** Stretches of a line whose quality is not good. Pure. */
import { severity } from "@millstream/client";
import { type Mark } from "../parts/chart";

/** The next sample: the stretch goes on, ends, or another begins. */
export function extend(marks: Mark[], timeMs: number, quality: number): void {
  const is = severity(quality);
  const last = marks.at(-1);
  const goesOn = last?.toMs === Infinity;
  if (goesOn && last.isBad === (is === "bad") && is !== "good") return;
  if (goesOn) last.toMs = timeMs;
  if (is !== "good") marks.push({ fromMs: timeMs, toMs: Infinity, isBad: is === "bad" });
}

/** Stretches that are not good: from a sample that is not to the first that is again. */
export function marksOf(times: number[], quality: number[]): Mark[] {
  const found: Mark[] = [];
  times.forEach((time, at) => {
    extend(found, time, quality[at]);
  });
  return found;
}
