import { expect, test } from "vitest";
import { marksOf } from "../src/parts/hours";
import { waitingOf, type Alarm } from "../src/state/alarms";
import { pins, pinsOf, PINS_MAX, turnPin } from "../src/state/pins";

const HOUR = 3_600_000;
const alarm = (state: string, severity: Alarm["severity"]): Alarm => ({ path: state, state, severity, isActive: true, sinceMs: 0, text: "", response: "", value: "", count: 1, untilMs: 0 });

test("marks of a timeline are round times of the place where one looks, and say the day at midnight", () => {
  const fromMs = Date.UTC(2026, 10, 22, 14, 7);
  const eight = marksOf(fromMs, fromMs + 8 * HOUR, 330, false);
  expect(eight.map((one) => one.text)).toEqual(["20:00", "21:00", "22:00", "23:00", "23.11.", "01:00", "02:00", "03:00"]);
  expect(eight[0].ms).toBe(Date.UTC(2026, 10, 22, 14, 30));
  expect(marksOf(fromMs, fromMs + 8 * HOUR, 330, true)[0]).toEqual({ ms: Date.UTC(2026, 10, 22, 15), text: "15:00" });
  for (const hours of [0.01, 0.5, 1, 24, 168]) expect(marksOf(fromMs, fromMs + hours * HOUR, -210, false).length).toBeLessThan(10);
});

test("an alarm that somebody has seen, or put aside, waits for nobody", () => {
  const quiet = ["acknowledged", "latched_acknowledged", "shelved", "suppressed", "out_of_service"].map((state) => alarm(state, "critical"));
  expect(waitingOf(quiet).count).toBe(0);
  expect(waitingOf([...quiet, alarm("unacknowledged", "low"), alarm("returned", "high"), alarm("latched", "medium")])).toEqual({ count: 3, worst: "high" });
});

test("a pin leads within the console, whatever the browser has kept, and there is an end to them", () => {
  for (const odd of [null, "", "{", "7", "null", "{}", '[null, 7, {"to": "javascript:alert(1)", "name": "x"}, {"to": "#/plant"}, {"to": "https://x", "name": "y"}]']) {
    expect(pinsOf(odd)).toEqual([]);
  }
  expect(pinsOf('[{"to": "#/shop", "name": "floor", "more": 1}]')).toEqual([{ to: "#/shop", name: "floor" }]);
  for (let n = 0; n <= PINS_MAX; n++) turnPin({ to: `#/plant?tag=${n}`, name: `${n}` });
  expect(pins.value.map((one) => one.name)).toEqual(Array.from({ length: PINS_MAX }, (_, n) => `${n + 1}`));
  turnPin({ to: "#/plant?tag=3", name: "3" });
  expect(pins.value.some((one) => one.name === "3")).toBe(false);
});
