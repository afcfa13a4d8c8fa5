/** Whether times are those of this device or UTC: one choice for all that is shown, drawn and written in. */
import { effect, signal } from "@preact/signals";
import { remember, remembered } from "./words";

export const TIMES = ["local", "utc"] as const;
export type Times = (typeof TIMES)[number];

export const times = signal<Times>(TIMES.find((one) => one === remembered("times")) ?? "local");
effect(() => remember("times", times.value));

export const isUtc = (): boolean => times.value === "utc";
/** For the browser's own formats. */
export const zone = (): "UTC" | undefined => (isUtc() ? "UTC" : undefined);

/** As an input of the kind `datetime-local` wants it, to the second. A form keeps the choice that it began with. */
export function inputText(ms: number, asUtc: boolean): string {
  return new Date(asUtc ? ms : ms - new Date(ms).getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}

/** What such an input says, in Unix ms; NaN when it says nothing. */
export const inputMs = (text: string, asUtc: boolean): number => Date.parse(asUtc && text !== "" ? `${text}Z` : text);
