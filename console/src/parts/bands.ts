/** States over time as runs of pixels. Pure. */
import { type MachineState } from "./states";

export const PIXELS = 480;
const SHOWN_MS_MIN = 120_000;
const WORST: MachineState[] = ["down", "setup", "delay", "planned", "idle", "running", "unknown"];

export interface Band {
  state: MachineState;
  from: number;
  to: number;
}

/** The states of each pixel, the worst of it, as runs. */
export function bandsOf(times: number[], states: MachineState[], fromMs: number, toMs: number): Band[] {
  const pixels: (MachineState | undefined)[] = new Array(PIXELS).fill(undefined);
  const scale = PIXELS / (toMs - fromMs);
  times.forEach((time, at) => {
    const end = times[at + 1] ?? toMs;
    const first = Math.max(0, Math.floor((time - fromMs) * scale));
    const last = Math.min(PIXELS - 1, Math.max(first, Math.ceil((end - fromMs) * scale) - 1));
    for (let pixel = first; pixel <= last; pixel++) pixels[pixel] = worse(pixels[pixel], states[at]);
  });
  const bands: Band[] = [];
  pixels.forEach((state, pixel) => {
    const before = bands[bands.length - 1];
    if (state === undefined) return;
    if (before !== undefined && before.to === pixel && before.state === state) before.to = pixel + 1;
    else bands.push({ state, from: pixel, to: pixel + 1 });
  });
  return bands;
}

/** Where a picture begins that was to begin at `fromMs`: of a machine that is known for shorter, when it became known. */
export function shownFrom(times: number[], fromMs: number, toMs: number): number {
  return times.length === 0 ? fromMs : Math.max(fromMs, Math.min(times[0], toMs - SHOWN_MS_MIN));
}

function worse(one: MachineState | undefined, other: MachineState): MachineState {
  return one !== undefined && WORST.indexOf(one) <= WORST.indexOf(other) ? one : other;
}
