import { expect, test } from "vitest";
import { cellText, lookOf, numberText } from "../src/format";
import { bandsOf, shownFrom } from "../src/parts/bands";
import { machineState } from "../src/parts/states";
import { currentAlarms, factsText, floodsOf } from "../src/state/alarms";
import { accountOf } from "../src/state/fleet_query";
import { madeOf, ordersOf, runningOrder } from "../src/state/orders";
import { lagOf } from "../src/state/lag";
import { nextSlice } from "../src/state/pace";
import { belowOf, buildTree, firstOpen, fits, rowsOf, sorted } from "../src/state/tree";
import { language } from "../src/words";
import { en } from "../src/words/en";
import { de } from "../src/words/de";
import { shownValue } from "../src/state/ratio";
import { type Tag } from "../src/state/tags";

const tag = (path: string): Tag => {
  const [asset, name] = path.split(":");
  return { key: `tag ${path}`, path, asset, name, kind: "tag", info: { tag: path, kind: "tag", description: { unit: "bar" } } } as Tag;
};

test("a stop of a second is seen in a bar of eight hours, and nothing hides it", () => {
  const hours = 8 * 3_600_000;
  const bands = bandsOf([0, hours / 2, hours / 2 + 1000], ["running", "down", "running"], 0, hours);
  expect(bands.map((band) => band.state)).toEqual(["running", "down", "running"]);
  expect(bands[1].to - bands[1].from).toBe(1);
});

test("a machine that is known for twenty minutes is not a sliver of eight hours", () => {
  const [minute, hours] = [60_000, 8 * 3_600_000];
  expect(shownFrom([hours - 20 * minute, hours - minute], 0, hours)).toBe(hours - 20 * minute);
  expect(shownFrom([hours - minute], 0, hours)).toBe(hours - 2 * minute);
  expect(shownFrom([-minute, hours - minute], 0, hours)).toBe(0);
  expect(shownFrom([], 0, hours)).toBe(0);
});

test("a state that nobody knows is unknown, never good", () => {
  expect(machineState("Execute")).toBe("running");
  for (const odd of ["", "constructor", "__proto__", null, 7]) expect(machineState(odd)).toBe("unknown");
});

test("the tree has each place once, counts what is below, and opens what a search leaves", () => {
  const root = buildTree(["a/b/c:x", "a/b/c:y", "a/d:z", "a:q"].map(tag));
  expect(root.count).toBe(4);
  expect(rowsOf(root, new Set(), false)).toHaveLength(1);
  expect(rowsOf(root, new Set(), true).map((row) => row.level)).toEqual([1, 2, 3, 4, 4, 2, 3, 2]);
  expect([...firstOpen(root)]).toContain("a/b");
  expect(belowOf(["a/b/c:x", "a/bc:y", "a/b:w"].map(tag), "a/b").map((one) => one.path)).toEqual(["a/b/c:x", "a/b:w"]);
  expect(fits(tag("a/b:Pressure"), "press BAR")).toBe(true);
  expect(fits(tag("a/b:Pressure"), "press degC")).toBe(false);
});

test("names stand in the order of a collator, which is made only where one is needed", () => {
  const { Collator } = Intl;
  const { compare } = new Collator("en", { numeric: true });
  const letters = [..."aAbBzZ_0019"];
  let seed = 7;
  const next = (most: number): number => (seed = (seed * 48_271) % 2_147_483_647) % most;
  const names = Array.from({ length: 3000 }, () => Array.from({ length: 1 + next(6) }, () => letters[next(letters.length)]).join(""));
  const seen: number[] = [];
  Intl.Collator = new Proxy(Collator, { construct: (target, given) => (seen.push(1), new target(...(given as []))) }) as typeof Collator;
  try {
    const found = sorted(names.map((name) => ({ name }))).map(({ name }) => name);
    expect(found.filter((name, at) => at > 0 && compare(found[at - 1], name) > 0)).toEqual([]);
    expect(seen).toEqual([]);
    expect(sorted(["z2", "ä", "b", "z10"].map((name) => ({ name }))).map(({ name }) => name)).toEqual(["ä", "b", "z2", "z10"]);
    expect(seen).toEqual([1]);
  } finally {
    Intl.Collator = Collator;
  }
});

test("a hundred thousand tags make a tree in a moment", () => {
  const many = Array.from({ length: 100_000 }, (_, at) => tag(`a/l${at % 100}/m${at % 1000}:t${at}`));
  expect(rowsOf(buildTree(many), new Set(["a"]), false)).toHaveLength(101);
});

test("the account of a live query names who is missing, and why", () => {
  const account = {
    expected: 4, answered: 1, matching: 1, absent: ["p3"], failed: [], silent: ["p4"], unreadable: [], missing: { p2: 5_000_000 }, took_ms: 3,
  };
  const found = accountOf([{ node: "p1", state: "match", facts: { a: 1 } }], account);
  expect(found.rows).toEqual([{ node: "p1", text: '{"a":1}' }]);
  expect(found.missing).toEqual([
    { node: "p2", why: "away", lastMs: 5 }, { node: "p3", why: "absent", lastMs: 0 }, { node: "p4", why: "silent", lastMs: 0 },
  ]);
});

test("numbers are written as the browser itself writes them, in both languages", () => {
  const found = [0, -0, 7, -12, 999.5, 1000, 1234567.8, -98765.4321, 0.0001, 0.00012345678, 0.1 + 0.2, 999_999.96, 123_456_789_012, 2 / 3, 1e11 + 0.5, 999999.99];
  for (const [chosen, name] of [["en", "en-GB"], ["de", "de-DE"]] as const) {
    language.value = chosen;
    for (const value of [...found, ...Array.from({ length: 2000 }, (_, at) => Math.sin(at) * 10 ** ((at % 15) - 4))]) {
      if (value !== 0 && (Math.abs(value) < 1e-4 || Math.abs(value) >= 1e12)) continue;
      const digits = Number.isInteger(value) ? 15 : 7;
      expect(numberText(value)).toBe(new Intl.NumberFormat(name, { maximumSignificantDigits: digits }).format(value === 0 ? 0 : value));
    }
  }
  language.value = "en";
});

test("a frame that was late has half as many cells next time, and all is drawn within a second", () => {
  expect(nextSlice(Infinity, 25, 16)).toBe(40);
  expect(nextSlice(250, 500, 16)).toBe(250);
  expect(nextSlice(100, 500, 16)).toBe(125);
  expect(nextSlice(100, 500, 60)).toBe(50);
  expect(nextSlice(20, 500, 16)).toBe(25);
  expect(nextSlice(8, 500, 200)).toBe(100);
});

test("an order whose end nobody told ends where the next begins, and those of other machines are not here", () => {
  const at = (hour: number): string => new Date(hour * 3_600_000).toISOString();
  const fact = (path: string, data: Record<string, unknown>): never => ({ path, what: "order", data }) as never;
  const found = ordersOf([
    fact("a:order/two", { start: at(2), product: "lid" }), fact("a:order/one", { start: at(1), end: at(9) }), fact("a/b:order/x", { start: at(1.5) }),
    fact("a:order/early", { start: at(0), end: at(0.5) }), fact("a:order/odd", { start: "soon" }), fact("a:order/late", { start: at(20) }),
  ], "a", 3_600_000, 4 * 3_600_000);
  expect(found).toEqual([
    { name: "one", product: "", startMs: 3_600_000, endMs: 7_200_000 }, { name: "two", product: "lid", startMs: 7_200_000, endMs: 14_400_000 },
  ]);
});

test("both languages have the same blanks to fill", () => {
  const blanks = (text: string): string[] => (text.match(/\{\w+\}/g) ?? []).sort();
  for (const word of Object.keys(en) as (keyof typeof en)[]) expect(blanks(de[word])).toEqual(blanks(en[word]));
});

test("more than ten alarms in ten minutes below one place are a flood, with what is behind it first", () => {
  const [nowMs, minuteMs] = [1_790_000_000_000, 60_000];
  const told = (tag: string, minutes: number, change = "raised"): never =>
    ({ tag, kind: "alarm", type: `millstream.alarm.${change}`, timestamp_ns: (nowMs - minutes * minuteMs) * 1e6, data: JSON.stringify({ priority: "high" }) }) as never;
  const ten = [1, 2, 3, 4, 5, 6, 7, 8].map((at) => told("a/p1/press:alarm/chatters", at)).concat(told("a/p1/oven:alarm/hot", 8), told("a/p1/oven:alarm/root", 9));
  const others = [told("a/p1/press:alarm/old", 11), told("a/p1/press:alarm/back", 2, "returned"), told("a/p2/press:alarm/else", 1)];
  expect(floodsOf([...ten, ...others], nowMs)).toEqual([]);
  const [flood, ...more] = floodsOf([told("a/p1:alarm/late", 0), ...ten, ...others], nowMs);
  expect(more).toEqual([]);
  expect([flood.place, flood.count]).toEqual(["a/p1", 11]);
  expect(flood.alarms.map((one) => [one.path, one.count])).toEqual([
    ["a/p1/press:alarm/chatters", 8], ["a/p1/oven:alarm/root", 1], ["a/p1/oven:alarm/hot", 1], ["a/p1:alarm/late", 1],
  ]);
});

test("a good value is stale after ten of its intervals, at least a minute; a bad one stays bad", () => {
  const reading = (quality: number): never => ({ quality, timeMs: 0 }) as never;
  expect([59_000, 61_000].map((ms) => lookOf(reading(0), ms, 1))).toEqual(["good", "stale"]);
  expect([590_000, 601_000].map((ms) => lookOf(reading(0), ms, 60))).toEqual(["good", "stale"]);
  expect(lookOf(reading(0x8000_0000), 1e9, 1)).toBe("bad");
  expect(lookOf(undefined, 1e9, 1)).toBe("none");
});

test("the newest event of each path is how its alarm stands, the most urgent first", () => {
  const told = (tag: string, data: object, ms: number): never =>
    ({ tag, kind: "alarm", type: "x", timestamp_ns: ms * 1e6, data: JSON.stringify(data) }) as never;
  const alarms = currentAlarms([
    told("a:gone", { state: "normal", change: "cleared" }, 9),
    told("a:shelved", { state: "shelved", priority: "critical", is_active: true }, 8),
    told("a:seen", { state: "acknowledged", priority: "critical", is_active: true }, 7),
    told("a:new", { state: "unacknowledged", priority: "low", is_active: true, message: "m", value: 3, limit: 2 }, 6),
    told("a:gone", { state: "unacknowledged", priority: "high", is_active: true }, 5),
    told("a:odd", "no object" as never, 4),
  ]);
  expect(alarms.map((one) => one.path)).toEqual(["a:new", "a:seen", "a:shelved"]);
  expect(alarms[0]).toMatchObject({ text: "m", value: "3 / 2", severity: "low" });
});

test("good parts of an order are what windows that are over had and what the running one has, each counted once", () => {
  const at = (hour: number): string => new Date(hour * 3_600_000).toISOString();
  const order = { name: "4711", product: "lid", startMs: 3_600_000, endMs: Infinity, quantity: 100 };
  const told = (tag: string, type: string, data: object, toldMs: number): never => ({ tag, type, kind: "event", timestamp_ns: toldMs * 1e6, data: JSON.stringify(data) }) as never;
  const live = (hour: number, order = "4711"): never => told("a:oee/live", "millstream.oee", { window: "live", start: at(hour), orders: [{ order, produced: 9, rejected: 2 }] }, 9);
  const total = told("a:made/4711", "millstream.order_made", { order: "4711", good: 30, until: at(2) }, 5);
  expect(madeOf(order, "a", [live(2), total])).toEqual({ good: 37, isPart: false, toldMs: 9 });
  expect(madeOf(order, "a", [live(1), total])).toEqual({ good: 30, isPart: false, toldMs: 5 });
  expect(madeOf(order, "a", [total])).toEqual({ good: 30, isPart: false, toldMs: 5 });
  expect(madeOf(order, "a", [live(1)])).toEqual({ good: 7, isPart: false, toldMs: 9 });
  expect(madeOf(order, "a", [live(8)])).toEqual({ good: 7, isPart: true, toldMs: 9 });
  expect(madeOf(order, "a", [live(1, "other")])).toBeUndefined();
  expect(madeOf(order, "a/b", [live(1), total])).toBeUndefined();
  const fact = (start: number, end?: number): never => ({ path: "a:order/4711", what: "order", data: { start: at(start), end: end && at(end), quantity: 5 } }) as never;
  expect(runningOrder([fact(1)], "a", 7_200_000)).toMatchObject({ name: "4711", quantity: 5 });
  expect([runningOrder([fact(1, 1.5)], "a", 7_200_000), runningOrder([fact(3)], "a", 7_200_000)]).toEqual([undefined, undefined]);
});

test("a ratio is read in percent, and a value that was never there is none, not a bad one", () => {
  const kpi = (path: string, kind = "kpi"): never => ({ path, kind, name: path, reading: { value: undefined }, info: {} }) as never;
  expect(shownValue(kpi("a:oee/live/oee"), 0.7134)).toBe(71.3);
  expect([shownValue(kpi("a:oee/live/oee", "tag"), 0.7), shownValue(kpi("a:x/mtbf"), 0.7), shownValue(kpi("a:oee/live/oee"), null)]).toEqual([0.7, 0.7, null]);
  expect(lookOf({ quality: 0x8032_0000, timeMs: 0 } as never, 1, 1)).toBe("none");
});

test("a cell of the wall says all that it has room for: what is not good before the unit, both before digits", () => {
  expect(cellText(47.5, "%", "uncertain", 20)).toBe("47.5 % uncertain");
  expect(cellText(47.5, "%", "uncertain", 14)).toBe("47.5 uncertain");
  expect(cellText(0.8789063, "kW", "stale", 14)).toBe("0.878906 stale");
  expect(cellText(9.576842, "bar", "", 14)).toBe("9.576842 bar");
  expect(cellText(null, "", "bad", 14)).toBe("– bad");
  expect(cellText(12_345_678, "kWh", "uncertain", 14)).toBe("12,345,678 un…");
});

test("an event without a message says its first facts, and never markup of a machine as anything but text", () => {
  expect(factsText({ window: "live", oee: 0.726_312, made: null, losses: { a: 1 } })).toBe("window what runs now · OEE 72.6 %");
  expect(factsText({ losses: { a: 1 } })).toBe('{"losses":{"a":1}}');
  expect(factsText(Object.fromEntries(Array.from({ length: 9 }, (_, at) => [`f${at}`, at])))).toMatch(/f7 7 …$/);
});

test("a flow is as far behind as its slowest part on each stream, and nobody guesses where it stands", () => {
  const streams = [{ name: "E_a_I", last_seq: 100 }, { name: "E_a_F", last_seq: 10 }];
  const flow = { partitions: [{ offsets: { E_a_I: 90, E_a_F: 12 } }, { offsets: { E_a_I: 70, other: 1 } }] };
  expect(lagOf(flow, streams)).toBe(30);
  const readOut = { partitions: [{ offsets: { E_a_I: 90, E_a_F: 2 }, read_out: ["E_a_F"] }, { offsets: { E_a_I: 70 }, read_out: ["E_a_I"] }] };
  expect(lagOf(readOut, streams)).toBe(10);
  expect([lagOf({}, streams), lagOf({ partitions: [{ offsets: { other: 1 } }] }, streams)]).toEqual([undefined, undefined]);
});
