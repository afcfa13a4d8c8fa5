/** The namespace as a tree with live values; any tag opens beside it. */
import { computed, signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { numberText, plain } from "../format";
import { FullScreen } from "../parts/full_screen";
import { StateMark } from "../parts/mark";
import { machineState } from "../parts/states";
import { RowCells } from "../parts/value";
import { address, go, route } from "../router";
import { findMore, follow, isLoaded, isTruncated, loadPlace, places, tags, tagsCount, type Tag } from "../state/tags";
import { buildTree, firstOpen, fits, rowsOf, type Row } from "../state/tree";
import { later } from "../parts/later";
import { kindText, t } from "../words";

const TagDetail = later(() => import("./tag").then((found) => found.TagDetail));
const AssetDetail = later(() => import("./asset").then((found) => found.AssetDetail));
const Wall = later(() => import("./wall").then((found) => found.Wall));
const ROW_PX = 32;
const FRAME_PX = 120; // about what the frame takes, until it can be measured
const SPARE_ROWS = 8;
const SPARE_AFTER_MS = 1000;
const TYPED_MS = 300;

const open = signal<ReadonlySet<string> | undefined>(undefined);
const active = signal(0);
const view = signal({ top: 0, height: innerHeight - FRAME_PX });
/** Rows above and below those in sight: none while the first picture is drawn. */
const spare = signal(0);

const searched = computed(() => route.value.query.get("search") ?? "");
const found = computed(() => {
  const text = searched.value.trim();
  return text === "" ? [...tags.value.values()] : [...tags.value.values()].filter((tag) => fits(tag, text));
});
const tree = computed(() => (searched.value.trim() === "" ? buildTree(found.value, places.value) : buildTree(found.value)));
const opened = computed(() => open.value ?? firstOpen(tree.value));
const rows = computed(() => rowsOf(tree.value, opened.value, searched.value.trim() !== ""));
const first = computed(() => Math.max(0, Math.floor(view.value.top / ROW_PX) - spare.value));
const last = computed(() => first.value + Math.ceil(view.value.height / ROW_PX) + 2 * spare.value);
const shown = computed(() => ({ first: first.value, rows: rows.value.slice(first.value, last.value) }));
/** Places and kinds of the rows in sight: only these are heard. */
const heard = computed(() =>
  [...new Set(shown.value.rows.flatMap((row) => (row.type === "tag" ? [`${row.tag.kind} ${row.tag.asset}`] : [])))]
    .sort().join("\n"),
);

export function PlantPage(): preact.JSX.Element {
  const key = route.value.query.get("tag");
  const selected = key === null ? undefined : tags.value.get(key);
  const asset = key === null ? route.value.query.get("asset") : null;
  const isWall = route.value.query.get("view") === "wall";
  useFollows(isWall ? "" : heard.value);
  useEffect(() => opened.subscribe((now) => now.forEach((path) => void loadPlace(path))), []);
  useMore(searched.value.trim() || (selected === undefined ? (key ?? "").replace(/^\w+ /, "") : "") || (asset ?? ""));
  return (
    <>
      <div class="bar">
        <input type="search" aria-label={t("searchTags")} placeholder={t("searchTags")} value={searched.value}
          onInput={(event) => go(address("plant", { search: event.currentTarget.value, tag: key ?? undefined, view: isWall ? "wall" : undefined }), false)} />
        <span class="muted" role="status">{t("tagsCount", { n: numberText(searched.value.trim() === "" ? Math.max(tagsCount.value, found.value.length) : found.value.length) })}</span>
        {isTruncated.value && tags.value.size < tagsCount.value && <span class="look">{t("truncated", { n: numberText(tags.value.size) })}</span>}
        <a class="button" href={address("plant", { search: searched.value, view: isWall ? undefined : "wall" })}>{t(isWall ? "asTree" : "asWall")}</a>
        {isWall && <FullScreen />}
      </div>
      {isWall ? <Wall tags={found.value} search={searched.value} /> : (
        <div class={selected || asset ? "plant open" : "plant"}>
          <Tree selected={selected?.key ?? (asset === null ? undefined : `place ${asset}`)} />
          {selected && <TagDetail key={selected.key} tag={selected} />}
          {asset && <AssetDetail key={asset} path={asset} />}
        </div>
      )}
    </>
  );
}

/** What the list has no room for is asked of the hub, once somebody has stopped typing. */
function useMore(text: string): void {
  const isWanted = places.value.size > 0 && text !== "";
  useEffect(() => {
    const timer = isWanted ? setTimeout(() => void findMore(text), TYPED_MS) : undefined;
    return () => clearTimeout(timer);
  }, [isWanted, text]);
}

function useFollows(wanted: string): void {
  useEffect(() => {
    const stops = wanted === "" ? [] : wanted.split("\n").map((line) => {
      const at = line.indexOf(" ");
      return follow(line.slice(at + 1), line.slice(0, at));
    });
    return () => stops.forEach((stop) => stop());
  }, [wanted]);
}

function Tree({ selected }: { selected?: string }): preact.JSX.Element {
  const box = useRef<HTMLDivElement>(null);
  const count = rows.value.length;
  useEffect(() => {
    const element = box.current as HTMLDivElement;
    const observer = new ResizeObserver(() => see(element)); // also tells how large it is now
    observer.observe(element);
    const timer = setTimeout(() => (spare.value = SPARE_ROWS), SPARE_AFTER_MS);
    return () => { observer.disconnect(); clearTimeout(timer); };
  }, []);
  const at = Math.min(active.value, Math.max(0, count - 1));
  return (
    <div class="tree" ref={box} role="treegrid" tabIndex={0} aria-label={t("plant")} aria-rowcount={count + 1}
      aria-activedescendant={count > 0 ? `row-${at}` : undefined}
      onScroll={(event) => see(event.currentTarget)}
      onKeyDown={(event) => press(event, at, box.current as HTMLDivElement)}>
      <div class="row head" role="row" aria-rowindex={1} style={{ position: "sticky" }}>
        <span role="columnheader" class="indent">{t("name")}</span>
        <span role="columnheader" class="number">{t("value")}</span>
        <span role="columnheader">{t("unit")}</span>
        <span role="columnheader">{t("quality")}</span>
        <span role="columnheader">{t("age")}</span>
      </div>
      <div class="rows" role="rowgroup" style={{ height: `${count * ROW_PX}px` }}>
        {shown.value.rows.map((row, index) => (
          <TreeRow key={row.key} row={row} index={shown.value.first + index} isActive={shown.value.first + index === at}
            isSelected={row.key === selected} />
        ))}
      </div>
      {count === 0 && isLoaded.value && (
        <p class="empty">{searched.value ? t("nothingFound", { what: searched.value }) : t("emptyPlant")}</p>
      )}
      {!isLoaded.value && <p class="empty">{t("loading")}…</p>}
    </div>
  );
}

function see(box: HTMLDivElement): void {
  const { scrollTop, clientHeight } = box;
  const { top, height } = view.peek();
  if (top !== scrollTop || height !== clientHeight) view.value = { top: scrollTop, height: clientHeight };
}

interface TreeRowProps {
  row: Row;
  index: number;
  isActive: boolean;
  isSelected: boolean;
}

function TreeRow({ row, index, isActive, isSelected }: TreeRowProps): preact.JSX.Element {
  const isPlace = row.type === "place";
  return (
    <div class={`row ${isActive ? "active" : ""}`} role="row" id={`row-${index}`} aria-level={row.level}
      aria-rowindex={index + 2} aria-expanded={isPlace ? row.isOpen : undefined} aria-selected={isSelected}
      style={{ top: `${index * ROW_PX}px`, "--level": row.level - 1 }}
      onClick={() => { active.value = index; act(row); }}>
      {isPlace ? <PlaceCells row={row} /> : <TagCells tag={row.tag} />}
    </div>
  );
}

function PlaceCells({ row }: { row: Row & { type: "place" } }): preact.JSX.Element {
  return (
    <>
      <span role="gridcell" class="indent place foreign">
        <span aria-hidden="true">{row.isOpen ? "▾" : "▸"}</span> {plain(row.place.name)}
      </span>
      <span role="gridcell" class="muted number below">{t("tagsCount", { n: numberText(row.place.count) })}</span>
      <span role="gridcell" class="way">
        <a href={address("plant", { search: searched.value, asset: row.place.path })} aria-label={`${t("details")}: ${plain(row.place.path, 200)}`}
          onClick={(event) => event.stopPropagation()} onKeyDown={(event) => { if (event.key === "Enter") event.stopPropagation(); }}>{t("details")}</a>
      </span>
    </>
  );
}

function TagCells({ tag }: { tag: Tag }): preact.JSX.Element {
  return (
    <>
      <span role="gridcell" class="indent foreign" title={plain(tag.path, 400)}>
        {plain(tag.name)} {tag.kind !== "tag" && <small>{kindText(tag.kind)}</small>}
      </span>
      <RowCells tag={tag} mark={tag.kind === "state" ? <StateCell tag={tag} /> : undefined} />
    </>
  );
}

function StateCell({ tag }: { tag: Tag }): preact.JSX.Element {
  return <StateMark state={machineState(tag.reading.value?.value)} />;
}

/** Open or close a place; show a tag. */
function act(row: Row): void {
  if (row.type === "tag") return go(address("plant", { search: searched.value, tag: row.key }));
  toggle(row.place.path, !row.isOpen);
}

function toggle(path: string, isOpen: boolean): void {
  const next = new Set(opened.value);
  if (isOpen) next.add(path);
  else next.delete(path);
  open.value = next;
}

function press(event: KeyboardEvent, at: number, box: HTMLDivElement): void {
  const row = rows.value[at];
  if (row === undefined) return;
  const page = Math.max(1, Math.floor(box.clientHeight / ROW_PX) - 2);
  const steps: Record<string, number> = {
    ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.value.length - 1, PageDown: at + page, PageUp: at - page,
  };
  if (event.key in steps) move(steps[event.key], box);
  else if (event.key === "Enter" || event.key === " ") act(row);
  else if (event.key === "ArrowRight" && row.type === "place" && !row.isOpen) toggle(row.place.path, true);
  else if (event.key === "ArrowLeft" && row.type === "place" && row.isOpen) toggle(row.place.path, false);
  else if (event.key === "ArrowLeft") move(parentOf(at), box);
  else return;
  event.preventDefault();
}

function move(to: number, box: HTMLDivElement): void {
  active.value = Math.max(0, Math.min(rows.value.length - 1, to));
  const top = active.value * ROW_PX;
  if (top < box.scrollTop) box.scrollTop = top;
  else if (top + 2 * ROW_PX > box.scrollTop + box.clientHeight) box.scrollTop = top + 2 * ROW_PX - box.clientHeight;
}

function parentOf(at: number): number {
  const level = rows.value[at].level;
  for (let i = at - 1; i >= 0; i--) if (rows.value[i].level < level) return i;
  return at;
}
