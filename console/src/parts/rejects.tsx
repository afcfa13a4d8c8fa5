/** Scrap and rework of a place with their reasons, what people say of parts, and putting right or taking back what was
 * said. */
import { type Fact, type Lot, type PartKind, type RejectRow } from "@millstream/client";
import { useState } from "preact/hooks";
import { numberText, plain, timeText } from "../format";
import { client } from "../state/hub";
import { useLoaded } from "../state/loaded";
import { edges, hub, useNodes } from "../state/nodes";
import { knownReasons, partFault, spanOf, targetsOf } from "../state/rejects";
import { tags } from "../state/tags";
import { type Back } from "../state/undo";
import { inputMs, isUtc } from "../times";
import { t, type Word } from "../words";
import { whyText } from "../words/codes";
import { AskForm, mayAct, Told, useAsking, type Asking } from "./ask";
import { Table, type Column } from "./table";
import { WholeSince } from "./whole";

const RELOAD_MS = 30_000;
const SHOWN_MAX = 200;
const COUNT_MAX = 1e6;
const KINDS: PartKind[] = ["scrap", "rework", "good"];
const KIND_WORDS: Record<PartKind, Word> = { scrap: "scrap", rework: "rework", good: "goodAfterAll" };
const SPANS: [string, Word, number][] = [["-1h", "unitH", 1], ["-8h", "unitH", 8], ["-1d", "unitD", 1]];

export function Rejects({ asset, span }: { asset: string; span: string }): preact.JSX.Element | null {
  const { data, why, reload } = useLoaded(() => client.acts.rejects(asset, span), [asset, span], RELOAD_MS);
  const reasons = useLoaded(() => client.acts.facts("", "reason"), []);
  useNodes();
  const nodes = [hub.value, ...edges.value.map((edge) => edge.status)];
  const hasFlow = nodes.some((node) => node?.flows?.some((flow) => flow.type === "quality"));
  const asking = useAsking(reload);
  const [open, setOpen] = useState<Lot | "new">();
  const targets = targetsOf([...tags.value.values()], asset, data?.rejects ?? [], hasFlow);
  if (data !== undefined && targets.length === 0) return <p class="muted">{t("noQualityFlow")} <a href="docs/how-to/oee.html#good-scrap-and-rework">{t("howQuality")}</a></p>;
  return (
    <>
      {why && <p class="look" role="status">{t("rejects")}: {t("failed", { why: plain(why, 300) })}</p>}
      <WholeSince since={data?.since} />
      <LotTable lots={(data?.rejects ?? []).slice(-SHOWN_MAX).reverse()} empty={t(data ? "noRejects" : "loading")} asking={asking} open={setOpen} />
      {mayAct() && targets.length > 0 && <p><button type="button" onClick={() => setOpen("new")}>{t("sayParts")}</button></p>}
      <Told outcome={asking.outcome} />
      {open !== undefined && (
        <PartForm key={open === "new" ? "new" : open.lot} lot={open === "new" ? undefined : open} targets={targets} reasons={reasons.data ?? []}
          asking={asking} close={() => setOpen(undefined)} />
      )}
      {data !== undefined && data.pareto.length > 0 && <Pareto rows={data.pareto} />}
    </>
  );
}

const kindText = (kind: string): string => (Object.hasOwn(KIND_WORDS, kind) ? t(KIND_WORDS[kind as PartKind]) : plain(kind, 20));
const titleOf = (word: Word, lot: Lot): string => `${t(word)}: ${numberText(lot.count)} ${kindText(lot.kind)}, ${timeText(Date.parse(lot.start))}`;

const asItWas = ({ path, lot, count, kind, reason }: Lot): Back => (why, id) => client.acts.askParts({ id, path, lot, count, kind, reason: reason ?? "", why });
const takenBack = ({ path, lot }: Lot): Back => (why, id) => client.acts.askParts({ id, path, lot, count: 0, why });

interface LotTableProps {
  lots: Lot[];
  empty: string;
  asking: Asking;
  open: (lot: Lot) => void;
}

/** What a counter or a rule said can be put right by saying more; what a person said, by its lot. */
function LotTable({ lots, empty, asking, open }: LotTableProps): preact.JSX.Element {
  const takeBack = (lot: Lot): void => void asking.ask(titleOf("takeBack", lot), (id) => client.acts.askParts({ id, path: lot.path, lot: lot.lot, count: 0 }), () => asItWas(lot));
  const acts: Column<Lot> = {
    head: t("acts"),
    cell: (row) => row.by === "person" && (
      <span class="acts">
        <button type="button" disabled={asking.isBusy} aria-label={titleOf("putRight", row)} onClick={() => open(row)}>{t("putRight")}</button>
        <button type="button" disabled={asking.isBusy} aria-label={titleOf("takeBack", row)} onClick={() => takeBack(row)}>{t("takeBack")}</button>
      </span>
    ),
  };
  return (
    <Table caption={t("rejects")} rows={lots} keyOf={(row) => `${row.path} ${row.lot}`} empty={empty} columns={[
      { head: t("since"), cell: (row) => timeText(Date.parse(row.start)) },
      { head: t("endsAt"), cell: (row) => timeText(Date.parse(row.end)) },
      { head: t("parts"), isNumber: true, cell: (row) => numberText(row.count) },
      { head: t("category"), cell: (row) => kindText(row.kind) },
      { head: t("reason"), cell: (row) => (row.reason === null ? "–" : plain(row.reason, 80)) },
      { head: t("saidBy"), cell: (row) => (row.by === "person" ? plain([row.who, row.why && whyText(row.why)].filter(Boolean).join(": "), 200) : t("counted")) },
      ...(mayAct() ? [acts] : []),
    ]} />
  );
}

interface PartFormProps {
  /** What is put right; without, something new is said. */
  lot?: Lot;
  targets: string[];
  reasons: Fact[];
  asking: Asking;
  close: () => void;
}

function PartForm({ lot, targets, reasons, asking, close }: PartFormProps): preact.JSX.Element {
  const [path, setPath] = useState(lot?.path ?? targets[0]);
  const [count, setCount] = useState(lot === undefined ? "" : String(lot.count));
  const [kind, setKind] = useState<PartKind>(lot?.kind ?? "scrap");
  const [reason, setReason] = useState(lot?.reason ?? "");
  const [instead, setInstead] = useState("");
  const [span, setSpan] = useState(SPANS[0][0]);
  const [why, setWhy] = useState("");
  const [dated, setDated] = useState<[string, string]>();
  const [asUtc] = useState(isUtc);
  const instants = dated?.map((text) => inputMs(text, asUtc));
  const known = knownReasons(reasons, kind);
  const fault = partFault(count, kind, known, reason, lot === undefined ? instants : undefined);
  const title = lot === undefined ? t("sayParts") : titleOf("putRight", lot);
  const submit = (): void => {
    if (fault !== undefined) return;
    const said = { path, count: Number(count), kind, reason, why };
    const asked = lot === undefined ? { ...said, ...spanOf(span, instants), instead_of: instead } : { ...said, lot: lot.lot };
    void asking.ask(title, (id) => client.acts.askParts({ id, ...asked }), (found) => (lot !== undefined ? asItWas(lot) : found.lot ? takenBack({ ...found.lot, path }) : undefined)).then((isDone) => isDone && close());
  };
  return (
    <AskForm title={title} isBusy={asking.isBusy} submit={submit} cancel={close}>
      <label>{t("parts")} <input type="number" required min="0" max={COUNT_MAX} step="any" value={count} onInput={(event) => setCount(event.currentTarget.value)} /></label>
      <label>{t("category")} <select value={kind} onChange={(event) => setKind(event.currentTarget.value as PartKind)}>
        {KINDS.map((one) => <option key={one} value={one}>{kindText(one)}</option>)}
      </select></label>
      <label>{t("reason")} <input maxLength={64} list="part-reasons" autocomplete="off" value={reason} onInput={(event) => setReason(event.currentTarget.value)} /></label>
      <datalist id="part-reasons">{known.map((one) => <option key={one} value={one} />)}</datalist>
      {lot === undefined && (
        <>
          <label>{t("madeIn")} <select value={dated === undefined ? span : ""} onChange={(event) => {
            const chosen = event.currentTarget.value;
            if (chosen !== "") setSpan(chosen);
            setDated(chosen === "" ? ["", ""] : undefined);
          }}>
            {SPANS.map(([value, word, n]) => <option key={value} value={value}>{t("lastTime", { time: t(word, { n }) })}</option>)}
            <option value="">{t("fromTo")}</option>
          </select></label>
          {dated !== undefined && [0, 1].map((at) => (
            <label key={at}>{t(at === 0 ? "since" : "endsAt")}{asUtc && ` (${t("utc")})`} <input type="datetime-local" required value={dated[at]}
              onInput={(event) => setDated(at === 0 ? [event.currentTarget.value, dated[1]] : [dated[0], event.currentTarget.value])} /></label>
          ))}
          <label>{t("insteadOf")} <input maxLength={64} list="part-reasons" autocomplete="off" value={instead} onInput={(event) => setInstead(event.currentTarget.value)} /></label>
          {targets.length > 1 && <label>{t("path")} <select value={path} onChange={(event) => setPath(event.currentTarget.value)}>{targets.map((one) => <option key={one} value={one}>{plain(one, 200)}</option>)}</select></label>}
        </>
      )}
      <label>{t("remark")} <input maxLength={1000} value={why} onInput={(event) => setWhy(event.currentTarget.value)} /></label>
      {fault !== undefined && count !== "" && <p class="look" role="status">{t(fault)}</p>}
    </AskForm>
  );
}

/** A bar beside the number: nobody has to compare digits. */
function Pareto({ rows }: { rows: RejectRow[] }): preact.JSX.Element {
  const percent = (share: number): string => `${numberText(Math.round(share * 100))} %`;
  return (
    <Table caption={t("partPareto")} rows={rows} keyOf={(row) => row.reason} columns={[
      { head: t("reason"), cell: (row) => plain(row.reason, 80) },
      { head: t("share"), cell: (row) => (
        <svg class="share" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true"><rect width={100 * row.share} height="10" fill="var(--muted)" /></svg>
      ) },
      { head: "%", isNumber: true, cell: (row) => percent(row.share) },
      { head: t("sum"), isNumber: true, cell: (row) => percent(row.cumulative) },
      { head: t("parts"), isNumber: true, cell: (row) => numberText(row.count) },
    ]} />
  );
}
