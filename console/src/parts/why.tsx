/** What a figure of OEE is made of, as `millstream why` says it. */
import { type Why } from "@millstream/client";
import { useEffect, useState } from "preact/hooks";
import { durationText, numberText, plain, timeText } from "../format";
import { client } from "../state/hub";
import { t } from "../words";
import { stopColumns } from "./stops";
import { Table } from "./table";

const SHOWN_ELSEWHERE: ReadonlySet<string> = new Set(["path", "value", "start", "end", "stops"]);

export function WhyPanel({ tag, close }: { tag: string; close: () => void }): preact.JSX.Element {
  const [found, setFound] = useState<Why>();
  const [why, setWhy] = useState("");
  useEffect(() => {
    let isOver = false;
    setFound(undefined);
    client.acts.why(tag).then(
      (answer) => { if (!isOver) { setFound(answer); setWhy(""); } },
      (error: Error) => !isOver && setWhy(error.message),
    );
    return () => { isOver = true; };
  }, [tag]);
  return (
    <section class="panel" aria-label={t("why", { what: plain(tag, 200) })}>
      <div class="bar">
        <h2 class="grow foreign">{t("why", { what: plain(tag, 200) })}</h2>
        <button type="button" onClick={close}>{t("close")}</button>
      </div>
      {why && <p class="look" role="status">{t("failed", { why: plain(why, 300) })}</p>}
      {!why && !found && <p class="muted" role="status">{t("loading")}…</p>}
      {found && <Parts found={found} />}
    </section>
  );
}

function Parts({ found }: { found: Why }): preact.JSX.Element {
  const rows = Object.entries(found).filter(([name, value]) => !SHOWN_ELSEWHERE.has(name) && value !== null);
  return (
    <>
      <p><b>{found.value == null ? "–" : `${numberText(Math.round(found.value * 1000) / 10)} %`}</b> <span class="muted">
        {timeText(Date.parse(found.start))} – {timeText(Date.parse(found.end))}</span></p>
      <dl>{rows.map(([name, value]) => <Part key={name} name={name} value={value} />)}</dl>
      <Table caption={t("stops")} rows={found.stops} keyOf={(row) => `${row.path} ${row.start}`} empty={t("noStops")} columns={stopColumns()} />
    </>
  );
}

function Part({ name, value }: { name: string; value: unknown }): preact.JSX.Element {
  return <><dt class="foreign">{plain(name, 60)}</dt><dd class="foreign">{partText(name, value)}</dd></>;
}

/** Names that end with `_s` are seconds, also of what stands below them. */
export function partText(name: string, value: unknown): string {
  if (typeof value === "number") return name.endsWith("_s") ? durationText(value) : numberText(value);
  if (Array.isArray(value)) return value.length === 0 ? "–" : value.map((one) => partText(name, one)).join("; ");
  if (value !== null && typeof value === "object") {
    const parts = Object.entries(value).map(([part, one]) => `${plain(part, 40)} ${partText(name, one)}`);
    return parts.length === 0 ? "–" : parts.join(" · ");
  }
  return plain(String(value), 300);
}
