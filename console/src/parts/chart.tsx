/** The one place that knows the chart library: lines over time, in colours and dashes that differ. */
import { useLayoutEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { numberText } from "../format";
import { theme } from "../theme";
import { isUtc, times, zone } from "../times";
import { language, locale } from "../words";
import { drawLine } from "./lines";
import { Raster } from "./raster";
import { extentOf, placeOf } from "./thin";

/** Unix ms and numbers; null makes a gap. With `low` the area down to it is filled: extremes of a window. */
export interface Line {
  label: string;
  times: number[];
  values: (number | null)[];
  low?: (number | null)[];
  marks?: Mark[];
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
  /** Of a spectrum: what stands for times are Hz. */
  isHertz?: boolean;
  /** Where the picture is found, to keep it. */
  canvas?: { current: HTMLCanvasElement | null };
}

const LABEL_PX = 80; // of a time with its seconds
const STRIPE_PX = 6;
const PAD = 0.1; // above and below the lines
export const DASHES = [[], [8, 4], [2, 3], [12, 4, 2, 4], [4, 2], [1, 2], [10, 2], [6, 6]];

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
  const shape = `${props.lines.map((line) => line.label).join("\n")}|${theme.value}|${language.value}|${times.value}`;
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
  useLayoutEffect(() => plot.current?.show(props.lines, props.fromMs, props.toMs)); // in the same picture as all else
  return <div class="chart" ref={box} role="img" aria-label={props.label} />;
}

/** Axes, the cursor and what is drawn with it are the library's; the lines are drawn here. */
class Plot {
  private readonly made: uPlot;
  private readonly colors: string[];
  private readonly stale: string;
  private readonly factor: number;
  private readonly height: number;
  private lines: Line[] = [];
  private extent: [number, number] | undefined;
  private drawn: Drawn | undefined;
  private layer: Layer | undefined;
  private readonly marks: HTMLElement[] = [];

  constructor(props: ChartProps, element: HTMLElement, onZoom: (fromMs: number, toMs: number) => void) {
    const style = getComputedStyle(document.documentElement);
    const color = (name: string): string => style.getPropertyValue(name).trim();
    this.colors = props.lines.map((_line, index) => color(`--s${(index % 8) + 1}`));
    this.stale = color("--stale");
    this.factor = props.isHertz ? 1 : 1000;
    this.height = props.height ?? 220;
    const options = optionsOf(props, color, element.clientWidth, onZoom);
    options.scales = { x: { time: !props.isHertz }, y: { range: () => this.range() } };
    options.hooks = {
      ...options.hooks,
      drawClear: [() => this.clipped((ctx) => this.shade(ctx))], draw: [(made) => this.draw(made.ctx)],
      setCursor: [() => this.mark()],
    };
    this.made = new uPlot(options, [[]], element);
    if (props.canvas) props.canvas.current = this.made.ctx.canvas;
  }

  show(lines: Line[], fromMs: number, toMs: number): void {
    const next = { lines, ends: lines.map((line) => line.times[line.times.length - 1]), fromMs, toMs };
    if (this.drawn !== undefined && isSame(this.drawn, next)) return;
    this.drawn = next;
    this.lines = lines;
    const seen = lines.flatMap(({ times, values, low = values }) => [values, low].flatMap((list) => extentOf(times, list, fromMs, toMs) ?? []));
    this.extent = seen.length === 0 ? undefined : [Math.min(...seen), Math.max(...seen)];
    this.made.batch((made: uPlot) => {
      made.setData([[fromMs / this.factor, toMs / this.factor]], false);
      made.setScale("x", { min: fromMs / this.factor, max: toMs / this.factor });
    });
  }

  resize(width: number): void {
    if (width !== this.made.width) this.made.setSize({ width, height: this.height });
  }

  close(): void {
    this.made.destroy();
  }

  private range(): uPlot.Range.MinMax {
    return this.extent === undefined ? [null, null] : uPlot.rangeNum(...this.extent, PAD, true);
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

  private draw(ctx: CanvasRenderingContext2D): void {
    const { bbox, scales } = this.made;
    if (this.drawn === undefined || typeof scales.y.min !== "number" || typeof scales.y.max !== "number") return;
    const [width, height] = [Math.round(bbox.width), Math.round(bbox.height)];
    if (width < 1 || height < 1) return;
    const { fromMs, toMs } = this.drawn;
    const frame = { top: 0, height, fromMs, toMs, least: scales.y.min, most: scales.y.max };
    const { raster, canvas } = this.layerOf(width, height);
    raster.clear();
    this.lines.forEach((line, index) => drawLine(raster, line, frame, { color: this.colors[index], dash: DASHES[index % 8], ratio: devicePixelRatio }));
    canvas.putImageData(new ImageData(raster.bytes, raster.width), 0, 0);
    ctx.drawImage(canvas.canvas, Math.round(bbox.left), Math.round(bbox.top)); // as it lies over the grid, which `putImageData` would take away
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
    for (const line of this.lines) {
      let drawnTo = -Infinity; // of many in one column of pixels, one
      for (const mark of line.marks ?? []) {
        const [from, to] = [Math.max(mark.fromMs, fromMs), Math.min(mark.toMs, toMs)];
        if (from >= to) continue;
        const [left, right] = [bbox.left + (from - fromMs) * scale, bbox.left + (to - fromMs) * scale];
        if (right <= drawnTo) continue;
        drawnTo = left + Math.max(1, right - left);
        stripes(ctx, left, drawnTo - left, bbox, STRIPE_PX * (mark.isBad ? 1 : 2));
      }
    }
  }

  /** Of each line the sample that is nearest to the cursor, of all that there are. */
  private mark(): void {
    const { cursor, scales, over } = this.made;
    const { fromMs, toMs } = this.drawn ?? { fromMs: 0, toMs: 0 };
    const [least, most] = [scales.y.min, scales.y.max];
    const cursorMs = fromMs + ((cursor.left ?? -1) / over.clientWidth) * (toMs - fromMs);
    this.lines.forEach((line, index) => {
      const at = (cursor.left ?? -1) < 0 || typeof least !== "number" || typeof most !== "number" ? -1 : nearest(line, cursorMs);
      const [x, y] = at < 0 ? [0, 0] : [(line.times[at] - fromMs) / (toMs - fromMs), ((line.values[at] as number) - (least as number)) / ((most as number) - (least as number))];
      const element = (this.marks[index] ??= this.newMark(index));
      element.hidden = at < 0 || x < 0 || x > 1;
      if (!element.hidden) element.style.transform = `translate(${x * over.clientWidth}px, ${(1 - y) * over.clientHeight}px)`;
    });
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
    axes: [{ ...axis, space: LABEL_PX, values: (_made, ticks, _axis, _space, step) => ticks.map((s) => (props.isHertz ? numberText(s) : clockText(s * 1000, step))) }, { ...axis, size: 70, values: (_made, ticks) => ticks.map(numberText) }],
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

function stripes(ctx: CanvasRenderingContext2D, left: number, width: number, box: uPlot.BBox, step: number): void {
  ctx.beginPath();
  for (let at = left; at <= left + width; at += step * devicePixelRatio) {
    ctx.moveTo(at, box.top);
    ctx.lineTo(at, box.top + box.height);
  }
  ctx.stroke();
}
