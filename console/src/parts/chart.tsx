/** The one place that knows the chart library: lines over time, in colours and dashes that differ. */
import { useLayoutEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { numberText } from "../format";
import { theme } from "../theme";
import { isUtc, times, zone } from "../times";
import { language, locale } from "../words";
import { arranged, axisPx, scalesOf, type Arrangement, type Axis, type Scale } from "./axes";
import { BAND_PX, drawBand } from "./band";
import { DASHES } from "./dashes";
import { drawLine } from "./lines";
import { Raster } from "./raster";
import { ReadOut } from "./read_out";
import { type States } from "./runs";
import { endOf, extentOf, placeOf } from "./thin";

/** Unix ms and numbers; null makes a gap. With `low` the area down to it is filled: extremes of a window. */
export interface Line {
  label: string;
  times: number[];
  values: (number | null)[];
  low?: (number | null)[];
  marks?: Mark[];
  /** Instead of numbers, which then are null: it is drawn as a band below. */
  states?: States;
  /** Samples as they were stored, not extremes of windows. */
  isRaw?: boolean;
}

/** A stretch whose quality is not good; `toMs` is Infinity while it lasts. */
export interface Mark {
  fromMs: number;
  toMs: number;
  isBad: boolean;
}

interface ChartProps {
  lines: Line[];
  label: string;
  fromMs: number;
  toMs: number;
  height?: number;
  onZoom?: (fromMs: number, toMs: number) => void;
  /** Of each line: those of one unit share an axis. */
  units?: string[];
  /** Of each line, as which one of a picture beside this it looks. */
  looks?: number[];
  /** Each unit has a lane of its own, also where there is room for its axis beside the others. */
  isLanes?: boolean;
  /** Until when a state that lasts is known. */
  nowMs?: number;
  /** Of a spectrum: what stands for times are Hz. */
  isHertz?: boolean;
  /** Where the picture is found, to keep it. */
  canvas?: { current: HTMLCanvasElement | null };
}

const LABEL_PX = 80; // of a time with its seconds
const STRIPE_PX = 6;
const UNIT_PX = 26; // above the lines, where units stand, clear of the uppermost number
const EDGE_PX = 10;
const LANE_PX = 90; // at least, with its unit
const CLOCK_PX = 34;
const TICK_PX = 6;
const FONT = "12px system-ui, sans-serif";
const SWATCH_PX = 16;

/** What was drawn last: the same is not drawn again. */
interface Drawn {
  lines: Line[];
  ends: number[];
  fromMs: number;
  toMs: number;
}

/** Where the lines are drawn, as large as what lies between the axes. */
interface Layer {
  raster: Raster;
  canvas: CanvasRenderingContext2D;
}

export function Chart(props: ChartProps): preact.JSX.Element {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<Plot>(undefined);
  const zoom = useRef(props.onZoom);
  zoom.current = props.onZoom;
  const shape = `${props.lines.map((line) => line.label).join("\n")}|${props.units?.join("\n")}|${props.lines.map((line) => line.states !== undefined)}|${props.looks}|${props.isLanes}|${props.height}|${theme.value}|${language.value}|${times.value}`;
  useLayoutEffect(() => {
    const element = box.current as HTMLDivElement;
    const made = new Plot(props, element, (from, to) => zoom.current?.(from, to));
    plot.current = made;
    const observer = new ResizeObserver(() => made.resize(element.clientWidth));
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.close();
    };
  }, [shape]);
  useLayoutEffect(() => plot.current?.show(props.lines, props.fromMs, props.toMs, props.nowMs)); // in the same picture as all else
  return <div class="chart" ref={box} role="img" aria-label={props.label} />;
}

/** Axes, the cursor and what is drawn with it are the library's; the lines are drawn here. */
class Plot {
  private readonly made: uPlot;
  private readonly looks: number[];
  private readonly colors: string[];
  private readonly stale: string;
  private readonly grid: string;
  private readonly text: string;
  private readonly factor: number;
  private readonly height: number;
  private lines: Line[] = [];
  private drawn: Drawn | undefined;
  private layer: Layer | undefined;
  private readonly marks: HTMLElement[] = [];
  private readonly readOut: ReadOut;
  private readonly kinds: { unit?: string; isBand: boolean }[];
  private readonly isLanes: boolean;
  private arrangement: Arrangement;
  /** Of each line the axis, of each axis what it shows. */
  private scales: (Scale | undefined)[] = [];
  private nowMs: number | undefined;

  constructor(props: ChartProps, element: HTMLElement, onZoom: (fromMs: number, toMs: number) => void) {
    const style = getComputedStyle(document.documentElement);
    const color = (name: string): string => style.getPropertyValue(name).trim();
    this.looks = props.lines.map((_line, index) => (props.looks?.[index] ?? index) % DASHES.length);
    this.colors = this.looks.map((look) => color(`--s${look + 1}`));
    [this.stale, this.grid, this.text] = [color("--stale"), color("--line"), color("--muted")];
    this.factor = props.isHertz ? 1 : 1000;
    this.height = props.height ?? 220;
    this.kinds = props.lines.map((line, at) => ({ unit: props.units?.[at], isBand: line.states !== undefined }));
    this.isLanes = props.isLanes === true;
    this.arrangement = arranged(this.kinds, element.clientWidth, this.isLanes);
    const options = optionsOf(props, color, element.clientWidth, onZoom);
    options.height = this.heightPx();
    options.padding = [() => UNIT_PX, () => this.sidePx(this.arrangement.right), () => 0, () => this.sidePx(this.arrangement.left)];
    options.hooks = {
      ...options.hooks,
      drawClear: [() => this.clipped((ctx) => this.shade(ctx)), () => this.drawAxes()],
      draw: [(made) => this.draw(made.ctx)],
      setCursor: [() => this.mark()],
    };
    this.made = new uPlot(options, [[]], element);
    this.readOut = new ReadOut(this.made.over, this.kinds.map(({ unit = "" }, at) => ({ label: props.lines[at].label, unit, color: this.colors[at] })), props.isHertz === true);
    if (props.canvas) props.canvas.current = this.made.ctx.canvas;
  }

  show(lines: Line[], fromMs: number, toMs: number, nowMs?: number): void {
    const next = { lines, ends: lines.map((line) => line.times[line.times.length - 1]), fromMs, toMs };
    if (this.drawn !== undefined && isSame(this.drawn, next)) return;
    this.drawn = next;
    this.lines = lines;
    this.nowMs = nowMs;
    this.made.batch((made: uPlot) => {
      made.setData([[fromMs / this.factor, toMs / this.factor]], false);
      made.setScale("x", { min: fromMs / this.factor, max: toMs / this.factor });
    });
  }

  /** The least and the greatest that is seen of the lines of an axis. */
  private extentOf(axis: Axis): [number, number] | undefined {
    const { fromMs, toMs } = this.drawn as Drawn;
    let [least, most] = [Infinity, -Infinity];
    for (const at of axis.lines) {
      const { times, values, low } = this.lines[at];
      for (const list of low === undefined ? [values] : [values, low]) {
        const found = extentOf(times, list, fromMs, toMs);
        if (found !== undefined) [least, most] = [Math.min(least, found[0]), Math.max(most, found[1])];
      }
    }
    return least > most ? undefined : [least, most];
  }

  /** No lane is too low to be read, and bands come below. */
  private heightPx(): number {
    const { axes, bands } = this.arrangement;
    return Math.max(this.height, (axes[0]?.lanes ?? 1) * LANE_PX) + bands.length * BAND_PX;
  }

  private sidePx(count: number): number {
    return count === 0 ? EDGE_PX : axisPx(count);
  }

  resize(width: number): void {
    if (width === this.made.width) return;
    this.arrangement = arranged(this.kinds, width, this.isLanes); // before the library asks how much room it takes
    this.made.setSize({ width, height: this.heightPx() });
  }

  close(): void {
    this.made.destroy();
  }

  /** Where the lines of an axis are, from the top of what lies between the axes, in pixels of the canvas. */
  private laneOf({ lane, lanes }: { lane: number; lanes: number }): { top: number; height: number } {
    const whole = Math.round(this.made.bbox.height - this.arrangement.bands.length * BAND_PX * devicePixelRatio);
    const room = lanes === 1 ? 0 : UNIT_PX * devicePixelRatio;
    const [top, end] = [Math.round((lane * whole) / lanes + (lane === 0 ? 0 : room)), Math.round(((lane + 1) * whole) / lanes)];
    return { top, height: Math.max(1, end - top) };
  }

  private clipped(draw: (ctx: CanvasRenderingContext2D) => void): void {
    const { ctx, bbox } = this.made;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    draw(ctx);
    ctx.restore();
  }

  /** What each axis shows now, its ticks with their numbers, its unit above; of axes that stand over each other one grid. */
  private drawAxes(): void {
    const { ctx, bbox } = this.made;
    const { axes } = this.arrangement;
    if (this.drawn === undefined || bbox.width < 1) return;
    const ratio = devicePixelRatio;
    this.scales = scalesOf(axes, axes.map((axis) => this.extentOf(axis)), this.laneOf({ lane: 0, lanes: 1 }).height / ratio);
    ctx.save();
    ctx.font = FONT.replace("12px", `${12 * ratio}px`);
    ctx.textBaseline = "middle";
    ctx.lineWidth = ratio;
    const isAlone = axes.length === 1;
    axes.forEach((axis, at) => {
      const scale = this.scales[at];
      const { top, height } = this.laneOf(axis);
      const color = axis.lines.length === 1 && !isAlone ? this.colors[axis.lines[0]] : this.text;
      const out = axis.isLeft ? -1 : 1;
      const edge = (axis.isLeft ? bbox.left : bbox.left + bbox.width) + out * axisPx(axis.slot) * ratio;
      ctx.textAlign = axis.isLeft ? "right" : "left";
      ctx.fillStyle = ctx.strokeStyle = color;
      for (const tick of scale?.ticks ?? []) {
        const y = Math.round(bbox.top + top + height * (1 - (tick - (scale as Scale).least) / ((scale as Scale).most - (scale as Scale).least))) + 0.5 * (ratio % 2);
        ctx.fillText(numberText(tick), edge + out * (TICK_PX + 3) * ratio, y);
        line(ctx, edge, y, edge + out * TICK_PX * ratio, y);
        if (at > 0 && axis.lanes === 1) continue;
        ctx.strokeStyle = this.grid;
        line(ctx, bbox.left, y, bbox.left + bbox.width, y);
        ctx.strokeStyle = color;
      }
      if (!isAlone) line(ctx, edge, bbox.top + top, edge, bbox.top + top + height);
      this.drawUnit(ctx, axis, edge + out * (TICK_PX + 3) * ratio, bbox.top + top - 0.7 * UNIT_PX * ratio);
    });
    ctx.restore();
  }

  /** Where the axis is that of one line among others, it has its colour, and beside the unit its dashes: no colour stands alone. */
  private drawUnit(ctx: CanvasRenderingContext2D, axis: Axis, x: number, y: number): void {
    const ratio = devicePixelRatio;
    const out = axis.isLeft ? -1 : 1;
    ctx.fillText(axis.unit, x, y);
    if (this.arrangement.axes.length === 1 || axis.lines.length > 1) return;
    const at = x + out * (ctx.measureText(axis.unit).width + (axis.unit ? 5 * ratio : 0));
    ctx.lineWidth = 2 * ratio;
    ctx.setLineDash(DASHES[this.looks[axis.lines[0]]].map((px) => px * ratio));
    line(ctx, at, y, at + out * SWATCH_PX * ratio, y);
    ctx.setLineDash([]);
    ctx.lineWidth = ratio;
  }

  private draw(ctx: CanvasRenderingContext2D): void {
    const { bbox } = this.made;
    const [width, height] = [Math.round(bbox.width), Math.round(bbox.height)];
    if (this.drawn === undefined || width < 1 || height < 1) return;
    const { fromMs, toMs } = this.drawn;
    const ratio = devicePixelRatio;
    const { raster, canvas } = this.layerOf(width, height);
    raster.clear();
    this.arrangement.axes.forEach((axis, at) => {
      const scale = this.scales[at];
      if (scale === undefined) return;
      const frame = { ...this.laneOf(axis), fromMs, toMs, least: scale.least, most: scale.most };
      for (const line of axis.lines) drawLine(raster, this.lines[line], frame, { color: this.colors[line], dash: DASHES[this.looks[line]], ratio });
    });
    canvas.putImageData(new ImageData(raster.bytes, raster.width), 0, 0);
    ctx.drawImage(canvas.canvas, Math.round(bbox.left), Math.round(bbox.top)); // as it lies over the grid, which `putImageData` would take away
    const { top, height: whole } = this.laneOf({ lane: 0, lanes: 1 });
    this.arrangement.bands.forEach((line, at) => {
      const place = { left: bbox.left, top: bbox.top + top + whole + at * BAND_PX * ratio, width: bbox.width, fromMs, toMs, nowMs: this.nowMs ?? toMs };
      drawBand(ctx, this.lines[line], place, { color: this.colors[line], text: this.text, grid: this.grid, ratio });
    });
  }

  private layerOf(width: number, height: number): Layer {
    if (this.layer?.raster.width === width && this.layer.raster.height === height) return this.layer;
    const element = document.createElement("canvas");
    [element.width, element.height] = [width, height];
    const canvas = element.getContext("2d", { willReadFrequently: true }) as CanvasRenderingContext2D;
    return (this.layer = { raster: new Raster(width, height), canvas });
  }

  /** Behind the lines: stripes where a value is bad, half as dense where it is uncertain. */
  private shade(ctx: CanvasRenderingContext2D): void {
    const { bbox } = this.made;
    if (this.drawn === undefined) return;
    const { fromMs, toMs } = this.drawn;
    const scale = bbox.width / (toMs - fromMs);
    ctx.strokeStyle = this.stale;
    ctx.globalAlpha = 0.45;
    this.lines.forEach((line, at) => {
      const { top, height } = this.placeOf(at);
      const box = { ...bbox, top: bbox.top + top, height };
      let drawnTo = -Infinity; // of many in one column of pixels, one
      for (const mark of line.marks ?? []) {
        const [from, to] = [Math.max(mark.fromMs, fromMs), Math.min(mark.toMs, toMs)];
        if (from >= to) continue;
        const [left, right] = [bbox.left + (from - fromMs) * scale, bbox.left + (to - fromMs) * scale];
        if (right <= drawnTo) continue;
        drawnTo = left + Math.max(1, right - left);
        stripes(ctx, left, drawnTo - left, box, STRIPE_PX * (mark.isBad ? 1 : 2));
      }
    });
  }

  /** Where one line is. */
  private placeOf(line: number): { top: number; height: number } {
    const band = this.arrangement.bands.indexOf(line);
    const axis = this.arrangement.axes.find((one) => one.lines.includes(line));
    if (band < 0) return this.laneOf(axis ?? { lane: 0, lanes: 1 });
    const { top, height } = this.laneOf({ lane: 0, lanes: 1 });
    return { top: top + height + band * BAND_PX * devicePixelRatio, height: BAND_PX * devicePixelRatio };
  }

  /** Of each line the sample that is nearest to the cursor, of all that there are. */
  private mark(): void {
    const { cursor, over } = this.made;
    const { fromMs, toMs } = this.drawn ?? { fromMs: 0, toMs: 0 };
    const isAway = (cursor.left ?? -1) < 0 || this.drawn === undefined;
    const cursorMs = fromMs + ((cursor.left ?? -1) / over.clientWidth) * (toMs - fromMs);
    const found = this.lines.map((line) => (isAway ? -1 : line.states === undefined ? nearest(line, cursorMs) : endOf(line.times, cursorMs) - 1));
    this.arrangement.axes.forEach((axis, n) => {
      const scale = this.scales[n];
      const { top, height } = this.laneOf(axis);
      for (const index of axis.lines) {
        const [line, at] = [this.lines[index], found[index]];
        const element = (this.marks[index] ??= this.newMark(index));
        const x = at < 0 ? -1 : (line.times[at] - fromMs) / (toMs - fromMs);
        element.hidden = at < 0 || scale === undefined || x < 0 || x > 1;
        if (element.hidden || scale === undefined) continue;
        const share = 1 - ((line.values[at] as number) - scale.least) / (scale.most - scale.least);
        element.style.transform = `translate(${x * over.clientWidth}px, ${(top + share * height) / devicePixelRatio}px)`;
      }
    });
    this.readOut.show(this.lines, found, isAway ? undefined : cursorMs, cursor.left ?? 0);
  }

  private newMark(index: number): HTMLElement {
    const element = document.createElement("i");
    element.className = "at";
    element.style.background = this.colors[index];
    return this.made.over.appendChild(element);
  }
}

function isSame(one: Drawn, other: Drawn): boolean {
  return one.fromMs === other.fromMs && one.toMs === other.toMs && one.lines.length === other.lines.length &&
    one.lines.every((line, index) => line === other.lines[index] && one.ends[index] === other.ends[index]);
}

/** The index of the value that is nearest to a time; -1 where the two samples around it have none. */
function nearest({ times, values }: Line, ms: number): number {
  const behind = placeOf(times, ms);
  const [early, late] = [values[behind - 1] ?? null, values[behind] ?? null];
  if (late === null) return early === null ? -1 : behind - 1;
  return early !== null && ms - times[behind - 1] < times[behind] - ms ? behind - 1 : behind;
}

function optionsOf(props: ChartProps, color: (name: string) => string, width: number, onZoom: (fromMs: number, toMs: number) => void): uPlot.Options {
  const axis = { stroke: color("--muted"), grid: { stroke: color("--line"), width: 1 }, ticks: { stroke: color("--line") } };
  return {
    width, height: props.height ?? 220, legend: { show: false },
    tzDate: (s) => (isUtc() ? uPlot.tzDate(new Date(s * 1000), "Etc/UTC") : new Date(s * 1000)), // where days begin
    cursor: { drag: { x: props.onZoom !== undefined, y: false, setScale: false } },
    hooks: {
      setSelect: [(made) => {
        if (made.select.width < 4) return;
        onZoom(made.posToVal(made.select.left, "x") * 1000, made.posToVal(made.select.left + made.select.width, "x") * 1000);
        made.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
      }],
    },
    axes: [{ ...axis, space: LABEL_PX, size: CLOCK_PX, font: FONT, values: (_made, ticks, _axis, _space, step) => ticks.map((s) => (props.isHertz ? `${numberText(s)} Hz` : clockText(s * 1000, step))) }],
    scales: { x: { time: !props.isHertz } },
    series: [{}],
  };
}

/** In the language of the page, and no finer than the distance of the ticks. */
function clockText(ms: number, stepS: number): string {
  return clock(locale(), zone(), stepS >= 86_400 ? "day" : stepS >= 7200 ? "hours" : stepS < 1 ? "parts" : stepS < 60 ? "seconds" : "minutes").format(ms);
}

const clocks = new Map<string, Intl.DateTimeFormat>();

/** A browser takes longer to make one than to write a hundred times with it. */
function clock(language: string, timeZone: string | undefined, detail: "day" | "hours" | "minutes" | "seconds" | "parts"): Intl.DateTimeFormat {
  const key = `${language} ${timeZone} ${detail}`;
  let found = clocks.get(key);
  if (found === undefined) {
    const isFine = detail === "seconds" || detail === "parts";
    const time = { hour: "2-digit", minute: "2-digit", second: isFine ? "2-digit" : undefined, fractionalSecondDigits: detail === "parts" ? 3 : undefined } as const;
    const day = { day: "2-digit", month: "2-digit" } as const;
    const parts = detail === "day" ? day : detail === "hours" ? { ...day, ...time } : time;
    clocks.set(key, (found = new Intl.DateTimeFormat(language, { ...parts, timeZone })));
  }
  return found;
}

function line(ctx: CanvasRenderingContext2D, x0: number, y0: number, x1: number, y1: number): void {
  ctx.beginPath();
  ctx.moveTo(x0, y0);
  ctx.lineTo(x1, y1);
  ctx.stroke();
}

function stripes(ctx: CanvasRenderingContext2D, left: number, width: number, box: uPlot.BBox, step: number): void {
  ctx.beginPath();
  for (let at = left; at <= left + width; at += step * devicePixelRatio) {
    ctx.moveTo(at, box.top);
    ctx.lineTo(at, box.top + box.height);
  }
  ctx.stroke();
}
