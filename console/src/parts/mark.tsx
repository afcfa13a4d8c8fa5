/** Shapes that say the same as a colour does: nobody has to tell colours apart. */
import { t, type Word } from "../words";
import { type Severity } from "./severity";
import { type MachineState } from "./states";

const SHAPES: Record<Severity, string> = {
  critical: "M2 2h12v12H2z", high: "M8 1l7 13H1z", medium: "M8 15L1 2h14z", low: "M8 1l7 7-7 7-7-7z",
  info: "M8 2a6 6 0 1 0 .01 0z",
};
const LETTERS: Record<Severity, string> = { critical: "1", high: "2", medium: "3", low: "4", info: "" };

export function SeverityShape({ severity }: { severity: Severity }): preact.JSX.Element {
  const color = severity === "info" ? "var(--muted)" : `var(--${severity})`;
  return <svg viewBox="0 0 16 16" aria-hidden="true"><path d={SHAPES[severity]} fill={color} /></svg>;
}

export function SeverityMark({ severity }: { severity: Severity }): preact.JSX.Element {
  return (
    <span class="mark">
      <SeverityShape severity={severity} />
      {LETTERS[severity]} {t(severity)}
    </span>
  );
}

/** Normal is a grey tick; what needs somebody is a coloured square with words. */
export function OkMark({ isOk, word }: { isOk: boolean; word: Word }): preact.JSX.Element {
  return <span class={`mark ${isOk ? "muted" : "act"}`}>{isOk ? "✓" : "■"} {isOk ? t(word) : <b>{t(word)}</b>}</span>;
}

const STATE_SIGNS: Record<MachineState, string> = {
  running: "▶", setup: "◆", delay: "‖", idle: "○", down: "■", planned: "◇", unknown: "?",
};

export function StateMark({ state }: { state: MachineState }): preact.JSX.Element {
  return <span class={`mark ${state === "down" ? "act" : ""}`}><span aria-hidden="true">{STATE_SIGNS[state]}</span> {t(state)}</span>;
}
