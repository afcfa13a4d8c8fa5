import { type Stop } from "@millstream/client";
import { expect, test } from "vitest";
import { chosenOf } from "../src/parts/choice";
import { spectrumOf } from "../src/parts/spectrum";
import { type Line } from "../src/parts/chart";
import { drawLine } from "../src/parts/lines";
import { peaksOf } from "../src/parts/peaks";
import { stepsOf } from "../src/parts/steps";
import { columnsOf, extentOf } from "../src/parts/thin";
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

const NOISE = Array.from({ length: 100_000 }, (_, n) => ((n * 7919) % 2003) / 2003); // up and down all the time
const NOISE_TIMES = NOISE.map((_, n) => 1_700_000_000_000 + 10 * n);
const WIDTH = 1200;

test("of however many samples the line is in each column from its least to its greatest value, at each zoom", () => {
  const count = NOISE.length;
  const values = NOISE.map((value, n): number | null => (n % 1000 === 500 ? null : value));
  const [up, down] = [70_001, 12_345];
  [values[up], values[down]] = [99, -99];
  for (const width of [count, 40_000, 9000, 3000, 700, 40]) {
    for (const spike of [up, down]) {
      const from = Math.max(0, spike - Math.floor(width / 3));
      const [fromMs, toMs] = [NOISE_TIMES[from], NOISE_TIMES[Math.min(count - 1, from + width)]];
      const { least, greatest } = columnsOf(NOISE_TIMES, values, fromMs, toMs, WIDTH);
      const at = Math.min(WIDTH - 1, Math.floor(((NOISE_TIMES[spike] - fromMs) / (toMs - fromMs)) * WIDTH));
      expect(spike === up ? greatest[at] : least[at]).toBeCloseTo(values[spike] as number, 9);
      expect(least.every((value, column) => value <= greatest[column])).toBe(true); // nothing between is missing
      for (let n = from; n <= Math.min(count - 1, from + width); n += 3) {
        const [value, place] = [values[n], ((NOISE_TIMES[n] - fromMs) / (toMs - fromMs)) * WIDTH];
        const isIn = (column: number): boolean => value === null || (least[column] <= value && value <= greatest[column]);
        if (![place - 1e-6, place + 1e-6].some((one) => isIn(Math.min(WIDTH - 1, Math.floor(one))))) throw new Error(`${value} of ${n} is not seen`);
      }
      const [lowest, highest] = extentOf(NOISE_TIMES, values, fromMs, toMs) ?? [0, 0];
      expect(lowest).toBeCloseTo(Math.min(...least), 9);
      expect(highest).toBeCloseTo(Math.max(...greatest), 9);
    }
  }
});

test("a line goes on from the value before what is seen to the one behind, over what is no value", () => {
  const [times, values] = [[0, 50, 100, 110], [0, null, 100, null]];
  const { least, greatest } = columnsOf(times, values, 20, 40, 4);
  expect([...least]).toEqual([20, 25, 30, 35]);
  expect([...greatest]).toEqual([25, 30, 35, 40]);
  expect(extentOf(times, values, 20, 40)).toEqual([20, 40]);
  expect(extentOf(times, values, 105, 120)).toBeUndefined();
  expect(extentOf([], [], 0, 1)).toBeUndefined();
  expect([...columnsOf(times, values, 105, 120, 2).least]).toEqual([Infinity, Infinity]);
});

test("the extremes of any stretch are known, also of one that has grown since", () => {
  const values: (number | null)[] = [];
  for (let n = 0; n < 5000; n++) {
    values.push(n % 7 === 0 ? null : NOISE[n]);
    if (n % 613 !== 0 && n < 4990) continue;
    const peaks = peaksOf(values);
    for (const [first, end] of [[0, n + 1], [n >> 1, n], [17, 31], [16, 4096], [n, n + 1], [n, n]]) {
      peaks.look(first, Math.min(end, n + 1));
      const some = values.slice(first, Math.min(end, n + 1)).filter((value) => value !== null);
      expect([peaks.least, peaks.greatest]).toEqual([Math.min(...some), Math.max(...some)]);
    }
  }
});

/** What a canvas was told, as far as it costs. */
function drawn(line: Line, dash: number[], [least, most] = [-0.1, 1.1]): { rects: [number, number, number, number][]; points: number } {
  const found = { rects: [] as [number, number, number, number][], points: 0 };
  const ctx = { setLineDash() {}, beginPath() {}, stroke() {}, lineTo: () => found.points++, fillRect: (...rect: [number, number, number, number]) => found.rects.push(rect) };
  const frame = { left: 0, top: 0, width: WIDTH, height: 400, fromMs: line.times[0], toMs: line.times[line.times.length - 1], least, most };
  drawLine(ctx as unknown as CanvasRenderingContext2D, line, frame, { color: "red", dash, ratio: 1 });
  return found;
}

test("what goes up and down all the time costs what the picture is wide, and a dash hides no extreme", () => {
  const values = [...NOISE];
  const y = (value: number): number => Math.round(400 - ((value + 0.1) / 1.2) * 400);
  for (const [spike, dash] of [[33_333, []], [33_333, [8, 4]], [33_733, [8, 4]], [33_333, [2, 3]]] as [number, number[]][]) {
    values[spike] = 1.05;
    const { rects, points } = drawn({ label: "x", times: NOISE_TIMES, values: [...values] }, dash);
    expect(points).toBe(0);
    expect(rects.length).toBeLessThanOrEqual(2 * WIDTH);
    expect(rects.length > WIDTH).toBe(dash.length > 0);
    const column = Math.floor((spike / (NOISE.length - 1)) * WIDTH);
    expect(rects.some(([x, top, , height]) => x === column && top <= y(1.05) && y(1.05) < top + height)).toBe(true);
    values[spike] = 0.5;
  }
  const { times, values: smooth } = sine(100_000, 0.1, 1000, 3);
  const path = drawn({ label: "x", times, values: smooth }, [8, 4], [0, 14]);
  expect([path.rects.length, path.points > 0, path.points <= 2 * WIDTH]).toEqual([0, true, true]);
});

test("of windows the least of one and the greatest of another are seen, and the area between", () => {
  const times = Array.from({ length: 5000 }, (_, n) => n);
  const [values, low] = [times.map((n): number | null => (n === 3333 ? 8 : 1)), times.map((n): number | null => (n === 2222 ? -8 : 0))];
  const { rects } = drawn({ label: "x", times, values, low }, [], [-10, 10]);
  expect([Math.min(...rects.map(([, top]) => top)), Math.max(...rects.map(([, top, , height]) => top + height))]).toEqual([40, 360]);
});
