/** How far behind what runs at a node is. Pure. */
type Raw = Record<string, unknown>;

/** How far a flow is behind the streams of its node that it reads, in messages; undefined while nobody says where it stands. */
export function lagOf(flow: Raw, streams: Raw[]): number | undefined {
  const ends = new Map(streams.map((one) => [String(one.name), Number(one.last_seq ?? 0)]));
  const least = new Map<string, number>();
  for (const part of (flow.partitions ?? []) as { offsets?: Record<string, number> }[]) {
    for (const [name, offset] of Object.entries(part.offsets ?? {})) least.set(name, Math.min(offset, least.get(name) ?? Infinity));
  }
  const behind = [...least].flatMap(([name, offset]) => (ends.has(name) ? [Math.max(0, (ends.get(name) as number) - offset)] : []));
  return behind.length === 0 ? undefined : behind.reduce((sum, one) => sum + one, 0);
}
