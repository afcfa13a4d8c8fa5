/** The shop floor in one line: how many machines are in which state, what needs somebody first. Each shows these machines only. */
import { numberText } from "../format";
import { address } from "../router";
import { t } from "../words";
import { StateMark } from "./mark";
import { type MachineState } from "./states";

const ORDER: MachineState[] = ["down", "delay", "setup", "idle", "unknown", "planned", "running"];

interface GlanceProps {
  states: MachineState[];
  /** Of which only those are shown; undefined: all. */
  chosen: MachineState | undefined;
}

export function Glance({ states, chosen }: GlanceProps): preact.JSX.Element {
  const counts = ORDER.map((state) => ({ state, count: states.filter((one) => one === state).length }));
  return (
    <div class="glance" role="group" aria-label={t("machinesByState")}>
      {counts.filter(({ state, count }) => count > 0 || state === chosen).map(({ state, count }) => (
        <a key={state} class="button" href={address("shop", { state: state === chosen ? undefined : state })} aria-current={state === chosen ? "true" : undefined}>
          <b>{numberText(count)}</b>{" "}<StateMark state={state} />
        </a>
      ))}
      {chosen && <a class="button" href={address("shop")}>{t("showAll", { n: numberText(states.length) })}</a>}
    </div>
  );
}

export const stateChosen = (text: string | null): MachineState | undefined => ORDER.find((one) => one === text);
