/** Where sites are, as their labels say; kept on this device for the time in which a site is away. */
import { remember, remembered } from "../words";
import { spotOf, type Spot } from "./map";
import { type EdgeInfo } from "./nodes";

const KEPT = "places";
const KEPT_MAX = 2000;
const known = new Map<string, Spot>(kept());

/** Undefined: it has never said so. A site that is there and says nothing has been moved off the map. */
export function spotNow(edge: EdgeInfo): Spot | undefined {
  if (edge.status === undefined) return known.get(edge.name);
  const spot = spotOf(edge.status.labels);
  const before = known.get(edge.name);
  if (spot?.latitude === before?.latitude && spot?.longitude === before?.longitude) return before;
  known.delete(edge.name);
  if (spot !== undefined) known.set(edge.name, spot);
  remember(KEPT, JSON.stringify([...known].slice(-KEPT_MAX)));
  return spot;
}

function kept(): [string, Spot][] {
  try {
    const found = JSON.parse(remembered(KEPT) ?? "[]") as [string, Spot][];
    return found.filter(([name, spot]) => typeof name === "string" && Number.isFinite(spot.latitude + spot.longitude));
  } catch {
    return [];
  }
}
