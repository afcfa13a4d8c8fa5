/** Commands to sites: what was asked, how far it is, who asked; asking, and calling back. */
import { type SiteCommand } from "@millstream/client";
import { useState } from "preact/hooks";
import { plain } from "../format";
import { client, person } from "../state/hub";
import { edges } from "../state/nodes";
import { useLoaded } from "../state/loaded";
import { argumentsFault, commandType, commandTypes, template } from "../state/commands";
import { sure } from "../state/sure";
import { roleText, t } from "../words";
import { codeText } from "../words/codes";
import { mayAct, mayCommand, Told, useAsking } from "./ask";
import { Table } from "./table";
import { Age } from "./value";
import { Coded } from "./written";

const OPEN_MS = 1500;
const WELL: ReadonlySet<string> = new Set(["done", "skipped"]);

export function Commands(): preact.JSX.Element {
  const { data, why, reload } = useLoaded(() => client.sites.commands(), [], OPEN_MS);
  const asking = useAsking(reload);
  const cancel = async (row: SiteCommand): Promise<void> => {
    const what = `${row.type} · ${row.node}`;
    if (await sure(t("callBack"), t("noWayBack", { what: plain(what, 200) }), t("callBack"))) await asking.ask(what, () => client.sites.cancel(row.id, [row.node]));
  };
  return (
    <section aria-label={t("commands")}>
      {mayCommand() ? <SendForm ask={asking.ask} isBusy={asking.isBusy} /> : <p class="muted">{t("commandersOnly", { role: roleText(person.value?.role ?? "") })}</p>}
      <Told outcome={asking.outcome} />
      {why && <p class="look" role="status">{t("failed", { why: plain(why, 300) })}</p>}
      <Table caption={t("commands")} rows={data ?? []} keyOf={(row) => `${row.id} ${row.node}`} empty={data ? t("noCommands") : t("loading")} columns={[
        { head: t("type"), cell: (row) => <span title={row.id}>{plain(row.type, 64)}</span> },
        { head: t("site"), cell: (row) => plain(row.node) },
        { head: t("state"), cell: (row) => <CommandState row={row} /> },
        { head: t("user"), cell: (row) => plain(row.who, 128) },
        { head: t("age"), cell: (row) => <Age timeMs={row.created_ns / 1e6} /> },
        { head: t("result"), cell: (row) => <Result row={row} /> },
        ...(mayCommand() ? [{ head: t("acts"), cell: (row: SiteCommand) => !row.is_over && (
          <button type="button" disabled={asking.isBusy} aria-label={`${t("callBack")}: ${plain(row.type)} ${plain(row.node)}`} onClick={() => void cancel(row)}>{t("callBack")}</button>
        ) }] : []),
      ]} />
    </section>
  );
}

/** In words, with a bar while it says how far it is; what failed is coloured. */
function CommandState({ row }: { row: SiteCommand }): preact.JSX.Element {
  if (row.is_over) {
    const isWell = WELL.has(row.state);
    return <span class={`mark ${isWell ? "muted" : "act"}`}>{isWell ? "✓" : "■"} {isWell ? codeText("command", row.state) : <b>{codeText("command", row.state)}</b>}</span>;
  }
  return <span>{codeText("command", row.state)} {row.progress !== undefined && <progress max={1} value={row.progress} aria-label={t("progress")} />} <small>{plain(row.text ?? "", 100)}</small></span>;
}

function Result({ row }: { row: SiteCommand }): preact.JSX.Element {
  if (row.reason) return <>{plain(row.reason, 300)} <small>{plain(row.code ?? "", 20)}</small></>;
  const hasFile = row.state === "done" && typeof row.result === "object" && row.result !== null && "sha256" in row.result;
  if (hasFile && mayAct()) return <a href={client.sites.fileAddress(row.id, row.node)} download={`${row.node}-${row.id}.zip`}>{t("fetchFile")}</a>;
  return row.result === undefined || row.result === null ? <span class="muted">–</span> : <code>{plain(JSON.stringify(row.result), 200)}</code>;
}

interface SendProps {
  ask: ReturnType<typeof useAsking>["ask"];
  isBusy: boolean;
}

function SendForm({ ask, isBusy }: SendProps): preact.JSX.Element {
  const offered = useLoaded(() => client.sites.query(null, ["commands", "command_types"]), []);
  const [type, setType] = useState("diagnostics");
  const [sites, setSites] = useState<string[]>([]);
  const [text, setText] = useState("{}");
  const [expires, setExpires] = useState("1h");
  const fault = argumentsFault(text);
  const nodes = offered.data?.nodes ?? [];
  const choose = (name: string): void => { setType(name); setText(JSON.stringify(template(commandType(nodes, name)))); };
  const toggle = (name: string, isOn: boolean): void => setSites(isOn ? [...sites, name] : sites.filter((one) => one !== name));
  const submit = (event: SubmitEvent): void => {
    event.preventDefault();
    const args = JSON.parse(text) as Record<string, unknown>;
    void ask(`${type} · ${sites.join(", ")}`, (key) => client.sites.send({ key, type, nodes: sites, args, expires }), (asked) => () => client.sites.cancel(asked.id));
  };
  return (
    <form class="panel ask" aria-label={t("sendCommand")} onSubmit={(event) => submit(event as SubmitEvent)}>
      <h2>{t("sendCommand")}</h2>
      <label>{t("type")} <select value={type} onChange={(event) => choose(event.currentTarget.value)}>
        {commandTypes(nodes).map((one) => <option key={one} value={one}>{one}</option>)}
      </select> <small class="muted"><Coded text={plain(commandType(nodes, type)?.description ?? "", 200)} /></small></label>
      <fieldset><legend>{t("sites")}</legend>
        {edges.value.map((edge) => (
          <label key={edge.name} class="inline"><input type="checkbox" checked={sites.includes(edge.name)} onChange={(event) => toggle(edge.name, event.currentTarget.checked)} /> {plain(edge.name)}</label>
        ))}
      </fieldset>
      <label>{t("args")} <input value={text} spellcheck={false} maxLength={8000} aria-invalid={fault !== ""} onInput={(event) => setText(event.currentTarget.value)} /></label>
      {fault && <p class="look">{plain(fault, 200)}</p>}
      <label>{t("expires")} <select value={expires} onChange={(event) => setExpires(event.currentTarget.value)}>
        {["1min", "10min", "1h", "1d", "7d"].map((one) => <option key={one} value={one}>{one}</option>)}
      </select></label>
      <div class="bar">
        <button type="submit" disabled={isBusy || fault !== "" || sites.length === 0}>{t("send")}</button>
        {sites.length === 0 && <span class="muted">{t("chooseSite")}</span>}
      </div>
    </form>
  );
}
