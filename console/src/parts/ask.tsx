/** Asking for something that changes the plant: a form where it takes words, and what became of it. */
import { newId, type Asked, type MillstreamError } from "@millstream/client";
import { type ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { plain } from "../format";
import { returnFocus } from "../state/focus";
import { person } from "../state/hub";
import { acted, type Back } from "../state/undo";
import { roleText, t } from "../words";
import { refusalText } from "./refusal";

const ACTING_ROLES: ReadonlySet<string> = new Set(["engineer", "commander"]);

/** Whether the session's role may act. The hub decides; a page only spares people what would be refused. */
export const mayAct = (): boolean => ACTING_ROLES.has(person.value?.role ?? "");

/** Whether it may write to machines and send commands. */
export const mayCommand = (): boolean => person.value?.role === "commander";

export interface Outcome {
  text: string;
  isRefused: boolean;
}

export interface Asking {
  outcome: Outcome | undefined;
  isBusy: boolean;
  /** Ask; true when it was not refused. `send` gets an id that stays the same until the hub has answered, so that
   * whoever tries again after a cut asks for the same thing. `back` is what takes it back, where something does; what
   * has no way back asks before (`sure`). */
  ask: <A extends Asked>(what: string, send: (id: string) => Promise<A>, back?: (asked: A) => Back | undefined) => Promise<boolean>;
}

/** One question at a time, and how the last one ended. `done` is called when something may have changed. */
export function useAsking(done: () => void): Asking {
  const [outcome, setOutcome] = useState<Outcome>();
  const [isBusy, setBusy] = useState(false);
  const pending = useRef({ what: "", id: "" });
  const ask: Asking["ask"] = async (what, send, back) => {
    setBusy(true);
    setOutcome(undefined);
    if (pending.current.what !== what) pending.current = { what, id: newId() };
    try {
      const asked = await send(pending.current.id);
      const isTaken = asked.is_taken;
      pending.current = { what: "", id: "" };
      acted(what, asked.id, back?.(asked), done);
      setOutcome({ text: t(isTaken ? "taken" : "stored", { what: plain(what, 200) }), isRefused: false });
      return true;
    } catch (error) {
      const refusal = error as MillstreamError;
      if (!refusal.isUnknown) pending.current = { what: "", id: "" };
      setOutcome({ text: refusalText(what, refusal), isRefused: true });
      return false;
    } finally {
      setBusy(false);
      done();
    }
  };
  return { outcome, isBusy, ask };
}

export function Told({ outcome }: { outcome: Outcome | undefined }): preact.JSX.Element {
  return (
    <div role="status" class="told">
      {outcome && <p class={outcome.isRefused ? "refused" : ""}>{outcome.isRefused ? <b>! </b> : "✓ "}{outcome.text}</p>}
      {!mayAct() && <p class="muted">{t("lookOnly", { role: roleText(person.value?.role ?? "") })}</p>}
    </div>
  );
}

interface AskFormProps {
  title: string;
  isBusy: boolean;
  submit: () => void;
  cancel: () => void;
  /** What the button does; "Send" where that says enough. */
  act?: string;
  /** What cannot be had back looks like it. */
  isDanger?: boolean;
  children: ComponentChildren;
}

/** The fields are the caller's; the first one has the focus, Escape leaves. Afterwards the focus is where it was. */
export function AskForm({ title, isBusy, submit, cancel, act, isDanger, children }: AskFormProps): preact.JSX.Element {
  const form = useRef<HTMLFormElement>(null);
  useEffect(() => {
    const opener = document.activeElement;
    (form.current?.querySelector<HTMLElement>("input, select, textarea") ?? form.current?.querySelector("button"))?.focus();
    return () => returnFocus(opener);
  }, []);
  return (
    <form ref={form} class="panel ask" aria-label={title}
      onSubmit={(event) => { event.preventDefault(); submit(); }}
      onKeyDown={(event) => { if (event.key === "Escape") cancel(); }}>
      <h2 class="foreign">{title}</h2>
      {children}
      <div class="bar">
        <button type="submit" class={isDanger ? "danger" : ""} disabled={isBusy}>{act ?? t("send")}</button>
        <button type="button" onClick={cancel}>{t("cancel")}</button>
      </div>
    </form>
  );
}
