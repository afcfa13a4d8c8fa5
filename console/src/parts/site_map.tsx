/** Where the sites are: marks over an outline that comes with the page. Each leads to its site; where several lie on one
 * another, one mark leads nearer. */
import { useState } from "preact/hooks";
import { numberText, plain } from "../format";
import { address } from "../router";
import { frameOf, gridOf, groupsOf, HEIGHT, place, scaleOf, WIDTH, worldFrame, type Frame, type Group, type Spot } from "../state/map";
import { type EdgeInfo } from "../state/nodes";
import { t } from "../words";
import { OUTLINE } from "./outline";

export interface MapSite {
  edge: EdgeInfo;
  spot: Spot;
  isReached: boolean;
}

type View = "sites" | "world" | Spot[];
const MARK_PX = 9;
const TARGET_PX = 16;

export function SiteMap({ sites }: { sites: MapSite[] }): preact.JSX.Element {
  const [view, setView] = useState<View>("sites");
  const spots = sites.map((site) => site.spot);
  const frame = view === "world" ? worldFrame() : frameOf(view === "sites" ? spots : view);
  const groups = groupsOf(frame, sites.map((site) => ({ spot: site.spot, site })));
  return (
    <figure class="map">
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="group" aria-label={t("mapOfSites")}>
        <Ground frame={frame} />
        {groups.map((group) => <Mark key={group.members[0].edge.name} group={group} nearer={setView} />)}
        <Scale frame={frame} />
      </svg>
      <figcaption class="bar">
        <button type="button" aria-pressed={view === "sites"} onClick={() => setView("sites")}>{t("allSites")}</button>
        <button type="button" aria-pressed={view === "world"} onClick={() => setView("world")}>{t("wholeWorld")}</button>
        <small>{t("mapSource")}</small>
      </figcaption>
    </figure>
  );
}

function Ground({ frame }: { frame: Frame }): preact.JSX.Element {
  const { longitudes, latitudes } = gridOf(frame);
  const [x, y] = place(frame, { latitude: 0, longitude: 0 });
  return (
    <g aria-hidden="true">
      {longitudes.map((one) => <Line key={one} at={place(frame, { latitude: 0, longitude: one })[0]} label={degreesText(one, "E", "W")} />)}
      {latitudes.map((one) => <Line key={one} isFlat at={place(frame, { latitude: one, longitude: 0 })[1]} label={degreesText(one, "N", "S")} />)}
      <path class="outline" d={OUTLINE} vector-effect="non-scaling-stroke" transform={`translate(${x} ${y}) scale(${frame.perLongitude / 10} ${frame.perLatitude / 10})`} />
    </g>
  );
}

function Line({ at, label, isFlat }: { at: number; label: string; isFlat?: boolean }): preact.JSX.Element {
  return isFlat
    ? <><line class="grid" x1="0" x2={WIDTH} y1={at} y2={at} /><text x="3" y={at - 3}>{label}</text></>
    : <><line class="grid" x1={at} x2={at} y1="0" y2={HEIGHT} /><text x={at + 3} y={HEIGHT - 4}>{label}</text></>;
}

const degreesText = (value: number, plus: string, minus: string): string => `${numberText(Math.abs(value))}°${value > 0 ? plus : value < 0 ? minus : ""}`;

function Scale({ frame }: { frame: Frame }): preact.JSX.Element {
  const { km, px } = scaleOf(frame);
  return (
    <g aria-hidden="true" transform={`translate(${WIDTH - px - 12} 22)`}>
      <path class="scale" d={`M0 -5V0H${px}V-5`} /><text x="0" y="-8">{numberText(km)} km</text>
    </g>
  );
}

interface MarkProps {
  group: Group<MapSite>;
  nearer: (spots: Spot[]) => void;
}

/** A round mark is reached, a square one away: by shape, by colour and by words. */
function Mark({ group: { x, y, members }, nearer }: MarkProps): preact.JSX.Element {
  const away = members.filter((site) => !site.isReached).length;
  const isOne = members.length === 1;
  const name = isOne ? plain(members[0].edge.name, 40) : t("sitesHere", { n: members.length });
  const state = away === 0 ? t("reached") : isOne ? t("away") : t("ofThemAway", { n: away });
  const drawn = (
    <>
      <circle class="target" r={TARGET_PX} fill="none" pointer-events="all" />
      {away > 0
        ? <rect class="away" x={-MARK_PX} y={-MARK_PX} width={2 * MARK_PX} height={2 * MARK_PX} />
        : <circle class="reached" r={MARK_PX} />}
      {!isOne && <text class="count" text-anchor="middle" y="4">{members.length}</text>}
      {isOne && <text x={MARK_PX + 4} y="4">{name}</text>}
    </>
  );
  const label = `${name}: ${state}`;
  const at = `translate(${x} ${y})`;
  if (isOne) return <g transform={at}><a href={address("fleet", { site: members[0].edge.name })} aria-label={label}><title>{label}</title>{drawn}</a></g>;
  const go = (): void => nearer(members.map((site) => site.spot));
  return (
    <g role="button" tabIndex={0} aria-label={label} transform={at} onClick={go}
      onKeyDown={(event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); go(); } }}>
      <title>{[label, ...members.map((site) => plain(site.edge.name, 40))].join("\n")}</title>{drawn}
    </g>
  );
}
