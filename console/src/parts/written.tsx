/** Text of which a part is written in another way, and text that may break only where it should. */
import { plain } from "../format";

/** What stands between backticks is code. */
export function Coded({ text }: { text: string }): preact.JSX.Element {
  return <>{text.split("`").map((part, at) => (at % 2 === 1 ? <code key={at}>{part}</code> : part))}</>;
}

/** A path breaks behind its levels, never within a name. */
export function Path({ of }: { of: string }): preact.JSX.Element {
  const parts = plain(of, 200).split(/(?<=[/:])/);
  return <span class="foreign" translate={false}>{parts.map((part, at) => [at > 0 && <wbr key={at} />, part])}</span>;
}
