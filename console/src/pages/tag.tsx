/** One tag beside the tree: its value in large, the last minutes, where it comes from. */
import { toSubject } from "@millstream/client";
import { untracked } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { numberText, plain, timeText, utcText } from "../format";
import { Chart } from "../parts/chart";
import { PinButton } from "../parts/pins";
import { TagActs } from "../parts/tag_acts";
import { AgeCell, HeardCell, LookCell, ValueCell } from "../parts/value";
import { address, go, route } from "../router";
import { connections, now } from "../state/hub";
import { unitOf, type Tag } from "../state/tags";
import { TrendLine } from "../state/trend";
import { kindText, t } from "../words";
import { factText } from "../words/codes";

const MINUTES = 15;
const DRAW_MS = 250;

export function TagDetail({ tag }: { tag: Tag }): preact.JSX.Element {
  const reading = tag.reading.value;
  const close = (): void => go(address("plant", { search: route.value.query.get("search") ?? undefined }));
  useEffect(() => {
    const press = (event: KeyboardEvent): void => void (event.key === "Escape" && close());
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  });
  return (
    <section class="detail panel" aria-label={t("details")}>
      <div class="bar">
        <h2 class="title grow foreign">{plain(tag.name, 200)}</h2>
        <a href={address("trend", { tag: tag.key })}>{t("openTrend")}</a>
        <PinButton to={address("plant", { tag: tag.key })} name={`${tag.asset.split("/").at(-1) ?? ""}:${tag.name}`} />
        <button type="button" onClick={close}>{t("close")}</button>
      </div>
      <p class="now"><ValueCell tag={tag} /> <small>{plain(unitOf(tag), 20)}</small></p>
      <p><LookCell tag={tag} /> · <AgeCell tag={tag} /><HeardCell tag={tag} /></p>
      <TagActs tag={tag} />
      <RecentChart tag={tag} />
      <dl>
        <dt>{t("time")}</dt>
        <dd>{reading ? <>{timeText(reading.timeMs)} <small>{utcText(reading.timeMs)}</small></> : "–"}</dd>
        <dt>{t("path")}</dt><dd><code class="foreign">{plain(tag.path, 600)}</code></dd>
        <dt>{t("kind")}</dt><dd>{kindText(tag.kind)}</dd>
        <dt>{t("subject")}</dt><dd><code>{toSubject(tag.path, tag.kind)}</code></dd>
        <Description tag={tag} />
      </dl>
    </section>
  );
}

function Description({ tag }: { tag: Tag }): preact.JSX.Element {
  const { description, source, unit: _unit, sampling_interval_s: sampling, publishing_interval_s: publishing, ...others } = tag.info.description ?? {};
  const from = Object.entries((source ?? {}) as Record<string, unknown>);
  return (
    <>
      {typeof description === "string" && <><dt>{t("description")}</dt><dd class="foreign">{plain(description, 600)}</dd></>}
      {from.length > 0 && (
        <><dt>{t("source")}</dt><dd class="foreign">{from.map(([name, value]) => `${factText(name)} ${plain(String(value), 200)}`).join(" · ")}</dd></>
      )}
      {Number(sampling) > 0 && <><dt>{t("sampledEvery")}</dt><dd>{numberText(Number(sampling))} s</dd></>}
      {Number(publishing) > 0 && <><dt>{t("publishedEvery")}</dt><dd>{numberText(Number(publishing))} s</dd></>}
      {Object.entries(others).filter(([, value]) => value !== null).map(([name, value]) => (
        <FragmentRow key={name} name={name} value={value} />
      ))}
    </>
  );
}

function FragmentRow({ name, value }: { name: string; value: unknown }): preact.JSX.Element {
  return <><dt class="foreign" title={plain(name, 60)}>{factText(name)}</dt><dd class="foreign">{plain(typeof value === "string" ? value : JSON.stringify(value), 300)}</dd></>;
}

function RecentChart({ tag }: { tag: Tag }): preact.JSX.Element {
  const [, redraw] = useState(0);
  const trend = useRef<TrendLine>(undefined);
  const [why, setWhy] = useState("");
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const later = (): void => void (timer ??= setTimeout(() => ((timer = undefined), redraw((n) => n + 1)), DRAW_MS));
    const made = new TrendLine(tag, later);
    trend.current = made;
    const end = connections.subscribe(() => {
      const toMs = now.peek();
      made.load(toMs - MINUTES * 60_000, toMs + 60_000).then(() => setWhy(""), (error: Error) => setWhy(error.message));
    });
    return () => {
      end();
      clearTimeout(timer);
      made.close();
    };
  }, [tag.key]);
  const line = trend.current?.line;
  if (why) return <p class="look">{t("failed", { why: plain(why) })}</p>;
  const isDrawn = line?.states !== undefined || (trend.current?.isNumeric && line?.values.some((value) => value !== null));
  if (line === undefined || !isDrawn) {
    return <p class="muted">{line?.times.length ? t("noNumbers") : t("loading")}</p>;
  }
  const toMs = Math.max(now.value, line.times[line.times.length - 1]);
  return (
    <>
      <h2>{t("lastMinutes", { n: MINUTES })}</h2>
      <Chart lines={[line]} label={t("chartOf", { what: plain(tag.path) })} fromMs={toMs - MINUTES * 60_000} toMs={toMs} nowMs={toMs} units={[untracked(() => unitOf(tag))]} height={line.states === undefined ? 220 : 110} />
    </>
  );
}
