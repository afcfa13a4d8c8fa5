/** How a line gets onto a canvas. One that goes up and down through much of the picture is drawn column by column: as a path it
 * would cross itself thousands of times, and cost more than all else of a page together. */
import { type Line } from "./chart";
import { type Values } from "./peaks";
import { columnsOf, endOf, firstOf, lastOf, placeOf, type Columns } from "./thin";

/** The part of a canvas in which lines are, in its own pixels, and what it shows. */
export interface Frame {
  left: number;
  top: number;
  width: number;
  height: number;
  fromMs: number;
  toMs: number;
  least: number;
  most: number;
}

export interface Look {
  color: string;
  dash: number[];
  /** Pixels of the canvas for one of the page. */
  ratio: number;
}

const LINE_PX = 1.5;
const TRAVEL_MAX = 10; // in heights and widths of the picture together, that a path goes up and down
const COLUMN_DASH = 2; // a dash of columns has to be seen among them
const BAND_ALPHA = 0.25;

/** Where `line` has a `low`, the area between is filled. */
export function drawLine(ctx: CanvasRenderingContext2D, line: Line, frame: Frame, look: Look): void {
  [ctx.strokeStyle, ctx.fillStyle, ctx.lineWidth, ctx.lineJoin] = [look.color, look.color, LINE_PX * look.ratio, "round"];
  const { times, values, low } = line;
  const isDense = endOf(times, frame.toMs) - placeOf(times, frame.fromMs) > frame.width;
  const lists = low === undefined ? [values] : [values, low];
  const shapes = lists.map((list) => columnsOf(times, list, frame.fromMs, frame.toMs, frame.width));
  if (low !== undefined) fillBetween(ctx, shapes[0], shapes[1], frame);
  shapes.forEach((columns, at) => {
    if (travelOf(columns, frame) > TRAVEL_MAX * (frame.width + frame.height)) drawColumns(ctx, columns, frame, look);
    else stroke(ctx, isDense ? middlesOf(columns, frame) : pointsOf(times, lists[at], frame), look);
  });
}

const scaleOf = ({ height, least, most }: Frame): number => height / (most - least);

/** How many pixels a line goes up and down. */
function travelOf({ least, greatest }: Columns, frame: Frame): number {
  let sum = 0;
  for (let column = 0; column < least.length; column++) if (least[column] <= greatest[column]) sum += greatest[column] - least[column];
  return sum * scaleOf(frame);
}

/** In the gaps of a dashed line only the ends of its columns are drawn, so that each extreme is seen. */
function drawColumns(ctx: CanvasRenderingContext2D, { least, greatest }: Columns, frame: Frame, look: Look): void {
  const thick = LINE_PX * look.ratio;
  const dash = look.dash.map((px) => px * COLUMN_DASH * look.ratio);
  const [scale, ground, ends] = [scaleOf(frame), frame.top + frame.height, 2 * Math.ceil(thick)];
  let [part, until] = [0, dash[0] ?? Infinity];
  for (let column = 0; column < least.length; column++) {
    if (column >= until) until += dash[(part = (part + 1) % dash.length)];
    if (least[column] > greatest[column]) continue;
    const top = Math.round(ground - (greatest[column] - frame.least) * scale - thick / 2);
    const bottom = Math.round(ground - (least[column] - frame.least) * scale + thick / 2);
    if (part % 2 === 0 || bottom - top <= 2 * ends) ctx.fillRect(frame.left + column, top, 1, Math.max(1, bottom - top));
    else {
      ctx.fillRect(frame.left + column, top, 1, ends);
      ctx.fillRect(frame.left + column, bottom - ends, 1, ends);
    }
  }
}

/** x and y in turn, in pixels. */
type Points = number[];

/** Each value that is seen, with the one before and the one behind. */
function pointsOf(times: number[], values: Values, frame: Frame): Points {
  const [first, end] = [placeOf(times, frame.fromMs), endOf(times, frame.toMs)];
  const [across, up, ground] = [frame.width / (frame.toMs - frame.fromMs), scaleOf(frame), frame.top + frame.height];
  const found: Points = [];
  const add = (at: number): void => {
    const value = values[at];
    if (at >= 0 && value !== null) found.push(frame.left + (times[at] - frame.fromMs) * across, ground - (value - frame.least) * up);
  };
  add(lastOf(values, 0, first));
  for (let at = first; at < end; at++) add(at);
  add(firstOf(values, end, values.length));
  return found;
}

/** The same of more values than columns: each column's extremes in its middle, the nearer one first. */
function middlesOf({ least, greatest }: Columns, frame: Frame): Points {
  const [up, ground] = [scaleOf(frame), frame.top + frame.height];
  const found: Points = [];
  let before = -Infinity;
  for (let column = 0; column < least.length; column++) {
    const [low, high] = [least[column], greatest[column]];
    if (low > high) continue;
    const isRising = Math.abs(before - low) <= Math.abs(before - high);
    const [one, other] = isRising ? [low, high] : [high, low];
    const x = frame.left + column + 0.5;
    found.push(x, ground - (one - frame.least) * up);
    if (one !== other) found.push(x, ground - (other - frame.least) * up);
    before = other;
  }
  return found;
}

function stroke(ctx: CanvasRenderingContext2D, points: Points, { dash, ratio }: Look): void {
  ctx.setLineDash(dash.map((px) => px * ratio));
  ctx.beginPath();
  for (let at = 0; at < points.length; at += 2) ctx.lineTo(points[at], points[at + 1]);
  ctx.stroke();
  ctx.setLineDash([]);
}

function fillBetween(ctx: CanvasRenderingContext2D, high: Columns, low: Columns, frame: Frame): void {
  const [scale, ground] = [scaleOf(frame), frame.top + frame.height];
  ctx.globalAlpha = BAND_ALPHA;
  for (let column = 0; column < frame.width; column++) {
    if (low.least[column] > high.greatest[column]) continue;
    const top = ground - (high.greatest[column] - frame.least) * scale;
    ctx.fillRect(frame.left + column, top, 1, ground - (low.least[column] - frame.least) * scale - top);
  }
  ctx.globalAlpha = 1;
}
