import { type Stop } from "@millstream/client";
import { expect, test } from "vitest";
import { chosenOf } from "../src/parts/choice";
import { spectrumOf } from "../src/parts/spectrum";
import { type Line } from "../src/parts/chart";
import { arranged, scalesOf, type Arrangement, type Scale } from "../src/parts/axes";
import { drawLine } from "../src/parts/lines";
import { Raster } from "../src/parts/raster";
import { peaksOf } from "../src/parts/peaks";
import { runsOf, sharesOf } from "../src/parts/runs";
import { steadyColumns } from "../src/parts/steady";
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

test("a picture that moves along has the columns that one has which is made anew there", () => {
  const [times, values] = [[...NOISE_TIMES], NOISE.map((value, n): number | null => (n % 1000 > 990 ? null : value))];
  const [spanMs, width] = [300_007, 400];
  const columnMs = spanMs / width;
  for (const [share, more] of [[0.2, 0], [0.2004, 0], [0.25, 0], [0.21, 0], [0.9, 0], [0.85, 3], [0.8501, 0], [0.9, 500], [0.1, 0], [1.3, 0], [1.29, 0]]) {
    for (let n = 0; n < more; n++) {
      times.push(times[times.length - 1] + 10);
      values.push(n / 50);
    }
    const fromMs = NOISE_TIMES[0] + Math.round(share * 1_000_000);
    const found = steadyColumns(times, values, fromMs, fromMs + spanMs, width);
    const first = Math.floor(fromMs / columnMs);
    const wanted = columnsOf(times, values, first * columnMs, (first + width + 1) * columnMs, width + 1);
    for (let at = 0; at < width; at++) {
      const ends = at === width - 1 ? [at, at + 1] : [at];
      const [least, greatest] = [Math.min(...ends.map((one) => wanted.least[one])), Math.max(...ends.map((one) => wanted.greatest[one]))];
      if (least > greatest) expect(found.least[at] > found.greatest[at]).toBe(true);
      else if (Math.abs(found.least[at] - least) + Math.abs(found.greatest[at] - greatest) > 1e-4) throw new Error(`column ${at} of ${share}: ${found.least[at]} ${least}, ${found.greatest[at]} ${greatest}`);
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

/** A picture of a line: how dense each pixel is, from 0 to 1. */
function drawn(line: Line, dash: number[], [least, most] = [-0.1, 1.1]): (x: number, y: number) => number {
  const raster = new Raster(WIDTH, 400);
  const frame = { top: 0, height: 400, fromMs: line.times[0], toMs: line.times[line.times.length - 1], least, most };
  drawLine(raster, line, frame, { color: "#204060", dash, ratio: 1 });
  return (x, y) => raster.bytes[4 * (y * WIDTH + x) + 3] / 255;
}
function heights(at: (x: number, y: number) => number): number[] {
  const found = new Array<number>(WIDTH).fill(0);
  for (let y = 0; y < 400; y++) for (let x = 0; x < WIDTH; x++) found[x] += at(x, y);
  return found;
}

test("what goes up and down all the time is drawn from its least to its greatest, and a dash hides no extreme", () => {
  const values = [...NOISE];
  const y = (value: number): number => Math.round(400 - ((value + 0.1) / 1.2) * 400);
  for (const [spike, dash] of [[33_333, []], [33_333, [8, 4]], [33_733, [8, 4]], [33_333, [2, 3]]] as [number, number[]][]) {
    values[spike] = 1.05;
    const at = drawn({ label: "x", times: NOISE_TIMES, values: [...values] }, dash);
    const columnMs = (NOISE_TIMES[NOISE.length - 1] - NOISE_TIMES[0]) / WIDTH;
    const column = Math.floor(NOISE_TIMES[spike] / columnMs) - Math.floor(NOISE_TIMES[0] / columnMs);
    expect(at(column, y(1.05))).toBe(1);
    expect([at(column - 3, y(1.05)), at(column + 3, y(1.05))]).toEqual([0, 0]);
    const full = heights(at).filter((height) => height > 200).length;
    expect(dash.length === 0 ? full === WIDTH : full > WIDTH / 4 && full < 0.8 * WIDTH).toBe(true);
    values[spike] = 0.5;
  }
});

test("a line that can be followed has its dashes and gaps, of however many samples", () => {
  for (const rate of [10, 1000]) {
    const { times, values } = sine(100 * rate, 0.02, rate, 3);
    const seen = heights(drawn({ label: "x", times, values }, [], [0, 14]));
    expect(seen.every((height) => height > 1.4 && height < 8)).toBe(true);
    const dashed = heights(drawn({ label: "x", times, values }, [8, 4], [0, 14])).filter((height) => height === 0).length;
    expect(dashed / WIDTH).toBeCloseTo(1 / 3, 1);
  }
});

test("a stroke is as thick as it is long wherever it goes, and nothing of it is outside", () => {
  for (const [x0, y0, x1, y1] of [[10, 50, 190, 50], [10, 10, 190, 90], [20, 5, 60, 95], [50, 5, 50, 95], [10, 90, 101, 0.5]]) {
    for (const thick of [1.5, 3]) {
      const raster = new Raster(200, 100);
      raster.color = "#204060";
      raster.stroke([x0, y0, x1, y1], thick, []);
      let sum = 0;
      for (let at = 3; at < raster.bytes.length; at += 4) sum += raster.bytes[at] / 255;
      expect(sum / (thick * Math.hypot(x1 - x0, y1 - y0))).toBeCloseTo(1, 1);
    }
  }
  const raster = new Raster(20, 10);
  raster.color = "#ffffff";
  raster.stroke([-1e6, 20, -5, 30, 25, 30, 1e7, -40], 1.5, [8, 4]);
  raster.stroke([3, -50, 3, -8, 7, 900], 3, []);
  expect(raster.bytes.filter((byte, at) => at % 4 === 3 && byte > 0).length).toBeLessThan(60);
  raster.stroke([10, 5], 2, []); // the only sample
  expect([...raster.bytes.slice(4 * (5 * 20 + 10), 4 * (5 * 20 + 10) + 4)]).toEqual([255, 255, 255, 255]);
});

test("one line over another is mixed by how dense it is", () => {
  const raster = new Raster(1, 2);
  raster.color = "#ff0000";
  raster.fill(0, 0, 1, 255);
  raster.color = "#0000ff";
  raster.fill(0, -3, 9, 64);
  expect([...raster.bytes]).toEqual([191, 0, 64, 255, 0, 0, 255, 64]);
});

test("of windows the least of one and the greatest of another are seen, and the area between", () => {
  const times = Array.from({ length: 5000 }, (_, n) => n);
  const [values, low] = [times.map((n): number | null => (n === 3333 ? 8 : 1)), times.map((n): number | null => (n === 2222 ? -8 : 0))];
  const at = drawn({ label: "x", times, values, low }, [], [-10, 10]);
  const dense = (y: number): number => Math.max(...Array.from({ length: WIDTH }, (_, x) => at(x, y)));
  expect([38, 40, 360, 362].map(dense)).toEqual([0, 1, 1, 0]);
  expect(at(100, 190)).toBeCloseTo(0.25, 2);
});

test("lines of one unit share an axis: left, right, further out, and in lanes where there is no room", () => {
  const kinds = (...units: string[]): { unit: string; isBand: boolean }[] => units.map((unit) => ({ unit, isBand: unit === "" }));
  const placed = (found: Arrangement): unknown[] => found.axes.map(({ unit, lines, isLeft, slot, lane, lanes }) => [unit, lines, isLeft, slot, lane, lanes]);
  const four = arranged(kinds("bar", "°C", "", "bar", "1/min", "%"), 1200, false);
  expect(placed(four)).toEqual([
    ["bar", [0, 3], true, 0, 0, 1], ["°C", [1], false, 0, 0, 1], ["1/min", [4], true, 1, 0, 1], ["%", [5], false, 1, 0, 1],
  ]);
  expect([four.bands, four.left, four.right]).toEqual([[2], 2, 2]);
  expect(arranged(kinds("bar"), 1200, true)).toMatchObject({ left: 1, right: 0, axes: [{ lane: 0, lanes: 1 }] });
  for (const lanes of [arranged(kinds("bar", "°C"), 1200, true), arranged(kinds("bar", "°C", "%"), 390, false), arranged(kinds(..."abcde"), 1200, false)]) {
    expect(lanes.axes.map((axis) => [axis.isLeft, axis.slot, axis.lane])).toEqual(lanes.axes.map((_, at) => [true, 0, at]));
    expect([lanes.axes[0].lanes, lanes.right]).toEqual([lanes.axes.length, 0]);
  }
});

test("axes that stand over each other have their ticks at the same heights, and hold all of their lines", () => {
  const axes = arranged([..."abc"].map((unit) => ({ unit, isBand: false })), 1200, false).axes;
  const extents: [number, number][] = [[0, 0], [-3.7, 1499.2], [0.00012, 0.00013], [180, 180], [-1e9, -2], [99.99, 100.01]];
  for (const one of extents) for (const other of extents) {
    const scales = scalesOf(axes, [one, other, undefined], 380);
    expect(scales[2]).toBeUndefined();
    const shares = scales.slice(0, 2).map((scale, at) => {
      const { least, most, ticks } = scale as Scale;
      expect(least <= [one, other][at][0] && [one, other][at][1] <= most && least < most).toBe(true);
      expect(most - least).toBeLessThan(5 * Math.max([one, other][at][1] - [one, other][at][0], 0.3 * Math.abs([one, other][at][1]), 0.8));
      return ticks.map((tick) => Math.round((1000 * (tick - least)) / (most - least)));
    });
    expect(shares[0]).toEqual(shares[1]);
  }
  const [alone] = scalesOf(axes.slice(0, 1), [[0, 37]], 380);
  expect([alone?.least, (alone?.ticks.length ?? 0) > 3, alone?.ticks.every((tick) => tick % 5 === 0)]).toEqual([0, true, true]);
});

test("a state holds until another is said, or as long as it is known", () => {
  const [times, states] = [[0, 10, 20, 30, 40], ["a", "b", "b", null, "a"]];
  expect(runsOf(times, states, 5, 60, 50)).toEqual([
    { state: "a", fromMs: 5, toMs: 10 }, { state: "b", fromMs: 10, toMs: 30 }, { state: "a", fromMs: 40, toMs: 50 },
  ]);
  expect(runsOf(times, states, 12, 18)).toEqual([{ state: "b", fromMs: 12, toMs: 18 }]);
  expect(runsOf(times, states, -9, 0)).toEqual([]);
  expect(runsOf(times, states, 45, 60, 41)).toEqual([]);
  expect(sharesOf(runsOf(times, states, 0, 60))).toEqual([["a", 0.6], ["b", 0.4]]);
});
