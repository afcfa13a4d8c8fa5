/** What one may ask of an alarm: buttons in its row, and a form for what takes a reason. */
import { type AlarmAction, type Asked } from "@millstream/client";
import { useState } from "preact/hooks";
import { plain } from "../format";
import { type Alarm } from "../state/alarms";
import { client } from "../state/hub";
import { type Back } from "../state/undo";
import { t, type Word } from "../words";
import { AskForm } from "./ask";

export type AlarmForm = "shelve" | "comment";
const SHELVES: [string, Word, number][] = [
  ["30min", "unitMin", 30], ["1h", "unitH", 1], ["2h", "unitH", 2], ["8h", "unitH", 8], ["1d", "unitD", 1],
];
const TO_ACKNOWLEDGE: ReadonlySet<string> = new Set(["unacknowledged", "returned", "latched"]);
const WHY_MAX = 1000;

interface ButtonsProps {
  alarm: Alarm;
  isBusy: boolean;
  send: (action: AlarmAction) => void;
  open: (form: AlarmForm) => void;
}

export function AlarmButtons({ alarm, isBusy, send, open }: ButtonsProps): preact.JSX.Element {
  const button = (word: Word, onClick: () => void): preact.JSX.Element => (
    <button type="button" disabled={isBusy} aria-label={`${t(word)}: ${plain(alarm.path, 200)}`} onClick={onClick}>{t(word)}</button>
  );
  return (
    <span class="acts">
      {TO_ACKNOWLEDGE.has(alarm.state) && button("acknowledge", () => send("acknowledge"))}
      {alarm.state === "shelved" ? button("unshelve", () => send("unshelve")) : button("shelve", () => open("shelve"))}
      {button("comment", () => open("comment"))}
    </span>
  );
}

const unshelve = (path: string): Back => (why, id) => client.acts.askAlarm({ id, path, action: "unshelve", why });

/** What takes an act on an alarm back. That somebody has seen it, and what somebody said, stays so (ISA-18.2). */
export function backOf(alarm: Alarm, action: AlarmAction): Back | undefined {
  const { path, untilMs } = alarm;
  if (action !== "unshelve" || untilMs <= client.now()) return undefined;
  return (why, id) => client.acts.askAlarm({ id, path, action: "shelve", why, shelf: `${Math.max(1, Math.round((untilMs - client.now()) / 1000))}s` });
}

interface FormProps {
  alarm: Alarm;
  form: AlarmForm;
  isBusy: boolean;
  ask: (send: (id: string) => Promise<Asked>, back?: () => Back) => void;
  cancel: () => void;
}

export function AlarmAskForm({ alarm, form, isBusy, ask, cancel }: FormProps): preact.JSX.Element {
  const [why, setWhy] = useState("");
  const [shelf, setShelf] = useState("1h");
  const submit = (): void => ask(
    (id) => client.acts.askAlarm({ id, path: alarm.path, action: form, why, shelf: form === "shelve" ? shelf : undefined }),
    form === "shelve" ? () => unshelve(alarm.path) : undefined,
  );
  return (
    <AskForm title={`${t(form)}: ${plain(alarm.path, 200)}`} act={t(form)} isBusy={isBusy} submit={submit} cancel={cancel}>
      {form === "shelve" && (
        <label>{t("howLong")} <select value={shelf} onChange={(event) => setShelf(event.currentTarget.value)}>
          {SHELVES.map(([span, word, n]) => <option key={span} value={span}>{t(word, { n })}</option>)}
        </select></label>
      )}
      <label class="grow">{t("reason")} <input required maxLength={WHY_MAX} value={why} onInput={(event) => setWhy(event.currentTarget.value)} /></label>
    </AskForm>
  );
}
