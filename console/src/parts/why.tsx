/** What a figure of OEE is made of, as `millstream why` says it. */
import { type Why } from "@millstream/client";
import { useEffect, useState } from "preact/hooks";
import { durationText, numberText, plain, timeText } from "../format";
import { measured } from "../state/alarms";
import { codeText, factText, valueOfFact } from "../words/codes";
import { address } from "../router";
import { client, session } from "../state/hub";
import { t, type Word } from "../words";
import { stepsOf } from "./steps";
import { stopColumns } from "./stops";
import { Table } from "./table";

const SHOWN_ELSEWHERE: ReadonlySet<string> = new Set(["path", "value", "unit", "start", "end", "stops"]);

/** Names that stand for times by what the time was. */
const BY_CATEGORY: ReadonlySet<string> = new Set(["spent_s", "losses_s"]);
const A_TIME = /^\d{4}-\d\d-\d\dT[\d:.]+Z$/;

const STEPS: Record<string, Word> = {
  planned: "plannedTime", used: "fullyUsed",
  failures: "lossFailures", setup: "setup", idling: "lossIdling", small_stops: "lossSmall", speed: "lossSpeed", rejects: "lossRejects",
};

export function WhyPanel({ tag, close }: { tag: string; close: () => void }): preact.JSX.Element {
  const [found, setFound] = useState<Why>();
  const [why, setWhy] = useState("");
  const isEdge = Boolean(session.value?.site);
  useEffect(() => {
    let isOver = false;
    setFound(undefined);
    if (isEdge) return;
    client.acts.why(tag).then(
      (answer) => { if (!isOver) { setFound(answer); setWhy(""); } },
      (error: Error) => !isOver && setWhy(error.message),
    );
    return () => { isOver = true; };
  }, [tag]);
  return (
    <section class="panel" aria-label={t("why", { what: plain(tag, 200) })}>
      <div class="bar">
        <h2 class="grow foreign">{t("why", { what: plain(tag, 200) })}</h2>
        <button type="button" onClick={close}>{t("close")}</button>
      </div>
      {why && <p class="look" role="status">{t("failed", { why: plain(why, 300) })}</p>}
      {isEdge && <p class="muted">{t("keptAtHub")}</p>}
      {!why && !found && !isEdge && <p class="muted" role="status">{t("loading")}…</p>}
      {found && <Parts found={found} />}
    </section>
  );
}

function Parts({ found }: { found: Why }): preact.JSX.Element {
  const rows = Object.entries(found).filter(([name, value]) => !SHOWN_ELSEWHERE.has(name) && value !== null && !isBelow(name, value));
  return (
    <>
      <p><b>{valueOf(found)}</b> <span class="muted">
        {timeText(Date.parse(found.start))} – {timeText(Date.parse(found.end))}</span></p>
      <Waterfall found={found} />
      {isBelow("parts", found.parts) && <Below tag={found.path} parts={found.parts as Part[]} />}
      <dl>{rows.map(([name, value]) => <Detail key={name} name={name} value={value} />)}</dl>
      <Table caption={t("stops")} rows={found.stops} keyOf={(row) => `${row.path} ${row.start}`} empty={t("noStops")} columns={stopColumns()} />
    </>
  );
}

interface Part {
  path: string;
  oee: number | null;
  losses_s: Record<string, number>;
}

/** Of energy, `parts` is how many were made. */
function isBelow(name: string, value: unknown): boolean {
  return name === "parts" && Array.isArray(value);
}

/** What a line or a site is made of, those that lost most first; each leads to why it is what it is. */
function Below({ tag, parts }: { tag: string; parts: Part[] }): preact.JSX.Element {
  const name = tag.slice(tag.indexOf(":"));
  return (
    <Table caption={t("below")} rows={parts} keyOf={(row) => row.path} empty="" columns={[
      { head: t("name"), cell: (row) => <a class="foreign" href={address("shop", { why: row.path + name })}>{plain(row.path, 200)}</a> },
      { head: t("oee"), isNumber: true, cell: (row) => (row.oee === null ? "–" : `${numberText(Math.round(row.oee * 1000) / 10)} %`) },
      { head: t("lost"), isNumber: true, cell: (row) => durationText(Object.values(row.losses_s).reduce((sum, one) => sum + one, 0)) },
    ]} />
  );
}

function valueOf({ value, unit }: Why): string {
  if (value == null) return "–";
  return typeof unit === "string" ? `${numberText(value)} ${plain(unit, 12)}` : `${numberText(Math.round(value * 1000) / 10)} %`;
}

function Waterfall({ found }: { found: Why }): preact.JSX.Element | null {
  const planned = Number(found.busy_s ?? found.planned_s ?? 0);
  const losses = found.losses_s as Record<string, number> | undefined;
  if (!(planned > 0) || losses === undefined) return null;
  return (
    <Table caption={t("waterfall")} rows={stepsOf(planned, losses)} keyOf={(row) => row.name} empty="" columns={[
      { head: t("name"), cell: (row) => (Object.hasOwn(STEPS, row.name) ? t(STEPS[row.name]) : plain(row.name, 40)) },
      { head: t("share"), cell: (row) => (
        <svg class="share wide" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">
          <rect x={100 * row.fromShare} width={(100 * row.seconds) / planned} height="10" fill={row.isLoss ? "var(--down)" : "var(--muted)"} />
        </svg>
      ) },
      { head: t("time"), isNumber: true, cell: (row) => `${row.isLoss ? "− " : ""}${durationText(row.seconds)}` },
      { head: "%", isNumber: true, cell: (row) => `${numberText(Math.round((1000 * row.seconds) / planned) / 10)} %` },
    ]} />
  );
}

function Detail({ name, value }: { name: string; value: unknown }): preact.JSX.Element {
  return <><dt class="foreign" title={plain(name, 60)}>{factText(name)}</dt><dd class="foreign">{partText(name, value)}</dd></>;
}

/** A name bears the unit of its numbers, also of those below it: `_s` are seconds. */
export function partText(name: string, value: unknown): string {
  if (typeof value === "string" && A_TIME.test(value)) return timeText(Date.parse(value));
  if (typeof value === "number") return measured(name, value);
  if (typeof value === "boolean") return t(value ? "yes" : "no");
  if (Array.isArray(value)) return value.length === 0 ? "–" : value.map((one) => partText(name, one)).join("; ");
  if (value !== null && typeof value === "object") {
    const parts = Object.entries(value).map(([part, one]) => `${partName(name, part)} ${partText(typeof one === "number" && UNITLESS.has(name) ? part : name, one)}`);
    return parts.length === 0 ? "–" : parts.join(" · ");
  }
  return valueOfFact(name, String(value));
}

/** Below these each part has a name of its own that says what it is. */
const UNITLESS: ReadonlySet<string> = new Set(["orders", "doubts"]);

function partName(name: string, part: string): string {
  if (BY_CATEGORY.has(name)) return codeText("category", part);
  if (name === "states_s") return codeText("machine", part);
  return UNITLESS.has(name) ? factText(part) : plain(part, 40);
}
