"""The way of a message at a hub, whose one stream takes from several of an edge's, each at its own pace."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from typing import Any, cast

import pytest

from millstream.client._streams import StoredFrame, Streams
from millstream.client._trace import Ask, find_trace
from millstream.client._trace_id import LOOKED_MESSAGES_MAX, first_of_trace
from millstream.kernel import NotFoundError
from millstream.protocols.cloudevents import format_time
from millstream.protocols.trace_context import begin_trace

SECOND = 1_000_000_000
ROW, ROWS = "uns.v1.acme.p1._tag.row", "uns.v1.acme.p1._count.rows"


def frame(seq: int, subject: str, origin: str, headers: Mapping[str, str] | None = None) -> StoredFrame:
    source = {"Nats-Stream-Source": f"{origin.replace(':', ' ')} > >"}
    return StoredFrame("H", seq, 1000 * SECOND + seq, subject, b"{}", source | dict(headers or {}))


def fits(subject: str, subject_filter: str) -> bool:
    """As the server takes it, for a filter whose only wildcard is at its end."""
    return subject.startswith(subject_filter[:-1]) if subject_filter.endswith(">") else subject == subject_filter


class _Hub:
    """One stream; it counts what is read of it."""

    def __init__(self, *frames: StoredFrame) -> None:
        self.frames = frames
        self.read = 0

    async def names(self) -> Sequence[str]:
        return ["H"]

    async def of_data(self, *, with_local: bool = False) -> Sequence[str]:
        return ["H"]

    async def info(self, stream: str) -> Mapping[str, Any]:
        subjects = len({each.subject for each in self.frames})
        state = {"first_seq": self.frames[0].seq, "last_seq": self.frames[-1].seq, "num_subjects": subjects}
        return {"state": state}

    async def subjects(self, stream: str, subject_filter: str) -> Mapping[str, int]:
        return Counter(each.subject for each in self.frames if fits(each.subject, subject_filter))

    async def last(self, stream: str, subjects: Sequence[str]) -> Sequence[StoredFrame]:
        newest = {each.subject: each for each in self.frames if each.subject in subjects}
        self.read += len(newest)
        return list(newest.values())

    async def range(self, stream: str, *, start_seq: int, count: int, subject: str = ">") -> Sequence[StoredFrame]:
        found = [each for each in self.frames if each.seq >= start_seq and fits(each.subject, subject)][:count]
        self.read += len(found)
        return found

    async def since(self, stream: str, subject: str, time_ns: int) -> AsyncGenerator[StoredFrame, None]:
        for each in self.frames:
            if each.time_ns >= time_ns and fits(each.subject, subject):
                self.read += 1
                yield each


def told(*statuses: Mapping[str, Any]) -> Ask:
    """What nodes say of themselves, of those that are asked."""

    async def ask(names: Collection[str]) -> Sequence[Mapping[str, Any]]:
        return [status for status in statuses if status["name"] in names]

    return ask


def of_flow(seq: int, origin: str, made_of: str, subject: str = ROWS) -> StoredFrame:
    return frame(seq, subject, origin, {"Ms-Flow": "rows/1/0", "Ms-Flow-In": f"{made_of}:0"})


async def test_what_was_made_of_a_message_may_come_to_the_hub_before_it() -> None:
    others = [frame(seq, ROW, f"E_e2_I:{seq}") for seq in range(4, 9)]
    hub = _Hub(of_flow(3, "E_e1_F:1", "E_e1_I:7"), *others, frame(9, ROW, "E_e1_I:7"), frame(10, ROW, "E_e1_I:8"))
    for asked in ("H:3", "H:9"):
        found = await find_trace(cast("Streams", hub), told(), asked, "tag", 60 * SECOND)
        wheres = [station.where for station in found.stations]
        way = [where for where in wheres if where != "edge"][-5:]
        assert way == ["E_e1_I:7", "H:9", "flow rows", "E_e1_F:1", "H:3"]
        assert found.is_complete


async def test_of_a_large_plant_only_what_flows_write_at_the_place_and_above_is_read() -> None:
    place, around = "uns.v1.acme.p1.hall.m7", [f"uns.v1.acme.p1.hall.m{n % 900 + 10}._tag.t{n}" for n in range(5000)]
    line = [
        frame(1, f"{place}._tag.row", "E_e1_I:1"),
        *(frame(2 + n, subject, f"E_e1_I:{n + 2}") for n, subject in enumerate(around)),
        of_flow(6000, "E_e1_F:1", "E_e1_I:1", f"{place}._state.machine"),
        of_flow(6001, "E_e1_F:2", "E_e1_F:1", "uns.v1.acme.p1._kpi.oee"),
        of_flow(6002, "E_e1_F:3", "E_e1_I:99", "uns.v1.acme.p1._kpi.oee"),
    ]
    for seq in (1, 6001):
        hub = _Hub(*line)
        found = await find_trace(cast("Streams", hub), told(), f"H:{seq}", "tag", 60 * SECOND)
        flows = [station.what.split(" (")[0] for station in found.stations if station.where == "flow rows"]
        assert flows == ["made acme/p1/hall/m7:machine of E_e1_I:1", "made acme/p1:oee of E_e1_F:1"]
        assert found.is_complete
        assert seq > 1 or hub.read < 20


@pytest.mark.parametrize(("subjects", "is_complete"), [(500, True), (5000, False)])
async def test_what_a_flow_of_ones_own_made_elsewhere_is_found_unless_the_plant_is_large(
    subjects: int, is_complete: bool
) -> None:
    others = [frame(2 + n, f"uns.v1.acme.p1.hall._tag.t{n}", f"E_e1_I:{n + 2}") for n in range(subjects)]
    elsewhere = of_flow(9000, "E_e1_F:1", "E_e1_I:1", "uns.v1.acme.p2._count.rows")
    hub = _Hub(frame(1, ROW, "E_e1_I:1"), *others, elsewhere)
    mine = {"name": "rows", "type": "python", "inputs": [{"pattern": "acme/**:row", "kind": "tag"}]}
    built_in = {**mine, "type": "count"}
    for flow, whether in ((mine, is_complete), (built_in, True)):
        found = await find_trace(cast("Streams", hub), told({"name": "e1", "flows": [flow]}), "H:1", "tag", 60 * SECOND)
        assert found.is_complete is whether
        assert ("flow rows" in [station.where for station in found.stations]) is (flow is mine and is_complete)


TRACE, SPAN, OTHER = "0" * 12 + "a" * 20, "b" * 16, "f" * 32


class _Plant:
    """Streams by name, each with what is read of it counted."""

    def __init__(self, **streams: Sequence[StoredFrame]) -> None:
        self.streams = streams
        self.read: Counter[str] = Counter()

    async def of_data(self, *, with_local: bool = False) -> Sequence[str]:
        return list(self.streams)

    async def info(self, stream: str) -> Mapping[str, Any]:
        frames = self.streams[stream]
        first, last = frames[0], frames[-1]
        times = {"first_ts": format_time(first.time_ns), "last_ts": format_time(last.time_ns)}
        return {"state": {"first_seq": first.seq, "last_seq": last.seq, "messages": len(frames), **times}}

    async def since(self, stream: str, subject: str, time_ns: int) -> AsyncGenerator[StoredFrame, None]:
        async for each in self._reading(stream, lambda frame: frame.time_ns >= time_ns):
            yield each

    async def onward(self, stream: str, start_seq: int) -> AsyncGenerator[StoredFrame, None]:
        async for each in self._reading(stream, lambda frame: frame.seq >= start_seq):
            yield each

    async def _reading(self, stream: str, fits: Callable[[StoredFrame], bool]) -> AsyncGenerator[StoredFrame, None]:
        for each in filter(fits, self.streams[stream]):
            self.read[stream] += 1
            await asyncio.sleep(0)  # streams are read beside one another
            yield each


def line_of(count: int, traced: Mapping[int, str], begin_ns: int = 1000 * SECOND) -> list[StoredFrame]:
    """A message each millisecond; at some sequences with the trace of an id."""
    headers = {seq: {"traceparent": f"00-{id}-{SPAN}-01"} for seq, id in traced.items()}
    return [
        StoredFrame("S", seq, begin_ns + seq * SECOND // 1000, ROW, b"{}", headers.get(seq, {}))
        for seq in range(1, count + 1)
    ]


async def test_an_id_that_says_when_its_trace_began_is_looked_for_from_then_on() -> None:
    begin_ns = 1_800_000_000 * SECOND
    trace_id = begin_trace(b"seed", 1, begin_ns + 60 * SECOND).trace_id
    plant = _Plant(a=line_of(70_000, {60_100: trace_id, 60_300: trace_id}, begin_ns), b=line_of(65_000, {}, begin_ns))
    frame, looked = await first_of_trace(cast("Streams", plant), trace_id)
    assert (frame.seq, looked) == (60_100, ())
    assert plant.read["a"] == pytest.approx(350, abs=5)
    assert plant.read["b"] == pytest.approx(350, abs=5), "no further than what the other has found"


async def test_a_clock_that_was_ahead_does_not_hide_a_trace() -> None:
    begin_ns = 1_800_000_000 * SECOND
    trace_id = begin_trace(b"seed", 1, begin_ns + 9 * SECOND).trace_id
    plant = _Plant(a=line_of(10_000, {4000: trace_id}, begin_ns))
    frame, looked = await first_of_trace(cast("Streams", plant), trace_id)
    assert (frame.seq, list(looked)) == (4000, [])


async def test_of_an_id_without_a_time_it_is_told_how_far_was_looked() -> None:
    newest = LOOKED_MESSAGES_MAX
    plant = _Plant(a=line_of(newest + 1000, {5: TRACE, 2000: TRACE}), b=line_of(3000, {1900: TRACE}))
    frame, looked = await first_of_trace(cast("Streams", plant), TRACE)
    assert frame.seq == 1900
    assert plant.read["a"] < 1100, "no further than what the other has found"
    (cut,) = looked
    assert cut.as_dict() == {
        "stream": "a", "messages": newest, "stored": newest + 1000, "from_ns": 1001 * SECOND + SECOND // 1000,
        "to_ns": 1000 * SECOND + (newest + 1000) * SECOND // 1000,
    }  # fmt: skip
    with pytest.raises(NotFoundError, match=r"no message of this trace.* the newest 50,000 of 51,000 of a, from .* to"):
        await first_of_trace(cast("Streams", plant), OTHER)
    small = _Plant(b=line_of(3000, {}))
    with pytest.raises(NotFoundError, match=r"one of the newest 3,000 of 3,000 of b"):
        await first_of_trace(cast("Streams", small), OTHER)
