/** What became of something that was asked for and not done. */
import { type MillstreamError } from "@millstream/client";
import { plain } from "../format";
import { t } from "../words";

/** Refused, with why; or not known, which is another thing. */
export function refusalText(what: string, { message, code, hint, isUnknown }: MillstreamError): string {
  if (isUnknown) return t("notKnown", { what: plain(what, 200) });
  const why = plain([message, hint].filter(Boolean).join("; "), 400) + (code ? ` [${plain(code, 10)}]` : "");
  return t("refused", { what: plain(what, 200), why });
}
