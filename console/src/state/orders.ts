/** The orders of a machine, as its context tells them. Pure. */
import { type Fact } from "@millstream/client";

export interface Order {
  name: string;
  product: string;
  startMs: number;
  /** Of one whose end nobody has told: where the next one begins, else the end of what is shown. */
  endMs: number;
}

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
  return [{ name, product: String(data.product ?? ""), startMs, endMs: Number.isNaN(endMs) ? Infinity : endMs }];
}
