/** Commands: what the sites offer, and what is asked with them. Pure. */
import { type FleetMatch } from "@millstream/client";

/** Those that have pages of their own: a form here would only be a worse one. */
const ELSEWHERE: ReadonlySet<string> = new Set(["alarm", "context", "downtime", "write"]);
const ALWAYS = ["diagnostics"];

/** What to fill in. */
export const TEMPLATES: Record<string, Record<string, unknown>> = { restart_connector: { connector: "" } };

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
