/** A machine over time: its states, its alarms, its stops, its orders. Drag over a part of a stop to say why just that part was. */
import { type Stop } from "@millstream/client";
import { useEffect, useRef, useState } from "preact/hooks";
import { durationText, plain, timeText } from "../format";
import { client } from "../state/hub";
import { ordersOf, type Order } from "../state/orders";
import { tags } from "../state/tags";
import { isUtc } from "../times";
import { t, type Word } from "../words";
import { bandsOf, PIXELS, shownFrom, type Band } from "./bands";
import { chosenOf, endOf, startOf, type Chosen } from "./choice";
import { BAND_COLORS, heightOf } from "./state_band";
import { marksOf } from "./hours";
import { machineState, type MachineState } from "./states";
import { Table } from "./table";

const CLICK_PX = 4;
const ALARMS_MAX = 200;
const [HEIGHT, ORDERS_TOP, ORDERS_PX] = [44, 47, 14];
/** Each with the middle of its lane. */
const LANES: [Word, number][] = [["state", 10], ["alarms", 23], ["stops", 35]];
const ORDERS_LANE: [Word, number] = ["orders", ORDERS_TOP + ORDERS_PX / 2];

interface TimelineProps {
  asset: string;
  stops: Stop[];
  fromMs: number;
  toMs: number;
  choose?: (chosen: Chosen) => void;
}

export function Timeline({ asset, stops, fromMs: wantedMs, toMs, choose }: TimelineProps): preact.JSX.Element {
  const { bands, alarms, orders, fromMs } = usePast(asset, wantedMs, toMs);
  const box = useRef<SVGSVGElement>(null);
  const [drag, setDrag] = useState<[number, number]>();
  const x = (ms: number): number => (PIXELS * (Math.min(Math.max(ms, fromMs), toMs) - fromMs)) / (toMs - fromMs);
  const timeAt = (event: PointerEvent): number => {
    const { left, width } = (box.current as SVGSVGElement).getBoundingClientRect();
    return fromMs + ((toMs - fromMs) * Math.min(Math.max(event.clientX - left, 0), width)) / width;
  };
  const end = (event: PointerEvent): void => {
    if (drag === undefined) return;
    const width = (box.current as SVGSVGElement).getBoundingClientRect().width;
    const [first, last] = [Math.min(drag[0], timeAt(event)), Math.max(drag[0], timeAt(event))];
    const isClick = ((last - first) * width) / (toMs - fromMs) < CLICK_PX;
    const chosen = isClick ? chosenOf(stops, first, first, toMs) : chosenOf(stops, first, last, toMs);
    setDrag(undefined);
    if (chosen !== undefined) choose?.(chosen);
  };
  const height = orders.length > 0 ? ORDERS_TOP + ORDERS_PX + 1 : HEIGHT;
  const lanes = orders.length > 0 ? [...LANES, ORDERS_LANE] : LANES;
  const marks = marksOf(fromMs, toMs, -new Date(toMs).getTimezoneOffset(), isUtc());
  const share = (ms: number): string => `${(100 * x(ms)) / PIXELS}%`;
  return (
    <figure class="timeline">
      <div class="lanes" aria-hidden="true">{lanes.map(([word, y]) => <span key={word} style={{ top: `${2 * y}px` }}>{t(word)}</span>)}</div>
      <div class="over">
      <svg ref={box} class={choose ? "bands act-on" : "bands"} viewBox={`0 0 ${PIXELS} ${height}`} width="100%" height={2 * height} preserveAspectRatio="none"
        role="img" aria-label={t("timelineOf", { what: plain(asset, 200) })}
        onPointerDown={(event) => { event.currentTarget.setPointerCapture(event.pointerId); setDrag([timeAt(event), timeAt(event)]); }}
        onPointerMove={(event) => drag && setDrag([drag[0], timeAt(event)])} onPointerUp={end} onPointerCancel={() => setDrag(undefined)}>
        {marks.map(({ ms }) => <path key={ms} d={`M${x(ms)} 0V${height}`} stroke="var(--line)" vector-effect="non-scaling-stroke" />)}
        {bands.map((band) => (
          <rect key={band.from} x={band.from} y={heightOf(band.state)} width={band.to - band.from} height={20 - heightOf(band.state)}
            fill={`var(--${BAND_COLORS[band.state]})`}><title>{t(band.state)}</title></rect>
        ))}
        {alarms.map((ms) => <path key={ms} d={`M${x(ms)} 21 l2 4 h-4 z`} fill="var(--critical)"><title>{timeText(ms)}</title></path>)}
        {stops.map((stop) => (
          <rect key={stop.start} x={x(startOf(stop))} y="27" width={Math.max(1, x(endOf(stop, toMs)) - x(startOf(stop)))} height="16"
            fill={stop.reason === null ? "none" : "var(--muted)"} stroke="var(--text)" vector-effect="non-scaling-stroke"
            stroke-dasharray={stop.reason === null ? "3 2" : undefined}>
            <title>{`${timeText(startOf(stop))} · ${durationText((endOf(stop, toMs) - startOf(stop)) / 1000)} · ${plain(stop.reason ?? stop.state, 80)}`}</title>
          </rect>
        ))}
        {orders.map((order, at) => (
          <rect key={`${order.name} ${order.startMs}`} x={x(order.startMs)} y={ORDERS_TOP} width={Math.max(1, x(order.endMs) - x(order.startMs))} height={ORDERS_PX}
            fill={at % 2 === 0 ? "var(--idle)" : "var(--line)"} stroke="var(--muted)" vector-effect="non-scaling-stroke">
            <title>{`${plain(order.name, 64)} · ${plain(order.product, 64)} · ${timeText(order.startMs)} – ${timeText(order.endMs)}`}</title>
          </rect>
        ))}
        {drag && <rect x={x(Math.min(...drag))} y="0" width={Math.abs(x(drag[1]) - x(drag[0]))} height={height} fill="var(--focus)" opacity="0.35" />}
      </svg>
      <div class="marks muted" aria-hidden="true">{marks.map(({ ms, text }) => <span key={ms} style={{ left: share(ms) }}>{text}</span>)}</div>
      <figcaption class="muted">
        {drag === undefined ? `${timeText(fromMs)} – ${timeText(toMs)}` : <b>{spanText(Math.min(...drag), Math.max(...drag))}</b>}
        {" · "}{t(choose ? "timelineHint" : "timelineLegend")}
      </figcaption>
      <Legend states={[...new Set(bands.map((band) => band.state))]} />
      </div>
      {orders.length > 0 && <Orders orders={orders} />}
    </figure>
  );
}

const spanText = (fromMs: number, toMs: number): string => `${timeText(fromMs)} – ${timeText(toMs)} · ${durationText((toMs - fromMs) / 1000)}`;

/** What the states that are in sight look like, by height and by colour. */
function Legend({ states }: { states: MachineState[] }): preact.JSX.Element {
  return (
    <ul class="legend muted">
      {states.map((state) => (
        <li key={state}>
          <svg viewBox="0 0 20 20" aria-hidden="true"><rect y={heightOf(state)} width="20" height={20 - heightOf(state)} fill={`var(--${BAND_COLORS[state]})`} /></svg> {t(state)}
        </li>
      ))}
    </ul>
  );
}

function Orders({ orders }: { orders: Order[] }): preact.JSX.Element {
  return (
    <Table caption={t("orders")} rows={[...orders].reverse()} keyOf={(order) => `${order.name} ${order.startMs}`} columns={[
      { head: t("order"), cell: (order) => plain(order.name, 64) },
      { head: t("product"), cell: (order) => plain(order.product, 64) },
      { head: t("since"), cell: (order) => timeText(order.startMs) },
      { head: t("lasts"), isNumber: true, cell: (order) => durationText((order.endMs - order.startMs) / 1000) },
    ]} />
  );
}

interface Past {
  bands: Band[];
  alarms: number[];
  orders: Order[];
  fromMs: number;
}

function usePast(asset: string, wantedMs: number, toMs: number): Past {
  const [past, setPast] = useState<Past>({ bands: [], alarms: [], orders: [], fromMs: wantedMs });
  useEffect(() => {
    let isOver = false;
    const state = [...tags.peek().values()].find((tag) => tag.kind === "state" && tag.asset === asset);
    void Promise.all([
      state === undefined ? undefined : client.history.range(state.path, wantedMs, toMs, "state").catch(() => undefined),
      client.history.events(`${asset.replace(/[*?[\]]/g, "?")}:*`, "alarm", ALARMS_MAX).catch(() => []),
      client.acts.facts(asset, "order").catch(() => []),
    ]).then(([found, events, facts]) => {
      if (isOver) return;
      const fromMs = found === undefined ? wantedMs : shownFrom(found.times, wantedMs, toMs);
      const alarms = events.map((event) => event.timestamp_ns / 1e6).filter((ms) => ms >= fromMs && ms <= toMs);
      setPast({
        bands: found === undefined ? [] : bandsOf(found.times, found.values.map(machineState), fromMs, toMs),
        alarms: [...new Set(alarms)],
        orders: ordersOf(facts, asset, fromMs, toMs),
        fromMs,
      });
    });
    return () => { isOver = true; };
  }, [asset, wantedMs, toMs]);
  return past;
}
