/** One question to all sites at once, with the account of who has answered and who has not. */
import { useState } from "preact/hooks";
import { numberText, plain, timeText } from "../format";
import { client, isProvider } from "../state/hub";
import { accountOf, type Missing } from "../state/fleet_query";
import { t } from "../words";
import { Table } from "./table";

interface Found {
  answered: number;
  expected: number;
  tookMs: number;
  rows: { node: string; text: string }[];
  missing: Missing[];
}

export function FleetQuery(): preact.JSX.Element {
  const [found, setFound] = useState<Found>();
  const [why, setWhy] = useState("");
  const [isBusy, setBusy] = useState(false);

  async function submit(event: SubmitEvent): Promise<void> {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    const text = (name: string): string => String(form.get(name) ?? "").trim();
    setBusy(true);
    try {
      const select = text("select").split(",").map((one) => one.trim()).filter(Boolean);
      const { nodes, summary } = await (isProvider.value ? client.tenants : client.sites).query(text("filter") || null, select);
      setFound({ answered: summary.answered, expected: summary.expected, tookMs: summary.took_ms, ...accountOf(nodes, summary) });
      setWhy("");
    } catch (error) {
      setWhy((error as Error).message);
    } finally {
      setBusy(false);
    }
  }

  return (
    <section aria-label={t("liveQuery")}>
      <h2>{t("liveQuery")}</h2>
      <form class="bar" onSubmit={(event) => void submit(event as SubmitEvent)}>
        <label for="filter">{t("question")}</label>
        <input id="filter" name="filter" class="grow" aria-describedby="filter-hint" spellcheck={false} maxLength={4000} />
        <label for="select">{t("facts")}</label>
        <input id="select" name="select" spellcheck={false} placeholder={isProvider.value ? "tenant, version" : "os.name, disk"} maxLength={1000} />
        <button type="submit" disabled={isBusy}>{t("ask")}</button>
      </form>
      <small id="filter-hint">{t("queryHint")}</small>
      {why && <p class="refused" role="alert"><b>!</b> {plain(why, 600)}</p>}
      {found && (
        <>
          <p role="status">{t("answers", { n: found.answered, all: found.expected })} <small>{t("unitMs", { n: numberText(Math.round(found.tookMs)) })}</small></p>
          <Table caption={t("liveQuery")} rows={found.rows} keyOf={(row) => row.node} empty={t("noneFits")} columns={[
            { head: t("site"), cell: (row) => plain(row.node) },
            { head: t("value"), cell: (row) => <code>{plain(row.text, 1000)}</code> },
          ]} />
          {found.missing.length > 0 && (
            <Table caption={t("notAnswered")} rows={found.missing} keyOf={(row) => row.node} columns={[
              { head: t("site"), cell: (row) => plain(row.node) },
              { head: t("reason"), cell: (row) => <b class="look">{t(row.why)}</b> },
              { head: t("lastHeard"), cell: (row) => (row.lastMs ? timeText(row.lastMs) : "–") },
            ]} />
          )}
        </>
      )}
    </section>
  );
}
