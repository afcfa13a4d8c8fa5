/** What the first picture asks for: places and tags of the top, with their values. `boot.ts` has it as an address. */
export const FIRST = { open: 12, limit: 60, values: true };
