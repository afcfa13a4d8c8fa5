/** The sites: is each there, how far behind, what runs there, and one question to all of them at once. */
import { useState } from "preact/hooks";
import { numberText, plain } from "../format";
import { OkMark, SeverityMark } from "../parts/mark";
import { Table } from "../parts/table";
import { Age } from "../parts/value";
import { client, linkState, now, session } from "../state/hub";
import { edges, hub, useNodes, type EdgeInfo } from "../state/nodes";
import { parseAnswers, type FleetAnswers } from "../state/fleet_query";
import { t } from "../words";

const REACHED_MS = 15_000;
const ROLES_ASKING: ReadonlySet<string> = new Set(["engineer", "commander"]);

export function FleetPage(): preact.JSX.Element {
  useNodes();
  const who = session.value;
  const mayAsk = who && ROLES_ASKING.has(who.role) && who.paths.length === 0 && linkState.value === "connected";
  return (
    <>
      <Table caption={t("sites")} rows={edges.value} keyOf={(edge) => edge.name} empty={t("noSites")} columns={[
        { head: t("site"), cell: (edge) => <b>{plain(edge.name)}</b> },
        { head: t("path"), cell: (edge) => plain(edge.path, 200) },
        { head: t("link"), cell: (edge) => <OkMark isOk={isReached(edge)} word={isReached(edge) ? "reached" : "away"} /> },
        { head: t("lastHeard"), cell: (edge) => (edge.reached_ns === null ? t("never") : <Age timeMs={edge.reached_ns / 1e6} />) },
        { head: t("backlog"), isNumber: true, cell: (edge) => backlogOf(edge) },
        { head: t("version"), cell: (edge) => <Version edge={edge} /> },
        { head: t("drift"), cell: (edge) => <Drift edge={edge} /> },
        { head: t("alarmsOpen"), cell: (edge) => <Alarms edge={edge} /> },
      ]} />
      {mayAsk && hub.value && <LiveQuery hubName={hub.value.name} />}
    </>
  );
}

function isReached(edge: EdgeInfo): boolean {
  return edge.reached_ns !== null && now.value - edge.reached_ns / 1e6 < REACHED_MS;
}

function backlogOf(edge: EdgeInfo): string {
  const behind = edge.status?.uplink?.behind_messages;
  return typeof behind === "number" ? t("messages", { n: numberText(behind) }) : "–";
}

function Version({ edge }: { edge: EdgeInfo }): preact.JSX.Element {
  const version = edge.status?.version;
  if (version === undefined) return <span class="muted">–</span>;
  return version === hub.value?.version ? <>{plain(version)}</> : <b>≠ {plain(version)}</b>;
}

function Drift({ edge }: { edge: EdgeInfo }): preact.JSX.Element {
  const found = edge.status?.configuration as Record<string, unknown> | undefined;
  if (found === undefined) return <span class="muted">–</span>;
  const isOk = found.phase === "settled" && !found.is_file_edited && !found.failure;
  const text = `${String(found.revision)} · ${String(found.phase)}`;
  return <span title={plain(text)}><OkMark isOk={isOk} word={isOk ? "inSync" : "differs"} /></span>;
}

function Alarms({ edge }: { edge: EdgeInfo }): preact.JSX.Element {
  const alarms = edge.status?.alarms ?? [];
  if (alarms.length === 0) return <span class="muted">{t("none")}</span>;
  return (
    <ul>{alarms.map((one) => <li key={String(one.code)}><SeverityMark severity="high" /> {plain(`${String(one.code)} ${String(one.message)}`, 200)}</li>)}</ul>
  );
}

function LiveQuery({ hubName }: { hubName: string }): preact.JSX.Element {
  const [found, setFound] = useState<FleetAnswers>();
  const [why, setWhy] = useState("");
  const [isBusy, setBusy] = useState(false);

  async function submit(event: SubmitEvent): Promise<void> {
    event.preventDefault();
    const filter = String(new FormData(event.currentTarget as HTMLFormElement).get("filter") ?? "").trim();
    setBusy(true);
    try {
      const parts = await client.askMany(`millstream.node.${hubName}.fleet`, { filter: filter || null });
      setFound(parseAnswers(parts));
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
        <input id="filter" name="filter" class="grow" aria-describedby="filter-hint" spellcheck={false} />
        <button type="submit" disabled={isBusy}>{t("ask")}</button>
      </form>
      <small id="filter-hint">{t("queryHint")}</small>
      {why && <p class="refused" role="alert"><b>!</b> {plain(why, 600)}</p>}
      {found && (
        <>
          <p role="status">{t("answers", { n: found.answered, all: found.expected })}</p>
          <Table caption={t("liveQuery")} rows={found.rows} keyOf={(row) => row.node} empty={t("none")} columns={[
            { head: t("site"), cell: (row) => plain(row.node) },
            { head: t("value"), cell: (row) => <code>{plain(row.text, 1000)}</code> },
          ]} />
        </>
      )}
    </section>
  );
}
