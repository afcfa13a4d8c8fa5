/** The last thing that somebody did here, as long as it can be taken back in one step. */
import { newId, type MillstreamError } from "@millstream/client";
import { signal } from "@preact/signals";

export type Back = (why: string, id: string) => Promise<unknown>;

export interface Offer {
  what: string;
  /** The act, as the audit names it: what takes it back says that it does. */
  of: string;
  /** Stays the same: whoever tries again after a cut asks for the same thing. */
  id: string;
  state: "offered" | "busy" | "done" | "refused";
  /** Why not, once it was tried. */
  why?: MillstreamError;
  back: Back;
  /** What it changed is to be looked at again. */
  done: () => void;
}

export const offer = signal<Offer | undefined>(undefined);

/** Something was done. Without `back` it cannot be taken back in one step, and neither can what was done before. */
export function acted(what: string, of: string, back: Back | undefined, done: () => void): void {
  offer.value = back && { what, of, id: newId(), state: "offered", back, done };
}

export const withdraw = (): void => void (offer.value = undefined);

/** What the audit has as the reason: the act that is taken back. `whyText` says it in words. */
const UNDO = "undo ";

export async function undo(): Promise<void> {
  const found = offer.peek();
  if (found === undefined || found.state === "busy" || found.state === "done") return;
  offer.value = { ...found, state: "busy" };
  let after: Offer;
  try {
    await found.back(UNDO + found.of, found.id);
    after = { ...found, state: "done" };
  } catch (error) {
    after = { ...found, state: "refused", why: error as MillstreamError };
  }
  if (offer.peek()?.id === found.id) offer.value = after; // else something else was done meanwhile
  found.done();
}

