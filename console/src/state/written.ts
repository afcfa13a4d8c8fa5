/** What somebody typed to be written to a machine. Pure; the edge judges again. */
import { type WritableTag } from "@millstream/client";
import { numberText } from "../format";
import { language, t } from "../words";

export interface Wanted {
  value: unknown;
  /** Why it cannot be written; empty when it may be. */
  fault: string;
}

/** A number for a tag that has bounds or whose value is one; else JSON, else text. A comma is a decimal one in German
 * only: elsewhere 1,234 would mean something else to who typed it. */
export function parseWritten(text: string, bounds: WritableTag, now: unknown): Wanted {
  const typed = text.trim();
  if (typed === "") return { value: undefined, fault: t("noValue") };
  const isNumber = bounds.minimum !== undefined || bounds.maximum !== undefined || typeof now === "number" || typeof now === "bigint";
  if (isNumber) {
    const plainly = language.value === "de" ? typed.replace(",", ".") : typed;
    const value = /^[+-]?\d+(\.\d+)?(e[+-]?\d+)?$/i.test(plainly) ? Number(plainly) : NaN;
    if (!Number.isFinite(value)) return { value: undefined, fault: t("notANumber") };
    if (bounds.minimum !== undefined && value < bounds.minimum) return { value, fault: t("tooSmall", { limit: numberText(bounds.minimum) }) };
    if (bounds.maximum !== undefined && value > bounds.maximum) return { value, fault: t("tooLarge", { limit: numberText(bounds.maximum) }) };
    return { value, fault: "" };
  }
  try {
    return { value: JSON.parse(typed) as unknown, fault: "" };
  } catch {
    return { value: text, fault: "" };
  }
}
