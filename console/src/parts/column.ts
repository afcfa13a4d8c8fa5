/** The values of a column of the wall, and their ages: each a text with one line for each tag, so high as a row. The browser lays out
 * and paints such a text for what a few elements cost; ten times a second, hundreds of them, that is what the page spends most on. */
import { type RefObject } from "preact";

export class Lines {
  readonly element: RefObject<HTMLPreElement | null> = { current: null };
  private readonly texts: string[] = [];
  private isPlanned = false;

  put(at: number, text: string): void {
    if (this.texts[at] === text) return;
    this.texts[at] = text;
    this.plan();
  }

  /** No more than so many rows are left. */
  cut(count: number): void {
    if (this.texts.length <= count) return;
    this.texts.length = count;
    this.plan();
  }

  /** Once for all that comes with one picture. */
  private plan(): void {
    if (this.isPlanned) return;
    this.isPlanned = true;
    queueMicrotask(() => {
      this.isPlanned = false;
      if (this.element.current !== null) write(this.element.current, this.texts.join("\n"));
    });
  }
}

export interface Column {
  values: Lines;
  ages: Lines;
}

/** A text into an element that holds nothing else, where it differs. */
export function write(element: HTMLElement, text: string): void {
  const node = element.firstChild as Text | null;
  if (node === null) element.textContent = text;
  else if (node.data !== text) node.data = text;
}
