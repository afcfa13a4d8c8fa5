/** Commands: what the sites offer, and what is asked with them. Pure. */
import { type FleetMatch } from "@millstream/client";

/** Those that have pages of their own: a form here would only be a worse one. */
const ELSEWHERE: ReadonlySet<string> = new Set(["alarm", "context", "downtime", "write"]);
const ALWAYS = ["diagnostics"];

/** What a site says of a command: for people, and the schema of its arguments. */
export interface CommandType {
  description: string;
  schema: Schema;
}

interface Schema {
  type?: string | string[];
  enum?: unknown[];
  required?: string[];
  properties?: Record<string, Schema>;
}

const EMPTY: Record<string, unknown> = { string: "", number: 0, integer: 0, boolean: false, array: [], object: {} };

/** What one of the sites says of it; undefined where none does. */
export function commandType(nodes: FleetMatch[], name: string): CommandType | undefined {
  for (const node of nodes) {
    const types = node.facts?.command_types;
    const found = types !== null && typeof types === "object" ? (types as Record<string, unknown>)[name] : undefined;
    if (found !== null && typeof found === "object") return found as CommandType;
  }
  return undefined;
}

/** What to fill in: the arguments that have to be there. */
export function template(type: CommandType | undefined): Record<string, unknown> {
  const { required, properties } = type?.schema ?? {};
  return Object.fromEntries((required ?? []).map((name) => [name, empty(properties?.[name] ?? {})]));
}

function empty(schema: Schema): unknown {
  if (schema.enum?.length) return schema.enum[0];
  return EMPTY[Array.isArray(schema.type) ? (schema.type[0] ?? "") : (schema.type ?? "")] ?? null;
}

export function commandTypes(nodes: FleetMatch[]): string[] {
  const found = new Set(ALWAYS);
  for (const node of nodes) {
    const offered = node.facts?.commands;
    if (Array.isArray(offered)) for (const one of offered) if (typeof one === "string" && !ELSEWHERE.has(one)) found.add(one);
  }
  return [...found].sort();
}

/** Why a text is no arguments; empty when it is. */
export function argumentsFault(text: string): string {
  try {
    const found: unknown = JSON.parse(text);
    return found !== null && typeof found === "object" && !Array.isArray(found) ? "" : '{"name": value}';
  } catch (error) {
    return (error as Error).message;
  }
}
