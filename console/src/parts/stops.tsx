/** The stops of a place with their reasons, what people may say of them, and which reasons cost the most time. */
import { type Asked, type ParetoRow, type Stop, type StopAction, type Whole } from "@millstream/client";
import { useEffect, useState } from "preact/hooks";
import { durationText, numberText, plain, timeText } from "../format";
import { client, connections, session } from "../state/hub";
import { type Back } from "../state/undo";
import { inputMs, inputText, isUtc } from "../times";
import { t, type Word } from "../words";
import { codeText, whyText } from "../words/codes";
import { type Chosen } from "./choice";
import { Rejects } from "./rejects";
import { Timeline } from "./timeline";
import { AskForm, mayAct, Told, useAsking, type Asking } from "./ask";
import { Table, type Column } from "./table";
import { WholeSince } from "./whole";

const RELOAD_MS = 30_000;
const SHOWN_MAX = 200;
const SPANS: [string, Word, number][] = [["-8h", "unitH", 8], ["-1d", "unitD", 1], ["-7d", "unitD", 7]];
const HOURS: Record<string, number> = { "-8h": 8, "-1d": 24, "-7d": 168 };
const CATEGORIES: Word[] = ["setup", "delay", "idle", "down", "planned"];

type Open = { stop: Stop; form: "reason" | "split"; part?: Chosen };

/** An edge has the states of its machines, and not what is said of their stops. */
export function Stops({ asset }: { asset: string }): preact.JSX.Element {
  return session.value?.site ? <StatesOnly asset={asset} /> : <StopsOf asset={asset} />;
}

function StatesOnly({ asset }: { asset: string }): preact.JSX.Element {
  const [toMs] = useState(() => client.now());
  return <><Timeline asset={asset} stops={[]} fromMs={toMs - HOURS["-8h"] * 3_600_000} toMs={toMs} /><p class="muted">{t("keptAtHub")}</p></>;
}

function StopsOf({ asset }: { asset: string }): preact.JSX.Element {
  const [span, setSpan] = useState(SPANS[1][0]);
  const [loads, setLoads] = useState(0);
  const [found, setFound] = useState<{ stops: Stop[]; toMs: number } & Whole<ParetoRow>>();
  const [why, setWhy] = useState("");
  const [open, setOpen] = useState<Open>();
  const asking = useAsking(() => setLoads((count) => count + 1));
  useEffect(() => {
    let isOver = false;
    const load = (): void => void client.acts.stops(asset, span).then(
      (answer) => { if (!isOver) { setFound({ ...answer, toMs: client.now() }); setWhy(""); } },
      (error: Error) => !isOver && setWhy(error.message),
    );
    const end = connections.subscribe((count) => count > 0 && load());
    const timer = setInterval(load, RELOAD_MS);
    return () => { isOver = true; end(); clearInterval(timer); };
  }, [asset, span, loads]);
  return (
    <>
      <p><label>{t("span")} <select value={span} onChange={(event) => setSpan(event.currentTarget.value)}>
        {SPANS.map(([value, word, n]) => <option key={value} value={value}>{t(word, { n })}</option>)}
      </select></label></p>
      {why && <p class="look" role="status">{t("failed", { why: plain(why, 300) })}</p>}
      <WholeSince since={found?.since} />
      {found && <Timeline asset={asset} stops={found.stops} fromMs={found.toMs - HOURS[span] * 3_600_000} toMs={found.toMs}
        choose={mayAct() ? (part) => setOpen({ stop: part.stop, form: "reason", part }) : undefined} />}
      <StopTable stops={(found?.stops ?? []).slice(-SHOWN_MAX).reverse()} empty={found || !why ? t(found ? "noStops" : "loading") : "–"} asking={asking} open={setOpen} />
      <Told outcome={asking.outcome} />
      {open && <StopForm key={`${open.form} ${keyOf(open.stop)} ${open.part?.fromMs ?? ""}`} {...open} known={knownReasons(found?.pareto ?? [])} asking={asking} close={() => setOpen(undefined)} />}
      <Pareto rows={found?.pareto ?? []} empty={found || !why ? t(found ? "noStops" : "loading") : "–"} />
      <Rejects asset={asset} span={span} />
    </>
  );
}

const keyOf = (stop: Stop): string => `${stop.path} ${stop.start}`;
const wordOf = (category: string): string => {
  const word = CATEGORIES.find((one) => one === category);
  return word === undefined ? plain(category, 40) : t(word);
};

export const stopColumns = (): Column<Stop>[] => [
  { head: t("since"), cell: (row) => timeText(Date.parse(row.start)) },
  { head: t("lasts"), isNumber: true, cell: (row) => (row.duration_s === null ? t("still") : durationText(row.duration_s)) },
  { head: t("state"), cell: (row) => <span title={plain(row.state, 40)}>{codeText("machine", row.state)}</span> },
  { head: t("category"), cell: (row) => wordOf(row.category) },
  { head: t("reason"), cell: (row) => (row.reason === null ? "–" : plain(row.reason, 80)) },
  { head: t("saidBy"), cell: (row) => plain([row.who, row.why && whyText(row.why)].filter(Boolean).join(": "), 200) },
];

interface StopTableProps {
  stops: Stop[];
  empty: string;
  asking: Asking;
  open: (open: Open) => void;
}

function StopTable({ stops, empty, asking, open }: StopTableProps): preact.JSX.Element {
  const merge = (stop: Stop): void => void asking.ask(titleOf("merge", stop), (id) =>
    client.acts.askStop({ id, path: stop.path, action: "merge", at: stop.start }), () => apart(stop));
  const acts: Column<Stop> = {
    head: t("acts"),
    cell: (row) => (
      <span class="acts">
        {(["reason", "split", "merge"] as const).map((action) => (
          <button key={action} type="button" disabled={asking.isBusy} aria-label={titleOf(action, row)}
            onClick={() => (action === "merge" ? merge(row) : open({ stop: row, form: action }))}>{t(action)}</button>
        ))}
      </span>
    ),
  };
  const columns = [...stopColumns(), ...(mayAct() ? [acts] : [])];
  return <Table caption={t("stops")} rows={stops} keyOf={keyOf} empty={empty} columns={columns} />;
}

const titleOf = (action: Exclude<StopAction, "clear">, stop: Stop): string => `${t(action)}: ${timeText(Date.parse(stop.start))}`;

/** What was said of other stops here, the costliest first: most often it is one of these again. */
const knownReasons = (rows: ParetoRow[]): string[] => rows.map((row) => row.reason).filter((reason) => !reason.startsWith("("));

function StopForm({ stop, form, part, known, asking, close }: Open & { known: string[]; asking: Asking; close: () => void }): preact.JSX.Element {
  const [reason, setReason] = useState(stop.reason ?? "");
  const [category, setCategory] = useState("");
  const [why, setWhy] = useState("");
  const [asUtc] = useState(isUtc);
  const [at, setAt] = useState(() => inputText(middleOf(stop), asUtc));
  const submit = (): void => {
    const cutAt = new Date(inputMs(at, asUtc)).toISOString();
    const asked = form === "reason" ? { at: stop.start, reason, category } : { at: cutAt };
    void asking
      .ask(
        titleOf(form, stop),
        (id) => (part === undefined ? client.acts.askStop({ id, path: stop.path, action: form, why, ...asked }) : explainPart(part, reason, category, why)),
        () => (part !== undefined ? wholeAgain(part) : form === "split" ? joined(stop, cutAt) : asItWas(stop)),
      )
      .then((isDone) => isDone && close());
  };
  return (
    <AskForm title={part === undefined ? titleOf(form, stop) : `${t("reason")}: ${timeText(part.fromMs)} – ${timeText(part.toMs)}`} act={t(form === "split" ? "split" : "giveReason")} isBusy={asking.isBusy} submit={submit} cancel={close}>
      {form === "split" && (
        <label>{t("cutAt")}{asUtc && ` (${t("utc")})`} <input type="datetime-local" step="1" required value={at} onInput={(event) => setAt(event.currentTarget.value)} /></label>
      )}
      {form === "reason" && (
        <label>{t("reason")} <input required maxLength={64} list="reasons" autocomplete="off" value={reason} onInput={(event) => setReason(event.currentTarget.value)} />
          <datalist id="reasons">{known.map((one) => <option key={one} value={one} />)}</datalist></label>
      )}
      {form === "reason" && (
        <label>{t("category")} <select value={category} onChange={(event) => setCategory(event.currentTarget.value)}>
          <option value="">{t("asBefore")}</option>
          {CATEGORIES.map((one) => <option key={one} value={one}>{t(one)}</option>)}
        </select></label>
      )}
      <label>{t("remark")} <input maxLength={1000} value={why} onInput={(event) => setWhy(event.currentTarget.value)} /></label>
    </AskForm>
  );
}

/** A reason that was given, as it was before: the former one, or none. */
const asItWas = (stop: Stop): Back => (why, id) => {
  const { path, start: at, category } = stop;
  return client.acts.askStop(stop.reason === null ? { id, path, action: "clear", at, category, why } : { id, path, action: "reason", at, reason: stop.reason, category, why });
};

const joined = (stop: Stop, at: string): Back => (why, id) => client.acts.askStop({ id, path: stop.path, action: "merge", at, why });

/** Cut where it began, with the reason that it had. */
const apart = (stop: Stop): Back => async (why, id) => {
  await client.acts.askStop({ id, path: stop.path, action: "split", at: stop.start, why });
  if (stop.reason !== null) await asItWas(stop)(why, `${id}r`);
};

/** The parts joined again, the last one first; what began the stop has its former reason. */
const wholeAgain = ({ stop, fromMs, toMs }: Chosen): Back => async (why, id) => {
  const { start, endMs, isBegin, isEnd } = cutsOf({ stop, fromMs, toMs });
  if (!isEnd) await joined(stop, new Date(endMs).toISOString())(why, `${id}e`);
  await (isBegin ? asItWas(stop) : joined(stop, start.toISOString()))(why, id);
};

/** Where a part is cut, as far as the stop does not begin or end there. */
function cutsOf({ stop, fromMs, toMs }: Chosen): { start: Date; endMs: number; isBegin: boolean; isEnd: boolean } {
  const start = new Date(Math.ceil(fromMs / 1000) * 1000);
  const isBegin = start.getTime() - Date.parse(stop.start) < 1000;
  const endMs = Math.floor(toMs / 1000) * 1000;
  return { start, endMs, isBegin, isEnd: stop.end === null ? client.now() - endMs < 1000 : Date.parse(stop.end) - endMs < 1000 };
}

/** Cut where the part begins and ends, and say why the part was. */
async function explainPart(part: Chosen, reason: string, category: string, why: string): Promise<Asked> {
  const { stop } = part;
  const path = stop.path;
  const { start, endMs, isBegin, isEnd } = cutsOf(part);
  if (!isBegin) await client.acts.askStop({ path, action: "split", at: start.toISOString(), why });
  if (!isEnd) await client.acts.askStop({ path, action: "split", at: new Date(endMs).toISOString(), why });
  return client.acts.askStop({ path, action: "reason", at: isBegin ? stop.start : start.toISOString(), reason, category, why });
}

function middleOf(stop: Stop): number {
  const start = Date.parse(stop.start);
  return (start + (stop.end === null ? client.now() : Date.parse(stop.end))) / 2;
}

const percent = (share: number): string => `${numberText(Math.round(share * 100))} %`;

/** Of stops of which nobody has said why: what they count as, which stands in brackets. */
function reasonOf(reason: string): string {
  const category = /^\((\w+)\)$/.exec(reason)?.[1];
  return category === undefined ? plain(reason, 80) : t("noReason", { category: wordOf(category) });
}

/** A bar beside the number: nobody has to compare digits. */
function Pareto({ rows, empty }: { rows: ParetoRow[]; empty: string }): preact.JSX.Element {
  return (
    <Table caption={t("pareto")} rows={rows} keyOf={(row) => row.reason} empty={empty} columns={[
      { head: t("reason"), cell: (row) => reasonOf(row.reason) },
      { head: t("share"), cell: (row) => (
        <svg class="share" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true"><rect width={100 * row.share} height="10" fill="var(--muted)" /></svg>
      ) },
      { head: "%", isNumber: true, cell: (row) => percent(row.share) },
      { head: t("sum"), isNumber: true, cell: (row) => percent(row.cumulative) },
      { head: t("time"), isNumber: true, cell: (row) => durationText(row.seconds) },
      { head: t("stops"), isNumber: true, cell: (row) => numberText(row.count) },
    ]} />
  );
}
