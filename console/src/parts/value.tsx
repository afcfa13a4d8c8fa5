/** A tag's newest value, its quality and its age; each redraws by itself. */
import { ageText, lookOf, timeText, utcText, valueText } from "../format";
import { now } from "../state/hub";
import { type Tag } from "../state/tags";
import { t } from "../words";

const intervalOf = (tag: Tag): number => Number(tag.info.description?.sampling_interval_s ?? 1);

export function ValueCell({ tag }: { tag: Tag }): preact.JSX.Element {
  const reading = tag.reading.value;
  const look = lookOf(reading, now.value, intervalOf(tag));
  const text = reading === undefined ? "–" : valueText(reading.value);
  return <span class="value" data-look={look} title={text}>{text}</span>;
}

export function LookCell({ tag }: { tag: Tag }): preact.JSX.Element {
  const look = lookOf(tag.reading.value, now.value, intervalOf(tag));
  if (look === "none") return <span class="muted">{t("noValue")}</span>;
  return <span class={look === "good" ? "muted" : "look"}>{t(look)}</span>;
}

export function AgeCell({ tag }: { tag: Tag }): preact.JSX.Element {
  const time = tag.reading.value?.timeMs;
  return time ? <Age timeMs={time} /> : <span class="muted">–</span>;
}

export function Age({ timeMs }: { timeMs: number }): preact.JSX.Element {
  return (
    <span class="muted" title={`${timeText(timeMs)} · ${utcText(timeMs)}`}>
      {ageText(Math.max(0, now.value - timeMs))}
    </span>
  );
}
