/** The one place that knows the chart library: lines over time, in colours and dashes that differ. */
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { numberText } from "../format";
import { theme } from "../theme";
import { isUtc, times, zone } from "../times";
import { language, locale } from "../words";
import { thinned } from "./thin";

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
const COLUMNS_MIN = 150; // before it knows how wide it is
const COLUMN_PX = 2;
const DENSE = 1000; // values in sight: the line then goes up and down through most of the picture
const DENSE_DASH = 8;
export const DASHES = [[], [8, 4], [2, 3], [12, 4, 2, 4], [4, 2], [1, 2], [10, 2], [6, 6]];

export function Chart(props: ChartProps): preact.JSX.Element {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>(undefined);
  const zoom = useRef(props.onZoom);
  zoom.current = props.onZoom;
  const lines = useRef(props.lines);
  lines.current = props.lines;
  const factor = props.isHertz ? 1 : 1000;
  const shape = `${props.lines.map((line) => `${line.label}${line.low === undefined ? "" : " –"}`).join("\n")}|${theme.value}|${language.value}|${times.value}`;
  useEffect(() => {
    const element = box.current as HTMLDivElement;
    const made = new uPlot(optionsOf(props, element.clientWidth, (from, to) => zoom.current?.(from, to)), [[]], element);
    made.hooks.drawClear = [(drawn) => shade(drawn, lines.current)];
    plot.current = made;
    if (props.canvas) props.canvas.current = made.ctx.canvas;
    const observer = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: props.height ?? 220 }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
    };
  }, [shape]);
  useEffect(() => {
    plot.current?.batch((made: uPlot) => {
      const seen = props.lines.map((line) => thinned(line, props.fromMs, props.toMs, Math.max(COLUMNS_MIN, made.bbox.width / COLUMN_PX)));
      let at = 1;
      seen.forEach((line, index) => {
        for (const [series, of] of [line.values, line.low].entries()) if (of !== undefined) made.series[at + series].dash = dashOf(line, index);
        at += line.low === undefined ? 1 : 2;
      });
      made.setData(dataOf(seen, factor), false);
      made.setScale("x", { min: props.fromMs / factor, max: props.toMs / factor });
    });
  });
  return <div class="chart" ref={box} role="img" aria-label={props.label} />;
}

/** Of a line that goes up and down all the time the dashes are longer: each costs as much, and they would be too fine to see. */
function dashOf(line: Line, index: number): number[] {
  return DASHES[index % 8].map((px) => px * (line.times.length > DENSE ? DENSE_DASH : 1));
}

function optionsOf(props: ChartProps, width: number, onZoom: (fromMs: number, toMs: number) => void): uPlot.Options {
  const style = getComputedStyle(document.documentElement);
  const color = (name: string): string => style.getPropertyValue(name).trim();
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
    scales: { x: { time: !props.isHertz }, y: { auto: true } },
    axes: [{ ...axis, space: LABEL_PX, values: (_made, ticks, _axis, _space, step) => ticks.map((s) => (props.isHertz ? numberText(s) : clockText(s * 1000, step))) }, { ...axis, size: 70, values: (_made, ticks) => ticks.map(numberText) }],
    series: [
      {},
      ...props.lines.flatMap((line, index) => {
        const stroke = color(`--s${(index % 8) + 1}`);
        const look = { label: line.label, stroke, width: 1.5, dash: DASHES[index % 8], spanGaps: true, points: { show: false } };
        return line.low === undefined ? [look] : [look, { ...look, label: `${line.label} ` }];
      }),
    ],
    bands: bandsOf(props.lines, color),
  };
}

/** In the language of the page, and no finer than the distance of the ticks. */
function clockText(ms: number, stepS: number): string {
  const time = { hour: "2-digit", minute: "2-digit", second: stepS < 60 ? "2-digit" : undefined, timeZone: zone() } as const;
  const day = { day: "2-digit", month: "2-digit", timeZone: zone() } as const;
  return new Date(ms).toLocaleString(locale(), stepS >= 86_400 ? day : stepS >= 7200 ? { ...day, ...time } : time);
}

function bandsOf(lines: Line[], color: (name: string) => string): uPlot.Band[] {
  const bands: uPlot.Band[] = [];
  let at = 1;
  lines.forEach((line, index) => {
    if (line.low !== undefined) bands.push({ series: [at, at + 1], fill: `${color(`--s${(index % 8) + 1}`)}40` });
    at += line.low === undefined ? 1 : 2;
  });
  return bands;
}

/** All lines over one axis of time. */
function dataOf(lines: Line[], factor: number): uPlot.AlignedData {
  const tables = lines.map((line): uPlot.AlignedData => {
    const times = line.times.map((ms) => ms / factor);
    return line.low === undefined ? [times, line.values] : [times, line.values, line.low];
  });
  if (tables.length === 0) return [[]];
  return tables.length === 1 ? tables[0] : uPlot.join(tables);
}

/** Behind the lines: stripes where a value is bad, half as dense where it is uncertain. */
function shade(made: uPlot, lines: Line[]): void {
  const { ctx, bbox } = made;
  const [least, most] = [made.scales.x.min ?? 0, made.scales.x.max ?? 0];
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  ctx.strokeStyle = getComputedStyle(document.documentElement).getPropertyValue("--stale").trim();
  ctx.globalAlpha = 0.45;
  for (const line of lines) {
    let drawnTo = -Infinity; // of many in one column of pixels, one
    for (const mark of line.marks ?? []) {
      const [from, to] = [Math.max(mark.fromMs / 1000, least), Math.min(mark.toMs / 1000, most)];
      if (from >= to) continue;
      const [left, right] = [made.valToPos(from, "x", true), made.valToPos(to, "x", true)];
      if (right <= drawnTo) continue;
      drawnTo = left + Math.max(1, right - left);
      stripes(ctx, left, drawnTo - left, bbox, STRIPE_PX * (mark.isBad ? 1 : 2));
    }
  }
  ctx.restore();
}

function stripes(ctx: CanvasRenderingContext2D, left: number, width: number, box: uPlot.BBox, step: number): void {
  ctx.beginPath();
  for (let at = left; at <= left + width; at += step * devicePixelRatio) {
    ctx.moveTo(at, box.top);
    ctx.lineTo(at, box.top + box.height);
  }
  ctx.stroke();
}
