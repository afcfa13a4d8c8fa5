/** The answers to a live query: what fits, and who did not answer, by name. Pure. */
import { type FleetAccount, type FleetMatch } from "@millstream/client";

export interface Missing {
  node: string;
  why: "away" | "silent" | "failedThere" | "absent" | "unreadable";
  /** When it was last heard; 0 where that is not known. */
  lastMs: number;
}

export interface FleetAnswers {
  rows: { node: string; text: string }[];
  missing: Missing[];
}

export function accountOf(nodes: FleetMatch[], account: FleetAccount): FleetAnswers {
  const rows = nodes.map((one) => ({
    node: one.node,
    text: one.state === "match" ? JSON.stringify(one.facts ?? {}) : [one.reason, one.code].filter(Boolean).join(" · "),
  }));
  const named = (names: string[], why: Missing["why"]): Missing[] => names.map((node) => ({ node, why, lastMs: 0 }));
  const missing = [
    ...Object.entries(account.missing).map(([node, ns]): Missing => ({ node, why: "away", lastMs: (ns ?? 0) / 1e6 })),
    ...named(account.silent, "silent"), ...named(account.failed, "failedThere"), ...named(account.unreadable, "unreadable"),
    ...named(account.absent, "absent"),
  ];
  return { rows: rows.sort(byNode), missing: missing.sort(byNode) };
}

const byNode = (a: { node: string }, b: { node: string }): number => a.node.localeCompare(b.node);
