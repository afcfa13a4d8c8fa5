/** What little of a browser the pure parts ask for. */
const stand = globalThis as unknown as Record<string, unknown>;
stand.navigator ??= { language: "en-GB" };
stand.document ??= { documentElement: {} };
