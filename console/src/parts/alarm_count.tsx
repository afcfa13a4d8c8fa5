/** How many alarms wait for somebody, beside the way to them on each page: whoever looks elsewhere learns of them here. */
import { numberText } from "../format";
import { client } from "../state/hub";
import { useLoaded } from "../state/loaded";
import { t } from "../words";
import { SeverityShape } from "./mark";
import { type Severity } from "./severity";

const RELOAD_MS = 5000;
const TOLD_MAX = 1000; // as the page of alarms asks for: both say the same

export function AlarmCount(): preact.JSX.Element {
  const { data } = useLoaded(load, [], RELOAD_MS);
  const text = data === undefined || data.count === 0 ? "" : t("alarmsWait", { n: numberText(data.count), severity: t(data.worst) });
  return (
    <span class="alarm-count" role="status" title={text || undefined}>
      {text !== "" && data && <><SeverityShape severity={data.worst} /><b aria-hidden="true">{numberText(data.count)}</b><span class="said">{text}</span></>}
    </span>
  );
}

async function load(): Promise<{ count: number; worst: Severity }> {
  const [{ currentAlarms, waitingOf }, told] = await Promise.all([import("../state/alarms"), client.history.events("*", "alarm", TOLD_MAX)]);
  return waitingOf(currentAlarms(told));
}
