/** Values, ages and times as people read them. All of it is text: nothing here makes markup. */
import { severity, type Reading, type Value } from "@millstream/client";
import { HEARD_MS_MAX, UNKNOWN } from "./state/source";
import { isUtc, zone } from "./times";
import { language, locale, t, type Language, type Word } from "./words";

const TEXT_MAX = 120;
const DIGITS = 7;
const DIGITS_FEW = [6, 5, 4, 3];
/** Between thousands, and before what is less than one. By hand: making the browser's own format costs a slow panel a
 * good part of its first picture, and numbers come by the thousand. */
const MARKS: Record<Language, [string, string]> = { de: [".", ","], en: [",", "."] };
const UNITS: Record<string, string> = { degC: "°C", degF: "°F", percent: "%", kelvin: "K", hour: "h", deg: "°", dimensionless: "" };
const UNITS_MAX = 1000;
const STALE_MS = 60_000;
const WAITING = 0x8032; // BadWaitingForInitialData (OPC 10000-4, 7.39): nothing is wrong, nothing was there so far
const AGES: [number, Word][] = [
  [86_400_000, "unitD"], [3_600_000, "unitH"], [60_000, "unitMin"], [1000, "unitS"],
];

/** What a value is in one line, without what would change the direction of the text around it. */
export function valueText(value: Value | undefined): string {
  if (value === null || value === undefined) return "–";
  if (typeof value === "number") return numberText(value);
  if (typeof value === "boolean") return t(value ? "yes" : "no");
  if (typeof value === "bigint") return value.toLocaleString(locale());
  if (value instanceof Uint8Array) return t("bytes", { n: value.length });
  if (Array.isArray(value)) return t("values", { n: value.length });
  return plain(typeof value === "string" ? value : JSON.stringify(value, bigints), TEXT_MAX);
}

/** A value and what stands behind it in so many letters: the whole unit and `word` where there is room, else the word alone, then
 * fewer digits behind the point. */
export function cellText(value: Value | undefined, unit: string, word: string, max: number): string {
  const text = valueText(value);
  const short = word || unit;
  for (const behind of [`${unit} ${word}`.trim(), short]) {
    const whole = `${text} ${behind}`.trimEnd();
    if (whole.length <= max) return whole;
  }
  if (typeof value === "number" && !Number.isInteger(value)) {
    for (const digits of DIGITS_FEW) {
      const shorter = `${numberText(Number(value.toPrecision(digits)))} ${short}`;
      if (shorter.length <= max) return shorter;
    }
  }
  return plain(`${text} ${short}`, max - 1);
}

/** Of units as they are stored (`degC`, `m**3/h`): what people write. Others stay as they are. */
export function unitText(unit: string): string {
  let found = units.get(unit);
  if (found === undefined) {
    if (units.size >= UNITS_MAX) units.clear();
    units.set(unit, (found = writtenUnit(unit)));
  }
  return found;
}

/** Few units, of thousands of values a second. */
const units = new Map<string, string>();

function writtenUnit(unit: string): string {
  return unit.replace(/\b(degC|degF|percent|kelvin|hour|deg|dimensionless)\b/g, (word) => UNITS[word]).replaceAll("**2", "²").replaceAll("**3", "³");
}

/** Text of somebody else: bounded, control and direction characters shown as what they are. */
export function plain(text: string, max = TEXT_MAX): string {
  const cut = text.length > max ? `${text.slice(0, max)}…` : text;
  return cut.replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g, (letter) =>
    `␛${letter.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

function bigints(_name: string, value: unknown): unknown {
  return typeof value === "bigint" ? String(value) : value;
}

export function numberText(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e12 || size < 1e-4)) return value.toExponential(4);
  const [whole, rest] = (Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(DIGITS)))).split(".");
  const [group, point] = MARKS[language.value];
  const grouped = size < 1000 ? whole : whole.replace(/\B(?=(\d{3})+$)/g, group);
  return rest === undefined ? grouped : grouped + point + rest;
}

export function ageText(ms: number): string {
  const found = AGES.find(([length]) => ms >= length);
  if (found === undefined) return t("unitS", { n: 0 });
  return t(found[1], { n: Math.floor(ms / found[0]) });
}

/** How long, by its two largest units. */
export function durationText(seconds: number): string {
  const ms = Math.round(seconds) * 1000;
  const at = AGES.findIndex(([length]) => ms >= length);
  if (at < 0) return ageText(0);
  const rest = ms % AGES[at][0];
  return rest < (AGES[at + 1]?.[0] ?? Infinity) ? ageText(ms) : `${ageText(ms)} ${t(AGES[at + 1][1], { n: Math.floor(rest / AGES[at + 1][0]) })}`;
}

/** Local time, or UTC where that is chosen, which then says so. */
export function timeText(ms: number): string {
  if (!ms) return t("never");
  const text = new Date(ms).toLocaleString(locale(), { dateStyle: "short", timeStyle: "medium", timeZone: zone() });
  return isUtc() ? `${text} ${t("utc")}` : text;
}

/** The same to the millisecond: of a sample. */
export function exactText(ms: number): string {
  const parts = { day: "2-digit", month: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3 } as const;
  const key = `${locale()} ${zone()}`;
  if (exact?.key !== key) exact = { key, format: new Intl.DateTimeFormat(locale(), { ...parts, timeZone: zone() }) };
  const text = exact.format.format(ms);
  return isUtc() ? `${text} ${t("utc")}` : text;
}

/** A browser takes longer to make one than to write a hundred times with it. */
let exact: { key: string; format: Intl.DateTimeFormat } | undefined;

export function utcText(ms: number): string {
  return ms ? `${new Date(ms).toISOString().replace("T", " ").replace("Z", "")} ${t("utc")}` : t("never");
}

/** The time as it is chosen, and to the millisecond in UTC. */
export const bothText = (ms: number): string => (isUtc() ? utcText(ms) : `${timeText(ms)} · ${utcText(ms)}`);

export function bytesText(count: number): string {
  const step = count >= 1 << 30 ? 30 : count >= 1 << 20 ? 20 : count >= 1 << 10 ? 10 : 0;
  const unit = { 0: "B", 10: "KiB", 20: "MiB", 30: "GiB" }[step];
  return `${(count / 2 ** step).toLocaleString(locale(), { maximumFractionDigits: 1 })} ${unit}`;
}

/** A value that has not come for ten times its interval, a minute at least, is stale. */
export function isStale(reading: Reading, nowMs: number, intervalS = 1): boolean {
  return nowMs - reading.timeMs > Math.max(STALE_MS, intervalS * 10_000);
}

export type Look = "good" | "uncertain" | "bad" | "stale" | "none";

/** By its age alone, unless a `source` that was heard a moment ago is there, or gone. */
export function lookOf(reading: Reading | undefined, nowMs: number, intervalS?: number, source = UNKNOWN): Look {
  if (reading === undefined) return "none";
  if (reading.quality >>> 16 === WAITING) return "none";
  const found = severity(reading.quality);
  if (found !== "good") return found;
  if (source.isThere !== undefined && nowMs - source.atMs <= HEARD_MS_MAX) return source.isThere ? "good" : "stale";
  return isStale(reading, nowMs, intervalS) ? "stale" : "good";
}
