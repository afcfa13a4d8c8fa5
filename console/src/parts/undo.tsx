/** What was done last, with a way back; and the question before what has none. Both stand outside of the pages. */
import { useEffect, useRef, useState } from "preact/hooks";
import { plain } from "../format";
import { returnFocus } from "../state/focus";
import { session } from "../state/hub";
import { question, type Question } from "../state/sure";
import { offer, undo, withdraw, type Offer } from "../state/undo";
import { t } from "../words";
import { refusalText } from "./refusal";

const SHOWN_S = 20;
const TYPED = "textarea, [contenteditable], input:not([type=checkbox], [type=radio], [type=button], [type=submit])";
const IS_APPLE = /Mac|iPhone|iPad/.test(navigator.platform);

/** It goes by itself after a while, but not while somebody points at it or has the focus in it, or looks elsewhere
 * (WCAG 2.2, 2.2.1); what it does can be done by the page's own buttons afterwards, too. */
export function UndoBar(): preact.JSX.Element {
  const shown = session.value ? offer.value : undefined;
  const bar = useRef<HTMLDivElement>(null);
  const before = useRef<Element | null>(null);
  const [isHeld, hold] = useState(false);
  useEffect(() => {
    if (shown === undefined || shown.state === "busy" || isHeld) return;
    let leftS = SHOWN_S;
    const timer = setInterval(() => { if (document.visibilityState === "visible" && --leftS <= 0) withdraw(); }, 1000);
    return () => clearInterval(timer);
  }, [shown?.id, shown?.state, isHeld]);
  useEffect(() => {
    if (shown === undefined) hold(false);
  }, [shown === undefined]);
  useEffect(() => {
    const press = (event: KeyboardEvent): void => {
      const isUndo = event.key.toLowerCase() === "z" && (event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey;
      if (!isUndo || offer.peek() === undefined || (event.target as Element).closest?.(TYPED)) return;
      event.preventDefault();
      void undo();
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, []);
  const leave = (): void => {
    withdraw();
    returnFocus(before.current?.isConnected ? before.current : document.getElementById("main"));
  };
  return (
    <div ref={bar} class="undo" data-shown={shown?.state}
      onPointerEnter={() => hold(true)} onPointerLeave={() => hold(bar.current?.contains(document.activeElement) === true)}
      onFocusIn={(event) => { if (!isHeld && !bar.current?.contains(event.relatedTarget as Node | null)) before.current = event.relatedTarget as Element | null; hold(true); }}
      onFocusOut={(event) => { if (!bar.current?.contains(event.relatedTarget as Node | null)) hold(bar.current?.matches(":hover") === true); }}
      onKeyDown={(event) => { if (event.key === "Escape") leave(); }}>
      <span role="status" class="grow">{shown && textOf(shown)}</span>
      {shown && shown.state !== "done" && (
        <button type="button" aria-disabled={shown.state === "busy"} aria-keyshortcuts="Control+Z Meta+Z" title={IS_APPLE ? "⌘Z" : t("ctrlZ")} onClick={() => void undo()}>{t("undo")}</button>
      )}
      {shown && <button type="button" onClick={leave}>{t("close")}</button>}
    </div>
  );
}

function textOf(shown: Offer): string {
  const what = plain(shown.what, 200);
  if (shown.state === "done") return `✓ ${t("takenBack", { what })}`;
  return shown.why === undefined ? t("canTakeBack", { what }) : refusalText(`${t("undo")}: ${shown.what}`, shown.why);
}

/** In front of everything: nothing else can be done meanwhile. The way out has the focus, Escape is one, and the focus
 * goes back to where it was. */
export function SureDialog(): preact.JSX.Element | null {
  const asked = question.value;
  return asked === undefined ? null : <Dialog key={asked.title + asked.text} asked={asked} />;
}

function Dialog({ asked }: { asked: Question }): preact.JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
  const isSure = useRef(false);
  useEffect(() => {
    dialog.current?.showModal();
    return () => dialog.current?.close();
  }, []);
  const end = (yes: boolean): void => { isSure.current = yes; dialog.current?.close(); };
  return (
    <dialog ref={dialog} class="panel" role="alertdialog" aria-labelledby="sure" aria-describedby="sure-why" onClose={() => asked.answer(isSure.current)}>
      <h2 id="sure" class="foreign">{asked.title}</h2>
      <p id="sure-why" class="foreign">{asked.text}</p>
      <div class="bar">
        <button type="button" class="danger" onClick={() => end(true)}>{asked.yes}</button>
        <button type="button" autofocus onClick={() => end(false)}>{t("cancel")}</button>
      </div>
    </dialog>
  );
}
