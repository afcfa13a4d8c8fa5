import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Client } from "@millstream/client";
import { keepsDigits } from "../packages/client/src/payload";
import { FIRST } from "../src/state/first";

const asked: [string, RequestInit][] = [];
const tree = { count: 1, places: [], tags: [{ tag: "a:x", kind: "tag", description: null }], last: {} };

beforeEach(() => {
  asked.length = 0;
  vi.stubGlobal("location", { hash: "" });
  vi.stubGlobal("fetch", (path: string, request: RequestInit) => {
    asked.push([path, request]);
    return Promise.resolve(new Response(JSON.stringify(tree), { headers: { date: new Date(Date.now() + 86_400_000).toUTCString() } }));
  });
});
afterEach(() => {
  vi.unstubAllGlobals();
  delete globalThis.begun;
});

test("what the page begins before its program is read is used once, with the time at which it was answered", async () => {
  const { beginAll } = await import("../src/boot");
  asked.length = 0;
  beginAll("");
  expect(asked).toHaveLength(2);
  const client = new Client({ begun: globalThis.begun });
  await client.currentSession();
  expect(asked).toHaveLength(2);
  expect(Math.abs(client.http.clockOffsetMs - 86_400_000)).toBeLessThan(60_000);
  await client.currentSession();
  expect(asked).toHaveLength(3);
});

test("it is what the first picture asks for", async () => {
  const { FIRST_PATH } = await import("../src/boot");
  asked.length = 0;
  await new Client().history.tree("", FIRST);
  expect(asked[0][0] + (keepsDigits ? "" : "&values=true")).toBe(FIRST_PATH); // which older engines do not ask for
});

test("a token in the address logs in and asks for the first picture at once", async () => {
  const { beginAll } = await import("../src/boot");
  asked.length = 0;
  beginAll("#token=t-1");
  expect(asked.map(([path, { method }]) => `${method} ${path.split("?")[0]}`)).toEqual(["POST /api/v1/login", "GET /api/v1/tree"]);
  expect(asked[0][1].body).toBe('{"token":"t-1"}');
  expect(asked[1][1].headers).toMatchObject({ Authorization: "Bearer t-1" });
});

test("a hub that is away when the page begins is told to who asks, and asked again then", async () => {
  vi.stubGlobal("fetch", () => Promise.reject(new TypeError("away")));
  const { beginAll } = await import("../src/boot");
  beginAll("");
  const client = new Client({ begun: globalThis.begun });
  const error = await client.currentSession().catch((found: Error) => found.message);
  expect(error).toContain("the hub does not answer");
  vi.stubGlobal("fetch", () => Promise.resolve(new Response("{}")));
  expect(await client.currentSession()).toEqual({});
});
