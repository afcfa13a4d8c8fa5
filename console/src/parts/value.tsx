/** A tag's newest value, its quality and its age. What changes ten times a second is written straight into its element, and
 * only where it differs: no component is drawn again for it. */
import { effect } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";
import { ageText, bothText, cellText, lookOf, plain, valueText, type Look } from "../format";
import { now } from "../state/hub";
import { sourceNow } from "../state/heard";
import { UNKNOWN, type Source } from "../state/source";
import { shownValue } from "../state/ratio";
import { hasValues, unitOf, type Tag } from "../state/tags";
import { t } from "../words";
import { write, type Column } from "./column";

const UNIT_MAX = 12;
const CELL_MAX = 14;
const ROOMY_MAX = 20;
/** A number and a short unit: what surely has room, in letters that lie as they are written. */
const NARROW = /^[-+\d.,e]+ ?[\w/%°²³µ·*]{0,5}$/;
const OWN_MS = 2000;
const TURNS = 20; // into so many parts their elements are told apart, so that not all are written in one frame
const intervalOf = (tag: Tag): number => Number(tag.info.description?.sampling_interval_s ?? 1);

const OLD_MS = 10_000; // what came later needs nobody's word that its source is there

function sourceOfOld(tag: Tag): Source {
  const reading = tag.reading.value;
  return reading !== undefined && now.value - reading.timeMs > OLD_MS ? sourceNow(tag) : UNKNOWN;
}

/** Of an event none: it is told once, and has no value that could be missing or old. */
function lookNow(tag: Tag): Look {
  if (!hasValues(tag)) return "none";
  const source = sourceOfOld(tag);
  return lookOf(tag.reading.value, now.value, intervalOf(tag), source);
}

export function ValueCell({ tag }: { tag: Tag }): preact.JSX.Element {
  const cell = useWritten((element) => writeValue(element, tag, lookNow(tag)), [tag]);
  return <span ref={cell} class="value" onPointerEnter={hint} />;
}

/** A value with its unit in one line, which says of what is not good what it is. Where there is no room for both, the word
 * goes before the unit, and both before digits behind the point. A good number is drawn in the text of its column, at once; its own
 * element holds it unseen, for who hears the page or copies from it, and follows every two seconds. */
export function CellValue({ tag, at, column, isRoomy }: CellProps): preact.JSX.Element {
  const own = useRef({ isDrawn: false, writtenMs: -OWN_MS });
  const cell = useWritten((element) => {
    const look = lookNow(tag);
    const value = shownValue(tag, tag.reading.value?.value);
    const word = look === "good" || look === "none" ? "" : t(look);
    const text = cellText(value, plain(unitOf(tag), UNIT_MAX), word, isRoomy ? ROOMY_MAX : CELL_MAX);
    const isDrawn = look === "good" && typeof value === "number" && NARROW.test(text);
    column.values.put(at, isDrawn ? text : "");
    column.ages.put(at, ageOf(tag));
    const nowMs = performance.now();
    const { current } = own;
    if (isDrawn && current.isDrawn && nowMs - current.writtenMs < OWN_MS) return;
    current.writtenMs = current.isDrawn ? nowMs : nowMs - (OWN_MS * (at % TURNS)) / TURNS;
    write(element, text);
    if (current.isDrawn !== isDrawn) element.classList.toggle("drawn", (current.isDrawn = isDrawn));
    if (element.dataset.look !== look) element.dataset.look = look;
  }, [tag, at, column, isRoomy]);
  return <span ref={cell} class="value" onPointerEnter={(event) => (event.currentTarget.title = hintOf(tag))} />;
}

interface CellProps {
  tag: Tag;
  /** Its line in the texts of the column. */
  at: number;
  column: Column;
  isRoomy: boolean;
}

/** The age of the oldest value of these, once a second. */
export function OldestAge({ tags }: { tags: Tag[] }): preact.JSX.Element {
  const text = useWritten((element) => {
    const nowMs = now.value; // read in any case: what is heard is what is drawn again
    const times = tags.flatMap((tag) => tag.reading.peek()?.timeMs || []);
    write(element, times.length === 0 ? "" : t("oldest", { age: ageText(Math.max(0, nowMs - Math.min(...times))) }));
  }, [tags]);
  return <span ref={text} class="muted" />;
}

export function LookCell({ tag }: { tag: Tag }): preact.JSX.Element {
  return <span ref={useWritten((element) => writeLook(element, lookNow(tag)), [tag])} />;
}

export function AgeCell({ tag }: { tag: Tag }): preact.JSX.Element {
  const cell = useWritten((element) => writeAge(element, tag), [tag]);
  return <span ref={cell} class="muted" onPointerEnter={(event) => (event.currentTarget.title = hintOf(tag))} />;
}

/** Of a value that has not changed for a while: when its source was heard, or that it is gone. */
export function HeardCell({ tag }: { tag: Tag }): preact.JSX.Element {
  return <span ref={useWritten((element) => write(element, heardText(tag, " · ")), [tag])} class="muted" />;
}

function heardText(tag: Tag, before: string): string {
  const { isThere, atMs } = sourceOfOld(tag);
  if (isThere === undefined) return "";
  return before + t(isThere ? "sourceHeard" : "sourceGone", { age: ageText(Math.max(0, now.value - atMs)) });
}

/** The cells of a row of the tree behind its name: one thing that hears the tag, not one for each. A state has its mark
 * where others have their unit. */
export function RowCells({ tag, mark }: { tag: Tag; mark?: preact.JSX.Element }): preact.JSX.Element {
  const first = useWritten((element) => {
    const [value, unit, look, age] = cellsFrom(element);
    const found = lookNow(tag);
    writeValue(value.firstElementChild as HTMLElement, tag, found);
    if (mark === undefined) write(unit, plain(unitOf(tag), UNIT_MAX));
    const says = look.firstElementChild as HTMLElement;
    if (hasValues(tag)) writeLook(says, found);
    else write(says, ""); // an event is told once: it has no value that could be missing
    writeAge(age.firstElementChild as HTMLElement, tag);
  }, [tag]);
  return (
    <>
      <span ref={first} role="gridcell" class="number" elementtiming="value"><span class="value" onPointerEnter={hint} /></span>
      {mark === undefined ? <span key="unit" role="gridcell" /> : <span key="mark" role="gridcell" class="cut">{mark}</span>}
      <span role="gridcell"><span /></span>
      <span role="gridcell"><span class="muted" onPointerEnter={(event) => (event.currentTarget.title = hintOf(tag))} /></span>
    </>
  );
}

/** Calls `draw` with the element, again when a signal that it read has changed; `of` is what it is drawn of. */
function useWritten(draw: (element: HTMLElement) => void, of: unknown[]): preact.RefObject<HTMLSpanElement | null> {
  const element = useRef<HTMLSpanElement>(null);
  useLayoutEffect(() => effect(() => { if (element.current !== null) draw(element.current); }), of);
  return element;
}

function cellsFrom(first: HTMLElement): HTMLElement[] {
  const found = [first];
  while (found[found.length - 1].nextElementSibling !== null) found.push(found[found.length - 1].nextElementSibling as HTMLElement);
  return found;
}

function writeValue(element: HTMLElement, tag: Tag, look: Look): void {
  write(element, valueText(shownValue(tag, tag.reading.value?.value)));
  if (element.dataset.look !== look) element.dataset.look = look;
}

function writeLook(element: HTMLElement, look: Look): void {
  write(element, t(look === "none" ? "noValue" : look));
  const name = look === "good" || look === "none" ? "muted" : "look";
  if (element.className !== name) element.className = name;
}

function writeAge(element: HTMLElement, tag: Tag): void {
  write(element, ageOf(tag));
}

function ageOf(tag: Tag): string {
  const time = tag.reading.value?.timeMs;
  return time ? ageText(Math.max(0, now.value - time)) : "–";
}

/** Worked out when the pointer comes: nearly nobody asks. */
function hint(event: PointerEvent): void {
  const element = event.currentTarget as HTMLElement;
  element.title = element.textContent ?? "";
}

function hintOf(tag: Tag): string {
  const time = tag.reading.peek()?.timeMs;
  return time ? `${bothText(time)}${heardText(tag, " · ")}` : "";
}

export function Age({ timeMs }: { timeMs: number }): preact.JSX.Element {
  return (
    <span class="muted age" title={bothText(timeMs)}>
      {ageText(Math.max(0, now.value - timeMs))}
    </span>
  );
}
