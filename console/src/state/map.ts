/** Sites on a map: where each is, which part of the world that needs, which marks would cover each other. Pure. */

/** Degrees; north and east are positive. */
export interface Spot {
  latitude: number;
  longitude: number;
}

/** A part of the world on a picture: equirectangular, true to scale at its middle. */
export interface Frame {
  west: number;
  north: number;
  /** Pixels a degree. */
  perLongitude: number;
  perLatitude: number;
}

export interface Group<T> {
  x: number;
  y: number;
  members: T[];
}

export const WIDTH = 640;
export const HEIGHT = 360;
const SPAN_MIN = 6; // degrees: nearer, the outline says nothing
const SPAN_MAX = 180;
const AROUND = 1.4;
const COVERED_PX = 26;
const STEPS = [30, 15, 10, 5, 2, 1, 0.5];
const LINES_MIN = 3;
const KM_A_DEGREE = 111.2;

/** What the labels `latitude` and `longitude` of a site say; undefined when they are no place on earth. */
export function spotOf(labels: unknown): Spot | undefined {
  const { latitude, longitude } = (labels ?? {}) as Record<string, unknown>;
  const found = { latitude: degrees(latitude, 90), longitude: degrees(longitude, 180) };
  return Number.isNaN(found.latitude + found.longitude) ? undefined : found;
}

function degrees(text: unknown, most: number): number {
  const value = typeof text === "string" && text.trim() !== "" ? Number(text) : NaN;
  return Math.abs(value) <= most ? value : NaN;
}

/** All of them with some room around, never nearer than the outline is good for. */
export function frameOf(spots: Spot[]): Frame {
  const [south, north] = ends(spots.map((spot) => spot.latitude));
  const [west, east] = ends(spots.map((spot) => spot.longitude));
  const middle = (north + south) / 2;
  const shrink = Math.max(0.2, Math.cos((middle * Math.PI) / 180));
  const span = Math.max(SPAN_MIN, (north - south) * AROUND, ((east - west) * AROUND * shrink * HEIGHT) / WIDTH);
  const perLatitude = HEIGHT / Math.min(SPAN_MAX, span);
  const perLongitude = perLatitude * shrink;
  return { west: (east + west) / 2 - WIDTH / 2 / perLongitude, north: middle + HEIGHT / 2 / perLatitude, perLongitude, perLatitude };
}

export const worldFrame = (): Frame => ({ west: -180, north: 95, perLongitude: WIDTH / 360, perLatitude: WIDTH / 360 });

function ends(values: number[]): [number, number] {
  return [Math.min(...values), Math.max(...values)];
}

export const place = (frame: Frame, spot: Spot): [number, number] => [
  (spot.longitude - frame.west) * frame.perLongitude, (frame.north - spot.latitude) * frame.perLatitude,
];

/** Those whose marks would lie over each other are one mark. */
export function groupsOf<T>(frame: Frame, sites: { spot: Spot; site: T }[]): Group<T>[] {
  const cells = new Map<string, Group<T>>();
  for (const { spot, site } of sites) {
    const [x, y] = place(frame, spot);
    const near = neighbours(x, y).map((key) => cells.get(key)).find((one) => one !== undefined && Math.hypot(one.x - x, one.y - y) < COVERED_PX);
    if (near !== undefined) near.members.push(site);
    else cells.set(cellOf(x, y), { x, y, members: [site] });
  }
  return [...cells.values()];
}

const cellOf = (x: number, y: number): string => `${Math.floor(x / COVERED_PX)} ${Math.floor(y / COVERED_PX)}`;

function neighbours(x: number, y: number): string[] {
  const steps = [0, -COVERED_PX, COVERED_PX];
  return steps.flatMap((dx) => steps.map((dy) => cellOf(x + dx, y + dy)));
}

/** Lines of whole steps of degrees, at least three each way where that is possible. */
export function gridOf(frame: Frame): { step: number; longitudes: number[]; latitudes: number[] } {
  const [wide, high] = [WIDTH / frame.perLongitude, HEIGHT / frame.perLatitude];
  const step = STEPS.find((one) => Math.min(wide, high) / one >= LINES_MIN) ?? STEPS[STEPS.length - 1];
  return {
    step,
    longitudes: multiples(step, frame.west, frame.west + wide).filter((one) => Math.abs(one) <= 180),
    latitudes: multiples(step, frame.north - high, frame.north).filter((one) => Math.abs(one) <= 90),
  };
}

function multiples(step: number, from: number, to: number): number[] {
  const first = Math.ceil(from / step);
  return Array.from({ length: Math.max(0, Math.floor(to / step) - first + 1) }, (_, at) => (first + at) * step);
}

/** A bar of a round length: its kilometres and its pixels at the middle of the picture. */
export function scaleOf(frame: Frame): { km: number; px: number } {
  const perKm = frame.perLatitude / KM_A_DEGREE;
  const most = WIDTH / 4 / perKm;
  const size = 10 ** Math.floor(Math.log10(most));
  const km = [5, 2, 1].map((one) => one * size).find((one) => one <= most) ?? size;
  return { km, px: km * perKm };
}
