/** What somebody wants at hand on this device: addresses of the console with a name. */
import { signal } from "@preact/signals";
import { remember, remembered } from "../words";

export interface Pin {
  to: string;
  name: string;
}

export const PINS_MAX = 12;
const [TO_MAX, NAME_MAX] = [4000, 200];

export const pins = signal<readonly Pin[]>(pinsOf(remembered("pins")));

/** Of what the browser has kept, which anything may have written: addresses of this console only. */
export function pinsOf(text: string | null): Pin[] {
  try {
    const found = JSON.parse(text ?? "[]") as Partial<Pin>[];
    const fits = ({ to, name }: Partial<Pin>): boolean => typeof to === "string" && to.startsWith("#/") && to.length <= TO_MAX && typeof name === "string";
    return found.filter((one) => one !== null && fits(one)).slice(0, PINS_MAX).map((one) => ({ to: String(one.to), name: String(one.name).slice(0, NAME_MAX) }));
  } catch {
    return [];
  }
}

/** Pinned, or no longer; one more than there is room for takes the place of the oldest. */
export function turnPin(pin: Pin): void {
  const others = pins.value.filter((one) => one.to !== pin.to);
  const isNew = others.length === pins.value.length;
  pins.value = isNew ? [...others, pin].slice(-PINS_MAX) : others;
  remember("pins", JSON.stringify(pins.value));
}
