/** The document of a site in an editor: what is wrong as it is written, what it would change, what may stand there. */
import { type Asked, type Finding, type PathChange, type SiteConfig } from "@millstream/client";
import { useEffect, useRef, useState } from "preact/hooks";
import { plain } from "../format";
import { Changes } from "../pages/site";
import { client } from "../state/hub";
import { edges } from "../state/nodes";
import { useLoaded } from "../state/loaded";
import { helpAt } from "../state/schema_help";
import { placeAt } from "../state/yaml_place";
import { type Back } from "../state/undo";
import { t } from "../words";
import { Told, useAsking } from "./ask";
import { Command } from "./panel";

const CHECK_MS = 700;
const FIRST = "connectors: []\n";
/** What is being written, by site: a log-in that ends meanwhile loses no word. */
const drafts = new Map<string, { base: number; text: string }>();

interface Judged {
  text: string;
  findings: Finding[];
  changes: PathChange[];
}

export function ConfigEditor({ config, reload }: { config: SiteConfig; reload: () => void }): preact.JSX.Element {
  const newest = config.history[0]?.revision ?? 0;
  const draft = drafts.get(config.edge);
  const [base, setBase] = useState(draft?.base ?? newest);
  const [text, setText] = useState(draft?.text ?? (config.document || FIRST));
  const [cursor, setCursor] = useState(0);
  const area = useRef<HTMLTextAreaElement>(null);
  const { judged, why } = useJudged(config.edge, text);
  const asking = useAsking(reload);
  const isMine = text !== (config.document || FIRST);
  useEffect(() => {
    if (isMine) drafts.set(config.edge, { base, text });
    else drafts.delete(config.edge);
  }, [config.edge, base, text, isMine]);
  useEffect(() => {
    if (newest > base && !isMine) { setBase(newest); setText(config.document || FIRST); }
  }, [newest]);
  const load = (): void => { setBase(newest); setText(config.document || FIRST); };
  const restore = (rolledOut: string, document: string, revision: number): void => {
    setText((now) => (now === rolledOut ? document : now)); // not what somebody has written since
    setBase(revision);
  };
  const insert = (key: string): void => {
    const field = area.current;
    if (field === null) return;
    field.setRangeText(`${key}: `, field.selectionStart, field.selectionEnd, "end");
    setText(field.value);
    field.focus();
  };
  return (
    <>
      {newest === 0 && <ReplacesFile edge={config.edge} />}
      {newest > base && isMine && <p class="look" role="alert">{t("changedMeanwhile", { n: newest, author: plain(config.history[0]?.author ?? "", 80) })} <button type="button" onClick={load}>{t("loadNewest")}</button></p>}
      <div class="editor">
        <div>
          <Lines text={text} findings={judged?.findings ?? []} area={area} change={setText} move={setCursor} />
          <Findings judged={judged} why={why} isFresh={judged?.text === text} area={area} />
        </div>
        <Help text={text} cursor={cursor} insert={insert} />
      </div>
      <Told outcome={asking.outcome} />
      {judged && <Changes rows={judged.changes} />}
      {config.needs_signature ? <NeedsSignature config={config} text={text} /> : (
        <PutForm isFirst={newest === 0} config={config} text={text} base={base} stored={setBase} restored={restore} asking={asking} isFine={judged?.text === text && judged.findings.length === 0 && judged.changes.length > 0} />
      )}
    </>
  );
}

/** Until there is a revision the site's own file counts, which the hub does not have. */
function ReplacesFile({ edge }: { edge: string }): preact.JSX.Element {
  const running = edges.value.find((one) => one.name === edge)?.status?.connectors ?? [];
  const names = running.map((one) => plain(String(one.name), 80)).join(", ");
  return <p class="look" role="status">{t("replacesFile")} {names && t("replacesThese", { names })}</p>;
}

/** What the hub says of a text, a moment after the last letter. */
function useJudged(edge: string, text: string): { judged: Judged | undefined; why: string } {
  const [judged, setJudged] = useState<Judged>();
  const [why, setWhy] = useState("");
  useEffect(() => {
    const timer = setTimeout(() => {
      client.sites.check(edge, text).then(
        (found) => { setJudged({ text, ...found }); setWhy(""); },
        (error: Error) => setWhy(error.message),
      );
    }, CHECK_MS);
    return () => clearTimeout(timer);
  }, [edge, text]);
  return { judged, why };
}

interface LinesProps {
  text: string;
  findings: Finding[];
  area: preact.RefObject<HTMLTextAreaElement | null>;
  change: (text: string) => void;
  move: (cursor: number) => void;
}

/** Numbers beside the lines; a line with something wrong has a sign. */
function Lines({ text, findings, area, change, move }: LinesProps): preact.JSX.Element {
  const gutter = useRef<HTMLPreElement>(null);
  const wrong = new Set(findings.map((one) => one.line));
  const count = text.split("\n").length;
  const numbers = Array.from({ length: count }, (_, at) => (wrong.has(at + 1) ? `■ ${at + 1}` : String(at + 1))).join("\n");
  const moved = (event: Event): void => move((event.currentTarget as HTMLTextAreaElement).selectionStart);
  return (
    <div class="lines">
      <pre ref={gutter} aria-hidden="true">{numbers}</pre>
      <textarea ref={area} wrap="off" spellcheck={false} aria-label={t("document")} value={text} rows={Math.min(30, Math.max(14, count + 1))}
        onInput={(event) => { change(event.currentTarget.value); moved(event); }} onKeyUp={moved} onClick={moved} onSelect={moved}
        onScroll={(event) => { if (gutter.current) gutter.current.scrollTop = event.currentTarget.scrollTop; }} />
    </div>
  );
}

interface FindingsProps {
  judged: Judged | undefined;
  why: string;
  isFresh: boolean;
  area: preact.RefObject<HTMLTextAreaElement | null>;
}

function Findings({ judged, why, isFresh, area }: FindingsProps): preact.JSX.Element {
  const jump = (line: number): void => {
    const field = area.current;
    if (field === null) return;
    const before = field.value.split("\n").slice(0, line - 1).reduce((sum, one) => sum + one.length + 1, 0);
    const end = field.value.indexOf("\n", before);
    field.focus();
    field.setSelectionRange(before, end < 0 ? field.value.length : end);
  };
  return (
    <div role="status" class="findings">
      {why && <p class="look">{t("failed", { why: plain(why, 300) })}</p>}
      {!why && !isFresh && <p class="muted">{t("checking")}</p>}
      {!why && isFresh && judged?.findings.length === 0 && <p class="muted">✓ {t("noFindings")}</p>}
      <ul>{judged?.findings.map((one) => (
        <li key={`${one.line} ${one.path} ${one.message}`}>
          <button type="button" class="plain" onClick={() => jump(one.line)}><b class="act">■ {t("line", { n: one.line })}</b> {plain(one.path, 120)}: {plain(one.message, 300)} {one.hint && <small>{plain(one.hint, 300)}</small>}</button>
        </li>
      ))}</ul>
    </div>
  );
}

function Help({ text, cursor, insert }: { text: string; cursor: number; insert: (key: string) => void }): preact.JSX.Element {
  const { data } = useLoaded(() => client.sites.schema(), []);
  if (data === undefined) return <aside class="panel muted" aria-label={t("mayStandHere")}>{t("loading")}</aside>;
  const help = helpAt(data, placeAt(text, cursor));
  return (
    <aside class="panel" aria-label={t("mayStandHere")} tabIndex={0}>
      <h2><code>{help.path || t("document")}</code> <small>{help.form}</small></h2>
      {help.about && <p>{help.about}</p>}
      {help.keys.length > 0 && <ul class="keys">{help.keys.map((one) => (
        <li key={one.name}><button type="button" onClick={() => insert(one.name)}>{one.name}</button> {one.isRequired && <b>{t("required")}</b>} <span class="muted">{one.about.split("\n")[0]}</span></li>
      ))}</ul>}
    </aside>
  );
}

interface PutProps {
  config: SiteConfig;
  text: string;
  base: number;
  stored: (revision: number) => void;
  /** What was rolled out was taken back: `document` counts again. */
  restored: (rolledOut: string, document: string, revision: number) => void;
  asking: ReturnType<typeof useAsking>;
  isFine: boolean;
  /** The site's own file counted so far. */
  isFirst: boolean;
}

/** To this site, or with others in stages: the first alone, then the rest once it is healthy. */
function PutForm({ config, text, base, stored, restored, asking, isFine, isFirst }: PutProps): preact.JSX.Element {
  const [comment, setComment] = useState("");
  const [others, setOthers] = useState<string[]>([]);
  const [stages, setStages] = useState("1,all");
  const known = edges.value.map((one) => one.name).filter((name) => name !== config.edge);
  const toggle = (name: string, isOn: boolean): void => setOthers(isOn ? [...others, name] : others.filter((one) => one !== name));
  const submit = (event: SubmitEvent): void => {
    event.preventDefault();
    const sites = [config.edge, ...others];
    void asking.ask(sites.join(", "), (): Promise<Asked & { revision: number }> => (others.length === 0
      ? client.sites.put({ edge: config.edge, document: text, based_on: base, comment }).then((found) => { stored(found.revision.revision); return { ...found, id: `${config.edge} ${found.revision.revision}`, revision: found.revision.revision }; })
      : client.sites.rollOut({ sites, document: text, stages: stages.split(",").map((one) => one.trim()), comment }).then((found) => ({ ...found, revision: 0 }))),
    (found) => (found.revision > 0 && base > 0 ? documentBack(config.edge, found.revision, base, (document, revision) => restored(text, document, revision)) : undefined));
  };
  return (
    <form class="panel ask" aria-label={t("rollOut")} onSubmit={(event) => submit(event as SubmitEvent)}>
      <h2>{t("rollOut")}</h2>
      <label>{t("comment")} <input required maxLength={500} value={comment} onInput={(event) => setComment(event.currentTarget.value)} /></label>
      {known.length > 0 && (
        <fieldset><legend>{t("alsoTo")}</legend>
          {known.map((name) => <label key={name} class="inline"><input type="checkbox" checked={others.includes(name)} onChange={(event) => toggle(name, event.currentTarget.checked)} /> {plain(name)}</label>)}
        </fieldset>
      )}
      {others.length > 0 && <label>{t("stages")} <input value={stages} pattern="[0-9]+%?(,([0-9]+%?|all))*|all" maxLength={100} onInput={(event) => setStages(event.currentTarget.value)} /></label>}
      {isFirst && <label class="inline"><input type="checkbox" required /> {t("replacesSure")}</label>}
      <p class="muted">{t("goesBack")}</p>
      <div class="bar"><button type="submit" disabled={asking.isBusy || !isFine}>{t("rollOut")}</button></div>
    </form>
  );
}

/** The document of an earlier revision made the newest once more; refused where somebody has put another one since. */
export const documentBack = (edge: string, mine: number, before: number, restored?: (document: string, revision: number) => void): Back => async (comment) => {
  const { document } = await client.sites.config(edge, before);
  const { revision } = await client.sites.put({ edge, document, based_on: mine, comment });
  restored?.(document, revision.revision);
};

/** Sites of a tenant run what an engineer signed; keys of people do not come to this page. */
function NeedsSignature({ config, text }: { config: SiteConfig; text: string }): preact.JSX.Element {
  const file = `${config.edge}.yaml`;
  const address = `data:application/yaml;charset=utf-8,${encodeURIComponent(`# revision ${config.history[0]?.revision ?? 0} of ${config.edge}\n${text}`)}`;
  return (
    <section class="panel" aria-label={t("rollOut")}>
      <p>{t("needsSignature")}</p>
      <p><a href={address} download={file}>{t("saveAs", { what: plain(file) })}</a></p>
      <Command text={`millstream config put ${config.edge} ${file} --based-on ${config.history[0]?.revision ?? 0} --sign NAME.creds -m "…"`} />
    </section>
  );
}
