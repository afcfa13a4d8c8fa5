/** Where the focus is stays known to who has no pointer: what it was in may vanish, or be disabled while it is busy. */

const ACTED_ON = "button:not(:disabled), a[href], input:not(:disabled), select:not(:disabled), textarea:not(:disabled)";

let last: HTMLElement | undefined;
/** From the last one outwards. */
let way: HTMLElement[] = [];

/** From now on: a focus that was lost goes back as soon as it can, else to what else can be done in the same row, else to the
 * nearest part of the page around it that takes the focus. */
export function keepFocus(root: HTMLElement): void {
  addEventListener("focusin", (event) => remember(event.target as HTMLElement));
  addEventListener("pointerdown", () => (last = undefined)); // whoever points elsewhere means it
  new MutationObserver(look).observe(root, { childList: true, subtree: true, attributeFilter: ["disabled"] });
}

/** What was opened from there is closed: back to it. */
export function returnFocus(opener: Element | null): void {
  if (!(opener instanceof HTMLElement) || !opener.isConnected || opener === document.body) return;
  remember(opener);
  opener.focus({ preventScroll: true }); // disabled for a moment more: then once it no longer is
}

function remember(element: HTMLElement): void {
  last = element;
  way = [];
  for (let one = element.parentElement; one !== null; one = one.parentElement) way.push(one);
}

function look(): void {
  if (last === undefined || (document.activeElement !== document.body && document.activeElement !== null)) return;
  if (last.isConnected) {
    last.focus({ preventScroll: true });
    return;
  }
  for (const one of way) {
    if (!one.isConnected) continue;
    const next = one.matches("tr, .acts, .undo, li") ? one.querySelector<HTMLElement>(ACTED_ON) : one.hasAttribute("tabindex") ? one : null;
    if (next !== null) return next.focus({ preventScroll: true });
  }
  document.getElementById("main")?.focus({ preventScroll: true });
}
