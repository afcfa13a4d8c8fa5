/** What is pinned, above each page; a tag with its value as it is now. */
import { useEffect } from "preact/hooks";
import { plain } from "../format";
import { parseRoute } from "../router";
import { pins, turnPin, type Pin } from "../state/pins";
import { follow, tags, unitOf, type Tag } from "../state/tags";
import { t } from "../words";
import { ValueCell } from "./value";

export function Pins(): preact.JSX.Element | null {
  if (pins.value.length === 0) return null;
  return (
    <nav class="pins" aria-label={t("pinned")}>
      {pins.value.map((one) => <PinLink key={one.to} pin={one} />)}
    </nav>
  );
}

function PinLink({ pin }: { pin: Pin }): preact.JSX.Element {
  const { page, query } = parseRoute(pin.to);
  const tag = page === "plant" ? tags.value.get(query.get("tag") ?? "") : undefined;
  const name = plain(pin.name, 60);
  return (
    <span class="pin">
      <a class="foreign" href={pin.to}>{name}</a>
      {tag && <PinnedValue tag={tag} />}
      <button type="button" class="plain" aria-label={t("unpin", { what: name })} title={t("unpin", { what: name })} onClick={() => turnPin(pin)}>×</button>
    </span>
  );
}

function PinnedValue({ tag }: { tag: Tag }): preact.JSX.Element {
  useEffect(() => follow(tag.asset, tag.kind), [tag.key]);
  return <span><ValueCell tag={tag} /> <small>{plain(unitOf(tag), 12)}</small></span>;
}

/** Keeps what is open at hand, or lets it go. */
export function PinButton({ to, name }: Pin): preact.JSX.Element {
  const isPinned = pins.value.some((one) => one.to === to);
  return <button type="button" aria-pressed={isPinned} onClick={() => turnPin({ to, name })}>{isPinned ? "★" : "☆"} {t("pin")}</button>;
}
