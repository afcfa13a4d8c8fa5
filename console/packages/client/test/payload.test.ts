import { expect, test } from "vitest";
import { type Msg } from "@nats-io/nats-core";
import { readLive } from "../src/client";
import { decodeMessage, decodeSample, fromJson, keepsDigits, parseJson, severity, type Reading } from "../src/payload";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

test("a sample keeps its time, quality and unit", () => {
  const found = decodeSample("a:b", "tag", '{"timestamp_ms":1700000000000,"value":1.5,"timestamp_ns":1700000000123456789,"quality":1073741824,"unit":"bar"}');
  expect(found).toMatchObject({ value: 1.5, quality: 0x40000000, unit: "bar" });
  expect(found.timeMs).toBeCloseTo(1700000000123.4568, 3);
  expect(severity(found.quality)).toBe("uncertain");
});

test("whole numbers of 64 bits keep all their digits", () => {
  const supported = JSON.parse("1", ((_n: string, v: unknown, c?: unknown) => (c === undefined ? 0 : v)) as never) === 1;
  if (!supported) return; // an engine without the source text of numbers
  expect((parseJson('{"value":9223372036854775807}') as { value: unknown }).value).toBe(9223372036854775807n);
  expect((parseJson('{"value":12345678901234567.5}') as { value: unknown }).value).toBe(12345678901234567.5);
});

test("what JSON cannot say is read from its special forms", () => {
  expect(fromJson({ $float: "NaN" })).toBeNaN();
  expect(fromJson({ $float: "-Infinity" })).toBe(-Infinity);
  expect(fromJson({ $int: "18446744073709551616" })).toBe(18446744073709551616n);
  expect(fromJson({ $bytes: "AQI=" })).toEqual(Uint8Array.of(1, 2));
  expect(fromJson({ a: [{ $dict: [["$x", 1]] }] })).toEqual({ a: [{ $x: 1 }] });
});

test("what cannot be decoded is one bad reading, whatever it is", async () => {
  for (const [text, type] of [["", ""], ["{", ""], ["[]", ""], ["null", ""], ["{}", ""], ["no arrow", "application/vnd.apache.arrow.stream"]]) {
    const found = await decodeMessage("a:b", "tag", bytes(text), type);
    expect(found).toHaveLength(1);
    expect(severity(found[0].quality)).toBe("bad");
    expect(found[0].value).toBeNull();
  }
});

test("a sample's value keeps its digits, wherever they stand, and its time is that of all its digits", () => {
  const sample = (value: string): string => `{"timestamp_ms":1700000000000,"value":${value},"timestamp_ns":1700000000123456789,"ingest_ns":1700000000123456999}`;
  const decoded = (value: string): unknown => decodeSample("a:b", "tag", sample(value)).value;
  const long = (digits: string): unknown => (keepsDigits ? BigInt(digits) : Number(digits));
  expect(decoded("9007199254740993")).toBe(long("9007199254740993"));
  expect(decoded("[1,9007199254740993]")).toEqual([1, long("9007199254740993")]);
  expect(decoded('{"timestamp_ns":1700000000123456789}')).toEqual({ timestamp_ns: long("1700000000123456789") });
  expect(decoded('"\\"timestamp_ns\\":1700000000123456789"')).toBe('"timestamp_ns":1700000000123456789');
  expect([decoded("null"), decoded("2.5"), decoded("true")]).toEqual([null, 2.5, true]);
  expect(decodeSample("a:b", "tag", sample("1")).timeMs).toBe(Number(1700000000123456789n) / 1e6);
});

test("headers of a live message are read only where its bytes do not say what it is", () => {
  const message = (data: Uint8Array, headers: unknown): Msg => ({ subject: "uns.v1.a._tag.b", data, get headers() { return headers ?? expect.unreachable("headers"); } }) as unknown as Msg;
  const heard: Reading[] = [];
  readLive(message(new TextEncoder().encode('{"timestamp_ms":5,"value":1}'), undefined), (found) => heard.push(...found));
  readLive(message(new TextEncoder().encode("nothing"), new Map([["Content-Type", "text/plain"]])), (found) => heard.push(...found));
  expect(heard.map(({ path, value, timeMs }) => [path, value, timeMs])).toEqual([["a:b", 1, 5], ["a:b", null, 0]]);
});
