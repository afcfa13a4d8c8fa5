/** What opens beside or below a list: a name, a way to close it, and names with their values. */
import { type ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { plain } from "../format";
import { returnFocus } from "../state/focus";
import { t } from "../words";

interface PanelProps {
  title: string;
  close: () => void;
  children: ComponentChildren;
}

/** It takes the focus when it opens; Escape closes it, and the focus is where it was. */
export function Panel({ title, close, children }: PanelProps): preact.JSX.Element {
  const panel = useRef<HTMLElement>(null);
  useEffect(() => {
    const opener = document.activeElement;
    panel.current?.focus();
    panel.current?.scrollIntoView({ block: "nearest" });
    return () => returnFocus(opener);
  }, []);
  return (
    <section ref={panel} class="panel opened" aria-label={title} tabIndex={-1} onKeyDown={(event) => { if (event.key === "Escape") close(); }}>
      <div class="bar">
        <h2 class="grow foreign">{title}</h2>
        <button type="button" onClick={close}>{t("close")}</button>
      </div>
      {children}
    </section>
  );
}

/** Those that have a value. All of it is text. */
export function Pairs({ rows }: { rows: [string, ComponentChildren][] }): preact.JSX.Element {
  const shown = rows.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return (
    <dl>{shown.map(([name, value]) => [<dt key={name}>{name}</dt>, <dd key={`${name}=`} class="foreign">{typeof value === "string" ? plain(value, 1000) : value}</dd>])}</dl>
  );
}

/** A command to copy: what cannot be done from here, can be done there. */
export function Command({ text }: { text: string }): preact.JSX.Element {
  const copy = (event: MouseEvent): void => {
    const button = event.currentTarget as HTMLButtonElement;
    void copied(text).then((isDone) => { if (isDone) button.textContent = t("copied"); });
  };
  return (
    <div class="command"><code tabIndex={0}>{text}</code><button type="button" aria-label={`${t("copy")}: ${text}`} onClick={copy}>{t("copy")}</button></div>
  );
}

/** The clipboard is there on pages with TLS and on this machine only. */
async function copied(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}
