import { type Fact, type StoredEvent, type WritableTag } from "@millstream/client";
import { expect, test } from "vitest";
import { plain, unitText } from "../src/format";
import { auditRows } from "../src/state/audit";
import { argumentsFault, commandType, commandTypes, template } from "../src/state/commands";
import { commandsFor, edgeFile, hubUrlFits, hubUrlFor, newSecret, shell, siteFault } from "../src/state/commission";
import { draftOf, faultOf, hexRows, textOf } from "../src/state/payload_view";
import { knownReasons, partFault, targetsOf } from "../src/state/rejects";
import { helpAt } from "../src/state/schema_help";
import { parseWritten } from "../src/state/written";
import { pathText, placeAt } from "../src/state/yaml_place";
import { language } from "../src/words";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

test("bytes are shown as they are, and a long payload has an end", () => {
  expect(hexRows(new Uint8Array([0xff, 0x3c, 0x73, 0x00]))).toEqual([`000000  ff 3c 73 00${" ".repeat(37)} .<s.`]);
  expect(hexRows(new Uint8Array(64 << 10))).toHaveLength(64);
  expect(textOf(new Uint8Array([0xff]))).toBeUndefined();
  expect(textOf(bytes("grün"))).toBe("grün");
});

test("a repair begins with the letter's own JSON, else with a sample of its time", () => {
  expect(JSON.parse(draftOf(bytes('{"value": "x"}'), 5))).toEqual({ value: "x" });
  for (const odd of ["", "no json", "3", "null"]) expect(JSON.parse(draftOf(bytes(odd), 5.4))).toEqual({ value: null, timestamp_ms: 5 });
  expect(faultOf('{"value": 1}')).toBe("");
  for (const odd of ["", "[1]", "{", "null"]) expect(faultOf(odd)).not.toBe("");
});

test("what is written to a machine is a number within its bounds, and a comma means what the reader takes it for", () => {
  const bounds: WritableTag = { node: "e", tag: "a:b", interval_s: 1, minimum: 0, maximum: 100 };
  language.value = "en";
  expect(parseWritten(" 21.5 ", bounds, 3)).toEqual({ value: 21.5, fault: "" });
  for (const odd of ["1,234", "", "NaN", "Infinity", "0x10", "1e999", "2 1", "true", "101", "-1"]) expect(parseWritten(odd, bounds, 3).fault).not.toBe("");
  language.value = "de";
  expect(parseWritten("21,5", bounds, 3)).toEqual({ value: 21.5, fault: "" });
  language.value = "en";
  const open: WritableTag = { node: "e", tag: "a:b", interval_s: 1 };
  expect(parseWritten("true", open, false)).toEqual({ value: true, fault: "" });
  expect(parseWritten("M6", open, "M5")).toEqual({ value: "M6", fault: "" });
});

test("text of machines turns no line around and has an end", () => {
  const hostile = `\u202egnp.exe<script>${"x".repeat(64 << 10)}\u0000`;
  const shown = plain(hostile, 200);
  expect(shown).not.toContain("\u202e");
  expect(shown.length).toBeLessThan(220);
});

test("commands that have pages of their own are not offered as raw ones, whatever a site says", () => {
  const nodes = [{ node: "p1", state: "match", facts: { commands: ["write", "restart_connector", 7, "alarm"] } }, { node: "p2", state: "error", facts: null }];
  expect(commandTypes(nodes)).toEqual(["diagnostics", "restart_connector"]);
  expect(argumentsFault('{"connector": "x"}')).toBe("");
  for (const odd of ["", "[]", "3", "{"]) expect(argumentsFault(odd)).not.toBe("");
});

test("what a command has to be given is filled in as its site describes it, also one of a flow or a package", () => {
  const schema = {
    type: "object", required: ["path", "by", "how", "odd"],
    properties: { path: { type: "string" }, by: { type: "integer" }, how: { enum: ["slow", "fast"] }, more: { type: "boolean" } },
  };
  const nodes = [
    { node: "p1", state: "match", facts: { command_types: 7 } },
    { node: "p2", state: "match", facts: { command_types: { "tally.correct": { description: "Correct it.", schema } } } },
  ];
  expect(commandType(nodes, "tally.correct")?.description).toBe("Correct it.");
  expect(template(commandType(nodes, "tally.correct"))).toEqual({ path: "", by: 0, how: "slow", odd: null });
  expect(template(commandType(nodes, "restart"))).toEqual({});
});

test("a new site has a name and a place that can be, and its labels cannot leave their place in a command", () => {
  const site = { name: "cologne", place: "acme/cologne", labels: "region=west" };
  expect(siteFault(site, "acme")).toBeUndefined();
  expect(siteFault({ ...site, name: "-x" }, "acme")).toBe("badSiteName");
  expect(siteFault({ ...site, place: "acme2/cologne" }, "acme")).toBe("placeOutside");
  expect(siteFault({ ...site, place: "acme/a;rm -rf" }, "acme")).toBe("badPlace");
  expect(siteFault({ ...site, labels: "a=b;c" }, "acme")).toBe("badLabels");
  expect(commandsFor(site, "acme").operator).toEqual(["millstream site add cologne --tenant acme --place acme/cologne --label region=west --expires 24h"]);
  expect(commandsFor(site, "acme").box[0]).toBe("millstream edge join cologne.join");
  expect(siteFault({ ...site, place: "" }, "")).toBe("badPlace");
  expect(edgeFile({ ...site, name: "123" }, "tls://hub:7422")).toContain('name: "123"\n  path: "acme/cologne"');
  expect(edgeFile(site, "tls://hub:7422")).toContain('labels: {"region": "west"}\nuplink:\n  url: "tls://hub:7422"\n  secret: {file: cologne.secret}\n  # ca_file');
  expect(hubUrlFor({ protocol: "https:", hostname: "[::1]" }, 7000)).toBe("tls://[::1]:7000");
  for (const odd of ["nats://hub", "http://hub:1", 'nats://a":1', "nats://hub:1\nx: y"]) expect(hubUrlFits(odd)).toBe(false);
  for (const fine of ["nats://hub.example:7422", "tls://[::1]:7422"]) expect(hubUrlFits(fine)).toBe(true);
  expect(new Set([newSecret(), newSecret()]).size).toBe(2);
  expect(newSecret()).toMatch(/^[\w-]{32}$/);
  expect(shell("it's")).toBe("'it'\\''s'");
});

test("what is said of parts goes where they are counted, has a reason that there is, and a time of a day at most", () => {
  const tag = (path: string, kind = "count"): { path: string; kind: string; asset: string } => ({ path, kind, asset: path.slice(0, path.indexOf(":")) });
  const all = [tag("a/press:quality/scrap"), tag("a/press:quality/rework"), tag("a/press:parts"), tag("a/press2:quality/scrap"), tag("a/saw:quality/scrap", "tag")];
  expect(targetsOf(all, "a/press", [], false)).toEqual(["a/press:quality"]);
  expect(targetsOf(all, "a", [], false)).toEqual(["a/press2:quality", "a/press:quality"]);
  expect(targetsOf(all, "a/saw", [], false)).toEqual([]);
  expect(targetsOf(all, "a/saw", [], true)).toEqual(["a/saw:quality"]);
  const fact = (name: string, kind: string): Fact => ({ path: `a:reason/${name}`, what: "reason", time: "", who: "", data: { kind } });
  const reasons = [fact("burrs", "rework"), fact("dents", ""), fact("scratches", "scrap"), fact("meeting", "planned")];
  expect(knownReasons(reasons, "scrap")).toEqual(["dents", "scratches"]);
  expect(partFault("3", "scrap", ["dents"], "dents")).toBeUndefined();
  expect(partFault("3", "scrap", [], "anything")).toBeUndefined();
  expect(partFault("3", "scrap", ["dents"], "bents")).toBe("noSuchReason");
  for (const odd of ["", "0", "-1", "x"]) expect(partFault(odd, "scrap", [], "")).toBe("countAboveZero");
  expect(partFault("1", "scrap", [], "", ["2026-01-02T06:00", "2026-01-02T05:00"].map(Date.parse))).toBe("spanOfADay");
  expect(partFault("1", "scrap", [], "", ["2026-01-02T06:00", "2026-01-04T06:00"].map(Date.parse))).toBe("spanOfADay");
  expect(partFault("1", "scrap", [], "", ["2026-01-02T06:00", "2026-01-02T07:00"].map(Date.parse))).toBeUndefined();
});

test("units are shown as people write them", () => {
  expect(["degC", "m**3/hour", "percent", "mm/s", "degChina"].map(unitText)).toEqual(["°C", "m³/h", "%", "mm/s", "degChina"]);
});

const DOCUMENT = `connectors:
  - name: boiler
    type: modbus
    config:
      host: 10.0.0.1

    tags:
      - {name: a, address: "1"}
      - name: b
streams:
  integrity:
    max_bytes: 1GiB
`;

test("a cursor in a document knows its place, also before its type is written and on an empty line", () => {
  const at = (mark: string): ReturnType<typeof placeAt> => placeAt(DOCUMENT, DOCUMENT.indexOf(mark));
  expect(pathText(at("host").path)).toBe("connectors[0].config.host");
  expect(pathText(at("name: b\n").path)).toBe("connectors[0].tags[1].name");
  expect(pathText(at("max_bytes").path)).toBe("streams.integrity.max_bytes");
  expect(pathText(placeAt(DOCUMENT, DOCUMENT.indexOf("\n\n") + 1).path)).toBe("");
  expect([...at("name: boiler").types.values()]).toEqual(["modbus"]);
  expect(placeAt("", 0).path).toEqual([]);
  expect(pathText(placeAt("a:\n- b: 1\n- c: 2\nd: 3\n", 18).path)).toBe("d");
});

test("the help of a place follows references and what holds for its type, and goes up where nothing is known", () => {
  const schema = {
    properties: { connectors: { type: "array", description: "what is read", items: { $ref: "#/$defs/Entry" } } },
    $defs: {
      Entry: {
        type: "object", required: ["name"], properties: { name: { type: "string", description: "of it" }, type: { enum: ["modbus"] }, config: { type: "object" } },
        allOf: [{ if: { properties: { type: { const: "modbus" } } }, then: { properties: { config: { $ref: "#/$defs/modbus" } } } }],
      },
      modbus: { type: "object", description: "a line", properties: { host: { anyOf: [{ type: "string" }, { type: "null" }], default: "localhost", description: "where" } } },
    },
  };
  const help = (mark: string): ReturnType<typeof helpAt> => helpAt(schema, placeAt(DOCUMENT, DOCUMENT.indexOf(mark)));
  expect(help("host")).toEqual({ path: "connectors[0].config.host", about: "where", form: 'string = "localhost"', keys: [] });
  expect(help("config").keys).toEqual([{ name: "host", about: "where", isRequired: false }]);
  expect(help("name: boiler").about).toBe("of it");
  expect(help("max_bytes").path).toBe("");
  expect(help("connectors").about).toBe("what is read");
});

test("the audit names who, marks what was refused, and is searched by all words", () => {
  const event = (type: string, data: object): StoredEvent => ({ tag: "acme:audit/x", id: "1", type, timestamp_ns: 5e6, data: JSON.stringify(data) }) as never;
  const events = [event("millstream.audit.session.refused", { name: "eve", host: "10.0.0.9" }), event("millstream.write.done", { who: "ben", value: 3 })];
  expect(auditRows(events, "").map((row) => [row.who, row.isRefused, row.path])).toEqual([["eve", true, "acme"], ["ben", false, "acme"]]);
  expect(auditRows(events, "WRITE ben")).toHaveLength(1);
  expect(auditRows(events, "write eve")).toHaveLength(0);
  const told = event("millstream.audit.rollout.stopped", { who: "ann", from: "10.0.0.7", before: { state: "running", sites: { waiting: 1 } }, after: { state: "stopped", sites: { waiting: 1 }, reason: "hot" }, name: "r1" });
  const [row] = auditRows([told], "10.0.0.7 running hot");
  expect([row.from, row.text]).toEqual(["10.0.0.7", "name r1"]);
  expect(row.changes).toEqual([{ name: "state", before: "running", after: "stopped" }, { name: "reason", before: null, after: "hot" }]);
  expect(auditRows([event("x", { who: "ann", before: null, after: null })], "")[0].changes).toEqual([]);
  expect(auditRows([event("x", "no object" as never)], "")[0].who).toBe("");
  const text = auditRows([event("x", { expires_s: 1_795_366_395, lasts_s: 300, since_ns: 1_795_366_395e9 })], "")[0].text;
  expect(text).toMatch(/^expires \d.+ · lasts_s 300 · since \d/);
  expect(text).not.toContain("1795366395");
});
