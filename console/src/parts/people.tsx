/** The people of a tenant, as its administrators keep them. */
import { type LetIn, type Person, type PersonChanged } from "@millstream/client";
import { useState } from "preact/hooks";
import { plain } from "../format";
import { client, isProvider, person } from "../state/hub";
import { sure } from "../state/sure";
import { roleText, t, type Word } from "../words";
import { AskForm, Told, useAsking } from "./ask";
import { Panel } from "./panel";
import { Table } from "./table";
import { Age } from "./value";

export function PeopleTable({ letIn, reload }: { letIn: LetIn; reload: () => void }): preact.JSX.Element {
  const asking = useAsking(reload);
  const [isAdding, setAdding] = useState(false);
  const [leaving, setLeaving] = useState<Person>();
  const [told, setTold] = useState<PersonChanged>();
  const change = (name: string, send: () => Promise<PersonChanged>): Promise<boolean> =>
    asking.ask(name, async () => { const found = await send(); setTold(found.password || found.second_factor_address ? found : undefined); return found; });
  const ifSure = async (name: string, word: Word, send: () => Promise<PersonChanged>): Promise<void> => {
    if (await sure(`${t(word)}: ${plain(name, 80)}`, t("noWayBack", { what: t(word) }), t(word))) await change(name, send);
  };
  return (
    <section aria-label={t("people")}>
      <Table caption={t("people")} rows={letIn.users ?? []} keyOf={(row) => row.name} empty={t("noPeople")} columns={[
        { head: t("user"), cell: (row) => plain(row.name, 80) },
        { head: t("role"), cell: (row) => roleText(row.role) },
        { head: t("paths"), cell: (row) => plain(row.paths.join(", ") || t(isProvider.value ? "allTenants" : "everything"), 300) },
        { head: t("secondFactor"), cell: (row) => (row.second_factor ? t("yes") : <span class="muted">{t("no")}</span>) },
        { head: t("changed"), cell: (row) => <><Age timeMs={row.changed_s * 1000} /> <small>{plain(row.changed_by, 80)}</small></> },
        { head: t("acts"), cell: (row) => (
          <span class="acts">
            <button type="button" disabled={asking.isBusy} aria-label={`${t("newPassword")}: ${plain(row.name, 80)}`} onClick={() => void ifSure(row.name, "newPassword", () => client.people.newPassword(row.name))}>{t("newPassword")}</button>
            <button type="button" disabled={asking.isBusy} aria-label={`${t(row.second_factor ? "factorOff" : "factorOn")}: ${plain(row.name, 80)}`} onClick={() => void ifSure(row.name, row.second_factor ? "factorOff" : "factorOn", () => client.people.secondFactor(row.name, !row.second_factor))}>{row.second_factor ? t("factorOff") : t("factorOn")}</button>
            {row.name !== person.value?.user && <button type="button" disabled={asking.isBusy} aria-label={`${t("takeOut")}: ${plain(row.name, 80)}`} onClick={() => setLeaving(row)}>{t("takeOut")}</button>}
          </span>
        ) },
      ]} />
      <Told outcome={asking.outcome} />
      {told && <Secret told={told} close={() => setTold(undefined)} />}
      {leaving && <AskForm key={leaving.name} isDanger act={t("takeOut")} title={t("reallyTakeOut", { name: plain(leaving.name, 80) })} isBusy={asking.isBusy} cancel={() => setLeaving(undefined)}
        submit={() => void change(leaving.name, () => client.people.remove(leaving.name)).then(() => setLeaving(undefined))}><p>{t("takeOutWhy")}</p></AskForm>}
      {isAdding
        ? <AddForm letIn={letIn} isBusy={asking.isBusy} cancel={() => setAdding(false)} add={(ask) => void change(ask.name, () => client.people.add(ask)).then((isDone) => isDone && setAdding(false))} />
        : <p><button type="button" onClick={() => setAdding(true)}>{t("addPerson")}</button></p>}
    </section>
  );
}

/** Shown once: neither the hub nor this page keeps it. */
function Secret({ told, close }: { told: PersonChanged; close: () => void }): preact.JSX.Element {
  return (
    <Panel title={t("onlyOnce", { name: plain(told.user.name, 80) })} close={close}>
      {told.password && <p>{t("password")}: <code class="large">{told.password}</code></p>}
      {told.second_factor_address && <p>{t("secondFactor")}: <code>{told.second_factor_address}</code></p>}
    </Panel>
  );
}

interface AddProps {
  letIn: LetIn;
  isBusy: boolean;
  add: (ask: { name: string; role: string; paths: string[]; second_factor: boolean }) => void;
  cancel: () => void;
}

function AddForm({ letIn, isBusy, add, cancel }: AddProps): preact.JSX.Element {
  const [name, setName] = useState("");
  const [role, setRole] = useState("viewer");
  const [paths, setPaths] = useState("");
  const [hasFactor, setFactor] = useState(false);
  const submit = (): void => add({ name, role, paths: paths.split(/[,\s]+/).filter(Boolean), second_factor: hasFactor });
  return (
    <AskForm title={t("addPerson")} isBusy={isBusy} submit={submit} cancel={cancel}>
      <label>{t("user")} <input required maxLength={64} pattern="[A-Za-z0-9][A-Za-z0-9_.@+\-]*" value={name} onInput={(event) => setName(event.currentTarget.value)} /></label>
      <label>{t("role")} <select value={role} onChange={(event) => setRole(event.currentTarget.value)}>
        {letIn.roles.map((one) => <option key={one} value={one}>{roleText(one)}</option>)}
      </select></label>
      {!isProvider.value && <label>{t("paths")} <input value={paths} placeholder={t("everything")} maxLength={2000} onInput={(event) => setPaths(event.currentTarget.value)} /></label>}
      <label class="inline"><input type="checkbox" checked={hasFactor} onChange={(event) => setFactor(event.currentTarget.checked)} /> {t("secondFactor")}</label>
    </AskForm>
  );
}
