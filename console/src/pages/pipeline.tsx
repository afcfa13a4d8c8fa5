/** The path of data as it is: where it comes in, where it lies, how far behind each step is, and what is missing. */
import { type NodeStatus } from "@millstream/client";
import { bytesText, numberText, plain } from "../format";
import { DeadLetters } from "../parts/letters";
import { Table } from "../parts/table";
import { TraceSection } from "../parts/trace";
import { Age } from "../parts/value";
import { edges, hub, hubRates, isNodesKnown, nodesMs, nodesProblem, useNodes } from "../state/nodes";
import { lagOf } from "../state/lag";
import { stateText, t } from "../words";
import { known } from "../words/codes";
import { LedgerSection } from "./ledger";

type Raw = Record<string, unknown>;

export function PipelinePage(): preact.JSX.Element {
  useNodes();
  return (
    <>
      {nodesProblem.value && <p class="look" role="status">{t("failed", { why: plain(nodesProblem.value) })}</p>}
      <LedgerSection />
      <Connectors />
      <Streams />
      <Bridges />
      <Flows />
      <DeadLetters />
      <TraceSection />
    </>
  );
}

function Connectors(): preact.JSX.Element {
  const rows = edges.value.flatMap((edge) =>
    (edge.status?.connectors ?? []).map((raw) => ({ edge: edge.name, raw, rate: edge.rates.get(`connector ${String(raw.name)}`) })),
  );
  return (
    <Table caption={t("connectors")} rows={rows} keyOf={(row) => `${row.edge} ${String(row.raw.name)}`} empty={t(isNodesKnown.value ? "none" : "loading")}
      columns={[
        { head: t("site"), cell: (row) => plain(row.edge) },
        { head: t("name"), cell: (row) => plain(String(row.raw.name)) },
        { head: t("type"), cell: (row) => plain(String(row.raw.type)) },
        { head: t("state"), cell: (row) => <ConnectorState raw={row.raw} /> },
        { head: t("rate"), isNumber: true, cell: (row) => rateText(row.rate) },
        { head: t("samples"), isNumber: true, cell: (row) => numberText(Number(row.raw.samples_stored)) },
        { head: t("notGood"), isNumber: true, cell: (row) => <NotGood raw={row.raw} /> },
        { head: t("gaps"), isNumber: true, cell: (row) => numberText(Number(row.raw.source_gaps)) },
        { head: t("age"), cell: (row) => <Age timeMs={Number(row.raw.last_sample_ns ?? 0) / 1e6} /> },
        { head: t("errors"), cell: (row) => plain(String(row.raw.error ?? ""), 200) },
      ]} />
  );
}

const rateText = (rate: number | undefined): string => (rate === undefined ? "–" : t("perSecond", { n: numberText(rate < 10 ? Math.round(rate * 10) / 10 : Math.round(rate)) }));

/** By what they are: a value that was never there is no fault, and an uncertain one is not bad. */
function NotGood({ raw }: { raw: Raw }): preact.JSX.Element {
  const counts = [["nBad", raw.samples_bad], ["nUncertain", raw.samples_uncertain], ["nWaiting", raw.samples_waiting]] as const;
  const said = counts.filter(([, count]) => Number(count ?? 0) > 0).map(([word, count]) => t(word, { n: numberText(Number(count)) }));
  return <>{said.length === 0 ? "0" : said.map((one) => <div key={one}>{one}</div>)}</>;
}

function ConnectorState({ raw }: { raw: Raw }): preact.JSX.Element {
  const state = String(raw.state);
  const isFine = ["connected", "running", "ended"].includes(state);
  return <span class={`mark ${isFine ? "muted" : "act"}`}>{isFine ? "✓" : "■"} {plain(stateText(state))}</span>;
}

function Streams(): preact.JSX.Element {
  const rows = nodesNow().flatMap(({ node, rates }) =>
    (node.streams ?? []).map((raw) => ({ node, raw, behind: behindOf(node, String(raw.name)), rate: rates.get(`stream ${String(raw.name)}`) })),
  );
  return (
    <Table caption={t("streams")} rows={rows} keyOf={(row) => `${row.node.name} ${String(row.raw.name)}`} empty={t(isNodesKnown.value ? "none" : "loading")}
      columns={[
        { head: t("node"), cell: (row) => plain(row.node.name) },
        { head: t("name"), cell: (row) => plain(String(row.raw.name)) },
        { head: t("messages", { n: "" }).trim(), isNumber: true, cell: (row) => numberText(Number(row.raw.messages)) },
        { head: t("rate"), isNumber: true, cell: (row) => rateText(row.rate) },
        { head: t("size"), isNumber: true, cell: (row) => bytesText(Number(row.raw.bytes)) },
        { head: t("position"), isNumber: true, cell: (row) => numberText(Number(row.raw.last_seq)) },
        { head: t("lag"), isNumber: true, cell: (row) => (row.behind === undefined ? "–" : numberText(row.behind)) },
      ]} />
  );
}

/** Each node with its rates: the edges, then the hub. */
function nodesNow(): { node: NodeStatus; rates: ReadonlyMap<string, number> }[] {
  const all = edges.value.flatMap((edge) => (edge.status ? [{ node: edge.status, rates: edge.rates }] : []));
  return hub.value ? [...all, { node: hub.value, rates: hubRates.value }] : all;
}

/** What goes from a stream of a site into one of the hub, which reads on where it stopped. */
function Bridges(): preact.JSX.Element | null {
  if (hub.value?.sources === undefined) return null;
  const ends = new Map(edges.value.flatMap((edge) => (edge.status?.streams ?? []).map((raw) => [String(raw.name), Number(raw.last_seq ?? 0)] as const)));
  const rows = hub.value.sources.map((raw) => {
    const [origin, cursor] = [String(raw.origin), Number(raw.cursor_seq ?? 0)];
    return { raw, origin, cursor, end: ends.get(origin), rate: hubRates.value.get(`bridge ${String(raw.stream)} ${origin}`) };
  });
  return (
    <Table caption={t("bridges")} rows={rows} keyOf={(row) => `${row.origin} ${String(row.raw.stream)}`} empty={t("none")} columns={[
      { head: t("origin"), cell: (row) => plain(row.origin) },
      { head: t("stream"), cell: (row) => plain(String(row.raw.stream)) },
      { head: t("rate"), isNumber: true, cell: (row) => rateText(row.rate) },
      { head: t("position"), isNumber: true, cell: (row) => numberText(row.cursor) },
      { head: t("lag"), isNumber: true, cell: (row) => (row.end === undefined ? "–" : numberText(Math.max(0, row.end - row.cursor))) },
      { head: t("lastHeard"), cell: (row) => (typeof row.raw.active_ms === "number" ? <Age timeMs={nodesMs.value - row.raw.active_ms} /> : "–") },
      { head: t("errors"), cell: (row) => plain(String(row.raw.error ?? ""), 200) },
    ]} />
  );
}

/** Of an edge: what the hub has not got yet; of the hub: what the history has not got yet. */
function behindOf(node: { role: string; uplink?: Raw; [more: string]: unknown }, stream: string): number | undefined {
  if (node.role === "edge") return stream.endsWith("_I") && node.uplink ? Number(node.uplink.behind_messages ?? 0) : undefined;
  const historian = node.historian as { streams?: Raw[] } | null | undefined;
  const found = historian?.streams?.find((one) => one.stream === stream);
  return found === undefined ? undefined : Number(found.lag_messages);
}

function Flows(): preact.JSX.Element {
  const rows = nodesNow().flatMap(({ node, rates }) =>
    (node.flows ?? []).map((raw) => ({ node: node.name, raw, rate: rates.get(`flow ${String(raw.name)}`), behind: lagOf(raw, node.streams ?? []) })),
  );
  return (
    <Table caption={t("flows")} rows={rows} keyOf={(row) => `${row.node} ${String(row.raw.name)}`} empty={t(isNodesKnown.value ? "noFlows" : "loading")}
      columns={[
        { head: t("node"), cell: (row) => plain(row.node) },
        { head: t("name"), cell: (row) => plain(String(row.raw.name)) },
        { head: t("type"), cell: (row) => <FlowType type={String(row.raw.type)} /> },
        { head: t("state"), cell: (row) => <ConnectorState raw={{ state: row.raw.state }} /> },
        { head: t("rate"), isNumber: true, cell: (row) => rateText(row.rate) },
        { head: t("lag"), isNumber: true, cell: (row) => (row.behind === undefined ? "–" : numberText(row.behind)) },
        { head: t("errors"), isNumber: true, cell: (row) => numberText(Number(row.raw.rejected ?? 0) + Number(row.raw.broken ?? 0)) },
      ]} />
  );
}

/** As configurations call it, with what it does. */
function FlowType({ type }: { type: string }): preact.JSX.Element {
  return <><code>{plain(type, 64)}</code> <small>{known("flow", type) ?? ""}</small></>;
}
