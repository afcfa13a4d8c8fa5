/** Dead letters and quarantine: why they are there, what is in them, putting them right, letting them go. */
import { type DeadLetter, type OpenLetter } from "@millstream/client";
import { useState } from "preact/hooks";
import { bytesText, numberText, plain } from "../format";
import { address, go, route } from "../router";
import { client } from "../state/hub";
import { useLoaded } from "../state/loaded";
import { draftOf, faultOf, hexRows, textOf } from "../state/payload_view";
import { sure } from "../state/sure";
import { t } from "../words";
import { mayAct, Told, useAsking, type Asking } from "./ask";
import { Pairs, Panel } from "./panel";
import { Table } from "./table";
import { Age } from "./value";

const LETTERS = 200;
const LETTERS_MS = 10_000;
const TEXT_MAX = 4000;
const timeOf = (letter: DeadLetter): number => Date.parse(letter.time);

export function DeadLetters(): preact.JSX.Element {
  const { data, why, reload } = useLoaded(() => client.letters.list(LETTERS), [], LETTERS_MS);
  const asking = useAsking(reload);
  const open = route.value.query.get("letter");
  const rows = data?.letters ?? [];
  return (
    <section aria-label={t("deadLetters")}>
      {why && <p class="look" role="status">{t("deadLetters")}: {t("failed", { why: plain(why, 200) })}</p>}
      <Table caption={data && data.total > rows.length ? t("lettersOf", { n: numberText(rows.length), all: numberText(data.total) }) : t("deadLetters")}
        rows={rows} keyOf={(row) => row.id} empty={data ? t("noLetters") : t("loading")} columns={[
          { head: "ID", cell: (row) => <a href={address("pipeline", { letter: row.id })}><code>{plain(row.id, 80)}</code></a> },
          { head: t("age"), cell: (row) => <Age timeMs={timeOf(row)} /> },
          { head: t("source"), cell: (row) => plain([row.node, row.source].filter(Boolean).join(" / "), 120) },
          { head: t("reason"), cell: (row) => <>{row.contract !== null && <b>{t("quarantine")} </b>}{plain(row.reason, 300)} <small>{plain(row.code, 20)}</small></> },
          { head: t("path"), cell: (row) => plain(row.path ?? "–", 200) },
          { head: t("size"), isNumber: true, cell: (row) => bytesText(row.bytes) },
          { head: t("value"), cell: (row) => <code>{plain(row.preview, 60)}</code> },
        ]} />
      <Told outcome={asking.outcome} />
      {open !== null && <Letter key={open} id={open} asking={asking} />}
    </section>
  );
}

const close = (): void => go(address("pipeline"));

function Letter({ id, asking }: { id: string; asking: Asking }): preact.JSX.Element {
  const { data: letter, why } = useLoaded(() => client.letters.open(id), [id]);
  return (
    <Panel title={`${t("deadLetter")} ${plain(id, 80)}`} close={close}>
      {why && <p class="look" role="status">{t("letterGone", { why: plain(why, 200) })}</p>}
      {letter === undefined ? !why && <p class="muted">{t("loading")}</p> : (
        <div class="two">
          <div>
            <Pairs rows={[
              [t("reason"), `${letter.reason} [${letter.code}]`], [t("contract"), letter.contract],
              [t("source"), [letter.node, letter.source].filter(Boolean).join(" / ")], [t("path"), letter.path],
              [t("type"), letter.content_type], [t("size"), bytesText(letter.bytes)], [t("time"), letter.time],
            ]} />
            {letter.traceparent !== null && <p><a href={address("pipeline", { trace: letter.traceparent })}>{t("trace")}</a></p>}
            <Payload letter={letter} />
          </div>
          {mayAct() && <Repair letter={letter} asking={asking} />}
        </div>
      )}
    </Panel>
  );
}

/** As text where it is one, else as bytes; nobody's text changes the page around it. */
function Payload({ letter }: { letter: OpenLetter }): preact.JSX.Element {
  const text = textOf(letter.payload);
  const [isHex, setHex] = useState(text === undefined);
  const rows = hexRows(letter.payload);
  return (
    <>
      <h3>{t("payload")} {text !== undefined && <label class="inline"><input type="checkbox" checked={isHex} onChange={(event) => setHex(event.currentTarget.checked)} /> {t("asBytes")}</label>}</h3>
      <pre class="payload" tabIndex={0} aria-label={t("payload")}>{isHex ? rows.join("\n") : lines(text ?? "")}</pre>
      {(letter.isCut || (isHex ? rows.length * 16 < letter.bytes : (text ?? "").length > TEXT_MAX)) && (
        <p class="muted">{t("cutAll")} <code>{`millstream deadletter show ${letter.id} --raw`}</code></p>
      )}
    </>
  );
}

const lines = (text: string): string => text.slice(0, TEXT_MAX).split("\n").map((line) => plain(line, TEXT_MAX)).join("\n");

/** Two ways out: to where it belongs, put right or as it is; or away, with a reason. */
function Repair({ letter, asking }: { letter: OpenLetter; asking: Asking }): preact.JSX.Element {
  const [draft, setDraft] = useState(draftOf(letter.payload, timeOf(letter)));
  const [path, setPath] = useState(letter.path ?? "");
  const [why, setWhy] = useState("");
  const fault = faultOf(draft);
  const to = path.trim() === (letter.path ?? "") ? undefined : path.trim();
  const done = (isDone: boolean): void => { if (isDone) close(); };
  const replay = async (payload?: string): Promise<void> => {
    const act = t(payload === undefined ? "replayAsIs" : "replayRepaired");
    if (!(await sure(act, t("noWayBack", { what: `${letter.id} → ${plain(path, 200)}` }), act))) return;
    done(await asking.ask(letter.id, () => client.letters.replay({ id: letter.id, path: to, payload, why })));
  };
  const drop = async (): Promise<void> => {
    if (!(await sure(t("drop"), t("noWayBack", { what: letter.id }), t("drop")))) return;
    done(await asking.ask(letter.id, () => client.letters.drop({ id: letter.id, why })));
  };
  return (
    <form class="ask" aria-label={t("repair")} onSubmit={(event) => { event.preventDefault(); if (!fault) void replay(draft); }}>
      <h3>{t("repair")}</h3>
      <label>{t("path")} <input required value={path} spellcheck={false} maxLength={2000} onInput={(event) => setPath(event.currentTarget.value)} /></label>
      <label class="tall">{t("sampleJson")}
        <textarea rows={8} spellcheck={false} value={draft} aria-invalid={fault !== ""} aria-describedby="letter-fault" onInput={(event) => setDraft(event.currentTarget.value)} />
      </label>
      <p id="letter-fault" class={fault ? "look" : "muted"}>{fault ? plain(fault, 200) : t("replayOnce")}</p>
      <label>{t("reason")} <input value={why} maxLength={500} onInput={(event) => setWhy(event.currentTarget.value)} /></label>
      <div class="bar">
        <button type="submit" disabled={asking.isBusy || fault !== ""}>{t("replayRepaired")}</button>
        <button type="button" disabled={asking.isBusy} onClick={() => void replay()}>{t("replayAsIs")}</button>
        <button type="button" class="danger" disabled={asking.isBusy || why.trim() === ""} title={why.trim() === "" ? t("dropNeedsWhy") : undefined} onClick={() => void drop()}>{t("drop")}</button>
      </div>
      {why.trim() === "" && <p class="muted">{t("dropNeedsWhy")}</p>}
    </form>
  );
}
