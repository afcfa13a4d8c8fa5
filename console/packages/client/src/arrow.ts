/** Arrow streams as columns and rows. The library is loaded when the first one comes. */
import { fromJson, parseJson, type Value } from "./payload";

/** Times are Unix milliseconds with fractions; integers of 64 bits are numbers where they are exact, else bigints. */
export interface Columns {
  length: number;
  names: string[];
  metadata: Map<string, string>;
  column(name: string): unknown[];
  rows(): Record<string, unknown>[];
}

export async function readArrow(data: Uint8Array): Promise<Columns> {
  const { tableFromIPC, DataType } = await import("apache-arrow");
  const table = tableFromIPC(data);
  const isJson = table.schema.metadata.get("value_encoding") === "json";
  const names = table.schema.fields.map((field) => field.name);
  const cache = new Map<string, unknown[]>();

  function column(name: string): unknown[] {
    const known = cache.get(name);
    if (known !== undefined) return known;
    const vector = table.getChild(name);
    if (vector === null) return [];
    const found: unknown[] = [];
    if (DataType.isTimestamp(vector.type)) {
      for (const part of vector.data) for (const ns of part.values as BigInt64Array) found.push(Number(ns) / 1e6);
    } else {
      const convert = name === "value" && isJson ? jsonValue : exact;
      for (const value of vector) found.push(convert(value));
    }
    cache.set(name, found);
    return found;
  }

  function rows(): Record<string, unknown>[] {
    const columns = names.map(column);
    return Array.from({ length: table.numRows }, (_, at) =>
      Object.fromEntries(names.map((name, index) => [name, columns[index][at]])),
    );
  }

  return { length: table.numRows, names, metadata: table.schema.metadata, column, rows };
}

function jsonValue(text: unknown): Value {
  return typeof text === "string" ? fromJson(parseJson(text)) : null;
}

function exact(value: unknown): unknown {
  if (typeof value !== "bigint") return value;
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}
