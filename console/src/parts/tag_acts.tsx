/** What one may do with a tag: write it where its edge allows, see its way and what it is held to. */
import { severity, type Value, type WritableTag, type Written } from "@millstream/client";
import { useState } from "preact/hooks";
import { numberText, plain, unitText, valueText } from "../format";
import { client, person } from "../state/hub";
import { useLoaded } from "../state/loaded";
import { type Tag } from "../state/tags";
import { parseWritten } from "../state/written";
import { roleText, t } from "../words";
import { mayCommand, Told, useAsking } from "./ask";
import { TraceOf } from "./trace";
import { Coded } from "./written";

type Open = "write" | "trace" | "contract" | undefined;

export function TagActs({ tag }: { tag: Tag }): preact.JSX.Element {
  const [open, setOpen] = useState<Open>();
  const button = (name: Exclude<Open, undefined>): preact.JSX.Element => (
    <button type="button" aria-expanded={open === name} onClick={() => setOpen(open === name ? undefined : name)}>{t(name)}</button>
  );
  return (
    <>
      <div class="acts">{tag.kind === "tag" && button("write")}{button("trace")}{button("contract")}</div>
      {open === "write" && <Write key={tag.key} tag={tag} />}
      {open === "trace" && <TraceOf key={tag.key} what={tag.path} kind={tag.kind} />}
      {open === "contract" && <Contracts key={tag.key} tag={tag} />}
    </>
  );
}

function Contracts({ tag }: { tag: Tag }): preact.JSX.Element {
  const { data, why } = useLoaded(() => client.letters.contracts(tag.path, tag.kind), [tag.key]);
  if (why) return <p class="look" role="status">{t("failed", { why: plain(why, 300) })}</p>;
  if (data === undefined) return <p class="muted">{t("loading")}</p>;
  if (data.length === 0) return <p class="muted">{t("noContract")}</p>;
  return (
    <>{data.map((one) => (
      <div key={one.name}>
        <h3 class="foreign">{plain(`${one.name}/${one.version}`, 100)} {one.enforced === false && <small>{t("notEnforced")}</small>}</h3>
        {one.description && <p class="foreign">{plain(one.description, 600)}</p>}
        <pre class="payload" tabIndex={0} aria-label={t("contract")}>{JSON.stringify({ unit: one.unit, schema: one.schema, paths: one.paths }, null, 2).slice(0, 4000)}</pre>
      </div>
    ))}</>
  );
}

function Write({ tag }: { tag: Tag }): preact.JSX.Element {
  const { data, why } = useLoaded(() => client.acts.writable(), []);
  if (why) return <p class="look" role="status">{t("failed", { why: plain(why, 300) })}</p>;
  if (data === undefined) return <p class="muted">{t("loading")}</p>;
  const bounds = data.find((one) => one.tag === tag.path);
  if (bounds === undefined) return <p class="muted"><Coded text={t("notWritable")} /></p>;
  if (!mayCommand()) return <p class="muted">{t("commandersOnly", { role: roleText(person.value?.role ?? "") })}</p>;
  return <WriteForm tag={tag} bounds={bounds} />;
}

/** What it was before can be asked for once more, by its own question: nothing is written to a machine by the way. */
const mayBeWritten = (value: unknown, bounds: WritableTag): boolean =>
  ["number", "boolean", "string"].includes(typeof value) && parseWritten(typeof value === "number" ? String(value) : JSON.stringify(value), bounds, value).fault === "";

/** Two steps: what is to be written, and that it really is. Then what the machine showed. */
function WriteForm({ tag, bounds }: { tag: Tag; bounds: WritableTag }): preact.JSX.Element {
  const [text, setText] = useState("");
  const [asked, setAsked] = useState<{ value: unknown }>();
  const [former, setFormer] = useState<{ value: unknown }>();
  const [written, setWritten] = useState<Written>();
  const { outcome, isBusy, ask } = useAsking(() => setAsked(undefined));
  const wanted = parseWritten(text, bounds, tag.reading.value?.value);
  const unit = plain(unitText(bounds.unit ?? ""), 20);
  const write = (value: unknown): void => {
    setWritten(undefined);
    setFormer(undefined);
    const before = tag.reading.value;
    void ask(`${tag.path} = ${JSON.stringify(value)}`, async (id) => {
      const found = await client.acts.write(tag.path, value, id);
      setWritten(found);
      if (before !== undefined && severity(before.quality) === "good" && mayBeWritten(before.value, bounds)) setFormer({ value: before.value });
      return found;
    });
  };
  const range = [bounds.minimum, bounds.maximum].map((one) => (one === undefined ? "…" : numberText(one))).join(" – ");
  return (
    <form class="ask panel" aria-label={t("write")} onSubmit={(event) => { event.preventDefault(); if (wanted.fault === "") setAsked({ value: wanted.value }); }}>
      {asked === undefined ? (
        <>
          <label>{t("newValue")} <input value={text} spellcheck={false} inputMode="decimal" maxLength={60_000} aria-describedby="write-bounds"
            onInput={(event) => setText(event.currentTarget.value)} /> {unit}</label>
          <p id="write-bounds" class={text && wanted.fault ? "look" : "muted"}>{text && wanted.fault ? wanted.fault : t("bounds", { range, unit, s: numberText(bounds.interval_s) })}</p>
          <div class="bar">
            <button type="submit" disabled={wanted.fault !== "" || isBusy}>{t("write")}…</button>
            {former && <button type="button" disabled={isBusy} onClick={() => setAsked(former)}>{t("formerValue")} <span class="foreign">{valueText(former.value as Value)}</span></button>}
            {bounds.allow_null && <button type="button" disabled={isBusy} onClick={() => setAsked({ value: null })}>{t("giveBack")}</button>}
          </div>
        </>
      ) : (
        <div role="alertdialog" aria-label={t("reallyWrite")}>
          <p><b>{t("reallyWrite")}</b></p>
          <p class="foreign">{plain(tag.path, 300)}: {valueText(tag.reading.value?.value)} → <b>{asked.value === null ? "null" : plain(JSON.stringify(asked.value), 200)} {unit}</b></p>
          <div class="bar">
            <button type="button" class="primary" disabled={isBusy} onClick={() => write(asked.value)}>{t("writeNow")}</button>
            <button type="button" disabled={isBusy} ref={(node) => node?.focus()} onClick={() => setAsked(undefined)}>{t("cancel")}</button>
          </div>
        </div>
      )}
      <Told outcome={outcome} />
      {written && <p>{written.read_back === undefined ? t("notReadBack") : t("readBack", { value: plain(JSON.stringify(written.read_back), 200) })} {plain(written.reason ?? "", 300)}</p>}
    </form>
  );
}
