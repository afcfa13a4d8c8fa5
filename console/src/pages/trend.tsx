/** Many tags over time: history and live without a seam, zoomed by drawing over it; the address holds all of it. */
import { useEffect, useRef, useState } from "preact/hooks";
import { numberText, plain } from "../format";
import { Chart, DASHES } from "../parts/chart";
import { ValueCell } from "../parts/value";
import { address, go, route } from "../router";
import { connections, now } from "../state/hub";
import { keyOf, tags, unitOf, type Tag } from "../state/tags";
import { csvOf, TrendLine } from "../state/trend";
import { t } from "../words";

const SPANS: [string, number][] = [
  ["5min", 5], ["15min", 15], ["1h", 60], ["8h", 480], ["24h", 1440], ["7d", 10_080], ["30d", 43_200],
];
const DRAW_MS = 200;
const LINES_MAX = 8;

export function TrendPage(): preact.JSX.Element {
  const query = route.value.query;
  const keys = query.getAll("tag").slice(0, LINES_MAX);
  const span = SPANS.find(([name]) => name === query.get("span")) ?? SPANS[1];
  const zoom = zoomOf(query.get("from"), query.get("to"));
  const chosen = keys.flatMap((key) => tags.value.get(key) ?? []);
  const show = (change: Record<string, string | string[] | undefined>): void =>
    go(address("trend", { tag: keys, span: span[0], from: query.get("from") ?? undefined, to: query.get("to") ?? undefined, ...change }));
  return (
    <>
      <div class="bar">
        <AddTag onAdd={(key) => show({ tag: [...new Set([...keys, key])] })} isFull={keys.length >= LINES_MAX} />
        <label for="span">{t("span")}</label>
        <select id="span" value={span[0]} onChange={(event) => show({ span: event.currentTarget.value, from: undefined, to: undefined })}>
          {SPANS.map(([name]) => <option key={name} value={name}>{name}</option>)}
        </select>
        {zoom && <button type="button" onClick={() => show({ from: undefined, to: undefined })}>{t("zoomOut")}</button>}
      </div>
      {chosen.length === 0 ? <p class="empty">{t("noTags")}</p> : (
        <Lines key={chosen.map((tag) => tag.key).join("\n")} chosen={chosen} minutes={span[1]} zoom={zoom}
          onRemove={(key) => show({ tag: keys.filter((one) => one !== key) })}
          onZoom={(from, to) => show({ from: String(Math.round(from)), to: String(Math.round(to)) })} />
      )}
    </>
  );
}

function zoomOf(from: string | null, to: string | null): [number, number] | undefined {
  const [first, last] = [Number(from), Number(to)];
  return from !== null && to !== null && first < last ? [first, last] : undefined;
}

function AddTag({ onAdd, isFull }: { onAdd: (key: string) => void; isFull: boolean }): preact.JSX.Element {
  const numbers = [...tags.value.values()].filter((tag) => ["tag", "count", "kpi"].includes(tag.kind));
  const add = (input: HTMLInputElement): void => {
    const found = numbers.find((tag) => tag.path === input.value || tag.key === input.value);
    if (found === undefined) return;
    input.value = "";
    onAdd(found.key);
  };
  return (
    <>
      <label for="add">{t("addTag")}</label>
      <input id="add" class="grow" list="known" disabled={isFull} autocomplete="off" spellcheck={false}
        onChange={(event) => add(event.currentTarget)} />
      <datalist id="known">{numbers.slice(0, 500).map((tag) => <option key={tag.key} value={tag.path} />)}</datalist>
    </>
  );
}

interface LinesProps {
  chosen: Tag[];
  minutes: number;
  zoom?: [number, number];
  onRemove: (key: string) => void;
  onZoom: (fromMs: number, toMs: number) => void;
}

function Lines({ chosen, minutes, zoom, onRemove, onZoom }: LinesProps): preact.JSX.Element {
  const [, redraw] = useState(0);
  const [why, setWhy] = useState("");
  const lines = useRef<TrendLine[]>([]);
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const later = (): void => void (timer ??= setTimeout(() => ((timer = undefined), redraw((n) => n + 1)), DRAW_MS));
    lines.current = chosen.map((tag) => new TrendLine(tag, later));
    return () => {
      clearTimeout(timer);
      lines.current.forEach((line) => line.close());
    };
  }, []);
  useEffect(() => connections.subscribe(() => {
    const [from, to] = zoom ?? [now.peek() - minutes * 60_000, now.peek() + 60_000];
    Promise.all(lines.current.map((line) => line.load(from, to))).then(() => setWhy(""), (error: Error) => setWhy(error.message));
  }), [minutes, zoom?.[0], zoom?.[1]]);
  const [fromMs, toMs] = zoom ?? [now.value - minutes * 60_000, now.value];
  return (
    <section class="panel" aria-label={t("trend")}>
      <ul class="chips">
        {chosen.map((tag, index) => (
          <li key={tag.key}>
            <svg viewBox="0 0 32 8" aria-hidden="true">
              <line x1="0" y1="4" x2="32" y2="4" stroke={`var(--s${(index % 8) + 1})`} stroke-width="3" stroke-dasharray={DASHES[index % 8].join(" ")} />
            </svg>
            <span class="foreign">{plain(tag.path, 80)}</span> <ValueCell tag={tag} /> {plain(unitOf(tag), 12)}
            <button type="button" aria-label={t("remove", { what: plain(tag.path, 80) })} onClick={() => onRemove(tag.key)}>×</button>
          </li>
        ))}
      </ul>
      {why && <p class="look" role="status">{t("failed", { why: plain(why, 300) })}</p>}
      <Chart lines={lines.current.map((line) => line.line)} label={t("chartOf", { what: chosen.map((tag) => plain(tag.path, 80)).join(", ") })}
        fromMs={fromMs} toMs={toMs} height={420} onZoom={onZoom} />
      <Extremes lines={lines.current} fromMs={fromMs} toMs={toMs} />
      <p><button type="button" onClick={() => save(csvOf(lines.current, fromMs, toMs))}>{t("exportCsv")}</button></p>
    </section>
  );
}

/** What a chart shows, in words: for who cannot see it. */
function Extremes({ lines, fromMs, toMs }: { lines: TrendLine[]; fromMs: number; toMs: number }): preact.JSX.Element {
  return (
    <table>
      <thead><tr><th scope="col">{t("path")}</th><th scope="col" class="number">{t("lowest")}</th><th scope="col" class="number">{t("highest")}</th></tr></thead>
      <tbody>
        {lines.map((line) => {
          const [low, high] = line.extremes(fromMs, toMs);
          return (
            <tr key={keyOf(line.tag.kind, line.tag.path)}>
              <td class="foreign">{plain(line.tag.path, 120)}</td>
              <td class="number">{low === null ? "–" : numberText(low)}</td>
              <td class="number">{high === null ? "–" : numberText(high)}</td>
            </tr>
          );
        })}
      </tbody>
    </table>
  );
}

function save(text: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = "trend.csv";
  link.click();
  URL.revokeObjectURL(link.href);
}
