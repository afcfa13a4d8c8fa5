/** The sites: is each there, how far behind, what runs there; and what one may ask of them. */
import { later } from "../parts/later";
import { Commands } from "../parts/commands";
import { FleetQuery } from "../parts/fleet_query";
import { OkMark, SeverityMark } from "../parts/mark";
import { Rollouts } from "../parts/rollouts";
import { Table } from "../parts/table";
import { Age } from "../parts/value";
import { numberText, plain } from "../format";
import { address, route } from "../router";
import { now } from "../state/hub";
import { edges, hub, isNodesKnown, useNodes, type EdgeInfo } from "../state/nodes";
import { spotNow } from "../state/places";
import { t, type Word } from "../words";
import { codeText } from "../words/codes";
import { CommissionPage } from "./commission";
import { SitePage } from "./site";

const SiteMap = later(() => import("../parts/site_map").then((found) => found.SiteMap));
const REACHED_MS = 15_000;
const VIEWS = ["sites", "commands", "rollouts", "newSite"] as const satisfies Word[];

export function FleetPage(): preact.JSX.Element {
  useNodes();
  const site = route.value.query.get("site");
  const view = VIEWS.find((one) => one === route.value.query.get("view")) ?? "sites";
  return (
    <>
      <nav class="tabs" aria-label={t("fleet")}>
        {VIEWS.map((one) => <a key={one} href={address("fleet", { view: one === "sites" ? undefined : one })} aria-current={site === null && one === view ? "page" : undefined}>{t(one)}</a>)}
      </nav>
      {site !== null ? <SitePage key={site} edge={site} /> : <View view={view} />}
    </>
  );
}

function View({ view }: { view: (typeof VIEWS)[number] }): preact.JSX.Element {
  if (view === "commands") return <Commands />;
  if (view === "rollouts") return <Rollouts />;
  if (view === "newSite") return <CommissionPage />;
  return <><div class="sites"><SiteList /><Map /></div><FleetQuery /></>;
}

/** Beside the list, once a site says where it is. One that is away stays where this device saw it last. */
function Map(): preact.JSX.Element | null {
  const sites = edges.value.flatMap((edge) => {
    const spot = spotNow(edge);
    return spot === undefined ? [] : [{ edge, spot, isReached: isReached(edge) }];
  });
  return sites.length === 0 ? null : <SiteMap sites={sites} />;
}

function SiteList(): preact.JSX.Element {
  return (
    <Table caption={t("sites")} rows={edges.value} keyOf={(edge) => edge.name} empty={t(isNodesKnown.value ? "noSites" : "loading")} columns={[
      { head: t("site"), cell: (edge) => <a href={address("fleet", { site: edge.name })}><b>{plain(edge.name)}</b></a> },
      { head: t("path"), cell: (edge) => plain(edge.path, 200) },
      { head: t("link"), cell: (edge) => <OkMark isOk={isReached(edge)} word={isReached(edge) ? "reached" : "away"} /> },
      { head: t("lastHeard"), cell: (edge) => (edge.reached_ns === null ? t("never") : <Age timeMs={edge.reached_ns / 1e6} />) },
      { head: t("backlog"), isNumber: true, cell: (edge) => backlogOf(edge) },
      { head: t("version"), cell: (edge) => <Version edge={edge} /> },
      { head: t("drift"), cell: (edge) => <Drift edge={edge} /> },
      { head: t("alarmsOpen"), cell: (edge) => <Alarms edge={edge} /> },
    ]} />
  );
}

export function isReached(edge: EdgeInfo): boolean {
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
  const text = `${t("revision")} ${String(found.revision)} · ${codeText("phase", String(found.phase))}`;
  return <span title={plain(text)}><OkMark isOk={isOk} word={isOk ? "inSync" : "differs"} /></span>;
}

function Alarms({ edge }: { edge: EdgeInfo }): preact.JSX.Element {
  const alarms = edge.status?.alarms ?? [];
  if (alarms.length === 0) return <span class="muted">{t("none")}</span>;
  return (
    <ul>{alarms.map((one) => <li key={String(one.code)}><SeverityMark severity="high" /> {plain(`${String(one.code)} ${String(one.message)}`, 200)}</li>)}</ul>
  );
}
