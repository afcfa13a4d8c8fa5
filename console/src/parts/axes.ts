/** Which lines share an axis, where it stands, what it shows, and where its ticks are: one for each unit. Pure. */

/** What an arrangement has to know of a line. */
export interface Kind {
  unit?: string;
  /** It says states, not numbers, and is a band below. */
  isBand: boolean;
}

/** Of the lines of one unit. */
export interface Axis {
  unit: string;
  /** Which of the lines. */
  lines: number[];
  isLeft: boolean;
  /** How many stand between it and the lines. */
  slot: number;
  /** Which part from the top, of how many: each unit has a lane of its own, or all have the whole height. */
  lane: number;
  lanes: number;
}

export interface Arrangement {
  axes: Axis[];
  /** Which of the lines are bands. */
  bands: number[];
  /** Axes at each side. */
  left: number;
  right: number;
}

/** What an axis goes from and to, and its ticks. */
export interface Scale {
  least: number;
  most: number;
  ticks: number[];
}

const PAD = 0.1; // above and below the lines
const AXIS_PX = 62;
const WIDE_PX = 640;
const [AXES_MAX, AXES_NARROW_MAX] = [4, 2]; // two at each side; on a phone one, or nothing of the lines would be left
const TICK_PX = 45;
const [PARTS_MIN, PARTS_MAX] = [3, 6];
const STEPS = [1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10];
const ROUND_STEPS = [1, 2, 2.5, 5, 10];
const DIGITS = 12; // beyond them a sum of steps is not what it looks like

/** Left, right, and further out at each side; where units are more than there is room for axes, each has a lane of its own. */
export function arranged(kinds: Kind[], width: number, isLanes: boolean): Arrangement {
  const units = new Map<string, number[]>();
  const bands: number[] = [];
  kinds.forEach(({ unit = "", isBand }, at) => {
    const lines = units.get(unit);
    if (isBand) bands.push(at);
    else if (lines === undefined) units.set(unit, [at]);
    else lines.push(at);
  });
  const isApart = units.size > 1 && (isLanes || units.size > (width < WIDE_PX ? AXES_NARROW_MAX : AXES_MAX));
  const axes = [...units].map(([unit, lines], at): Axis => {
    const place = isApart ? { isLeft: true, slot: 0, lane: at, lanes: units.size } : { isLeft: at % 2 === 0, slot: at >> 1, lane: 0, lanes: 1 };
    return { unit, lines, ...place };
  });
  const count = (isLeft: boolean): number => Math.max(isLeft ? 1 : 0, ...axes.filter((axis) => axis.isLeft === isLeft).map((axis) => axis.slot + 1));
  return { axes, bands, left: count(true), right: count(false) };
}

/** Where an axis begins, in px from the lines. */
export const axisPx = (slot: number): number => slot * AXIS_PX;

/** What each axis shows of its lines, in so many px. Those that stand over each other have their ticks at the same heights. */
export function scalesOf(axes: Axis[], extents: ([number, number] | undefined)[], height: number): (Scale | undefined)[] {
  const isShared = axes.length > 1 && axes[0].lanes === 1;
  const parts = Math.max(PARTS_MIN, Math.min(PARTS_MAX, Math.floor(height / (1.5 * TICK_PX))));
  return axes.map(({ lanes }, at) => {
    const extent = extents[at];
    if (extent === undefined) return undefined;
    return isShared ? alike(widened(extent, PAD / 2), parts) : ownScale(widened(extent, PAD), height / lanes);
  });
}

/** A little more than what is there; not beyond nought where nothing is. */
function widened([least, most]: [number, number], share: number): [number, number] {
  if (least === 0 && most === 0) return [-1, 1];
  const more = share * (most > least ? most - least : Math.abs(most));
  const [low, high] = [least - more, most + more];
  return [least >= 0 && low < 0 ? 0 : low, most <= 0 && high > 0 ? 0 : high];
}

function ownScale([least, most]: [number, number], height: number): Scale {
  const step = stepOf((most - least) / Math.max(2, height / TICK_PX), ROUND_STEPS);
  const ticks: number[] = [];
  for (let at = Math.ceil(least / step); at * step <= most; at++) ticks.push(tidy(at * step));
  return { least, most, ticks };
}

/** From a tick to a tick, with so many parts between. */
function alike([least, most]: [number, number], parts: number): Scale {
  let step = stepOf((most - least) / parts, STEPS);
  while (Math.floor(least / step) * step + parts * step < most) step = stepOf(step * 1.01, STEPS);
  const first = Math.floor(least / step);
  const ticks = Array.from({ length: parts + 1 }, (_, at) => tidy((first + at) * step));
  return { least: ticks[0], most: ticks[parts], ticks };
}

/** The least of `steps`, at any power of ten, that is not below `least`. */
function stepOf(least: number, steps: number[]): number {
  const power = 10 ** Math.floor(Math.log10(least));
  return power * (steps.find((step) => step * power >= least * (1 - 1e-9)) ?? 10);
}

const tidy = (value: number): number => Number(value.toPrecision(DIGITS));
