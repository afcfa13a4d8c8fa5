/** All values at once, for a wall: a small cell each, by place. What a search leaves, up to as many as a screen holds. */
import { useEffect } from "preact/hooks";
import { numberText, plain } from "../format";
import { FullScreen } from "../parts/full_screen";
import { CellValue } from "../parts/value";
import { address } from "../router";
import { follow, type Tag } from "../state/tags";
import { sorted } from "../state/tree";
import { t } from "../words";

/** Each cell hears its tag, also one that nobody scrolls to. */
const CELLS_MAX = 1000;
const NAME_MAX = 24;
const ROOMY_MAX = 200; // of so many the names have room
const COLUMN_MAX = 25;
const CELL_REM = 1.5; // a finger's, as well

export function Wall({ tags, search }: { tags: Tag[]; search: string }): preact.JSX.Element {
  const shown = tags.slice(0, CELLS_MAX);
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
      <p class="bar">
        {shown.length < tags.length && <span class="look">{t("truncated", { n: numberText(shown.length) })}</span>}
        <FullScreen />
      </p>
      {[...assets.keys()].sort().map((asset) => (
        <section key={asset} class={shown.length <= ROOMY_MAX ? "roomy" : undefined} aria-label={plain(asset, 200)}>
          <h2 class="foreign">{plain(asset, 200)}</h2>
          <div class="wall">{columnsOf(sorted(assets.get(asset) ?? [])).map((column) => (
            <ul key={column[0].key} style={{ height: `${column.length * CELL_REM}rem` }}>
              {column.map((tag) => <Cell key={tag.key} tag={tag} search={search} />)}
            </ul>
          ))}</div>
        </section>
      ))}
    </>
  );
}

function Cell({ tag, search }: { tag: Tag; search: string }): preact.JSX.Element {
  return (
    <li><a href={address("plant", { search, tag: tag.key })} title={plain(tag.path, 400)}><span>{plain(tag.name, NAME_MAX)}</span> <CellValue tag={tag} /></a></li>
  );
}

function columnsOf(tags: Tag[]): Tag[][] {
  const columns: Tag[][] = [];
  for (let at = 0; at < tags.length; at += COLUMN_MAX) columns.push(tags.slice(at, at + COLUMN_MAX));
  return columns;
}
