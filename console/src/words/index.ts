/** The two languages. What a page says to people stands there and nowhere else. */
import { effect, signal } from "@preact/signals";
import { de } from "./de";
import { en, type Words } from "./en";

export type Language = "de" | "en";
export type Word = keyof Words;

const ALL: Record<Language, Words> = { de, en };

export const language = signal<Language>(chosen());
effect(() => {
  document.documentElement.lang = language.value;
  remember("language", language.value);
});

/** How times and numbers are written. */
export const locale = (): string => (language.value === "de" ? "de-DE" : "en-GB");

export function t(word: Word, parts: Record<string, string | number> = {}): string {
  return ALL[language.value][word].replace(/\{(\w+)\}/g, (all, name: string) => String(parts[name] ?? all));
}

/** What a node or a flow calls a state, such as `out_of_service`: in words, where there are any. */
export function stateText(name: string): string {
  const word = `state${name.replace(/(?:^|_)([a-z])/g, (_all, letter: string) => letter.toUpperCase())}`;
  return Object.hasOwn(en, word) ? t(word as Word) : name;
}

/** What a contract is called, such as `kpi`; one of somebody's own stays as it is. */
export function kindText(kind: string): string {
  const word = `kind${kind[0]?.toUpperCase() ?? ""}${kind.slice(1)}`;
  return Object.hasOwn(en, word) ? t(word as Word) : kind;
}

export const roleText = (role: string): string => t(role === "engineer" || role === "commander" ? role : "viewer");

/** Kept on this device; a browser that keeps nothing is no fault. */
export function remember(name: string, value: string): void {
  try {
    localStorage.setItem(`millstream.${name}`, value);
  } catch {
    return;
  }
}

export function remembered(name: string): string | null {
  try {
    return localStorage.getItem(`millstream.${name}`);
  } catch {
    return null;
  }
}

function chosen(): Language {
  const kept = remembered("language");
  if (kept === "de" || kept === "en") return kept;
  return navigator.language.toLowerCase().startsWith("de") ? "de" : "en";
}
