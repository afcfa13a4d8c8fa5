/** The ledger: of each origin what was stored there and counted here, and each gap by its sequences. */
import { ageText, numberText, plain } from "../format";
import { OkMark } from "../parts/mark";
import { Table } from "../parts/table";
import { now } from "../state/hub";
import { isNodesKnown, ledger, nodesMs, type LedgerAccount } from "../state/nodes";
import { t } from "../words";

interface Gap {
  origin: string;
  first: number;
  last: number;
}

export function LedgerSection(): preact.JSX.Element {
  const accounts = Object.entries(ledger.value ?? {});
  const dirty = accounts.filter(([, account]) => !account.is_clean);
  const gaps = accounts.flatMap(([origin, account]) => gapsOf(origin, account));
  const none = t(isNodesKnown.value ? "ledgerNone" : "loading");
  const verdict = accounts.length === 0 ? none : dirty.length === 0 ? t("ledgerClean") : t("ledgerDirty", { n: dirty.length, all: accounts.length });
  return (
    <section aria-label={t("ledger")}>
      <h2 class="title">{t("ledger")}</h2>
      <p class={dirty.length > 0 ? "act" : ""} role="status" data-clean={dirty.length === 0}>{dirty.length > 0 ? "■ " : accounts.length > 0 ? "✓ " : ""}{verdict}</p>
      {nodesMs.value > 0 && <p class="muted">{t("asOf", { age: ageText(Math.max(0, now.value - nodesMs.value)) })}</p>}
      <Table caption={t("ledger")} rows={accounts} keyOf={([origin]) => origin} empty={none} columns={[
        { head: t("origin"), cell: ([origin]) => plain(origin) },
        { head: t("state"), cell: ([, one]) => <OkMark isOk={one.is_clean} word={one.is_clean ? "isClean" : "isNotClean"} /> },
        ...COUNTS.map(([word, field]) => ({
          head: t(word), isNumber: true,
          cell: ([, one]: [string, LedgerAccount]) => <Count count={one[field] as number} isFault={FAULTS.has(field)} />,
        })),
        { head: t("position"), isNumber: true, cell: ([, one]) => `${numberText(one.first_seq)} – ${numberText(one.last_seq)}` },
      ]} />
      {gaps.length > 0 && (
        <Table caption={t("gaps")} rows={gaps} keyOf={(gap) => `${gap.origin} ${gap.first}`} columns={[
          { head: t("origin"), cell: (gap) => plain(gap.origin) },
          { head: t("position"), isNumber: true, cell: (gap) => (gap.first === gap.last ? numberText(gap.first) : `${numberText(gap.first)} – ${numberText(gap.last)}`) },
          { head: t("messagesMissing"), isNumber: true, cell: (gap) => numberText(gap.last - gap.first + 1) },
        ]} />
      )}
    </section>
  );
}

const COUNTS = [
  ["samples", "samples"], ["records", "records"], ["gaps", "gaps"], ["repeats", "repeats"], ["outOfOrder", "out_of_order"],
  ["surplus", "surplus"], ["missing", "samples_missing"], ["unrecorded", "unrecorded"],
] as const;
const FAULTS: ReadonlySet<string> = new Set(["gaps", "repeats", "out_of_order", "surplus", "samples_missing"]);

function Count({ count, isFault }: { count: number; isFault: boolean }): preact.JSX.Element {
  return count > 0 && isFault ? <b class="act">■ {numberText(count)}</b> : <span class={count > 0 ? "" : "muted"}>{numberText(count)}</span>;
}

/** Newest first. */
export function gapsOf(origin: string, account: LedgerAccount): Gap[] {
  return (account.missing ?? []).map(([first, last]) => ({ origin, first, last })).reverse();
}
