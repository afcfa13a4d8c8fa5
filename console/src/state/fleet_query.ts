/** The answers to a live query: one part a site that fits or failed, and the account at the end. Pure. */
export interface FleetAnswers {
  expected: number;
  answered: number;
  rows: { node: string; text: string }[];
}

/** Throws what the hub refused. */
export function parseAnswers(parts: { status: string; error: string; text: string }[]): FleetAnswers {
  const found: FleetAnswers = { expected: 0, answered: 0, rows: [] };
  for (const part of parts) {
    if (part.error) throw new Error(refusal(part.error));
    const raw = JSON.parse(part.text || "{}") as Record<string, unknown>;
    if (part.status === "done") {
      found.expected = Number(raw.expected ?? 0);
      found.answered = Number(raw.answered ?? 0);
      const missing = Object.keys((raw.missing ?? {}) as object).concat((raw.silent ?? []) as string[]);
      for (const node of missing) found.rows.push({ node, text: "∅" });
    } else found.rows.push({ node: String(raw.node), text: raw.facts ? JSON.stringify(raw.facts) : String(raw.reason ?? "") });
  }
  found.rows.sort((a, b) => a.node.localeCompare(b.node));
  return found;
}

function refusal(header: string): string {
  try {
    const raw = JSON.parse(header) as Record<string, unknown>;
    return [raw.message, raw.where, raw.expected, raw.got, raw.hint].filter(Boolean).join(" · ");
  } catch {
    return header;
  }
}
