import { type Stop } from "@millstream/client";
import { expect, test } from "vitest";
import { chosenOf } from "../src/parts/choice";
import { spectrumOf } from "../src/parts/spectrum";
import { type Line } from "../src/parts/chart";
import { stepsOf } from "../src/parts/steps";
import { thinned } from "../src/parts/thin";
import { marksOf } from "../src/state/marks";

const BAD = 0x80000000;
const UNCERTAIN = 0x40000000;
const sine = (count: number, hz: number, rate: number, size: number): { times: number[]; values: number[] } => {
  const times = Array.from({ length: count }, (_, n) => 1_700_000_000_000 + (n * 1000) / rate);
  return { times, values: times.map((_, n) => 7 + size * Math.sin((2 * Math.PI * hz * n) / rate)) };
};

test("a sine has its size at its frequency, and nothing elsewhere", () => {
  const { times, values } = sine(1024, 50, 1024, 3);
  const found = spectrumOf(times, values);
  if (typeof found === "string") throw new Error(found);
  const most = found.amplitude.indexOf(Math.max(...found.amplitude));
  expect(found.hz[most]).toBeCloseTo(50, 6);
  expect(found.amplitude[most]).toBeCloseTo(3, 6);
  expect(found.amplitude.filter((_, n) => Math.abs(n - most) > 2).every((size) => size < 1e-6)).toBe(true);
});

test("of few, uneven or missing samples there is no spectrum", () => {
  const { times, values } = sine(256, 5, 100, 1);
  expect(spectrumOf(times.slice(0, 60), values.slice(0, 60))).toBe("few");
  expect(spectrumOf(times.map((time, n) => (n === 100 ? time + 9 : time)), values)).toBe("uneven");
  expect(spectrumOf(times, values.map((value, n) => (n === 10 ? null : value)))).toBe("uneven");
});

test("what is not good is striped until it is good again, and bad is not uncertain", () => {
  expect(marksOf([1, 2, 3, 4, 5, 6], [0, BAD, BAD, UNCERTAIN, 0, BAD])).toEqual([
    { fromMs: 2, toMs: 4, isBad: true }, { fromMs: 4, toMs: 5, isBad: false }, { fromMs: 6, toMs: Infinity, isBad: true },
  ]);
  expect(marksOf([1, 2], [0, 0])).toEqual([]);
});

test("a drag takes what of it lies in the stop that has most of it, a click the whole stop", () => {
  const stop = (start: number, end: number | null): Stop =>
    ({ path: "a:downtime", start: new Date(start).toISOString(), end: end === null ? null : new Date(end).toISOString() }) as Stop;
  const stops = [stop(1000, 5000), stop(8000, null)];
  expect(chosenOf(stops, 3000, 8500, 20_000)).toMatchObject({ stop: stops[0], fromMs: 3000, toMs: 5000 });
  expect(chosenOf(stops, 9000, 9000, 20_000)).toMatchObject({ stop: stops[1], fromMs: 8000, toMs: 20_000 });
  expect(chosenOf(stops, 6000, 7000, 20_000)).toBeUndefined();
});

test("a waterfall goes from the planned time to what is left, in steps that meet", () => {
  const steps = stepsOf(1000, { failures: 300, speed: 100 });
  expect(steps.map((step) => [step.seconds, step.fromShare])).toEqual([[1000, 0], [300, 0.7], [100, 0.6], [600, 0]]);
});

test("of however many samples each column keeps its first, least, greatest and last, so a spike of one is there at each zoom", () => {
  const count = 100_000;
  const times = Array.from({ length: count }, (_, n) => 1_700_000_000_000 + 10 * n);
  const values = times.map((_, n): number | null => (n % 1000 === 500 ? null : Math.sin(n / 50)));
  const [up, down] = [70_001, 12_345];
  [values[up], values[down]] = [99, -99];
  const line: Line = { label: "x", times, values, isRaw: true };
  for (const width of [count, 40_000, 9000, 3000, 700]) {
    for (const spike of [up, down]) {
      const from = Math.max(0, spike - Math.floor(width / 3));
      const [fromMs, toMs] = [times[from], times[Math.min(count - 1, from + width)]];
      const seen = thinned(line, fromMs, toMs, 1200);
      expect(seen.values).toContain(values[spike]);
      expect(seen.times[seen.values.indexOf(values[spike])]).toBe(times[spike]);
      expect(seen.times.length).toBeLessThanOrEqual(4 * 1201 + 2);
      expect(seen.times.every((time, at) => at === 0 || time > seen.times[at - 1])).toBe(true);
      expect(seen.times[0]).toBe(times[Math.max(0, from - 1)]); // the line comes from the value before
    }
  }
  expect(thinned(line, times[10], times[60], 1200).times).toEqual(times.slice(9, 61));
});

test("of windows the least of one and the greatest of another stay, and an empty line stays empty", () => {
  const times = Array.from({ length: 5000 }, (_, n) => n);
  const [values, low] = [times.map((n): number | null => (n === 3333 ? 8 : 1)), times.map((n): number | null => (n === 2222 ? -8 : 0))];
  const seen = thinned({ label: "x", times, values, low }, 0, 5000, 100);
  expect([Math.max(...(seen.values as number[])), Math.min(...(seen.low as number[]))]).toEqual([8, -8]);
  expect(seen.low?.length).toBe(seen.values.length);
  expect(thinned({ label: "x", times: [], values: [] }, 0, 1, 100).times).toEqual([]);
});
