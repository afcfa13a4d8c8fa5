/** How a line gets into a picture: from sample to sample, or column by column where there are more samples than columns. Pure. */
import { type Line } from "./chart";
import { type Values } from "./peaks";
import { type Raster } from "./raster";
import { steadyColumns } from "./steady";
import { columnsOf, endOf, firstOf, lastOf, placeOf, type Columns } from "./thin";

/** The part of a picture in which a line is, in its pixels from the top, and what it shows from left to right. */
export interface Frame {
  top: number;
  height: number;
  fromMs: number;
  toMs: number;
  least: number;
  most: number;
}

export interface Look {
  /** `#rrggbb`. */
  color: string;
  dash: number[];
  /** Pixels of the canvas for one of the page. */
  ratio: number;
}

const LINE_PX = 1.5;
const TRAVEL_MAX = 10; // in heights and widths of the picture together, that a path goes up and down
const COLUMN_DASH = 2; // a dash of columns has to be seen among them
const BAND_ALPHA = 64; // of 255

/** Where `line` has a `low`, the area between is filled. */
export function drawLine(raster: Raster, line: Line, frame: Frame, look: Look): void {
  raster.color = look.color;
  const { times, values, low } = line;
  const isDense = endOf(times, frame.toMs) - placeOf(times, frame.fromMs) > raster.width;
  const lists = low === undefined ? [values] : [values, low];
  const columns = isDense ? steadyColumns : columnsOf;
  const shapes = isDense || low !== undefined ? lists.map((list) => columns(times, list, frame.fromMs, frame.toMs, raster.width)) : [];
  if (shapes.length === 2) fillBetween(raster, shapes[0], shapes[1], frame);
  lists.forEach((values, at) => {
    if (isDense) drawColumns(raster, shapes[at], frame, look);
    else raster.stroke(pointsOf(times, values, frame, raster.width), LINE_PX * look.ratio, look.dash.map((px) => px * look.ratio));
  });
}

const scaleOf = ({ height, least, most }: Frame): number => height / (most - least);

/** How many pixels a line goes up and down. */
function travelOf({ least, greatest }: Columns, frame: Frame): number {
  let sum = 0;
  for (let column = 0; column < least.length; column++) if (least[column] <= greatest[column]) sum += greatest[column] - least[column];
  return sum * scaleOf(frame);
}

/** A dash goes along a line that can be followed; of one that cannot, it is so many columns. In its gaps the ends of what is high
 * are drawn, so that each extreme is seen. */
function drawColumns(raster: Raster, columns: Columns, frame: Frame, look: Look): void {
  const { least, greatest } = columns;
  const isWild = travelOf(columns, frame) > TRAVEL_MAX * (raster.width + frame.height);
  const thick = LINE_PX * look.ratio;
  const dash = look.dash.map((px) => px * (isWild ? COLUMN_DASH : 1) * look.ratio);
  const [scale, ground, ends] = [scaleOf(frame), frame.top + frame.height, 2 * Math.ceil(thick)];
  let [passed, part, until] = [0, 0, dash[0] ?? Infinity];
  for (let column = 0; column < least.length; column++) {
    if (least[column] > greatest[column]) continue;
    let top = ground - (greatest[column] - frame.least) * scale - thick / 2;
    let bottom = ground - (least[column] - frame.least) * scale + thick / 2;
    while (passed >= until) until += dash[(part = (part + 1) % dash.length)];
    passed += isWild ? 1 : Math.hypot(1, bottom - top - thick);
    const isLow = bottom - top <= 2 * ends;
    if (isWild || !isLow) [top, bottom] = [Math.round(top), Math.round(bottom)]; // an extreme is as dense as any
    if (part % 2 === 0 || (isWild && isLow)) raster.upright(column, top, bottom);
    else if (!isLow) {
      raster.upright(column, top, top + ends);
      raster.upright(column, bottom - ends, bottom);
    }
  }
}

/** x and y in turn, in pixels. */
type Points = number[];

/** Each value that is seen, with the one before and the one behind. */
function pointsOf(times: number[], values: Values, frame: Frame, width: number): Points {
  const [first, end] = [placeOf(times, frame.fromMs), endOf(times, frame.toMs)];
  const [across, up, ground] = [width / (frame.toMs - frame.fromMs), scaleOf(frame), frame.top + frame.height];
  const found: Points = [];
  const add = (at: number): void => {
    const value = values[at];
    if (at >= 0 && value !== null) found.push((times[at] - frame.fromMs) * across, ground - (value - frame.least) * up);
  };
  add(lastOf(values, 0, first));
  for (let at = first; at < end; at++) add(at);
  add(firstOf(values, end, values.length));
  return found;
}

function fillBetween(raster: Raster, high: Columns, low: Columns, frame: Frame): void {
  const [scale, ground] = [scaleOf(frame), frame.top + frame.height];
  for (let column = 0; column < raster.width; column++) {
    if (low.least[column] > high.greatest[column]) continue;
    const top = Math.round(ground - (high.greatest[column] - frame.least) * scale);
    raster.fill(column, top, Math.round(ground - (low.least[column] - frame.least) * scale), BAND_ALPHA);
  }
}
