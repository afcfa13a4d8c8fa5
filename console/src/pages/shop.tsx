/** The shop floor: one tile a machine, readable from five metres; full screen for the wall. */
import { assetSubject, severity, type Fact, type StoredEvent } from "@millstream/client";
import { computed } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { numberText, plain, valueText, type Look } from "../format";
import { FullScreen } from "../parts/full_screen";
import { Glance, stateChosen } from "../parts/glance";
import { StateMark } from "../parts/mark";
import { PinButton } from "../parts/pins";
import { machineState } from "../parts/states";
import { Stops } from "../parts/stops";
import { StateBand } from "../parts/state_band";
import { Age, AgeCell, HeardCell, LookCell } from "../parts/value";
import { WhyPanel } from "../parts/why";
import { address, go, route } from "../router";
import { client, now } from "../state/hub";
import { useLoaded } from "../state/loaded";
import { madeOf, runningOrder, TOTAL, WINDOW } from "../state/orders";
import { follow, isLoaded, tags, unitOf, type Tag } from "../state/tags";
import { t, type Word } from "../words";
import { known as wordOf } from "../words/codes";

interface Machine {
  asset: string;
  state: Tag;
  counts: Tag[];
  figures: { word: Word; tag: Tag }[];
}

/** A line, an area, a site: its figures are those of its machines together. */
type Place = Pick<Machine, "asset" | "figures">;

const FIGURES: Record<string, Word> = { oee: "oee", availability: "availability", performance: "performance", quality: "qualityRate" };
const WINDOWS = ["live", "shift", "hour", "day"];
const COUNTS_MAX = 3;
const OF_A_MINUTE = /\/(scrap|rework)$/; // as the flow `quality` tells them, beside totals they would mislead

const ORDERS_MS = 600_000; // should one be missed: each change is heard
const ORDERS_SOON_MS = 500; // many that come at once are asked for once
const MADE_MS = 60_000; // the same: what was made is heard when it is told
const MADE_SOON_MS = 2000; // until it is in the history, too; the machines of a plant tell it in the same second
const TOLD_MAX = 500; // of each sort of event; the newest of a machine counts
const LIVE_START = "-15min"; // what was worked out before then is no longer live

interface Known {
  facts: Fact[];
  told: StoredEvent[];
}

const machines = computed(() => machinesOf([...tags.value.values()]));
const places = computed(() => placesOf([...tags.value.values()], machines.value));

export function ShopPage(): preact.JSX.Element {
  const wanted = machines.value.map((one) => one.asset).join("\n");
  useFollowed(wanted, ["state", "count", "kpi"]);
  useFollowed(places.value.map((one) => one.asset).join("\n"), ["kpi"]);
  const { data: facts, reload } = useLoaded(() => client.acts.facts("", "order"), [], ORDERS_MS);
  const { data: told, reload: reloadMade } = useLoaded(loadMade, [], MADE_MS);
  useEffect(() => {
    const assets = wanted === "" ? [] : wanted.split("\n");
    const stops = [hear(assets, "_context.order.>", ORDERS_SOON_MS, reload), hear(assets, "_event.>", MADE_SOON_MS, reloadMade, isMade)];
    return () => stops.forEach((stop) => stop());
  }, [wanted]);
  if (machines.value.length === 0) {
    return <p class="empty">{isLoaded.value ? <>{t("noMachines")} <a href="docs/how-to/oee.html">{t("howOee")}</a></> : `${t("loading")}…`}</p>;
  }
  const states = machines.value.map((one) => machineState(one.state.reading.value?.value));
  const chosen = stateChosen(route.value.query.get("state"));
  return (
    <>
      <div class="bar">
        <h2 class="title">{t("machines")}</h2>
        <Glance states={states} chosen={chosen} />
        <span class="grow" />
        <FullScreen />
      </div>
      <Opened />
      <div class="tiles">
        {chosen === undefined && places.value.map((one) => <PlaceTile key={one.asset} place={one} />)}
        {machines.value.filter((_, at) => chosen === undefined || states[at] === chosen).map((one) => <Tile key={one.asset} machine={one} known={facts && { facts, told: told ?? [] }} />)}
      </div>
    </>
  );
}

/** Assets, one a line. */
function useFollowed(wanted: string, kinds: string[]): void {
  useEffect(() => {
    const assets = wanted === "" ? [] : wanted.split("\n");
    const stops = assets.flatMap((asset) => kinds.map((kind) => follow(asset, kind)));
    return () => stops.forEach((stop) => stop());
  }, [wanted]);
}

/** What the address asks for, above the tiles: why a figure is what it is, or the stops of a machine. */
function Opened(): preact.JSX.Element | null {
  const tag = route.value.query.get("why");
  const asset = route.value.query.get("machine");
  const close = (): void => go(address("shop"));
  if (tag) return <WhyPanel tag={tag} close={close} />;
  if (!asset) return null;
  return (
    <section class="panel" aria-label={t("stopsOf", { what: plain(asset, 200) })}>
      <div class="bar">
        <h2 class="grow foreign">{t("stopsOf", { what: plain(asset, 200) })}</h2>
        <PinButton to={address("shop", { machine: asset })} name={t("stopsOf", { what: plain(asset, 100) })} />
        <button type="button" onClick={close}>{t("close")}</button>
      </div>
      <Stops key={asset} asset={asset} />
    </section>
  );
}

type Heard = Parameters<Parameters<typeof client.liveMessages>[1]>[0];

/** A total of an order, or what a machine has made so far: flows name them as they like, so by their type. */
const isMade = (message: Heard): boolean => [WINDOW, TOTAL].includes(message.headers?.get("ce-type") ?? "");

/** What is told of the machines from now on; `changed` is called a moment after some of it. The function ends it. */
function hear(assets: string[], what: string, soonMs: number, changed: () => void, isWanted = (_one: Heard): boolean => true): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const soon = (one: Heard): void => { if (isWanted(one)) timer ??= setTimeout(() => { timer = undefined; changed(); }, soonMs); };
  const stops = assets.map((asset) => client.liveMessages(`${assetSubject(asset)}.${what}`, soon));
  return () => { clearTimeout(timer); stops.forEach((stop) => stop()); };
}

async function loadMade(): Promise<StoredEvent[]> {
  const [live, totals] = await Promise.all([
    client.history.events("*", "event", TOLD_MAX, WINDOW, LIVE_START), client.history.events("*", "event", TOLD_MAX, TOTAL),
  ]);
  return [...live, ...totals];
}

function PlaceTile({ place }: { place: Place }): preact.JSX.Element {
  const what = plain(place.asset, 200);
  return (
    <article class="tile place" aria-label={plain(place.asset)}>
      <TileHead asset={place.asset} />
      <Figures of={place.figures} />
      <p class="ways"><a href={address("trend", { tag: place.figures[0].tag.key })} aria-label={`${t("openTrend")}: ${what}`}>{t("openTrend")}</a></p>
    </article>
  );
}

function TileHead({ asset }: { asset: string }): preact.JSX.Element {
  const levels = asset.split("/");
  return <h2 class="foreign">{plain(levels[levels.length - 1])} <small>{plain(levels.slice(0, -1).join("/"))}</small></h2>;
}

function Figures({ of, children }: { of: Place["figures"]; children?: preact.ComponentChildren }): preact.JSX.Element {
  const over = windowOf(of);
  return (
    <div class="figures">
      {over && <small class="muted over">{t(over)}</small>}
      {of.map(({ word, tag }) => <Figure key={tag.key} tag={tag} word={t(word)} text={percent(tag)} look={figureLook(tag)} why={tag.path} />)}
      {children}
    </div>
  );
}

function Tile({ machine, known }: { machine: Machine; known?: Known }): preact.JSX.Element {
  const reading = machine.state.reading.value;
  const state = machineState(reading?.value);
  return (
    <article class="tile" data-state={state} aria-label={plain(machine.asset)}>
      <TileHead asset={machine.asset} />
      <p class="state"><StateMark state={state} /></p>
      <p class="muted"><span class="foreign" title={valueText(reading?.value)}>{wordOf("machine", String(reading?.value)) ?? valueText(reading?.value)}</span> · <LookCell tag={machine.state} /> · <AgeCell tag={machine.state} /><HeardCell tag={machine.state} /></p>
      {known && <RunningOrder asset={machine.asset} known={known} />}
      <Figures of={machine.figures}>
        {machine.counts.map((tag) => <Figure key={tag.key} tag={tag} word={tag.name === "parts" ? t("parts") : plain(tag.name, 30)} text={`${valueText(tag.reading.value?.value)} ${plain(unitOf(tag), 8)}`} />)}
      </Figures>
      <StateBand tag={machine.state} />
      <p class="ways"><a href={address("shop", { machine: machine.asset })} aria-label={t("stopsOf", { what: plain(machine.asset, 200) })}>{t("stops")}</a></p>
    </article>
  );
}

/** What it works on, and good parts against what is wanted; that there is no order stands there, too. */
function RunningOrder({ asset, known }: { asset: string; known: Known }): preact.JSX.Element {
  const order = runningOrder(known.facts, asset, now.value);
  if (order === undefined) return <p class="order muted">{t("noOrder")}</p>;
  const made = madeOf(order, asset, known.told);
  const good = made === undefined ? "–" : numberText(made.good);
  const text = order.quantity === undefined ? t("goodParts", { n: good }) : t("goodOf", { n: good, all: numberText(order.quantity) });
  return (
    <div class="order">
      <span>{t("order")} <b class="foreign">{plain(order.name, 30)}</b>{order.product && <> · <span class="foreign">{plain(order.product, 30)}</span></>}</span>
      <span>{text}{made?.isPart && <small> {t("thisShift")}</small>}{made && <small> · <Age timeMs={made.toldMs} /></small>}</span>
      {order.quantity !== undefined && <progress aria-label={text} max={order.quantity} value={made === undefined ? 0 : Math.min(made.good, order.quantity)} />}
    </div>
  );
}

interface FigureProps {
  tag: Tag;
  word: string;
  text: string;
  look?: Look;
  why?: string;
}

/** A figure that is not sure looks as any other value that is not. */
function Figure({ tag, word, text, look = "good", why }: FigureProps): preact.JSX.Element {
  const shown = <><b><span class="value" data-look={look}>{text}</span></b> <small class="foreign">{word}{look === "uncertain" && ` · ${t("uncertain")}`} · <AgeCell tag={tag} /></small></>;
  return why === undefined ? <span>{shown}</span> : <a href={address("shop", { why })} title={t("why", { what: word })}>{shown}</a>;
}

/** By its quality: it comes when it changes, and how old it is says nothing. */
function figureLook(tag: Tag): Look {
  const reading = tag.reading.value;
  return typeof reading?.value === "number" ? severity(reading.quality) : "good";
}

const OVER: Record<string, Word> = { live: "overLive", shift: "overShift", hour: "overHour", day: "overDay" };

/** Which time the figures are of, where it is the same of all. */
function windowOf(figures: Place["figures"]): Word | undefined {
  const found = new Set(figures.map(({ tag }) => tag.name.split("/").find((step) => WINDOWS.includes(step)) ?? ""));
  return found.size === 1 ? OVER[[...found][0]] : undefined;
}

function percent(tag: Tag): string {
  const value = tag.reading.value?.value;
  return typeof value === "number" ? `${numberText(Math.round(value * 1000) / 10)} %` : "–";
}

/** Whoever tells a state is a machine; its figures are those of the nearest window that there is. */
export function machinesOf(all: Tag[]): Machine[] {
  const found = new Map<string, Machine>();
  for (const tag of all) {
    if (tag.kind === "state" && !found.has(tag.asset)) found.set(tag.asset, { asset: tag.asset, state: tag, counts: [], figures: [] });
  }
  for (const machine of found.values()) {
    const mine = all.filter((tag) => tag.asset === machine.asset);
    machine.counts = mine.filter((tag) => tag.kind === "count" && !OF_A_MINUTE.test(tag.name)).slice(0, COUNTS_MAX);
    machine.figures = figuresOf(mine.filter((tag) => tag.kind === "kpi"));
  }
  return [...found.values()].sort((a, b) => a.asset.localeCompare(b.asset));
}

/** Whoever tells OEE and stands above a machine; the topmost first. */
export function placesOf(all: Tag[], below: Machine[]): Place[] {
  const above = new Set(below.flatMap(({ asset }) => asset.split("/").map((_, n, steps) => steps.slice(0, n).join("/"))));
  const kpis = new Map<string, Tag[]>();
  for (const tag of all) {
    if (tag.kind === "kpi" && above.has(tag.asset)) kpis.set(tag.asset, [...(kpis.get(tag.asset) ?? []), tag]);
  }
  return [...kpis].map(([asset, mine]) => ({ asset, figures: figuresOf(mine) }))
    .filter(({ figures }) => figures.some(({ word }) => word === "oee"))
    .sort((a, b) => a.asset.split("/").length - b.asset.split("/").length || a.asset.localeCompare(b.asset));
}

function figuresOf(kpis: Tag[]): Machine["figures"] {
  const rank = (tag: Tag): number => {
    const at = WINDOWS.findIndex((window) => tag.name.split("/").includes(window));
    return at < 0 ? WINDOWS.length : at;
  };
  return Object.entries(FIGURES).flatMap(([name, word]) => {
    const fitting = kpis.filter((tag) => tag.name.split("/").at(-1) === name).sort((a, b) => rank(a) - rank(b));
    return fitting.length === 0 ? [] : [{ word, tag: fitting[0] }];
  });
}
