/** Many tags over time: history and live without a seam, zoomed by drawing over it; the address holds all of it. */
import { computed, untracked } from "@preact/signals";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { numberText, plain, timeText } from "../format";
import { stateText } from "../parts/band";
import { Chart, type Line } from "../parts/chart";
import { DASHES } from "../parts/dashes";
import { saveBlob, saveFrom, savePicture } from "../parts/keep";
import { PinButton } from "../parts/pins";
import { spectrumOf } from "../parts/spectrum";
import { endOf, placeOf } from "../parts/thin";
import { AgeCell, ValueCell } from "../parts/value";
import { address, go, route } from "../router";
import { client, connections, now, person } from "../state/hub";
import { findMore, isLoaded, tags, unitOf, type Tag } from "../state/tags";
import { csvOf, RAW_MS_MAX, TrendLine } from "../state/trend";
import { t, type Word } from "../words";

const EARLIER: [string, Word, number, number][] = [["8h", "unitH", 8, 8], ["1d", "unitD", 1, 24], ["7d", "unitD", 7, 168], ["28d", "unitD", 28, 672]];
const HOUR_MS = 3_600_000;
const NEAREST_MS = 1000;
/** Its name in the address, its minutes, and how it is read. */
const SPANS: [string, number, Word, number][] = [
  ["5min", 5, "unitMin", 5], ["15min", 15, "unitMin", 15], ["1h", 60, "unitH", 1], ["8h", 480, "unitH", 8],
  ["24h", 1440, "unitH", 24], ["7d", 10_080, "unitD", 7], ["30d", 43_200, "unitD", 30],
];
const DRAW_MS = 200;
const MISSING_MS = 3000;
const LATE_MS = 30_000;
const LINES_MAX = 8;
const START_MAX = 8;
const KNOWN_MAX = 500;
const SHARES_MAX = 6;
const SHOWN = ["tag", "count", "kpi", "state"];
const OF_A_MOMENT = ["from", "to"];

/** What an address asks for. */
interface Asked {
  keys: string[];
  span: (typeof SPANS)[number];
  zoom?: [number, number];
  earlier?: (typeof EARLIER)[number];
  isSpectrum: boolean;
  isFromSite: boolean;
  isLanes: boolean;
}

function askedOf(query: URLSearchParams): Asked {
  return {
    keys: query.getAll("tag").slice(0, LINES_MAX),
    span: SPANS.find(([name]) => name === query.get("span")) ?? SPANS[1],
    zoom: zoomOf(query.get("from"), query.get("to")),
    earlier: EARLIER.find(([name]) => name === query.get("earlier")),
    isSpectrum: query.get("show") === "spectrum",
    isFromSite: query.get("source") === "site",
    isLanes: query.get("axes") === "lanes",
  };
}

/** The same as now, but for what changes. */
function show(change: Partial<Asked>): void {
  const { keys, span, zoom, earlier, isSpectrum, isFromSite, isLanes } = { ...askedOf(route.peek().query), ...change };
  const [from, to] = zoom?.map((ms) => String(Math.round(ms))) ?? [];
  go(address("trend", {
    tag: keys, span: span[0], from, to, earlier: earlier?.[0], show: isSpectrum ? "spectrum" : undefined, source: isFromSite ? "site" : undefined,
    axes: isLanes ? "lanes" : undefined,
  }));
}

const spanOf = ({ zoom, span }: Asked): number => (zoom === undefined ? span[1] * 60_000 : zoom[1] - zoom[0]);

export function TrendPage(): preact.JSX.Element {
  const asked = askedOf(route.value.query);
  const { keys, span, zoom, earlier, isSpectrum, isFromSite, isLanes } = asked;
  const spanMs = spanOf(asked);
  const missing = useMissing(keys);
  const chosen = keys.flatMap((key) => tags.value.get(key) ?? []);
  const shape = { ...asked, isNearest: spanMs <= NEAREST_MS, isShort: spanMs <= RAW_MS_MAX };
  // The same element while only the time moves: nothing of it is looked at for each picture.
  const bar = useMemo(() => <Bar {...shape} />, [keys.join("\n"), span, zoom === undefined, earlier, isSpectrum, isFromSite, shape.isNearest, shape.isShort]);
  return (
    <>
      {bar}
      {missing.length > 0 && <p class="look" role="status">{t("nothingStored")}: <span class="foreign">{missing.map((key) => plain(pathOf(key), 200)).join(", ")}</span></p>}
      {chosen.length === 0 ? <Start onAdd={(key) => show({ keys: [key] })} /> : (
        <Lines key={[...chosen.map((tag) => tag.key), earlier?.[0], isFromSite].join("\n")} chosen={chosen} minutes={span[1]} zoom={zoom}
          earlier={earlier} isSpectrum={isSpectrum} isFromSite={isFromSite} isLanes={isLanes} />
      )}
    </>
  );
}

function Bar({ keys, span, zoom, earlier, isSpectrum, isFromSite, isNearest, isShort }: Asked & { isNearest: boolean; isShort: boolean }): preact.JSX.Element {
  return (
    <div class="bar">
      <AddTag onAdd={(key) => show({ keys: [...new Set([...keys, key])] })} isFull={keys.length >= LINES_MAX} />
      <span class="pair"><label for="span">{t("span")}</label>
      <select id="span" value={span[0]} onChange={(event) => show({ span: SPANS.find(([name]) => name === event.currentTarget.value), zoom: undefined })}>
        {SPANS.map(([name, , word, n]) => <option key={name} value={name}>{t(word, { n })}</option>)}
      </select></span>
      <span class="pair"><label for="earlier">{t("compare")}</label>
      <select id="earlier" value={earlier?.[0] ?? ""} onChange={(event) => show({ earlier: EARLIER.find(([name]) => name === event.currentTarget.value) })}>
        <option value="">{t("compareNone")}</option>
        {EARLIER.map(([name, word, n]) => <option key={name} value={name}>{t("earlier", { time: t(word, { n }) })}</option>)}
      </select></span>
      <label><input type="checkbox" checked={isSpectrum} onChange={(event) => show({ isSpectrum: event.currentTarget.checked })} /> {t("spectrum")}</label>
      {person.value && !person.value.site && <label title={t("fromSiteHint")}><input type="checkbox" checked={isFromSite} disabled={!isFromSite && !isShort} onChange={(event) => show({ isFromSite: event.currentTarget.checked })} /> {t("fromSite")}</label>}
      {keys.length > 0 && <Steps isNearest={isNearest} isNow={zoom === undefined} />}
      {zoom && <button type="button" onClick={() => show({ zoom: undefined })}>{t("zoomOut")}</button>}
    </div>
  );
}

/** As it moves with the time. By itself, as it is another one for each address. */
function Pin(): preact.JSX.Element | null {
  const { query } = route.value;
  const names = query.getAll("tag").flatMap((key) => tags.value.get(key)?.name ?? []);
  if (names.length === 0) return null;
  return <PinButton to={address("trend", Object.fromEntries([...new Set(query.keys())].filter((name) => !OF_A_MOMENT.includes(name)).map((name) => [name, query.getAll(name)])))} name={`${t("trend")}: ${names.join(", ")}`} />;
}

/** Nearer and along the time without drawing over the picture: for keyboards, and for fingers (WCAG 2.2, 2.5.7). */
function Steps({ isNearest, isNow }: { isNearest: boolean; isNow: boolean }): preact.JSX.Element {
  const step = (from: number, to: number) => (): void => {
    const asked = askedOf(route.peek().query);
    const [spanMs, end] = [spanOf(asked), asked.zoom?.[1] ?? now.peek()];
    show({ zoom: [end - spanMs * (1 - from), end - spanMs * (1 - to)] });
  };
  return (
    <>
      <button type="button" aria-label={t("backInTime")} title={t("backInTime")} onClick={step(-0.5, 0.5)}>◀</button>
      <button type="button" disabled={isNearest} onClick={step(0.25, 0.75)}>{t("zoomIn")}</button>
      <button type="button" aria-label={t("forwardInTime")} title={t("forwardInTime")} disabled={isNow} onClick={step(0.5, 1.5)}>▶</button>
    </>
  );
}

/** Tags of a link that are in no list yet: of a large plant, or not stored so far. */
function useMissing(keys: string[]): string[] {
  const missing = isLoaded.value ? keys.filter((key) => !tags.value.has(key)) : [];
  const wanted = missing.join("\n");
  useEffect(() => {
    if (wanted === "") return;
    const ask = (): void => wanted.split("\n").forEach((key) => void findMore(pathOf(key)));
    ask();
    const timer = setInterval(ask, MISSING_MS);
    return () => clearInterval(timer);
  }, [wanted]);
  return missing;
}

const pathOf = (key: string): string => key.slice(key.indexOf(" ") + 1);

function zoomOf(from: string | null, to: string | null): [number, number] | undefined {
  const [first, last] = [Number(from), Number(to)];
  return from !== null && to !== null && first < last ? [first, last] : undefined;
}

const numbers = computed(() => [...tags.value.values()].filter((tag) => SHOWN.includes(tag.kind)));
/** The same element until tags change: nothing of it is looked at when the page is drawn again. */
const known = computed(() => <datalist id="known">{numbers.value.slice(0, KNOWN_MAX).map((tag) => <option key={tag.key} value={tag.path} />)}</datalist>);

function AddTag({ onAdd, isFull }: { onAdd: (key: string) => void; isFull: boolean }): preact.JSX.Element {
  const add = (input: HTMLInputElement): void => {
    const found = numbers.peek().find((tag) => tag.path === input.value || tag.key === input.value);
    if (found === undefined) return;
    input.value = "";
    onAdd(found.key);
  };
  return (
    <>
      <label for="add">{t("addTag")}</label>
      <input id="add" class="grow" list="known" disabled={isFull} autocomplete="off" spellcheck={false}
        onChange={(event) => add(event.currentTarget)} />
      {known.value}
    </>
  );
}

/** Nothing is chosen yet: some tags to begin with. */
function Start({ onAdd }: { onAdd: (key: string) => void }): preact.JSX.Element {
  const isNumber = (tag: Tag): boolean => typeof tag.reading.peek()?.value === "number";
  const some = [...numbers.value.filter(isNumber), ...numbers.value.filter((tag) => !isNumber(tag))].slice(0, START_MAX);
  return (
    <div class="empty">
      <p>{t("noTags")}{some.length > 0 && ` ${t("someTags")}:`}</p>
      {some.length > 0 && <ul class="acts start" aria-label={t("someTags")}>{some.map((tag) => <li key={tag.key}><button type="button" class="foreign" onClick={() => onAdd(tag.key)}>{plain(tag.path, 80)}</button></li>)}</ul>}
    </div>
  );
}

interface LinesProps {
  chosen: Tag[];
  minutes: number;
  zoom?: [number, number];
  earlier?: (typeof EARLIER)[number];
  isSpectrum: boolean;
  isFromSite: boolean;
  isLanes: boolean;
}

function Lines({ chosen, minutes, zoom, earlier, isSpectrum, isFromSite, isLanes }: LinesProps): preact.JSX.Element {
  const [, redraw] = useState(0);
  const [why, setWhy] = useState("");
  const lines = useRef<TrendLine[]>([]);
  const canvas = useRef<HTMLCanvasElement>(null);
  const seen = useRef<Seen>({ lines: [], fromMs: 0, toMs: 0 });
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const later = (): void => void (timer ??= setTimeout(() => ((timer = undefined), redraw((n) => n + 1)), DRAW_MS));
    lines.current = chosen.map((tag) => new TrendLine(tag, later, 0, tag.path, isFromSite));
    if (earlier !== undefined) {
      const before = t("earlier", { time: t(earlier[1], { n: earlier[2] }) });
      lines.current.push(...chosen.map((tag) => new TrendLine(tag, later, earlier[3] * HOUR_MS, `${tag.path} (${before})`, isFromSite)));
    }
    return () => {
      clearTimeout(timer);
      lines.current.forEach((line) => line.close());
    };
  }, []);
  useEffect(() => connections.subscribe(() => {
    const [from, to] = zoom ?? [now.peek() - minutes * 60_000, now.peek() + 60_000];
    Promise.all(lines.current.map((line) => line.load(from, to))).then(() => setWhy(""), (error: Error) => setWhy(error.message));
  }), [minutes, zoom?.[0], zoom?.[1]]);
  const lateMs = useLate(lines, isFromSite ? undefined : zoom, setWhy);
  const [fromMs, toMs] = zoom ?? [now.value - minutes * 60_000, now.value];
  const shown = [...lines.current]; // another list each time: of the same one nothing is drawn again
  seen.current = { lines: shown, fromMs, toMs };
  const units = untracked(() => shown.map(({ tag, line }) => (line.states === undefined ? plain(unitOf(tag), 12) : ""))); // a value that comes is drawn with others
  const chips = useMemo(() => <Chips chosen={chosen} />, chosen); // always as many: others are other lines
  const acts = useMemo(() => <Keep chosen={chosen} seen={seen} canvas={canvas} />, chosen);
  return (
    <section class="panel" aria-label={t("trend")}>
      {chips}
      {why && <p class="look" role="status">{t("failed", { why: plain(why, 300) })}</p>}
      {lateMs > 0 && <p role="status"><b>+</b> {t("lateCame", { time: timeText(lateMs) })}</p>}
      {lines.current.some((line) => line.isCut) && <p class="look" role="status">{t("cutShort")}</p>}
      <Chart lines={lines.current.map((line) => line.line)} label={t("chartOf", { what: chosen.map((tag) => plain(tag.path, 80)).join(", ") })}
        fromMs={fromMs} toMs={toMs} nowMs={client.now()} units={units} isLanes={isLanes} height={isSpectrum ? 240 : 420} onZoom={(from, to) => show({ zoom: [from, to] })} canvas={canvas} />
      <p class="muted">{t("shaded")}{new Set(units).size > 1 && <> <label><input type="checkbox" checked={isLanes} onChange={(event) => show({ isLanes: event.currentTarget.checked })} /> {t("lanes")}</label></>}</p>
      {isSpectrum && <Spectra lines={shown} fromMs={fromMs} toMs={toMs} />}
      <Extremes lines={shown} fromMs={fromMs} toMs={toMs} />
      {acts}
    </section>
  );
}

function Chips({ chosen }: { chosen: Tag[] }): preact.JSX.Element {
  const remove = (key: string): void => show({ keys: askedOf(route.peek().query).keys.filter((one) => one !== key) });
  return (
    <ul class="chips">
      {chosen.map((tag, index) => (
        <li key={tag.key}>
          <svg viewBox="0 0 32 8" aria-hidden="true">
            <line x1="0" y1="4" x2="32" y2="4" stroke={`var(--s${(index % 8) + 1})`} stroke-width="3" stroke-dasharray={DASHES[index % 8].join(" ")} />
          </svg>
          <span class="foreign">{plain(tag.path, 80)}</span> <ValueCell tag={tag} /> {plain(unitOf(tag), 12)} <AgeCell tag={tag} />
          <button type="button" aria-label={t("remove", { what: plain(tag.path, 80) })} onClick={() => remove(tag.key)}>×</button>
        </li>
      ))}
    </ul>
  );
}

/** What the picture shows just now. */
interface Seen {
  lines: TrendLine[];
  fromMs: number;
  toMs: number;
}

interface KeepProps {
  chosen: Tag[];
  seen: preact.RefObject<Seen>;
  canvas: { current: HTMLCanvasElement | null };
}

/** To take along what is shown. */
function Keep({ chosen, seen, canvas }: KeepProps): preact.JSX.Element {
  const keep = (how: (seen: Seen) => void) => (): void => void (seen.current && how(seen.current));
  const csv = keep(({ lines, fromMs, toMs }) => saveBlob(new Blob([csvOf(lines, fromMs, toMs)], { type: "text/csv" }), "trend.csv"));
  const parquet = keep(({ fromMs, toMs }) => saveFrom(client.history.rangeAddress(chosen, fromMs, toMs, "parquet"), "trend.parquet"));
  const png = keep(({ lines }) => canvas.current && savePicture(canvas.current, lines.map(({ line }) => plain(line.label, 120)), "trend.png"));
  return (
    <p class="acts">
      <button type="button" onClick={csv}>{t("exportCsv")}</button>
      <button type="button" onClick={parquet}>{t("exportParquet")}</button>
      <button type="button" onClick={png}>{t("exportPng")}</button>
      <Pin />
      <Share seen={seen} />
    </p>
  );
}

/** A span that stands may get values late: each half minute, and when one comes back to the page, the hub is asked whether what
 * it has of it is still the same, and what moved is loaded again. Tells when that was last; 0 while nothing moved. */
function useLate(lines: preact.RefObject<TrendLine[]>, zoom: [number, number] | undefined, failed: (why: string) => void): number {
  const [lateMs, setLate] = useState(0);
  useEffect(() => {
    setLate(0);
    if (zoom === undefined) return;
    let [isOver, isAsking] = [false, false];
    const ask = async (): Promise<void> => {
      if (isAsking) return; // one at a time: the later of two would tell of what the earlier one still loads
      isAsking = true;
      try {
        const shown = (lines.current ?? []).filter((line) => line.isNumeric);
        const moved = await Promise.all(shown.map((line) => line.refresh(...zoom)));
        if (!isOver && moved.includes(true)) setLate(now.peek());
      } catch (error) {
        if (!isOver) failed((error as Error).message);
      } finally {
        isAsking = false;
      }
    };
    const onFocus = (): void => void ask();
    const timer = setInterval(onFocus, LATE_MS);
    addEventListener("focus", onFocus);
    return () => { isOver = true; clearInterval(timer); removeEventListener("focus", onFocus); };
  }, [zoom?.[0], zoom?.[1]]);
  return lateMs;
}

/** A link to exactly this: a span that ends now becomes one that stands. */
function Share({ seen }: { seen: preact.RefObject<Seen> }): preact.JSX.Element {
  const [link, setLink] = useState("");
  const share = (): void => {
    const query = new URLSearchParams(route.peek().query);
    query.set("from", String(Math.round(seen.current?.fromMs ?? 0)));
    query.set("to", String(Math.round(seen.current?.toMs ?? 0)));
    const made = `${location.origin}${location.pathname}#/trend?${query}`;
    setLink(made);
    void navigator.clipboard?.writeText(made).catch(() => undefined); // the field is there for who may not
  };
  return (
    <>
      <button type="button" onClick={share}>{t("shareLink")}</button>
      {link && <input class="grow" readonly aria-label={t("shareLink")} value={link} onFocus={(event) => event.currentTarget.select()} />}
    </>
  );
}

/** The amplitude at each frequency, of the samples in sight. */
function Spectra({ lines, fromMs, toMs }: { lines: TrendLine[]; fromMs: number; toMs: number }): preact.JSX.Element {
  const found = lines.map(({ line, tag }, look) => {
    const [from, to] = [placeOf(line.times, fromMs), endOf(line.times, toMs)];
    const spectrum = line.isRaw ? spectrumOf(line.times.slice(from, to), line.values.slice(from, to)) : "few";
    return { line, spectrum, look, unit: untracked(() => plain(unitOf(tag), 12)) };
  });
  const good = found.flatMap(({ spectrum, ...rest }) => (typeof spectrum === "string" ? [] : [{ ...rest, spectrum }]));
  const shown = good.map(({ line, spectrum }): Line => ({ label: line.label, times: spectrum.hz, values: spectrum.amplitude }));
  const most = Math.max(1e-9, ...shown.map((line) => line.times[line.times.length - 1]));
  return (
    <>
      <h2>{t("spectrum")}</h2>
      {found.map(({ line, spectrum }) => typeof spectrum === "string" && (
        <p key={line.label} class="look" role="status"><span class="foreign">{plain(line.label, 120)}</span>: {t(spectrum === "few" ? "spectrumFew" : "spectrumUneven")}</p>
      ))}
      {shown.length > 0 && <Chart lines={shown} label={t("spectrumOf", { what: shown.map((line) => plain(line.label, 80)).join(", ") })} fromMs={0} toMs={most} height={240} units={good.map(({ unit }) => unit)} looks={good.map(({ look }) => look)} isHertz />}
    </>
  );
}

function sharesText(shares: [string, number][]): string {
  const some = shares.slice(0, SHARES_MAX).map(([state, share]) => `${stateText(state)} ${numberText(Number((100 * share).toPrecision(3)))} %`);
  return [...some, ...(shares.length > SHARES_MAX ? ["…"] : [])].join(" · ") || "–";
}

/** What a chart shows, in words: for who cannot see it. */
function Extremes({ lines, fromMs, toMs }: { lines: TrendLine[]; fromMs: number; toMs: number }): preact.JSX.Element {
  return (
    <div class="scroll"><table>
      <thead><tr><th scope="col">{t("path")}</th><th scope="col" class="number">{t("lowest")}</th><th scope="col" class="number">{t("highest")}</th></tr></thead>
      <tbody>
        {lines.map((line) => {
          const [low, high] = line.extremes(fromMs, toMs);
          const shares = line.shares(fromMs, toMs, client.now());
          const text = (value: number | null): string => (value === null ? "–" : `${numberText(value)} ${plain(unitOf(line.tag), 12)}`.trimEnd());
          return (
            <tr key={line.line.label}>
              <td class="foreign">{plain(line.line.label, 120)}</td>
              {shares === undefined ? <><td class="number" data-head={t("lowest")}>{text(low)}</td><td class="number" data-head={t("highest")}>{text(high)}</td></> : <td class="number" colSpan={2}>{sharesText(shares)}</td>}
            </tr>
          );
        })}
      </tbody>
    </table></div>
  );
}
