/** The orders of a machine, as its context tells them. Pure. */
import { type Fact, type StoredEvent } from "@millstream/client";
import { dataOf } from "./alarms";

export interface Order {
  name: string;
  product: string;
  startMs: number;
  /** Of one whose end nobody has told: where the next one begins, else the end of what is shown. */
  endMs: number;
  /** How many parts are wanted, where that is told. */
  quantity?: number;
}

/** Good parts of an order: in all, or of what runs now only (`isPart`), where nobody adds up what was before. */
export interface Made {
  good: number;
  isPart: boolean;
  /** When what is newest of it was told. */
  toldMs: number;
}

export const WINDOW = "millstream.oee";
export const TOTAL = "millstream.order_made";

/** The order that runs there now: of those that have begun and not ended, the one that began last. */
export function runningOrder(facts: Fact[], asset: string, nowMs: number): Order | undefined {
  return ordersOf(facts, asset, nowMs, nowMs + 1).at(-1);
}

/** What was made for it: the total of windows that are over (flow `order_made`) and what the running one has so far (flow
 * `oee` with `explain`). Undefined where nobody tells either. `told` is newest first. */
export function madeOf(order: Order, asset: string, told: StoredEvent[]): Made | undefined {
  const mine = told.filter((one) => one.tag.startsWith(`${asset}:`))
    .map((one) => ({ type: one.type, toldMs: one.timestamp_ns / 1e6, data: dataOf(one) as Told }));
  const whole = mine.find((one) => one.type === TOTAL && one.data.order === order.name);
  const running = mine.find((one) => one.type === WINDOW && one.data.window === "live");
  const [total, live] = [whole?.data, running?.data];
  const part = live?.orders?.find((one) => one.order === order.name);
  const [fromMs, untilMs] = [Date.parse(live?.start ?? ""), total === undefined ? order.startMs - MINUTE_MS : Date.parse(total.until ?? "")];
  const before = total === undefined ? 0 : Number(total.good ?? 0);
  const now = part === undefined ? 0 : Number(part.produced ?? 0) - Number(part.rejected ?? 0);
  if (total === undefined && part === undefined) return undefined;
  if (part === undefined || fromMs < untilMs) {
    return { good: total === undefined ? now : before, isPart: total === undefined, toldMs: (whole ?? running)?.toldMs ?? 0 };
  }
  return { good: before + now, isPart: total === undefined && fromMs > order.startMs + MINUTE_MS, toldMs: running?.toldMs ?? 0 };
}

interface Told {
  order?: string | null;
  window?: string;
  start?: string;
  until?: string;
  good?: number;
  orders?: { order: string | null; produced?: number; rejected?: number }[];
}

const MINUTE_MS = 60_000;

/** Those of one place that touch the span, in order of time. */
export function ordersOf(facts: Fact[], asset: string, fromMs: number, toMs: number): Order[] {
  const told = facts.flatMap((fact) => (fact.path.startsWith(`${asset}:`) ? orderOf(fact) : [])).sort((a, b) => a.startMs - b.startMs);
  return told
    .map((order, at) => ({ ...order, endMs: Math.min(order.endMs, told[at + 1]?.startMs ?? Infinity, toMs) }))
    .filter((order) => order.endMs > fromMs && order.startMs < toMs);
}

function orderOf({ path, data }: Fact): Order[] {
  const startMs = Date.parse(String(data.start));
  if (!Number.isFinite(startMs)) return [];
  const endMs = data.end ? Date.parse(String(data.end)) : Infinity;
  const name = path.slice(path.lastIndexOf("/") + 1);
  const quantity = typeof data.quantity === "number" && data.quantity > 0 ? data.quantity : undefined;
  return [{ name, product: String(data.product ?? ""), startMs, endMs: Number.isNaN(endMs) ? Infinity : endMs, quantity }];
}
