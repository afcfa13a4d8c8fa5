/** How far behind what runs at a node is. Pure. */
type Raw = Record<string, unknown>;

/** How far a flow is behind the streams of its node that it reads, in messages; undefined while nobody says where it stands. A part
 * that has found nothing more for it in a stream is not behind there: what came since is of others. */
export function lagOf(flow: Raw, streams: Raw[]): number | undefined {
  const ends = new Map(streams.map((one) => [String(one.name), Number(one.last_seq ?? 0)]));
  const least = new Map<string, number>();
  for (const { offsets, read_out: readOut } of (flow.partitions ?? []) as { offsets?: Record<string, number>; read_out?: string[] }[]) {
    for (const [name, offset] of Object.entries(offsets ?? {})) {
      const reached = readOut?.includes(name) ? Infinity : offset;
      least.set(name, Math.min(reached, least.get(name) ?? Infinity));
    }
  }
  const behind = [...least].flatMap(([name, offset]) => (ends.has(name) ? [Math.max(0, (ends.get(name) as number) - offset)] : []));
  return behind.length === 0 ? undefined : behind.reduce((sum, one) => sum + one, 0);
}
