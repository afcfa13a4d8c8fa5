/** What a list says of itself where something may be missing. */
import { timeText } from "../format";
import { t } from "../words";

/** `since`: what was before may be missing, since the history could not be asked; null: nothing is. */
export function WholeSince({ since }: { since: string | null | undefined }): preact.JSX.Element | null {
  return since == null ? null : <p class="look" role="status">{t("wholeSince", { time: timeText(Date.parse(since)) })}</p>;
}
