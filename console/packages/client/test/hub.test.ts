/** Against a real hub, whose address and token the environment names: see tests/integration/console/test_client.py. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { Client, MillstreamError, type Reading } from "../src/index";

const url = process.env.MILLSTREAM_URL ?? "";
const login = JSON.parse(process.env.MILLSTREAM_LOGIN ?? "{}");
const TAG = "acme/plant1/press:speed";
const states: string[] = [];
let client: Client;

beforeAll(async () => {
  const token = (await new Client({ url }).logIn({ ...login, as_cookie: false })).token;
  client = new Client({ url, token, onState: (state) => states.push(state) });
  await client.connect();
});
afterAll(() => client?.close());

test("a wrong password says so", async () => {
  const error = await new Client({ url }).logIn({ ...login, password: "another" }).catch((found: unknown) => found);
  expect(error).toBeInstanceOf(MillstreamError);
  expect((error as MillstreamError).needsLogin).toBe(true);
  expect((error as MillstreamError).code).toBe("MS-2121");
});

test("last values and history come as Arrow, with their digits", async () => {
  const [last] = await client.history.last(TAG);
  expect(last).toMatchObject({ path: TAG, quality: 0 });
  const now = client.now();
  const series = await client.history.range(TAG, now - 600_000, now + 60_000);
  expect(series.times.length).toBeGreaterThan(0);
  expect(series.values.length).toBe(series.times.length);
  expect(Math.abs(series.times.at(-1)! - now)).toBeLessThan(120_000);
  const extremes = await client.history.extremes(TAG, now - 600_000, now + 60_000, 1000);
  expect(extremes.max.length).toBe(extremes.times.length);
  expect((await client.history.tags("*")).tags.map((tag) => tag.tag)).toContain(TAG);
  expect((await client.history.last("acme/plant1:big"))[0].value).toBe(9223372036854775807n);
});

test("live values come, also after the credentials were swapped", async () => {
  const heard: Reading[] = [];
  const stop = client.live("uns.v1.acme.plant1.>", (readings) => heard.push(...readings));
  await expect.poll(() => heard.length, { timeout: 60_000 }).toBeGreaterThan(0);
  expect(heard[0].path.startsWith("acme/plant1")).toBe(true);
  const reconnects = (): number => states.filter((state) => state === "connected").length;
  await expect.poll(reconnects, { timeout: 60_000 }).toBeGreaterThan(1);
  const count = heard.length;
  await expect.poll(() => heard.length, { timeout: 60_000 }).toBeGreaterThan(count);
  stop();
});

test("what lies elsewhere is refused, and the connection goes on", async () => {
  let refused: Error | undefined;
  client.live("uns.v1.acme.plant2.>", () => undefined, (error) => (refused = error));
  await expect.poll(() => refused, { timeout: 60_000 }).toBeDefined();
  await expect(client.history.last("acme/plant2:power")).rejects.toThrow();
  await expect.poll(() => client.state, { timeout: 60_000 }).toBe("connected");
});
