/** What a JSON Schema says of a place in a document: what it is for, and what may stand there. Pure. */
import { keyOf, pathText, type Place } from "./yaml_place";

type Schema = Record<string, unknown>;

export interface Key {
  name: string;
  about: string;
  isRequired: boolean;
}

export interface Help {
  path: string;
  about: string;
  /** Kind, choices and what holds when it is left out, in one line. */
  form: string;
  keys: Key[];
}

export function helpAt(root: Schema, place: Place): Help {
  let found: Schema = root;
  let known = 0;
  for (const [at, step] of place.path.entries()) {
    const type = place.types.get(keyOf(place.path.slice(0, at)));
    const here = whole(root, found, type);
    const next = typeof step === "number" ? here.items : (here.properties as Schema | undefined)?.[step];
    if (next === undefined || typeof next !== "object" || next === null) break;
    found = next as Schema;
    known = at + 1;
  }
  const described = found.description;
  const here = whole(root, found, place.types.get(keyOf(place.path.slice(0, known))));
  const required = new Set((here.required as string[] | undefined) ?? []);
  const keys = Object.entries((here.properties as Record<string, Schema> | undefined) ?? {}).map(([name, one]) => ({
    name, about: String(one.description ?? whole(root, one).description ?? ""), isRequired: required.has(name),
  }));
  return { path: pathText(place.path.slice(0, known)), about: String(described ?? here.description ?? ""), form: formOf(root, found), keys };
}

/** Follow references, take of several forms the one that has parts, and what holds for its `type` beside. */
function whole(root: Schema, schema: Schema, type?: string, depth = 0): Schema {
  if (depth > 8) return schema;
  if (typeof schema.$ref === "string") return whole(root, { ...resolve(root, schema.$ref), ...without(schema, "$ref") }, type, depth + 1);
  const forms = (schema.anyOf ?? schema.oneOf) as Schema[] | undefined;
  const parts = forms?.map((one) => whole(root, one, type, depth + 1)).find((one) => one.properties ?? one.items);
  let found = parts === undefined ? schema : { ...schema, ...parts };
  for (const rule of (found.allOf as Schema[] | undefined) ?? []) {
    const wanted = at(rule, "if", "properties", "type", "const");
    if (wanted !== undefined && wanted === type) found = merged(found, (rule.then as Schema | undefined) ?? {});
  }
  return found;
}

function formOf(root: Schema, schema: Schema): string {
  const one = whole(root, schema);
  const choices = (one.enum as unknown[] | undefined)?.map((each) => JSON.stringify(each)).join(" | ");
  const forms = ((schema.anyOf ?? [one]) as Schema[]).map((each) => whole(root, each).type).filter((each) => typeof each === "string" && each !== "null");
  const usual = schema.default ?? one.default;
  return [choices ?? [...new Set(forms)].join(" | "), usual === undefined || usual === null ? "" : `= ${JSON.stringify(usual)}`].filter(Boolean).join(" ");
}

function resolve(root: Schema, reference: string): Schema {
  const found = at(root, ...reference.replace(/^#\//, "").split("/"));
  return typeof found === "object" && found !== null ? (found as Schema) : {};
}

function at(value: unknown, ...steps: string[]): unknown {
  let found = value;
  for (const step of steps) {
    if (typeof found !== "object" || found === null || !Object.hasOwn(found, step)) return undefined;
    found = (found as Schema)[step];
  }
  return found;
}

function merged(one: Schema, other: Schema): Schema {
  const found: Schema = { ...one };
  for (const [name, value] of Object.entries(other)) {
    const before = found[name];
    const isBoth = isObject(before) && isObject(value) && !("$ref" in value);
    found[name] = isBoth ? merged(before, value) : value;
  }
  return found;
}

const isObject = (value: unknown): value is Schema => typeof value === "object" && value !== null && !Array.isArray(value);

function without(schema: Schema, name: string): Schema {
  const { [name]: _taken, ...rest } = schema;
  return rest;
}
