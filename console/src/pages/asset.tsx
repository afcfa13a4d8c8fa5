/** A place beside the tree: what is known of it, its values, and the ways from it to trend, stops and alarms. */
import { useEffect } from "preact/hooks";
import { numberText, plain } from "../format";
import { StateMark } from "../parts/mark";
import { PinButton } from "../parts/pins";
import { machineState } from "../parts/states";
import { Table } from "../parts/table";
import { AgeCell, LookCell, ValueCell } from "../parts/value";
import { address, go, route } from "../router";
import { client } from "../state/hub";
import { useLoaded } from "../state/loaded";
import { belowOf } from "../state/tree";
import { follow, hasValues, tags, unitOf, type Tag } from "../state/tags";
import { t } from "../words";
import { factText } from "../words/codes";

const TREND_MAX = 8; // as many lines as a trend draws
const SHOWN_MAX = 100; // what is more is in the tree
const NUMERIC: ReadonlySet<string> = new Set(["tag", "count", "kpi"]);

export function AssetDetail({ path }: { path: string }): preact.JSX.Element {
  const below = belowOf([...tags.value.values()], path);
  const shown = below.filter(hasValues).slice(0, SHOWN_MAX);
  const { data: facts, why } = useLoaded(() => client.acts.facts(path, "asset"), [path]);
  const known = Object.entries(facts?.find((fact) => fact.path === `${path}:asset`)?.data ?? {});
  const close = (): void => go(address("plant", { search: route.value.query.get("search") ?? undefined }));
  const heard = [...new Set(shown.map((tag) => `${tag.kind} ${tag.asset}`))].sort().join("\n");
  useEffect(() => {
    const stops = (heard === "" ? [] : heard.split("\n")).map((line) => follow(line.slice(line.indexOf(" ") + 1), line.slice(0, line.indexOf(" "))));
    return () => stops.forEach((stop) => stop());
  }, [heard]);
  useEffect(() => {
    const press = (event: KeyboardEvent): void => void (event.key === "Escape" && close());
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  });
  const numeric = shown.filter((tag) => NUMERIC.has(tag.kind)).slice(0, TREND_MAX);
  return (
    <section class="detail panel" aria-label={t("details")}>
      <div class="bar">
        <h2 class="title grow foreign">{plain(path, 200)}</h2>
        <PinButton to={address("plant", { asset: path })} name={path} />
        <button type="button" onClick={close}>{t("close")}</button>
      </div>
      <p class="acts">
        {numeric.length > 0 && <a class="button" href={address("trend", { tag: numeric.map((tag) => tag.key) })}>{t("openTrend")}</a>}
        {below.some((tag) => tag.kind === "state" && tag.asset === path) && <a class="button" href={address("shop", { machine: path })}>{t("stops")}</a>}
        <a class="button" href={address("plant", { view: "wall", search: path })}>{t("asWall")}</a>
        <a class="button" href={address("alarms")}>{t("alarms")}</a>
      </p>
      {why && <p class="look" role="status">{t("failed", { why: plain(why, 300) })}</p>}
      <dl>{known.map(([name, value]) => [<dt key={name} class="foreign" title={plain(name, 60)}>{factText(name)}</dt>, <dd key={`${name} is`} class="foreign">{plain(typeof value === "string" ? value : JSON.stringify(value), 300)}</dd>])}</dl>
      {shown.length < below.filter(hasValues).length && <p class="muted">{t("truncated", { n: numberText(shown.length) })}</p>}
      <Table<Tag> caption={t("tagsCount", { n: numberText(below.length) })} rows={shown} keyOf={(tag) => tag.key} columns={[
        { head: t("name"), cell: (tag) => <a href={address("plant", { tag: tag.key })}>{plain(tag.path.slice(path.length + 1), 80)}</a> },
        { head: t("value"), isNumber: true, cell: (tag) => <ValueCell tag={tag} /> },
        { head: t("unit"), cell: (tag) => (tag.kind === "state" ? <StateMark state={machineState(tag.reading.value?.value)} /> : plain(unitOf(tag), 12)) },
        { head: t("quality"), cell: (tag) => <LookCell tag={tag} /> },
        { head: t("age"), cell: (tag) => <AgeCell tag={tag} /> },
      ]} />
    </section>
  );
}
