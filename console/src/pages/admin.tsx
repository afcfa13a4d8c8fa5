/** Who is let in, and who did what: people, sessions, sites; what needs the operator's keys; the audit. */
import { type LetIn, type OpenSession } from "@millstream/client";
import { plain, timeText } from "../format";
import { Told, useAsking } from "../parts/ask";
import { Audit } from "../parts/audit";
import { OkMark } from "../parts/mark";
import { Command } from "../parts/panel";
import { PeopleTable } from "../parts/people";
import { Table } from "../parts/table";
import { Age } from "../parts/value";
import { Coded } from "../parts/written";
import { address, route } from "../router";
import { client, isProvider, person } from "../state/hub";
import { useLoaded } from "../state/loaded";
import { shell } from "../state/commission";
import { sure } from "../state/sure";
import { roleText, t, type Word } from "../words";

const ADMIN_MS = 10_000;
const VIEWS = ["people", "siteKeys", "audit"] as const satisfies Word[];

export function AdminPage(): preact.JSX.Element {
  const view = VIEWS.find((one) => one === route.value.query.get("view")) ?? "people";
  return (
    <>
      <nav class="tabs" aria-label={t("admin")}>
        {VIEWS.map((one) => <a key={one} href={address("admin", { view: one })} aria-current={one === view ? "page" : undefined}>{t(one)}</a>)}
      </nav>
      <Me />
      {view === "audit" ? <Audit /> : person.value?.tenant ? <OfTenant view={view} /> : <WithoutTenants />}
    </>
  );
}

/** What one is here, in a line. */
export function Me(): preact.JSX.Element | null {
  const who = person.value;
  if (!who) return null;
  const where = who.paths.length > 0 ? who.paths.join(", ") : isProvider.value ? t("allTenants") : who.place ?? t("everything");
  return <p class="muted">{t("youAre", { user: plain(who.user ?? t("someone"), 80), role: isProvider.value ? t("provider") : roleText(who.role), where: plain(where, 300), until: timeText(who.expires_s * 1000) })}</p>;
}

function WithoutTenants(): preact.JSX.Element {
  return (
    <section class="panel" aria-label={t("people")}>
      <p><Coded text={t("noTenants")} /></p>
      <Command text="millstream operator init NAME --hub-url nats://HUB:7422" />
    </section>
  );
}

export function OfTenant({ view }: { view: "people" | "siteKeys" }): preact.JSX.Element {
  const { data, why, reload } = useLoaded(() => client.people.show(), [], ADMIN_MS);
  if (why && data === undefined) return <p class="look" role="status">{t("failed", { why: plain(why, 300) })}</p>;
  if (data === undefined) return <p class="muted">{t("loading")}</p>;
  if (view === "siteKeys") return <><SitesOf letIn={data} /><OfflineActs acts={actsOf(data)} serial={data.trust_serial} /></>;
  return (
    <>
      {data.is_admin ? <PeopleTable letIn={data} reload={reload} /> : <p class="muted"><Coded text={t("noAdmin", { name: `${data.tenant}/${person.value?.user ?? ""}` })} /></p>}
      <Sessions rows={data.sessions} reload={reload} />
    </>
  );
}

function Sessions({ rows, reload }: { rows: OpenSession[]; reload: () => void }): preact.JSX.Element {
  const asking = useAsking(reload);
  const end = async (row: OpenSession): Promise<void> => {
    if (!(await sure(`${t("endIt")}: ${plain(row.user, 80)}`, t("noWayBack", { what: t("sessions") }), t("endIt")))) return;
    await asking.ask(`${t("sessions")}: ${row.user}`, () => client.people.endSession(row.id));
  };
  return (
    <>
      <Table caption={t("sessions")} rows={rows} keyOf={(row) => row.id} columns={[
        { head: t("user"), cell: (row) => <>{plain(row.user, 80)} {row.is_this && <b>{t("thisOne")}</b>}</> },
        { head: t("role"), cell: (row) => roleText(row.role) },
        { head: t("via"), cell: (row) => plain(row.via, 80) },
        { head: t("since"), cell: (row) => <Age timeMs={row.created_s * 1000} /> },
        { head: t("endsAt"), cell: (row) => timeText(row.expires_s * 1000) },
        { head: t("acts"), cell: (row) => !row.is_this && (
          <button type="button" disabled={asking.isBusy} aria-label={`${t("endIt")}: ${plain(row.user, 80)} ${row.id.slice(0, 6)}`} onClick={() => void end(row)}>{t("endIt")}</button>
        ) },
      ]} />
      {asking.outcome && <Told outcome={asking.outcome} />}
    </>
  );
}

function SitesOf({ letIn }: { letIn: LetIn }): preact.JSX.Element {
  return (
    <Table caption={t("sites")} rows={letIn.sites} keyOf={(row) => row.name} empty={t("noSites")} columns={[
      { head: t("site"), cell: (row) => <a href={address("fleet", { site: row.name })}>{plain(row.name)}</a> },
      { head: t("path"), cell: (row) => plain(row.place, 200) },
      { head: t("labels"), cell: (row) => plain(Object.entries(row.labels).map(([name, text]) => `${name}=${text}`).join(" "), 200) },
      { head: t("state"), cell: (row) => <OkMark isOk={!row.is_revoked} word={row.is_revoked ? "lockedOut" : "admitted"} /> },
    ]} />
  );
}

function actsOf(letIn: LetIn): [Word, string][] {
  const of = `--tenant ${shell(letIn.tenant)}`;
  return [
    ["issueCredentials", `millstream user add NAME ${of} --role viewer|engineer|commander|flow|bridge|device --expires 90d`],
    ["revokeCredentials", `millstream user revoke NAME ${of}`],
    ["addSite", `millstream site add NAME ${of}`],
    ["lockSite", `millstream site revoke NAME ${of} --url nats://HUB:4222`],
    ["letSiteIn", `millstream site restore NAME ${of} --url nats://HUB:4222`],
    ["addTenant", "millstream tenant add NAME"],
    ["keepKeys", "millstream operator export SAFE.keys --remove-identities"],
  ];
}

/** The operator's keys are on no hub: what they sign is asked for where they are. */
export function OfflineActs({ acts, serial }: { acts: [Word, string][]; serial: number }): preact.JSX.Element {
  return (
    <section class="panel" aria-label={t("offlineKeys")}>
      <h2>{t("offlineKeys")}</h2>
      <p>{t("offlineWhy", { n: serial })}</p>
      <dl class="wide">{acts.map(([word, command]) => [<dt key={word}>{t(word)}</dt>, <dd key={command}><Command text={command} /></dd>])}</dl>
    </section>
  );
}
