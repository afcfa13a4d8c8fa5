/** Key figures that people read in percent; they are stored as ratios, as ISO 22400 has them. Pure. */
import { type Value } from "@millstream/client";

interface Place {
  kind: string;
  path: string;
}

const RATIO = /\/(oee|availability|performance|quality|scrap_ratio|rework_ratio|first_pass_yield|known|teep)$/;

export const isRatio = (tag: Place): boolean => tag.kind === "kpi" && RATIO.test(tag.path);

/** What is shown of a value, with `%` where it is a ratio. */
export const shownValue = (tag: Place, value: Value | undefined): Value | undefined =>
  typeof value === "number" && isRatio(tag) ? Math.round(value * 1000) / 10 : value;
