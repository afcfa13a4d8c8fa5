/** Roll-outs: how far each is, and stopping, going on, taking back. */
import { type Rollout, type RolloutAction } from "@millstream/client";
import { numberText, plain } from "../format";
import { client, person } from "../state/hub";
import { useLoaded } from "../state/loaded";
import { sure } from "../state/sure";
import { roleText, t, type Word } from "../words";
import { codeText } from "../words/codes";
import { mayAct, Told, useAsking } from "./ask";
import { Table } from "./table";
import { Age } from "./value";

const ROLLOUTS_MS = 2000;
const NEXT: Record<string, [RolloutAction, Word][]> = {
  running: [["stop", "stop"], ["rollback", "takeBack"]],
  stopped: [["resume", "goOn"], ["cancel", "endIt"], ["rollback", "takeBack"]],
  done: [["rollback", "takeBack"]],
};

const OPPOSITE: Partial<Record<RolloutAction, RolloutAction>> = { stop: "resume", resume: "stop" };

export function Rollouts(): preact.JSX.Element {
  const { data, why, reload } = useLoaded(() => client.sites.rollouts(), [], ROLLOUTS_MS);
  const asking = useAsking(reload);
  const act = async (row: Rollout, action: RolloutAction, word: Word): Promise<void> => {
    const opposite = OPPOSITE[action];
    if (opposite === undefined && !(await sure(`${t(word)}: ${plain(row.name, 40)}`, t("noWayBack", { what: row.sites.map((one) => one.edge).join(", ") }), t(word)))) return;
    await asking.ask(row.name, () => client.sites.askRollout(row.name, action), () => opposite && (() => client.sites.askRollout(row.name, opposite)));
  };
  if (!mayAct()) return <p class="muted">{t("engineersOnly", { role: roleText(person.value?.role ?? "") })}</p>;
  return (
    <section aria-label={t("rollouts")}>
      {why && <p class="look" role="status">{t("failed", { why: plain(why, 300) })}</p>}
      <Table caption={t("rollouts")} rows={data ?? []} keyOf={(row) => row.name} empty={data ? t("noRollouts") : t("loading")} columns={[
        { head: t("name"), cell: (row) => <>{plain(row.name, 40)} <small>{plain(row.comment ?? "", 200)}</small></> },
        { head: t("age"), cell: (row) => <Age timeMs={row.created_ns / 1e6} /> },
        { head: t("author"), cell: (row) => plain(row.author, 128) },
        { head: t("state"), cell: (row) => <State row={row} /> },
        { head: t("sites"), cell: (row) => <ul>{row.sites.map((one) => <li key={one.edge}>{plain(one.edge)} <small>{codeText("stage", one.state ?? "waiting")}</small> {one.reason && <b class="act">{plain(`${one.reason} [${one.code ?? ""}]`, 300)}</b>}</li>)}</ul> },
        { head: t("acts"), cell: (row) => (
          <span class="acts">{(NEXT[row.state ?? "running"] ?? []).map(([action, word]) => (
            <button key={action} type="button" disabled={asking.isBusy} aria-label={`${t(word)}: ${plain(row.name, 40)}`}
              onClick={() => void act(row, action, word)}>{t(word)}</button>
          ))}</span>
        ) },
      ]} />
      <Told outcome={asking.outcome} />
    </section>
  );
}

function State({ row }: { row: Rollout }): preact.JSX.Element {
  const state = row.state ?? "running";
  const over = row.sites.filter((one) => ["healthy", "failed", "passed"].includes(one.state ?? "")).length;
  const text = `${codeText("rollout", state)} · ${t("stageOf", { n: row.stage, all: row.ends.length })}`;
  return (
    <>
      {state === "stopped" ? <b class="act">■ {plain(text)}</b> : plain(text)}{" "}
      {state === "running" && <progress max={row.sites.length} value={over} aria-label={t("progress")} />}{" "}
      <small>{t("sitesOf", { n: numberText(over), all: numberText(row.sites.length) })} {plain(row.reason ?? "", 200)}</small>
    </>
  );
}
