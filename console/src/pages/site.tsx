/** One site: what it should run and runs, changing that, and who changed what. */
import { type Blame, type PathChange, type Revision, type SiteConfig } from "@millstream/client";
import { useState } from "preact/hooks";
import { plain } from "../format";
import { AskForm, mayAct, Told, useAsking } from "../parts/ask";
import { ConfigEditor, documentBack } from "../parts/config_editor";
import { OkMark } from "../parts/mark";
import { Panel } from "../parts/panel";
import { Table } from "../parts/table";
import { Age } from "../parts/value";
import { address, go, route } from "../router";
import { client, person } from "../state/hub";
import { useLoaded } from "../state/loaded";
import { roleText, t, type Word } from "../words";
import { codeText, whyText } from "../words/codes";

const STATE_MS = 3000;
const PARTS = ["edit", "revisions", "blame"] as const satisfies Word[];

export function SitePage({ edge }: { edge: string }): preact.JSX.Element {
  const part = PARTS.find((one) => one === route.value.query.get("part")) ?? "edit";
  const { data, why, reload } = useLoaded(() => client.sites.config(edge), [edge], STATE_MS);
  if (!mayAct()) return <p class="muted">{t("engineersOnly", { role: roleText(person.value?.role ?? "") })}</p>;
  if (data === undefined) return <p class={why ? "look" : "muted"} role="status">{why ? t("failed", { why: plain(why, 300) }) : t("loading")}</p>;
  return (
    <>
      <div class="bar">
        <h2 class="title grow foreign">{plain(data.edge)} <small>{plain(data.path, 200)}</small></h2>
        <Runs config={data} />
      </div>
      <nav class="tabs" aria-label={plain(edge)}>
        {PARTS.map((one) => <a key={one} href={address("fleet", { site: edge, part: one })} aria-current={one === part ? "page" : undefined}>{t(one)}</a>)}
      </nav>
      {part === "edit" && <ConfigEditor config={data} reload={reload} />}
      {part === "revisions" && <Revisions config={data} reload={reload} />}
      {part === "blame" && <BlameOf edge={edge} />}
    </>
  );
}

/** What the site says that it runs: as wanted, trying, gone back, or nothing. */
function Runs({ config }: { config: SiteConfig }): preact.JSX.Element {
  const report = config.report;
  const newest = config.history[0]?.revision ?? 0;
  if (report === null) return <OkMark isOk={false} word="away" />;
  const failure = report.failure as { reason?: string; code?: string; revision?: number } | null;
  if (failure && failure.revision === newest) return <span class="act"><b>■ {t("wentBack")}</b> {plain(`${failure.reason ?? ""} [${failure.code ?? ""}]`, 300)}</span>;
  if (report.phase !== "settled") return <span role="status">◌ {t("trying")} {String(newest)}</span>;
  const isSame = report.revision === newest;
  return <span role="status"><OkMark isOk={isSame} word={isSame ? "inSync" : "differs"} /> <small>{newest === 0 ? t("ownFile") : t("runsOf", { n: String(report.revision), all: newest })}</small></span>;
}

function Revisions({ config, reload }: { config: SiteConfig; reload: () => void }): preact.JSX.Element {
  const asking = useAsking(reload);
  const [back, setBack] = useState<Revision>();
  const shown = route.value.query.get("revision");
  const mayPut = !config.needs_signature;
  return (
    <>
      {config.needs_signature && <p class="muted">{t("needsSignature")}</p>}
      <Table caption={t("revisions")} rows={config.history} keyOf={(row) => String(row.revision)} empty={t("ownFileOnly")} columns={[
        { head: t("revision"), isNumber: true, cell: (row) => <a href={address("fleet", { site: config.edge, part: "revisions", revision: String(row.revision) })}>{row.revision}</a> },
        { head: t("age"), cell: (row) => <Age timeMs={row.time_ns / 1e6} /> },
        { head: t("author"), cell: (row) => <>{plain(row.author, 128)} {row.is_signed && <small>{t("signed")}</small>}</> },
        { head: t("kind"), cell: (row) => plain([codeText("revision", row.kind ?? "put"), row.restores ?? "", row.rollout ?? ""].join(" "), 80) },
        { head: t("comment"), cell: (row) => plain(whyText(row.comment ?? ""), 512) },
        { head: t("acts"), cell: (row) => row.revision !== config.history[0]?.revision && mayPut && (
          <button type="button" disabled={asking.isBusy} onClick={() => setBack(row)}>{t("backTo")} {row.revision}</button>
        ) },
      ]} />
      <Told outcome={asking.outcome} />
      {back !== undefined && <BackForm key={back.revision} revision={back} isBusy={asking.isBusy} cancel={() => setBack(undefined)}
        submit={(comment) => void asking.ask(`${config.edge} → ${back.revision}`, () => client.sites.rollBack({ edge: config.edge, to: back.revision, comment }), (found) => documentBack(config.edge, found.revision.revision, config.history[0].revision)).then(() => setBack(undefined))} />}
      {shown !== null && <Difference key={shown} config={config} revision={Number(shown)} />}
    </>
  );
}

interface BackProps {
  revision: Revision;
  isBusy: boolean;
  submit: (comment: string) => void;
  cancel: () => void;
}

function BackForm({ revision, isBusy, submit, cancel }: BackProps): preact.JSX.Element {
  const [comment, setComment] = useState("");
  return (
    <AskForm title={`${t("backTo")} ${revision.revision}`} act={`${t("backTo")} ${revision.revision}`} isBusy={isBusy} submit={() => submit(comment)} cancel={cancel}>
      <label>{t("comment")} <input required maxLength={500} value={comment} onInput={(event) => setComment(event.currentTarget.value)} /></label>
    </AskForm>
  );
}

/** What a revision changed, against the one that it was made from. */
function Difference({ config, revision }: { config: SiteConfig; revision: number }): preact.JSX.Element {
  const before = config.history.find((one) => one.revision === revision)?.based_on ?? 0;
  const { data, why } = useLoaded(() => client.sites.diff(config.edge, before, revision), [config.edge, revision]);
  return (
    <Panel title={t("changesOf", { n: revision, before })} close={() => go(address("fleet", { site: config.edge, part: "revisions" }))}>
      {why && <p class="look" role="status">{t("failed", { why: plain(why, 300) })}</p>}
      {data && <Changes rows={data} />}
    </Panel>
  );
}

/** By path, not by line: where a thing stands in the text does not matter. */
export function Changes({ rows }: { rows: PathChange[] }): preact.JSX.Element {
  return (
    <Table caption={t("changes")} rows={rows} keyOf={(row) => row.path} empty={t("noChanges")} columns={[
      { head: "", cell: (row) => <b aria-label={t(signOf(row)[1])}>{signOf(row)[0]}</b> },
      { head: t("path"), cell: (row) => plain(row.path, 300) },
      { head: t("before"), cell: (row) => <code>{plain(row.old ?? "", 200)}</code> },
      { head: t("afterwards"), cell: (row) => <code>{plain(row.new ?? "", 200)}</code> },
    ]} />
  );
}

function signOf(row: PathChange): [string, Word] {
  if (row.old === null) return ["+", "added"];
  return row.new === null ? ["−", "removed"] : ["~", "changed"];
}

function BlameOf({ edge }: { edge: string }): preact.JSX.Element {
  const { data, why } = useLoaded(() => client.sites.blame(edge), [edge]);
  if (why) return <p class="look" role="status">{t("failed", { why: plain(why, 300) })}</p>;
  return (
    <Table<Blame> caption={t("blame")} rows={data ?? []} keyOf={(row) => row.path} empty={data ? t("ownFileOnly") : t("loading")} columns={[
      { head: t("path"), cell: (row) => plain(row.path, 300) },
      { head: t("value"), cell: (row) => <code>{plain(row.value, 120)}</code> },
      { head: t("revision"), isNumber: true, cell: (row) => <a href={address("fleet", { site: edge, part: "revisions", revision: String(row.revision) })}>{row.revision}</a> },
      { head: t("author"), cell: (row) => plain(row.author, 128) },
      { head: t("age"), cell: (row) => <Age timeMs={row.time_ns / 1e6} /> },
      { head: t("comment"), cell: (row) => plain(whyText(row.comment), 300) },
    ]} />
  );
}
