/** What who runs a hub sees of its tenants: which there are, what they use of their limits, how their sites are; and of
 * their data nothing. What changes a tenant needs the operator's keys, so it is a command. */
import { type Tenant, type TenantSite, type Use } from "@millstream/client";
import { ageText, bytesText, numberText, plain, timeText } from "../format";
import { FleetQuery } from "../parts/fleet_query";
import { OkMark, SeverityMark } from "../parts/mark";
import { ProviderAudit } from "../parts/provider_audit";
import { Table } from "../parts/table";
import { Age } from "../parts/value";
import { address, route } from "../router";
import { client, now, PROVIDER_POLL_S } from "../state/hub";
import { useLoaded } from "../state/loaded";
import { t, type Word } from "../words";
import { Me, OfflineActs, OfTenant } from "./admin";

const POLL_MS = PROVIDER_POLL_S * 1000;
const NEAR = 0.8; // as the hub's own event `limit_near`
const VIEWS = ["tenants", "people", "audit"] as const satisfies Word[];
const ACTS: [Word, string][] = [
  ["addTenant", "millstream tenant add NAME"],
  ["changeLimits", "millstream tenant limits NAME --sites 50 --disk 100GB"],
  ["newKeys", "millstream tenant rekey NAME"],
  ["lockSite", "millstream site revoke SITE --tenant NAME --url nats://HUB:4222"],
  ["keepKeys", "millstream operator export SAFE.keys --remove-identities"],
];

export function ProviderAdmin(): preact.JSX.Element {
  const view = VIEWS.find((one) => one === route.value.query.get("view")) ?? "tenants";
  return (
    <>
      <nav class="tabs" aria-label={t("admin")}>
        {VIEWS.map((one) => <a key={one} href={address("admin", { view: one })} aria-current={one === view ? "page" : undefined}>{t(one)}</a>)}
      </nav>
      <Me />
      {view === "tenants" ? <TenantsView /> : view === "people" ? <OfTenant view="people" /> : <ProviderAudit />}
    </>
  );
}

function TenantsView(): preact.JSX.Element {
  const { data, why } = useLoaded(() => client.tenants.list(), [], POLL_MS);
  if (data === undefined) return why ? <Failed why={why} /> : <p class="muted">{t("loading")}</p>;
  return (
    <>
      {why && <Failed why={why} />}
      {data.hub.alarms.map((one) => <p key={String(one.code)}><SeverityMark severity="high" /> {plain(`${String(one.code)} ${String(one.message)}`, 400)}</p>)}
      <Table caption={t("tenants")} rows={data.tenants} keyOf={(row) => row.name} empty={t("noTenantsYet")} columns={[
        { head: t("tenant"), cell: (row) => <a href={address("fleet", { tenant: row.name })}><b>{plain(row.name)}</b></a> },
        { head: t("path"), cell: (row) => plain(row.place, 200) },
        { head: t("state"), cell: (row) => <OkMark isOk={row.state === "up"} word={STATES[row.state]} /> },
        { head: t("sites"), cell: (row) => <SitesOf row={row} /> },
        { head: t("connections"), cell: (row) => <UseOf use={row.uses.connections} text={numberText} /> },
        { head: t("storage"), cell: (row) => <UseOf use={row.uses.disk_bytes} text={bytesText} /> },
        { head: t("subscriptions"), cell: (row) => <UseOf use={row.uses.subscriptions} text={numberText} /> },
        { head: t("since"), cell: (row) => (row.since_s === null ? <span class="muted">–</span> : <Age timeMs={row.since_s * 1000} />) },
        { head: t("alarmsOpen"), cell: (row) => <Codes codes={row.alarms} /> },
      ]} />
      <p><small>{t("usesHint")} <AsOf timeNs={data.time_ns} /></small></p>
      <OfflineActs acts={ACTS} serial={data.trust_serial} />
    </>
  );
}

const STATES: Record<Tenant["state"], Word> = { up: "plantUp", down: "plantDown", unknown: "unknown" };

/** Linked now of those that may be, and how many of them are locked out. */
function SitesOf({ row }: { row: Tenant }): preact.JSX.Element {
  const open = row.sites - row.sites_locked_out;
  return (
    <>
      {t("linkedOf", { n: row.uses.sites?.used ?? "–", all: open })}{" "}
      {row.sites_locked_out > 0 && <small>{t("nLockedOut", { n: row.sites_locked_out })} </small>}
      <small><UseOf use={row.uses.sites && { used: open, limit: row.uses.sites.limit }} text={numberText} isLimitOnly /></small>
    </>
  );
}

/** Used, and what may be. What is near its limit says so in words. */
function UseOf({ use, text, isLimitOnly }: { use?: Use; text: (n: number) => string; isLimitOnly?: boolean }): preact.JSX.Element {
  if (use === undefined) return <span class="muted">–</span>;
  const { used, limit } = use;
  if (limit === null) return isLimitOnly ? <></> : <>{text(used)}</>;
  const told = isLimitOnly ? t("atMost", { n: text(limit) }) : t("usedOf", { n: text(used), all: text(limit) });
  return used >= limit * NEAR ? <>{told} <b class="look">{t("nearLimit")}</b></> : <>{told}</>;
}

export function ProviderFleet(): preact.JSX.Element {
  const tenant = route.value.query.get("tenant");
  const { data, why } = useLoaded(() => client.tenants.sites(), [], POLL_MS);
  const rows = (data?.sites ?? []).filter((one) => tenant === null || one.tenant === tenant);
  return (
    <>
      {why && <Failed why={why} />}
      {tenant !== null && <p>{t("sitesOnlyOf", { name: plain(tenant, 80) })} <a href={address("fleet")}>{t("allTenants")}</a></p>}
      <Table<TenantSite> caption={t("sites")} rows={rows} keyOf={nameOf} empty={t(data ? "noSitesOfTenants" : "loading")} columns={[
        { head: t("site"), cell: (row) => <b>{plain(nameOf(row), 80)}</b> },
        { head: t("path"), cell: (row) => plain(row.place ?? "–", 200) },
        { head: t("link"), cell: (row) => <Link row={row} /> },
        { head: t("lastHeard"), cell: (row) => (row.reached_ns === null ? t("never") : <span title={timeText(row.reached_ns / 1e6)}><Age timeMs={row.reached_ns / 1e6} /></span>) },
        { head: t("backlog"), isNumber: true, cell: (row) => (row.behind_messages === null ? "–" : t("messages", { n: numberText(row.behind_messages) })) },
        { head: t("connectors"), isNumber: true, cell: (row) => (row.connectors === null ? "–" : numberText(row.connectors)) },
        { head: t("version"), cell: (row) => plain(row.version ?? "–", 64) },
        { head: t("alarmsOpen"), cell: (row) => <Codes codes={row.alarms} /> },
      ]} />
      {data && <p><small><AsOf timeNs={data.time_ns} /></small></p>}
      <FleetQuery />
    </>
  );
}

/** As the live query calls it. */
const nameOf = (row: TenantSite): string => `${row.tenant}/${row.name ?? "*"}`;

function Link({ row }: { row: TenantSite }): preact.JSX.Element {
  if (row.state === "unknown") return <OkMark isOk={false} word="plantDown" />;
  return <><OkMark isOk={row.state === "up"} word={row.state === "up" ? "reached" : "away"} /> {row.uplink && <small>{plain(row.uplink, 16)}</small>}</>;
}

function Codes({ codes }: { codes: string[] }): preact.JSX.Element {
  if (codes.length === 0) return <span class="muted">{t("none")}</span>;
  return <ul>{codes.map((one, at) => <li key={`${one} ${at}`}><SeverityMark severity="high" /> {plain(one, 16)}</li>)}</ul>;
}

/** Of many sites each is asked more rarely than the page asks its hub. */
const AsOf = ({ timeNs }: { timeNs: number }): preact.JSX.Element => <>{t("asOf", { age: ageText(Math.max(0, now.value - timeNs / 1e6)) })}</>;

const Failed = ({ why }: { why: string }): preact.JSX.Element => <p class="look" role="status">{t("failed", { why: plain(why, 300) })}</p>;
