/** Whether what a value comes from is there, as its node says: then a value that came an hour ago still holds. Pure. */
import { type NodeStatus } from "@millstream/client";

/** `isThere` is undefined where nobody can say: a broker, a folder, a person who published once. `atMs` is when it was said. */
export interface Source {
  isThere: boolean | undefined;
  atMs: number;
}

/** A tag as far as its source depends on it. `connectors` are those that read anything at its place. */
export interface Sourced {
  path: string;
  asset: string;
  kind: string;
  connector: string | undefined;
  connectors: ReadonlySet<string>;
}

export interface Said {
  status: NodeStatus;
  atMs: number;
}

export const UNKNOWN: Source = { isThere: undefined, atMs: 0 };
/** What a node said so long ago counts no more: three rounds of questions went unanswered. */
export const HEARD_MS_MAX = 20_000;

const MADE = ["state", "count", "kpi"]; // what flows say, of which no tag's description tells the source
const ALL_RUN = ["running", "catching up"];

/** By what the node of its site says, and its hub, where that has flows, too. */
export function sourceOf(tag: Sourced, site: Said | undefined, hub: Said | undefined): Source {
  if (site === undefined) return UNKNOWN;
  if (tag.connector !== undefined) return { isThere: linkOf(tag.connector, site.status), atMs: site.atMs };
  if (!MADE.includes(tag.kind)) return UNKNOWN;
  const nodes = hub === undefined ? [site] : [site, hub];
  const flows = nodes.flatMap((node) => (node.status.flows ?? []).filter((flow) => mayHaveSaid(flow, tag)));
  if (flows.length === 0) return UNKNOWN;
  const links = [...tag.connectors].map((name) => linkOf(name, site.status));
  const parts = [...links, ...flows.map((flow) => ALL_RUN.includes(String(flow.state)))];
  const isThere = parts.includes(false) ? false : parts.includes(undefined) ? undefined : true;
  return { isThere, atMs: Math.min(...nodes.map((node) => node.atMs)) };
}

/** The connector whose link notices that its device is gone, by its state; others tell nothing by being connected. */
function linkOf(name: string, status: NodeStatus): boolean | undefined {
  const found = status.connectors?.find((one) => one.name === name);
  if (found === undefined || found.state === "ended") return undefined;
  return found.state !== "connected" ? false : found.notices_loss === true ? true : undefined;
}

/** A flow that reads at the same place; what it reads it does not say. */
function mayHaveSaid(flow: Record<string, unknown>, tag: Sourced): boolean {
  const inputs = (flow.inputs ?? []) as { pattern: string; kind: string }[];
  const isHere = (pattern: string): boolean => matcher(pattern.split(":")[0], !pattern.includes(":")).test(tag.asset);
  const isRead = ({ pattern, kind }: { pattern: string; kind: string }): boolean => {
    const names = pattern.split(":")[1];
    return kind === tag.kind && isHere(pattern) && (names === undefined || matcher(names, false).test(tag.path.slice(tag.asset.length + 1)));
  };
  return inputs.some((input) => isHere(input.pattern)) && !inputs.some(isRead);
}

/** Levels of a pattern: `*` is one or a part of one, `**` any number; a place alone has all below it. */
function matcher(pattern: string, isPlace: boolean): RegExp {
  const levels = isPlace && !pattern.endsWith("**") ? [...pattern.split("/"), "**"] : pattern.split("/");
  const texts = levels.map((level) => (level === "**" ? "(?:/[^/]+)*" : `/${level.split("*").map(quoted).join("[^/]*")}`));
  return new RegExp(`^${texts.join("")}$`.replace("^/", "^"), "u");
}

const quoted = (text: string): string => text.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");
