/** All values at once, for a wall: a small cell each, by place. What a search leaves, up to as many as a screen holds. */
import { useEffect, useLayoutEffect, useMemo } from "preact/hooks";
import { numberText, plain } from "../format";
import { Lines, type Column } from "../parts/column";
import { CellValue, OldestAge } from "../parts/value";
import { address } from "../router";
import { follow, hasValues, type Tag } from "../state/tags";
import { sorted } from "../state/tree";
import { t } from "../words";

/** Each cell hears its tag, also one that nobody scrolls to. */
const CELLS_MAX = 1000;
const NAME_MAX = 24;
const NAME_MAX_ROOMY = 28;
const ROOMY_MAX = 200; // of so many the names have room
const COLUMN_MAX = 25;

export function Wall({ tags, search }: { tags: Tag[]; search: string }): preact.JSX.Element {
  const values = tags.filter(hasValues); // an event is told once, and has none
  const shown = values.slice(0, CELLS_MAX);
  const isRoomy = shown.length <= ROOMY_MAX;
  const wanted = [...new Set(shown.map((tag) => `${tag.kind} ${tag.asset}`))].sort().join("\n");
  useEffect(() => {
    const stops = (wanted === "" ? [] : wanted.split("\n")).map((line) => {
      const at = line.indexOf(" ");
      return follow(line.slice(at + 1), line.slice(0, at));
    });
    return () => stops.forEach((stop) => stop());
  }, [wanted]);
  const assets = new Map<string, Tag[]>();
  for (const tag of shown) (assets.get(tag.asset) ?? assets.set(tag.asset, []).get(tag.asset))?.push(tag);
  return (
    <>
      {shown.length < values.length && <p class="look">{t("truncated", { n: numberText(shown.length) })}</p>}
      {[...assets.keys()].sort().map((asset) => (
        <section key={asset} class={isRoomy ? "roomy" : undefined} aria-label={plain(asset, 200)}>
          <div class="heading"><h2 class="foreign">{plain(asset, 200)}</h2> <OldestAge tags={assets.get(asset) ?? []} /></div>
          <div class="wall">{columnsOf(sorted(assets.get(asset) ?? [])).map((column) => (
            <Cells key={column[0].key} tags={column} search={search} isRoomy={isRoomy} />
          ))}</div>
        </section>
      ))}
    </>
  );
}

function Cells({ tags, search, isRoomy }: { tags: Tag[]; search: string; isRoomy: boolean }): preact.JSX.Element {
  const column = useMemo<Column>(() => ({ values: new Lines(), ages: new Lines() }), []);
  useLayoutEffect(() => { column.values.cut(tags.length); column.ages.cut(tags.length); }, [tags.length]);
  return (
    <div class="column" style={{ "--rows": tags.length }}>
      <ul>{tags.map((tag, at) => <Cell key={tag.key} tag={tag} at={at} column={column} search={search} isRoomy={isRoomy} />)}</ul>
      <pre ref={column.values.element} class="values" aria-hidden="true" />
      <pre ref={column.ages.element} class="ages" aria-hidden="true" />
    </div>
  );
}

interface CellProps {
  tag: Tag;
  at: number;
  column: Column;
  search: string;
  isRoomy: boolean;
}

function Cell({ tag, at, column, search, isRoomy }: CellProps): preact.JSX.Element {
  return (
    <li><a href={address("plant", { search, tag: tag.key })} title={plain(tag.path, 400)}><span>{plain(tag.name, isRoomy ? NAME_MAX_ROOMY : NAME_MAX)}</span> <CellValue tag={tag} at={at} column={column} isRoomy={isRoomy} /></a></li>
  );
}

function columnsOf(tags: Tag[]): Tag[][] {
  const columns: Tag[][] = [];
  for (let at = 0; at < tags.length; at += COLUMN_MAX) columns.push(tags.slice(at, at + COLUMN_MAX));
  return columns;
}
