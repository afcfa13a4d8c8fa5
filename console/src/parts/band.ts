/** A line of states as a band: below the lines, with its name above it. */
import { t } from "../words";
import { plain } from "../format";
import { type Line } from "./chart";
import { runsOf } from "./runs";

/** What one takes, with its name and what is free below. */
export const BAND_PX = 34;
const [NAME_PX, HIGH_PX, PAD_PX, NAME_MAX] = [16, 14, 4, 60];
const HEIGHTS = [1, 0.6, 0.8, 0.4]; // with the density, so that neighbours differ twice
const DENSITIES = [0.5, 0.25, 0.65, 0.35];

interface Place {
  left: number;
  top: number;
  width: number;
  fromMs: number;
  toMs: number;
  nowMs: number;
}

interface Colors {
  color: string;
  text: string;
  grid: string;
  ratio: number;
}

/** What is false is low and empty; other states differ in height and density, and have their word where it fits. */
export function drawBand(ctx: CanvasRenderingContext2D, line: Line, place: Place, { color, text, grid, ratio }: Colors): void {
  const { left, top, width, fromMs, toMs, nowMs } = place;
  const [high, ground] = [HIGH_PX * ratio, top + (NAME_PX + HIGH_PX) * ratio];
  const scale = width / (toMs - fromMs);
  const names = namesOf(line);
  ctx.save();
  ctx.font = `${11 * ratio}px system-ui, sans-serif`;
  [ctx.textBaseline, ctx.textAlign, ctx.fillStyle] = ["middle", "left", text];
  ctx.fillText(plain(line.label, NAME_MAX), left, top + (NAME_PX / 2) * ratio, width);
  ctx.fillStyle = grid;
  ctx.fillRect(left, ground, width, ratio);
  for (const run of runsOf(line.times, line.states ?? [], fromMs, toMs, nowMs)) {
    const [from, to] = [left + (run.fromMs - fromMs) * scale, left + (run.toMs - fromMs) * scale];
    const wide = Math.max(ratio, to - from); // none is too short to be seen
    const at = names.indexOf(run.state);
    const share = run.state === "false" ? 0.12 : HEIGHTS[at % HEIGHTS.length];
    [ctx.fillStyle, ctx.globalAlpha] = [color, DENSITIES[at % DENSITIES.length]];
    ctx.fillRect(from, ground - share * high, wide, share * high);
    ctx.globalAlpha = 1;
    const word = stateText(run.state);
    if (wide < 2 * PAD_PX * ratio || ctx.measureText(word).width > wide - 2 * PAD_PX * ratio) continue;
    ctx.fillStyle = text;
    ctx.fillText(word, from + PAD_PX * ratio, ground - high / 2);
  }
  ctx.restore();
}

const known = new WeakMap<object, string[]>();

/** The states that a line knows in their order, so that each looks the same wherever one looks. */
function namesOf({ states = [] }: Line): string[] {
  let found = known.get(states);
  if (found === undefined || states.some((state) => state !== null && !found?.includes(state))) {
    known.set(states, (found = [...new Set(states.filter((state) => state !== null))].sort()));
  }
  return found;
}

/** What is stored as `true` or `false` is a word of the language. */
export const stateText = (state: string): string => (state === "true" ? t("yes") : state === "false" ? t("no") : plain(state, NAME_MAX));
