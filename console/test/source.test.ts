import { expect, test } from "vitest";
import "./browser";
import { lookOf } from "../src/format";
import { HEARD_MS_MAX, sourceOf, UNKNOWN, type Said, type Sourced } from "../src/state/source";

const HOUR = 3_600_000;
const NOW = 10 * HOUR;
const tag = (more: Partial<Sourced> = {}): Sourced =>
  ({ path: "a/p/press:execution", asset: "a/p/press", kind: "tag", connector: "press", connectors: new Set(["press"]), ...more });
const state = (more: Partial<Sourced> = {}): Sourced => tag({ path: "a/p/press:state", kind: "state", connector: undefined, ...more });
const flow = (pattern: string, kind = "tag", said = "running"): Record<string, unknown> => ({ name: "f", state: said, inputs: [{ pattern, kind }] });
const site = (connectors: Record<string, unknown>[], flows: Record<string, unknown>[] = [], atMs = NOW - 2000): Said =>
  ({ atMs, status: { role: "edge", name: "p", version: "1", started_ns: 1, connectors, flows } });
const link = (said: string, more: object = {}): Record<string, unknown> => ({ name: "press", state: said, notices_loss: true, ...more });
const old = { path: "a/p/press:execution", kind: "tag", value: 1, timeMs: NOW - HOUR, quality: 0 };

test("a state that has not changed for an hour is good while its machine is there, and stale when it is gone", () => {
  const look = (said: Said | undefined): string => lookOf(old, NOW, 1, sourceOf(tag(), said, undefined));
  expect(look(site([link("connected")]))).toBe("good");
  expect(look(site([link("waiting")]))).toBe("stale");
  expect(look(undefined)).toBe("stale");
  expect(look(site([]))).toBe("stale");
});

test("what the node said too long ago counts no more", () => {
  const look = (agoMs: number): string => lookOf(old, NOW, 1, sourceOf(tag(), site([link("connected")], [], NOW - agoMs), undefined));
  expect(look(HEARD_MS_MAX)).toBe("good");
  expect(look(HEARD_MS_MAX + 1)).toBe("stale");
});

test("a broker that is connected says nothing of who is silent", () => {
  const source = sourceOf(tag(), site([link("connected", { notices_loss: false })]), undefined);
  expect(source.isThere).toBeUndefined();
  expect(lookOf(old, NOW, 1, source)).toBe("stale");
  expect(lookOf({ ...old, timeMs: NOW - 5000 }, NOW, 1, source)).toBe("good");
});

test("a value that came a moment ago of a machine that is gone now is stale, and a bad one stays bad", () => {
  const gone = sourceOf(tag(), site([link("waiting")]), undefined);
  expect(lookOf({ ...old, timeMs: NOW - 5000 }, NOW, 1, gone)).toBe("stale");
  expect(lookOf({ ...old, quality: 0x80000000 }, NOW, 1, gone)).toBe("bad");
});

test("what a flow says holds while it runs and what it reads is there", () => {
  const found = (...args: Parameters<typeof site>): boolean | undefined => sourceOf(state(), site(...args), undefined).isThere;
  const good = [link("connected")];
  expect(found(good, [flow("a/**:execution")])).toBe(true);
  expect(found(good, [flow("a/p")])).toBe(true);
  expect(found(good, [flow("a/p/press:execution", "tag", "paused")])).toBe(false);
  expect(found([link("waiting")], [flow("a/p/press:execution")])).toBe(false);
  expect(found([link("connected", { notices_loss: false })], [flow("a/p/press:execution")])).toBeUndefined();
  expect(found(good, [flow("a/p/oven:execution")])).toBeUndefined();
  expect(sourceOf(state({ connectors: new Set() }), site([], [flow("a/*/pr*ss:x")]), undefined).isThere).toBe(true);
});

test("what somebody published by hand has no source, also where a flow reads it", () => {
  const good = [link("connected")];
  expect(sourceOf(state(), site(good), undefined)).toEqual(UNKNOWN);
  expect(sourceOf(state(), site(good, [flow("a/p/press:state", "state")]), undefined)).toEqual(UNKNOWN);
  expect(sourceOf(tag({ connector: undefined }), site(good, [flow("a/p/**:execution")]), undefined)).toEqual(UNKNOWN);
});

test("flows of the hub count, too, as of whoever was heard earlier", () => {
  const hub: Said = { atMs: NOW - 9000, status: { role: "hub", name: "h", version: "1", started_ns: 1, flows: [flow("a/**", "count")] } };
  expect(sourceOf(state(), site([link("connected")]), hub)).toEqual({ isThere: true, atMs: NOW - 9000 });
});
