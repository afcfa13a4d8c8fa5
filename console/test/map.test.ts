import { expect, test } from "vitest";
import { frameOf, gridOf, groupsOf, HEIGHT, place, scaleOf, spotOf, WIDTH, worldFrame } from "../src/state/map";

const COLOGNE = { latitude: 50.94, longitude: 6.96 };
const LYON = { latitude: 45.76, longitude: 4.84 };

test("a site is where its labels say, and nowhere when they say what is no place", () => {
  expect(spotOf({ latitude: "50.94", longitude: "6.96" })).toEqual(COLOGNE);
  for (const odd of [undefined, null, {}, { latitude: "50" }, { latitude: "", longitude: "7" }, { latitude: "91", longitude: "7" }, { latitude: "50", longitude: "<b>" }]) {
    expect(spotOf(odd)).toBeUndefined();
  }
});

test("all sites are in sight, north above south and east beside west, and one alone has its land around it", () => {
  const frame = frameOf([COLOGNE, LYON]);
  const [[x1, y1], [x2, y2]] = [place(frame, COLOGNE), place(frame, LYON)];
  expect(x1).toBeGreaterThan(x2);
  expect(y1).toBeLessThan(y2);
  for (const at of [x1, x2]) expect(at > 0 && at < WIDTH).toBe(true);
  for (const at of [y1, y2]) expect(at > 0 && at < HEIGHT).toBe(true);
  expect(place(frameOf([LYON]), LYON).map(Math.round)).toEqual([WIDTH / 2, HEIGHT / 2]);
});

test("a kilometre is as long to the north as to the east, and the bar of the scale says how long", () => {
  const frame = frameOf([COLOGNE, LYON]);
  const [x, y] = place(frame, COLOGNE);
  const north = y - place(frame, { ...COLOGNE, latitude: COLOGNE.latitude + 1 })[1];
  const east = place(frame, { ...COLOGNE, longitude: COLOGNE.longitude + 1 })[0] - x;
  expect(Math.abs(east / north / Math.cos((48.35 * Math.PI) / 180) - 1)).toBeLessThan(0.01);
  const { km, px } = scaleOf(frame);
  expect(Math.abs(px / north - km / 111.2)).toBeLessThan(1e-9);
});

test("marks that would lie on one another are one, which comes apart nearer", () => {
  const sites = [COLOGNE, { ...COLOGNE, latitude: 50.9 }, LYON].map((spot, site) => ({ spot, site }));
  const from = (frame: ReturnType<typeof worldFrame>): number[] => groupsOf(frame, sites).map((group) => group.members.length).sort();
  expect(from(worldFrame())).toEqual([3]);
  expect(from(frameOf(sites.map((one) => one.spot)))).toEqual([1, 2]);
});

test("there are lines to read degrees from, in the world and near by", () => {
  expect(gridOf(worldFrame()).longitudes).toContain(0);
  const { longitudes, latitudes } = gridOf(frameOf([LYON]));
  expect(Math.min(longitudes.length, latitudes.length)).toBeGreaterThanOrEqual(2);
});
