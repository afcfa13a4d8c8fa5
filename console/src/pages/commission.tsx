/** From a name to a site that reports: what the operator signs, what the box does, and whether it has come. */
import { useState } from "preact/hooks";
import { plain } from "../format";
import { Command } from "../parts/panel";
import { saveBlob } from "../parts/keep";
import { commandsFor, edgeFile, hubUrlFits, hubUrlFor, newSecret, siteFault, type NewSite } from "../state/commission";
import { address } from "../router";
import { client, person } from "../state/hub";
import { edges, hub } from "../state/nodes";
import { useLoaded } from "../state/loaded";
import { t } from "../words";
import { isReached } from "./fleet";

const LOOK_MS = 3000;

export function CommissionPage(): preact.JSX.Element {
  const root = person.value?.place ?? edges.value[0]?.path.split("/")[0] ?? "";
  const [site, setSite] = useState<NewSite>({ name: "", place: "", labels: "" });
  const [isBegun, setBegun] = useState(false);
  const place = site.place || (root && site.name ? `${root}/${site.name}` : site.name);
  const whole = { ...site, place };
  const fault = siteFault(whole, root);
  const field = (name: keyof NewSite) => (event: Event): void => { setSite({ ...site, [name]: (event.currentTarget as HTMLInputElement).value.trim() }); setBegun(false); };
  return (
    <section aria-label={t("newSite")}>
      <h2 class="title">{t("newSite")}</h2>
      <form class="panel ask" aria-label={t("newSite")} onSubmit={(event) => { event.preventDefault(); if (!fault) setBegun(true); }}>
        <label>{t("name")} <input required maxLength={32} value={site.name} spellcheck={false} onInput={field("name")} /></label>
        <label>{t("path")} <input placeholder={place} maxLength={500} value={site.place} spellcheck={false} onInput={field("place")} /></label>
        <label>{t("labels")} <input placeholder="region=west zone=south" maxLength={500} value={site.labels} spellcheck={false} onInput={(event) => setSite({ ...site, labels: event.currentTarget.value })} /></label>
        {site.name && fault && <p class="look">{t(fault)}</p>}
        <div class="bar"><button type="submit" disabled={fault !== undefined}>{t("next")}</button></div>
      </form>
      {isBegun && <Steps site={whole} />}
    </section>
  );
}

/** Each step says by itself when it is done: the hub is asked again and again. */
function Steps({ site }: { site: NewSite }): preact.JSX.Element {
  const tenant = person.value?.tenant ?? null;
  const letIn = useLoaded(() => (tenant === null ? Promise.resolve(undefined) : client.people.show()), [tenant], LOOK_MS);
  const edge = edges.value.find((one) => one.name === site.name);
  const isKnown = edge !== undefined || letIn.data?.sites.some((one) => one.name === site.name && !one.is_revoked) === true;
  const hasCome = edge !== undefined && edge.reached_ns !== null;
  const commands = commandsFor(site, tenant);
  return (
    <ol class="steps">
      {tenant === null && <Files site={site} />}
      <Step isDone={isKnown} title={tenant === null ? t("stepHubFile") : t("stepSign")}>
        <p>{tenant === null ? t("stepHubFileWhy", { file: `${plain(site.name)}.secret` }) : t("stepSignWhy")}</p>
        {commands.operator.map((one) => <Command key={one} text={one} />)}
      </Step>
      <Step isDone={hasCome} title={t("stepJoin")}>
        <p>{tenant === null ? t("stepSecretWhy", { yaml: `${plain(site.name)}.yaml`, secret: `${plain(site.name)}.secret` }) : t("stepJoinWhy", { file: `${plain(site.name)}.join` })}</p>
        {commands.box.map((one) => <Command key={one} text={one} />)}
      </Step>
      <Step isDone={edge !== undefined && isReached(edge)} title={t("stepReports")}>
        {edge !== undefined && isReached(edge)
          ? <p><a href={address("fleet", { site: site.name })}>{t("configureIt", { what: plain(site.name) })}</a></p>
          : <p class="muted">{t("stepWaits")}</p>}
      </Step>
    </ol>
  );
}

/** The two files of a site of a hub without an operator. The secret goes into a file at once: it crosses no line, and
 * nothing here remembers it. */
function Files({ site }: { site: NewSite }): preact.JSX.Element {
  const [url, setUrl] = useState(hubUrlFor(location, hub.value?.leaf_port));
  const [taken, setTaken] = useState<ReadonlySet<string>>(new Set());
  const save = (name: string, text: string): void => {
    saveBlob(new Blob([text], { type: "text/plain" }), name);
    setTaken(new Set([...taken, name]));
  };
  const [secret, yaml] = [`${site.name}.secret`, `${site.name}.yaml`];
  return (
    <Step isDone={taken.has(secret) && taken.has(yaml)} title={t("stepFiles")}>
      <p>{t("stepFilesWhy")}</p>
      <p class="ask"><label>{t("hubAddress")} <input value={url} spellcheck={false} maxLength={300} aria-describedby="hub-address" onInput={(event) => setUrl(event.currentTarget.value.trim())} /></label>
        <small id="hub-address">{t("hubAddressWhy")}</small></p>
      {!hubUrlFits(url) && <p class="look" role="status">{t("badHubAddress")}</p>}
      <div class="bar">
        <button type="button" disabled={taken.has(secret)} onClick={() => save(secret, `${newSecret()}\n`)}>{t("saveAs", { what: secret })}</button>
        <button type="button" disabled={!hubUrlFits(url)} onClick={() => save(yaml, edgeFile(site, url))}>{t("saveAs", { what: yaml })}</button>
      </div>
      {taken.has(secret) && <p role="status">{t("secretOnce")} <button type="button" class="plain" onClick={() => setTaken(new Set([...taken].filter((one) => one !== secret)))}><u>{t("anotherSecret")}</u></button></p>}
    </Step>
  );
}

interface StepProps {
  title: string;
  isDone: boolean;
  children: preact.ComponentChildren;
}

function Step({ title, isDone, children }: StepProps): preact.JSX.Element {
  return (
    <li class="panel" aria-label={title}>
      <h2>{isDone ? "✓" : "○"} {title} <small role="status">{isDone ? t("stepDone") : ""}</small></h2>
      {children}
    </li>
  );
}
