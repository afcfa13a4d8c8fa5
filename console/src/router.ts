/** Addresses: everything that a page shows stands behind the `#`, so that a link shows the same elsewhere. */
import { computed, signal } from "@preact/signals";

export const PAGES = ["plant", "shop", "trend", "alarms", "fleet", "pipeline", "admin"] as const;
export type Page = (typeof PAGES)[number];

export interface Route {
  page: Page;
  query: URLSearchParams;
}

const hash = signal(location.hash);
addEventListener("hashchange", () => (hash.value = location.hash));

export const route = computed<Route>(() => parseRoute(hash.value));
export const page = computed<Page>(() => route.value.page);

export function parseRoute(text: string): Route {
  const [, name = "", query = ""] = /^#\/?([^?]*)\??(.*)$/.exec(text) ?? [];
  const page = PAGES.find((one) => one === name) ?? "plant";
  return { page, query: new URLSearchParams(query) };
}

export function address(page: Page, query: Record<string, string | string[] | undefined> = {}): string {
  const found = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const one of Array.isArray(value) ? value : [value]) if (one) found.append(name, one);
  }
  return `#/${page}${found.size ? `?${found}` : ""}`;
}

/** `isStep` false replaces the address, so that "back" does not stop at each letter of a search. */
export function go(to: string, isStep = true): void {
  if (to === hash.value) return;
  if (isStep) location.hash = to;
  else {
    history.replaceState(null, "", to);
    hash.value = to;
  }
}

/** A token that an address brought: it is taken out of it at once. */
export function takeToken(): string | undefined {
  const token = /^#token=([A-Za-z0-9_-]+)$/.exec(location.hash)?.[1];
  if (token !== undefined) {
    history.replaceState(null, "", location.pathname);
    hash.value = "";
  }
  return token;
}
