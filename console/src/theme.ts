/** Light, dark, or as the system has it. */
import { effect, signal } from "@preact/signals";
import { remember, remembered } from "./words";

export const THEMES = ["system", "light", "dark"] as const;
export type Theme = (typeof THEMES)[number];

export const theme = signal<Theme>(THEMES.find((one) => one === remembered("theme")) ?? "system");
effect(() => {
  document.documentElement.dataset.theme = theme.value;
  remember("theme", theme.value);
});
