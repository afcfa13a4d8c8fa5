// The codec of npm sparkplug-payload as a line service: {"encode": payload} gives {"ok": base64}, {"decode": base64}
// gives {"ok": payload}. Bytes are {"bytes": base64} in both directions, 64-bit integers are text.
const readline = require("node:readline");
const codec = require("sparkplug-payload").get("spBv1.0");

const inward = (key, value) => (value && value.bytes !== undefined ? Buffer.from(value.bytes, "base64") : value);
const outward = (value) => {
  if (value === null || typeof value !== "object") return value;
  if (value instanceof Uint8Array) return { bytes: Buffer.from(value).toString("base64") };
  if (value.low !== undefined && value.high !== undefined) return { long: value.toString() };
  if (Array.isArray(value)) return value.map(outward);
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, outward(each)]));
};

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const ask = JSON.parse(line, inward);
  let answer;
  try {
    if (ask.encode !== undefined) answer = { ok: Buffer.from(codec.encodePayload(ask.encode)).toString("base64") };
    else answer = { ok: outward(codec.decodePayload(Buffer.from(ask.decode, "base64"))) };
  } catch (error) {
    answer = { error: String(error) };
  }
  console.log(JSON.stringify(answer));
});
