"""Which edge streams the hub's streams take from: found by asking the edges, changed while everything runs.

An edge that has never been reached is not a source yet (a source that does not answer makes the server wait for half a
minute and more between its tries). A new generation of an edge's stream becomes a source once the one before it is
drained, so that the order of an edge's messages is kept.

Sources of a replicated stream are changed only while one replica leads it for long, and only by what the server says at
that moment. A replica that has just become leader connects all sources anew 0.1 to 0.6 s later, from what it has stored
by then; what a source that was changed in between has under way is stored twice (measured with nats-server 2.15.1).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from millstream.bus import (
    HUB_DLQ,
    HUB_INTEGRITY,
    HUB_LOCAL,
    HUB_THROUGHPUT,
    ServerAlarm,
    SourceInfo,
    StreamApi,
    StreamInfo,
    StreamName,
    Transport,
    edge_source,
    ensure_stream,
    find_stream,
    list_streams,
)
from millstream.kernel import Clock, PlantError, Signal, SystemClock, beside_one_another

CHECK_INTERVAL_S = 1.0
LOOK_S_MAX = 1.0  # somebody waits for the answer
IDLE_INTERVAL_S = 10.0  # where no edge may report and none did; at once when one may
REST_NS = 9_000_000_000  # so old may be what is known of a stream that takes from no edge
EDGES_ASKED_AT_ONCE = 16
ASK_TIMEOUT_S = 2.0
EDGES_PER_S = 200  # so many are asked a second, however many there are
QUIET_CHECKS = 5  # an edge that answers and whose sources flow is asked at each fifth check
FRESH_NS = 900_000_000  # less than a check: who needs the streams once a second shares what is asked
SILENT_NS = 2_500_000_000  # a live source hears its edge's heartbeat every second
KICK_PAUSE_NS, KICK_PAUSE_NS_MAX = 3_000_000_000, 60_000_000_000
KICK_REST = 9  # so many times longer than a kick took is the pause behind it: it stops the stream's other work
SETTLED_NS = 3_000_000_000  # seen to lead for so long; who led the hub before may be stopping its server just now
UNDER_WAY_S = 0.5  # what a source has sent is stored by then
KINDS = {"I": HUB_INTEGRITY, "T": HUB_THROUGHPUT, "F": HUB_INTEGRITY, "DLQ": HUB_DLQ}


@dataclass(frozen=True, slots=True)
class OnEdge:
    """One generation on an edge: its last sequence."""

    name: StreamName
    last_seq: int


def plan_sources(current: Sequence[str], on_edge: Sequence[OnEdge], cursors: Mapping[str, SourceInfo]) -> list[str]:
    """The sources of one edge and kind: `current` those that the hub has, `on_edge` what the edge has now.

    A generation that is gone from the edge is given up once a newer one is there; generations follow one another, each
    after the one before is drained.
    """
    ordered = sorted(on_edge, key=lambda item: item.name.generation)
    planned: list[str] = []
    for item in ordered:
        planned.append(str(item.name))
        cursor = cursors.get(str(item.name))
        if cursor is None or cursor.cursor_seq < item.last_seq:
            break
    kept = [name for name in current if name in {str(item.name) for item in ordered}]
    return sorted({*planned, *kept}, key=lambda name: _generation(name)) if ordered else list(current)


def _generation(name: str) -> int:
    parsed = StreamName.parse(name)
    return parsed.generation if parsed is not None else 0


@dataclass(slots=True)
class _Leaders:
    """Which replica leads each stream, and since when it has been seen to. Pure."""

    seen: dict[str, tuple[str, int]] = field(default_factory=dict)

    def is_settled(self, info: StreamInfo, now_ns: int) -> bool:
        """To be asked with each look at a stream: whether the same replica has led since the one `SETTLED_NS` ago."""
        if info.led_by is None:
            return True
        led_by, since_ns = self.seen.get(info.name, ("", 0))
        if led_by != info.led_by:
            self.seen[info.name] = info.led_by, now_ns
            return False
        return info.led_by != "" and now_ns - since_ns >= SETTLED_NS


@dataclass(slots=True)
class _Kick:
    due_ns: int
    pause_ns: int = KICK_PAUSE_NS


class SourceKeeper:
    """Keeps the hub's sources as the configured edges need them. Run `run` in the node's task group."""

    def __init__(
        self,
        connection: Transport,
        edges: Sequence[str],
        *,
        clock: Clock | None = None,
        on_log: Callable[[str], None] | None = None,
    ) -> None:
        self._connection = connection
        self._api = StreamApi(connection)
        self._edges = list(edges)
        self._clock = clock or SystemClock()
        self._on_log = on_log or (lambda _: None)
        self._infos: dict[str, StreamInfo] = {}
        self._alarms: dict[str, ServerAlarm] = {}
        self._reached_ns: dict[str, int] = {}
        self._next_edge = 0
        self._quiet: dict[str, int] = {}  # edge -> checks until it is asked again
        self._refreshed_ns: int | None = None
        self._looked_ns: dict[str, int] = {}  # hub's stream -> when it was looked at
        self._kicks: dict[str, _Kick] = {}
        self._kick_free_ns: dict[str, int] = {}  # hub's stream -> no kick before
        self._leaders = _Leaders()
        self.edges_changed = Signal()
        """Others may report from now on."""

    @property
    def streams(self) -> list[StreamInfo]:
        """The hub's streams as of the last check; of what is published at the hub itself as of the last `looked_at`."""
        return list(self._infos.values())

    @property
    def alarms(self) -> list[ServerAlarm]:
        """What a person should know now."""
        return list(self._alarms.values())

    def sources(self) -> list[dict[str, Any]]:
        """Every source as the node's status shows it."""
        return [
            {"stream": info.name, "origin": name, "cursor_seq": s.cursor_seq, "active_ms": s.active_ns // 1_000_000,
             "error": s.error}
            for info in self._infos.values() for name, s in info.sources.items()
        ]  # fmt: skip

    def behind_messages(self) -> int:
        """What connected edges hold and the hub's streams do not, as of the last check."""
        return sum(
            source.lag for info in self._infos.values() for source in info.sources.values()
            if 0 <= source.active_ns <= SILENT_NS
        )  # fmt: skip

    def reached(self) -> dict[str, int]:
        """Edge -> when it last answered, UTC ns."""
        return dict(self._reached_ns)

    @property
    def edges(self) -> Sequence[str]:
        """The configured edges."""
        return self._edges

    def set_edges(self, edges: Sequence[str]) -> None:
        """Use other edges from the next check on; the sources of those that stay are not touched."""
        self._edges = list(edges)
        self.edges_changed.tell()

    async def run(self) -> None:
        """Ask and adapt, for ever."""
        while True:
            try:
                await self._check()
            except PlantError as error:  # the own server restarts: its supervisor tells
                self._on_log(f"sources: {error}")
            if self._edges or next(self._each_source(), None) is not None or not self._infos:
                await self._clock.sleep(CHECK_INTERVAL_S)
            else:
                await self.edges_changed.wait(IDLE_INTERVAL_S)

    async def looked_at(self) -> list[StreamInfo]:
        """All of the hub's streams now, for somebody who asks; as of the last check when the server does not answer."""
        with contextlib.suppress(PlantError, TimeoutError):
            async with asyncio.timeout(LOOK_S_MAX):
                for name in (*dict.fromkeys(KINDS.values()), HUB_LOCAL):
                    if self._clock.monotonic_ns() - self._looked_ns.get(name, -REST_NS) > FRESH_NS:
                        await self._look(name)
        return self.streams

    async def refreshed(self) -> list[StreamInfo]:
        """The hub's streams that take from edges, as they are now or were a moment ago. Raises PlantError."""
        now_ns = self._clock.monotonic_ns()
        if self._refreshed_ns is None or now_ns - self._refreshed_ns > FRESH_NS:
            await self._refresh()
        return self.streams

    async def _refresh(self) -> None:
        begun_ns = self._clock.monotonic_ns()
        for name in dict.fromkeys(KINDS.values()):
            if self._moves(name) or begun_ns - self._looked_ns.get(name, -REST_NS) >= REST_NS:
                await self._look(name)
        self._refreshed_ns = self._clock.monotonic_ns()
        now_ns = self._clock.now_ns()
        for edge, source in self._each_source():
            if source.active_ns >= 0:  # what it takes, or hears, is a sign of life
                self._reached_ns[edge] = max(now_ns - source.active_ns, self._reached_ns.get(edge, 0))

    async def _look(self, name: str) -> None:
        info = await find_stream(self._api, name)
        self._looked_ns[name] = self._clock.monotonic_ns()
        if info is not None:
            self._infos[name] = info
            self._leaders.is_settled(info, self._clock.monotonic_ns())

    def _moves(self, name: str) -> bool:
        """Whether a hub's stream takes from an edge, or may be led by another replica: in others nothing changes but by
        this keeper."""
        info = self._infos.get(name)
        if info is None:
            return False
        return info.led_by is not None or any(_edge_of(source) for source in info.config.get("sources") or ())

    def _each_source(self) -> Iterator[tuple[str, SourceInfo]]:
        """Each source of an edge's stream with its edge."""
        for info in self._infos.values():
            for name, source in info.sources.items():
                edge = _edge_of({"name": name})
                if edge is not None:
                    yield edge, source

    async def _check(self) -> None:
        await self._refresh()
        answers = await self._ask(self._due())
        self._note_quiet(answers)
        for hub_stream in dict.fromkeys(KINDS.values()):
            planned: dict[str, list[str]] = {edge: [] for edge in self._strangers(hub_stream)}
            for edge, names in answers.items():
                if names is not None:
                    planned[edge] = self._plan(hub_stream, edge, names)
            await self._apply(hub_stream, planned)
            await self._kick(hub_stream, {edge for edge, names in answers.items() if names is not None})
        self._watch()

    def _strangers(self, hub_stream: str) -> Set[str]:
        """Edges that are sources and not configured (any more)."""
        found = {_edge_of({"name": name}) for name in self._infos[hub_stream].sources}
        return {edge for edge in found if edge is not None} - set(self._edges)

    def _due(self) -> list[str]:
        """Those that need it of a small fleet, of a part of a large one, in turn: who has not answered, and whose
        sources do not flow; the others now and then, for a new generation."""
        count = min(len(self._edges), EDGES_PER_S)
        turn = [self._edges[(self._next_edge + i) % len(self._edges)] for i in range(count)]
        self._next_edge = (self._next_edge + count) % max(1, len(self._edges))
        silent = self._silent_edges()
        due = [edge for edge in turn if edge in silent or self._quiet.get(edge, 0) <= 0]
        self._quiet = {edge: left - 1 for edge, left in self._quiet.items()}
        return due

    def _silent_edges(self) -> Set[str]:
        """Whose sources are not heard."""
        return {edge for edge, source in self._each_source() if not 0 <= source.active_ns <= SILENT_NS}

    def _note_quiet(self, answers: Mapping[str, Mapping[str, Sequence[OnEdge]] | None]) -> None:
        """Who answered with one generation of each kind, all of them taken from, needs no asking for a while."""
        taken = {name for info in self._infos.values() for name in info.sources}
        for edge, kinds in answers.items():
            items = [item for group in (kinds or {}).values() for item in group]
            is_quiet = bool(items) and len(items) == len(kinds or ()) and {str(i.name) for i in items} <= taken
            self._quiet[edge] = QUIET_CHECKS - 1 if is_quiet else 0

    async def _ask(self, edges: Sequence[str]) -> dict[str, dict[str, list[OnEdge]] | None]:
        async def ask(edge: str) -> dict[str, list[OnEdge]] | None:
            try:
                return await self._ask_edge(edge)
            except PlantError:
                return None  # away: its sources stay as they are and go on when it is back

        return dict(zip(edges, await beside_one_another(ask, edges, at_once=EDGES_ASKED_AT_ONCE), strict=True))

    async def _ask_edge(self, edge: str) -> dict[str, list[OnEdge]]:
        api = StreamApi(self._connection, edge)
        kinds: dict[str, list[OnEdge]] = {}
        for text in await list_streams(api, timeout_s=ASK_TIMEOUT_S):
            name = StreamName.parse(text)
            if name is not None and name.edge == edge and name.kind in KINDS:
                kinds.setdefault(name.kind, []).append(OnEdge(name, 0))
        self._reached_ns[edge] = self._clock.now_ns()
        for kind, items in kinds.items():
            if len(items) > 1:  # only then does it matter where a generation ends
                raw = [await api.request(f"STREAM.INFO.{i.name}", timeout_s=ASK_TIMEOUT_S) for i in items]
                kinds[kind] = [OnEdge(i.name, r["state"]["last_seq"]) for i, r in zip(items, raw, strict=True)]
        return kinds

    def _plan(self, hub_stream: str, edge: str, on_edge: Mapping[str, Sequence[OnEdge]]) -> list[str]:
        """What one hub stream takes from one edge: each kind by itself."""
        cursors = self._infos[hub_stream].sources
        parsed = [StreamName.parse(name) for name in cursors]
        planned: list[str] = []
        for kind, into in KINDS.items():
            if into == hub_stream:
                current = [str(n) for n in parsed if n is not None and n.edge == edge and n.kind == kind]
                planned += plan_sources(current, on_edge.get(kind, []), cursors)
        return planned

    async def _apply(self, hub_stream: str, planned: Mapping[str, Sequence[str]]) -> None:
        """Bring the sources of one hub stream to `planned`; those of edges that are not in it stay."""
        if _planned(self._infos[hub_stream], planned) is None:
            return
        info = await self._settled(hub_stream)
        sources = _planned(info, planned) if info is not None else None
        if info is None or sources is None:
            return
        before = {s["name"] for s in info.config.get("sources") or ()}
        self._infos[info.name] = await ensure_stream(self._api, {**info.config, "sources": sources})
        after = {s["name"] for s in sources}
        self._on_log(f"{info.name}: sources added: {sorted(after - before)}, removed: {sorted(before - after)}")

    async def _settled(self, hub_stream: str) -> StreamInfo | None:
        """The stream as it is now; None while its sources are left alone. What was read before the edges were asked
        may be seconds old, and of a leader that is gone."""
        info = await find_stream(self._api, hub_stream)
        if info is None or not self._leaders.is_settled(info, self._clock.monotonic_ns()):
            return None
        self._infos[hub_stream] = info
        return info

    async def _kick(self, hub_stream: str, reached: Set[str]) -> None:
        """Connect sources again that are silent although their edge answers.

        After a restart of the hub, or an outage at the wrong moment, nats-server waits for up to 40 s before it asks
        the edge again. Taking the source away and adding it starts it at once; it goes on behind the last message that
        the stream holds of it. The server looks for that message while the stream waits, for seconds where hundreds of
        sites have just come back on a machine that is full; so those that are due then go together, and rarely.
        """
        info, now_ns = self._infos[hub_stream], self._clock.monotonic_ns()
        silent = set()
        for name, source in info.sources.items():
            if not _is_silent(source) or _edge_of({"name": name}) not in reached:
                self._kicks.pop(name, None)
                continue
            kick = self._kicks.setdefault(name, _Kick(now_ns if source.active_ns >= 0 else now_ns + KICK_PAUSE_NS))
            if now_ns >= max(kick.due_ns, self._kick_free_ns.get(hub_stream, 0)):
                kick.due_ns = now_ns + kick.pause_ns
                kick.pause_ns = min(KICK_PAUSE_NS_MAX, 2 * kick.pause_ns)
                silent.add(name)
        if silent:
            await self._connect_again(hub_stream, silent)

    async def _connect_again(self, hub_stream: str, silent: Set[str]) -> None:
        """Those that are silent still. Where another replica leads when they have been taken away, they are added when
        that one is settled (`_apply`)."""
        begun_ns = self._clock.monotonic_ns()
        info = await self._settled(hub_stream)
        silent = {name for name in silent if info is not None and _is_silent(info.sources.get(name))}
        if info is None or not silent:
            return
        sources = list(info.config.get("sources") or ())
        others = [source for source in sources if source["name"] not in silent]
        try:
            await ensure_stream(self._api, {**info.config, "sources": others})
            if info.led_by is not None:
                await self._clock.sleep(UNDER_WAY_S)
                if await self._settled(hub_stream) is None:
                    return
            self._infos[hub_stream] = await ensure_stream(self._api, {**info.config, "sources": sources})
        finally:  # a change that timed out is the slowest of all
            done_ns = self._clock.monotonic_ns()
            self._kick_free_ns[hub_stream] = done_ns + KICK_REST * (done_ns - begun_ns)

    def _watch(self) -> None:
        stalled = [
            f"{name}: {source.error}"
            for info in self._infos.values()
            for name, source in info.sources.items()
            if source.error and "10228" in source.error
        ]
        if stalled:
            since_ns = self._alarms["MS-0614"].since_ns if "MS-0614" in self._alarms else self._clock.now_ns()
            self._alarms["MS-0614"] = ServerAlarm("MS-0614", f"flow control stalled: {'; '.join(stalled)}", since_ns)
        else:
            self._alarms.pop("MS-0614", None)


def _planned(info: StreamInfo, planned: Mapping[str, Sequence[str]]) -> list[Mapping[str, Any]] | None:
    """The sources that it is to have; None: it has them."""
    have: list[Mapping[str, Any]] = list(info.config.get("sources") or ())
    keep = [s for s in have if _edge_of(s) not in planned]
    want = [edge_source(name, edge) for edge, names in planned.items() for name in names]
    if {_key(s) for s in have} == {_key(s) for s in [*keep, *want]}:
        return None
    by_name = {s["name"]: s for s in have}
    return [*keep, *(by_name.get(s["name"], s) for s in want)]


def _is_silent(source: SourceInfo | None) -> bool:
    return source is not None and not 0 <= source.active_ns <= SILENT_NS


def _edge_of(source: Mapping[str, Any]) -> str | None:
    name = StreamName.parse(source["name"])
    return name.edge if name is not None else None


def _key(source: Mapping[str, Any]) -> tuple[str, str]:
    return source["name"], (source.get("external") or {}).get("api", "")
