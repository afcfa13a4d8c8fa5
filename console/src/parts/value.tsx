/** A tag's newest value, its quality and its age. What changes ten times a second goes straight to its text: no component
 * is drawn again for it. */
import { useComputed, useSignal } from "@preact/signals";
import { ageText, lookOf, timeText, utcText, valueText } from "../format";
import { now } from "../state/hub";
import { type Tag } from "../state/tags";
import { t } from "../words";

const intervalOf = (tag: Tag): number => Number(tag.info.description?.sampling_interval_s ?? 1);

export function ValueCell({ tag }: { tag: Tag }): preact.JSX.Element {
  const shown = useLatest(tag);
  const look = useComputed(() => lookOf(shown.value.reading.value, now.value, intervalOf(shown.value)));
  const text = useComputed(() => valueText(shown.value.reading.value?.value));
  return <span class="value" data-look={look} onPointerEnter={(event) => (event.currentTarget.title = text.peek())}>{text}</span>;
}

export function LookCell({ tag }: { tag: Tag }): preact.JSX.Element {
  const shown = useLatest(tag);
  const look = useComputed(() => lookOf(shown.value.reading.value, now.value, intervalOf(shown.value))).value;
  if (look === "none") return <span class="muted">{t("noValue")}</span>;
  return <span class={look === "good" ? "muted" : "look"}>{t(look)}</span>;
}

export function AgeCell({ tag }: { tag: Tag }): preact.JSX.Element {
  const shown = useLatest(tag);
  const text = useComputed(() => {
    const time = shown.value.reading.value?.timeMs;
    return time ? ageText(Math.max(0, now.value - time)) : "–";
  });
  return <span class="muted" onPointerEnter={(event) => (event.currentTarget.title = hintOf(tag))}>{text}</span>;
}

/** Worked out when the pointer comes: nearly nobody asks. */
function hintOf(tag: Tag): string {
  const time = tag.reading.peek()?.timeMs;
  return time ? `${timeText(time)} · ${utcText(time)}` : "";
}

/** The tag as a signal: a row may come to show another. */
function useLatest(tag: Tag): { readonly value: Tag } {
  const latest = useSignal(tag);
  latest.value = tag;
  return latest;
}

export function Age({ timeMs }: { timeMs: number }): preact.JSX.Element {
  return (
    <span class="muted" title={`${timeText(timeMs)} · ${utcText(timeMs)}`}>
      {ageText(Math.max(0, now.value - timeMs))}
    </span>
  );
}
