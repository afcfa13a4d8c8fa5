/** The way of one message: from the source's own clock over each stream and flow to the history. */
import { useState } from "preact/hooks";
import { numberText, plain, timeText, utcText } from "../format";
import { address, go, route } from "../router";
import { client } from "../state/hub";
import { useLoaded } from "../state/loaded";
import { t } from "../words";
import { known } from "../words/codes";
import { Table } from "./table";

export function TraceOf({ what, kind = "tag" }: { what: string; kind?: string }): preact.JSX.Element {
  const { data, why } = useLoaded(() => client.letters.trace(what, kind), [what, kind]);
  if (why) return <p class="look" role="status">{t("failed", { why: plain(why, 400) })}</p>;
  if (data === undefined) return <p class="muted">{t("loading")}</p>;
  const stations = data.stations.map((station, at) => ({ ...station, at, ms: (station.time_ns ?? 0) / 1e6 }));
  const begin = stations.find((station) => station.ms > 0)?.ms ?? 0;
  return (
    <>
      <Table caption={`${t("trace")}: ${plain(`${data.stream}:${data.seq}`, 80)}`} rows={stations} keyOf={(row) => String(row.at)} columns={[
        { head: t("time"), cell: (row) => (row.ms ? <span title={utcText(row.ms)}>{timeText(row.ms)}</span> : "") },
        { head: t("after"), isNumber: true, cell: (row) => (row.ms && row.ms >= begin ? t("unitMs", { n: Math.round(row.ms - begin) }) : "") },
        { head: t("station"), cell: (row) => known("station", row.where) ?? plain(row.where, 100) },
        { head: t("what"), cell: (row) => known("station", row.what) ?? plain(row.what, 400) },
      ]} />
      {data.traceparent !== null && <p class="muted">traceparent <code>{plain(data.traceparent, 80)}</code></p>}
      {data.looked.map((one) => (
        <p key={one.stream} class="look">{t("traceLooked", {
          stream: plain(one.stream, 80), n: numberText(one.messages), of: numberText(one.stored),
          from: timeText((one.from_ns ?? 0) / 1e6), to: timeText((one.to_ns ?? 0) / 1e6),
        })}</p>
      ))}
      {!data.is_complete && <p class="look">{t("traceCut")}</p>}
    </>
  );
}

/** Ask for one by its path, its place in a stream, or the name that another system gave it. */
export function TraceSection(): preact.JSX.Element {
  const what = route.value.query.get("trace") ?? "";
  const [text, setText] = useState(what);
  return (
    <section aria-label={t("trace")}>
      <h2>{t("trace")}</h2>
      <form class="bar" onSubmit={(event) => { event.preventDefault(); go(address("pipeline", { trace: text.trim() || undefined })); }}>
        <label for="trace">{t("message")}</label>
        <input id="trace" class="grow" value={text} spellcheck={false} maxLength={2000} aria-describedby="trace-hint" onInput={(event) => setText(event.currentTarget.value)} />
        <button type="submit">{t("follow")}</button>
      </form>
      <small id="trace-hint">{t("traceHint")}</small>
      {what && <TraceOf key={what} what={what} />}
    </section>
  );
}
