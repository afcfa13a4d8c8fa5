"""Which edge streams a hub takes from."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import msgspec
import pytest

from millstream.bus import SourceInfo, StreamInfo, StreamName
from millstream.hub._cursors import CursorTeller, cursors_by_edge
from millstream.hub._sources import OnEdge, SourceKeeper, plan_sources
from millstream.kernel import SystemClock, Unreachable


def _on_edge(*ends: int) -> list[OnEdge]:
    return [OnEdge(StreamName("e1", "I", number + 1), end) for number, end in enumerate(ends)]


def _cursors(**seqs: int) -> dict[str, SourceInfo]:
    return {name: SourceInfo(seq, 0, 0, None) for name, seq in seqs.items()}


@pytest.mark.parametrize(
    ("current", "on_edge", "cursors", "planned"),
    [
        ([], _on_edge(0), {}, ["E_e1_I"]),
        (["E_e1_I"], _on_edge(500), _cursors(E_e1_I=10), ["E_e1_I"]),
        (["E_e1_I"], _on_edge(500, 0), _cursors(E_e1_I=499), ["E_e1_I"]),  # the old generation is not drained
        (["E_e1_I"], _on_edge(500, 0), _cursors(E_e1_I=500), ["E_e1_I", "E_e1_I_g2"]),
        (["E_e1_I"], _on_edge(500, 0), _cursors(E_e1_I=700), ["E_e1_I", "E_e1_I_g2"]),  # set back
        ([], _on_edge(500, 10), {}, ["E_e1_I"]),  # a new hub begins with the oldest
        (["E_e1_I"], [OnEdge(StreamName("e1", "I", 2), 0)], _cursors(E_e1_I=500), ["E_e1_I_g2"]),  # a replaced disk
        (["E_e1_I"], [], _cursors(E_e1_I=500), ["E_e1_I"]),  # the edge has not made its streams yet
    ],
)
def test_generations_follow_one_another(
    current: list[str], on_edge: list[OnEdge], cursors: dict[str, SourceInfo], planned: list[str]
) -> None:
    assert plan_sources(current, on_edge, cursors) == planned


def test_each_edge_is_told_of_its_own_streams_only() -> None:
    sources = {
        "E_a_I": SourceInfo(5, 0, 0, None),
        "E_b_I": SourceInfo(7, 0, 0, "stalled (10228)"),
        "H_LOCAL": SourceInfo(1, 0, 0, None),
    }
    info = StreamInfo("H_INTEGRITY", "", 0, 0, 0, 0, {}, sources)
    assert cursors_by_edge([info], ["a", "b", "new"]) == {
        "a": {"E_a_I": (5, None)},
        "b": {"E_b_I": (7, "stalled (10228)")},
        "new": {},
    }


class _HubWithOneEdge:
    """Answers for a hub's streams, and for the edge whose name it counts the questions of."""

    inbox, replicas = "_INBOX.hub", 1

    def __init__(self) -> None:
        self.active_ns, self.asked_count = 0, 0

    async def request(self, subject: str, payload: bytes = b"", **_: Any) -> tuple[Any, ...]:
        answer: dict[str, Any]
        if subject.startswith("$JS.e1.API.STREAM.NAMES"):
            self.asked_count += 1
            answer = {"streams": ["E_e1_I"], "total": 1}
        else:
            name = subject.rpartition(".")[2]
            source = {"name": "E_e1_I", "lag": 0, "active": self.active_ns}
            answer = {
                "config": {"name": name, "sources": [{"name": "E_e1_I", "external": {"api": "$JS.e1.API"}}]},
                "state": {"messages": 0, "bytes": 0, "first_seq": 0, "last_seq": 0}, "created": "2026-01-01T00:00:00Z",
                "sources": [source] if name == "H_INTEGRITY" else [],
            }  # fmt: skip
        return "", b"", None, None, msgspec.json.encode(answer)


async def test_an_edge_whose_sources_flow_is_asked_now_and_then_and_a_silent_one_at_each_check() -> None:
    hub = _HubWithOneEdge()
    keeper = SourceKeeper(hub, ["e1"])  # type: ignore[arg-type]
    for _ in range(11):
        await keeper._check()
    assert hub.asked_count == 3  # at the first check, and at each fifth
    assert "e1" in keeper.reached()
    hub.active_ns, before = 10**10, hub.asked_count
    for _ in range(5):
        await keeper._check()
    assert hub.asked_count - before >= 4


class _SlowClock(SystemClock):
    """Stands still but for what a fake adds."""

    def __init__(self) -> None:
        super().__init__()
        self.monotonic = 10**12

    def monotonic_ns(self) -> int:
        return self.monotonic

    async def sleep(self, delay_s: float) -> None:
        self.monotonic += round(delay_s * 1e9)


class _SlowHub(_HubWithOneEdge):
    """Each change of a stream takes two seconds."""

    def __init__(self, clock: _SlowClock) -> None:
        super().__init__()
        self.active_ns, self.clock = 10**10, clock
        self.changed_ns: list[int] = []

    async def request(self, subject: str, payload: bytes = b"", **more: Any) -> tuple[Any, ...]:
        if subject.endswith("STREAM.UPDATE.H_INTEGRITY"):
            self.changed_ns.append(self.clock.monotonic)
            self.clock.monotonic += 2 * 10**9
        return await super().request(subject, payload, **more)


async def test_sources_are_connected_again_rarely_where_that_takes_long() -> None:
    """Else a hub to which hundreds of sites come back does nothing else, and they stay silent for it."""
    clock = _SlowClock()
    hub = _SlowHub(clock)
    keeper = SourceKeeper(hub, ["e1"], clock=clock)  # type: ignore[arg-type]
    begun_ns = clock.monotonic
    while clock.monotonic < begun_ns + 100 * 10**9:
        await keeper._check()
        clock.monotonic += 10**9
    assert len(hub.changed_ns) >= 2
    assert all(later - earlier >= 20 * 10**9 for earlier, later in itertools.pairwise(hub.changed_ns))


class _ThreeBoxes(_HubWithOneEdge):
    """A hub whose streams have replicas: `led_by` leads them, and the edge's source is silent. `on_asked` is what
    happens while the edge is asked, `on_changed` what happens once a stream was changed."""

    def __init__(self, clock: _SlowClock) -> None:
        super().__init__()
        self.active_ns, self.clock, self.led_by = 10**10, clock, "h1-a"
        self.changes: list[int] = []
        self.taken_from: list[dict[str, Any]] = [{"name": "E_e1_I", "external": {"api": "$JS.e1.API"}}]
        self.on_asked = self.on_changed = lambda: None

    async def request(self, subject: str, payload: bytes = b"", **more: Any) -> tuple[Any, ...]:
        if subject.startswith("$JS.e1.API"):
            self.on_asked()
        if subject.endswith("STREAM.UPDATE.H_INTEGRITY"):
            self.taken_from = msgspec.json.decode(payload)["sources"]
            self.changes.append(len(self.taken_from))
            self.on_changed()
        *rest, raw = await super().request(subject, payload, **more)
        answer = msgspec.json.decode(raw)
        if "state" in answer:
            answer["config"]["sources"] = self.taken_from
            answer["cluster"] = {"replicas": [{}], "leader": self.led_by, "leader_since": self.led_by}
        return *rest, msgspec.json.encode(answer)


async def _checked(hub: _ThreeBoxes, clock: _SlowClock, seconds: int) -> SourceKeeper:
    keeper = SourceKeeper(hub, ["e1"], clock=clock)  # type: ignore[arg-type]
    for _ in range(seconds):
        await keeper._check()
        clock.monotonic += 10**9
    return keeper


async def test_sources_are_left_alone_until_one_replica_was_seen_to_lead_for_long() -> None:
    clock = _SlowClock()
    hub = _ThreeBoxes(clock)
    keeper = await _checked(hub, clock, 3)
    assert hub.changes == []
    await keeper._check()
    assert hub.changes == [0, 1], "taken away and added again"


async def test_a_replica_that_began_to_lead_while_the_edges_were_asked_is_left_alone() -> None:
    """What it connects by itself would be stored twice."""
    clock = _SlowClock()
    hub = _ThreeBoxes(clock)
    keeper = await _checked(hub, clock, 3)

    def another() -> None:
        hub.led_by = "h1-b"

    hub.on_asked = another
    await keeper._check()
    assert hub.changes == []


async def test_a_source_that_flows_again_while_the_edges_were_asked_is_left_alone() -> None:
    clock = _SlowClock()
    hub = _ThreeBoxes(clock)
    keeper = await _checked(hub, clock, 3)

    def flow() -> None:
        hub.active_ns = 0

    hub.on_asked = flow
    await keeper._check()
    assert hub.changes == []


async def test_a_source_is_added_again_only_under_the_replica_that_took_it_away() -> None:
    clock = _SlowClock()
    hub = _ThreeBoxes(clock)
    keeper = await _checked(hub, clock, 3)

    def another() -> None:
        hub.led_by = "h1-b"

    hub.on_changed = another
    await keeper._check()
    assert hub.changes == [0]
    for _ in range(4):
        clock.monotonic += 10**9
        await keeper._check()
    assert hub.changes == [0, 1]


class _HubAtRest(_HubWithOneEdge):
    """Has streams and no source, and hears of contracts; counts what is asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[str] = []
        self.told: list[bytes] = []
        self.hear: Any = None

    async def request(self, subject: str, payload: bytes = b"", **_: Any) -> tuple[Any, ...]:
        self.requests.append(subject.rpartition("API.")[2])
        state = {"messages": 0, "bytes": 0, "first_seq": 0, "last_seq": 0}
        answer = {"config": {"name": subject.rpartition(".")[2]}, "state": state, "created": "2026-01-01T00:00:00Z"}
        if "STREAM.NAMES" in subject:
            answer = {"streams": [], "total": 0}  # type: ignore[dict-item]
        return "", b"", None, None, msgspec.json.encode(answer)

    def subscribe(self, _: str, callback: Any) -> int:
        self.hear = callback
        return 1

    def unsubscribe(self, sid: int) -> None:
        pass

    def publish(self, subject: str, payload: bytes) -> None:
        self.told.append(payload)


class _StepClock(SystemClock):
    """Each sleep is a moment, and counted."""

    def __init__(self) -> None:
        self.now_ns_, self.sleeps_count = 0, 0

    def monotonic_ns(self) -> int:
        return self.now_ns_

    async def sleep(self, delay_s: float) -> None:
        self.now_ns_ += int(delay_s * 1e9)
        self.sleeps_count += 1
        await asyncio.sleep(0.001)


async def test_a_hub_without_edges_asks_nothing_until_one_may_report_and_then_at_once() -> None:
    hub, clock = _HubAtRest(), _StepClock()
    keeper = SourceKeeper(hub, [], clock=clock)  # type: ignore[arg-type]
    teller = CursorTeller(hub, keeper, clock)  # type: ignore[arg-type]
    tasks = [asyncio.ensure_future(keeper.run()), asyncio.ensure_future(teller.run())]
    try:
        await asyncio.sleep(0.05)
        assert len(hub.requests) == 3  # the first check
        assert clock.sleeps_count == 0
        keeper.set_edges(["e1"])
        async with asyncio.timeout(10):
            while not (hub.told and "STREAM.NAMES" in hub.requests):
                await asyncio.sleep(0)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_the_hubs_contracts_are_looked_at_when_one_is_heard_of_and_else_rarely() -> None:
    hub, clock = _HubAtRest(), _StepClock()
    teller = CursorTeller(hub, SourceKeeper(hub, ["e1"], clock=clock), clock)  # type: ignore[arg-type]
    task = asyncio.ensure_future(teller.run())

    async def asked_in(tellings: int) -> int:
        before, until = sum("KV_contracts" in each for each in hub.requests), clock.sleeps_count + tellings
        async with asyncio.timeout(10):
            while clock.sleeps_count < until:
                await asyncio.sleep(0)
        return sum("KV_contracts" in each for each in hub.requests) - before

    try:
        await asked_in(1)
        assert await asked_in(30) == 3
        hub.hear([])
        assert await asked_in(3) == 3
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_stream_that_takes_from_no_edge_is_looked_at_rarely_and_before_it_is_changed() -> None:
    clock = _SlowClock()
    hub = _LateEdge()
    keeper = SourceKeeper(hub, ["e1"], clock=clock)  # type: ignore[arg-type]
    for _ in range(6):
        await keeper._check()
        clock.monotonic += 10**9
    assert hub.asked == ["STREAM.INFO.H_INTEGRITY", "STREAM.INFO.H_THROUGHPUT", "STREAM.INFO.H_DLQ"]
    hub.asked.clear()
    hub.is_there = True
    await keeper._check()
    assert hub.asked[0] == "STREAM.INFO.H_INTEGRITY"  # whether it is settled
    assert hub.asked[-1] == "STREAM.UPDATE.H_INTEGRITY"
    hub.asked.clear()
    clock.monotonic += 10**9
    await keeper._check()
    assert hub.asked == ["STREAM.INFO.H_INTEGRITY"]


class _LateEdge(_HubWithOneEdge):
    """One that nothing is taken from until it answers."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.sources: list[dict[str, Any]] = []
        self.is_there = False

    async def request(self, subject: str, payload: bytes = b"", **_: Any) -> tuple[Any, ...]:
        if "STREAM.NAMES" in subject:
            if not self.is_there:
                raise Unreachable("no responders", where=subject)
            return "", b"", None, None, msgspec.json.encode({"streams": ["E_e1_I"], "total": 1})
        self.asked.append(subject.rpartition("API.")[2])
        name = subject.rpartition(".")[2]
        if "UPDATE" in subject:
            self.sources = msgspec.json.decode(payload)["sources"]
        state = {"messages": 0, "bytes": 0, "first_seq": 0, "last_seq": 0}
        config = {"name": name, "sources": self.sources if name == "H_INTEGRITY" else []}
        answer = {"config": config, "state": state, "created": "2026-01-01T00:00:00Z"}
        return "", b"", None, None, msgspec.json.encode(answer)
