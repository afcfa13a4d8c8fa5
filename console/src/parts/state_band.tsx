/** A machine's states over the last hours as one bar. No stop is too short to be seen: a pixel at least, the worst wins. */
import { useEffect, useState } from "preact/hooks";
import { client, connections, now } from "../state/hub";
import { type Tag } from "../state/tags";
import { t } from "../words";
import { bandsOf, PIXELS, shownFrom, type Band } from "./bands";
import { machineState, type MachineState } from "./states";

const HOURS = 8;
const HOUR_MS = 3_600_000;
const RELOAD_MS = 60_000;
const spanText = (ms: number): string => (ms < 2 * HOUR_MS ? t("lastMinutes", { n: Math.round(ms / 60_000) }) : t("lastHours", { n: Math.round(ms / HOUR_MS) }));

export function StateBand({ tag }: { tag: Tag }): preact.JSX.Element {
  const [bands, setBands] = useState<Band[]>([]);
  const [spanMs, setSpan] = useState(HOURS * HOUR_MS);
  useEffect(() => {
    const load = (): void => {
      const toMs = now.peek();
      const wantedMs = toMs - HOURS * HOUR_MS;
      client.history.range(tag.path, wantedMs, toMs + 1000, "state").then(
        ({ times, values }) => {
          const fromMs = shownFrom(times, wantedMs, toMs);
          setBands(bandsOf(times, values.map(machineState), fromMs, toMs));
          setSpan(toMs - fromMs);
        },
        () => undefined,
      );
    };
    const end = connections.subscribe((count) => count > 0 && load());
    const timer = setInterval(load, RELOAD_MS);
    return () => { end(); clearInterval(timer); };
  }, [tag.key]);
  return (
    <>
    <svg class="bands" viewBox={`0 0 ${PIXELS} 20`} width="100%" height="20" preserveAspectRatio="none" role="img"
      aria-label={`${t("state")}: ${spanText(spanMs)}`}>
      {bands.map((band) => (
        <rect key={band.from} x={band.from} y={heightOf(band.state)} width={band.to - band.from} height={20 - heightOf(band.state)}
          fill={`var(--${BAND_COLORS[band.state]})`}><title>{t(band.state)}</title></rect>
      ))}
    </svg>
    <small>{spanText(spanMs)}</small>
    </>
  );
}

export const BAND_COLORS: Record<MachineState, string> = {
  running: "running", setup: "setup", delay: "idle", idle: "idle", down: "down", planned: "planned", unknown: "line",
};
/** Not by colour alone: what stands still is lower, what is down is full. */
export const heightOf = (state: MachineState): number => ({ down: 0, running: 6, setup: 9, delay: 12, idle: 12, planned: 12, unknown: 17 })[state];
