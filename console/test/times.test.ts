import { afterEach, expect, test } from "vitest";
import { bothText, timeText } from "../src/format";
import { inputMs, inputText, times } from "../src/times";
import { language } from "../src/words";

const NIGHT = Date.UTC(2026, 0, 1, 23, 30, 5);
afterEach(() => {
  times.value = "local";
  language.value = "en";
});

test("times are local, or UTC and say so, in both languages", () => {
  expect(timeText(NIGHT)).toBe("02/01/2026, 05:00:05");
  expect(bothText(NIGHT)).toBe("02/01/2026, 05:00:05 · 2026-01-01 23:30:05.000 UTC");
  times.value = "utc";
  expect(timeText(NIGHT)).toBe("01/01/2026, 23:30:05 UTC");
  expect(bothText(NIGHT)).toBe("2026-01-01 23:30:05.000 UTC");
  language.value = "de";
  expect(timeText(NIGHT)).toBe("01.01.26, 23:30:05 UTC");
});

test("what is typed is the moment that was shown, by either clock", () => {
  expect(inputText(NIGHT, false)).toBe("2026-01-02T05:00:05");
  expect(inputText(NIGHT, true)).toBe("2026-01-01T23:30:05");
  for (const asUtc of [true, false]) expect(inputMs(inputText(NIGHT, asUtc), asUtc)).toBe(NIGHT);
  for (const asUtc of [true, false]) expect(inputMs("", asUtc)).toBeNaN();
});
