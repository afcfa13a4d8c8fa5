"""The way of a message at a hub, whose one stream takes from several of an edge's, each at its own pace."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, cast

import pytest

from millstream.client._streams import StoredFrame, Streams
from millstream.client._trace import find_trace

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


def of_flow(seq: int, origin: str, made_of: str, subject: str = ROWS) -> StoredFrame:
    return frame(seq, subject, origin, {"Ms-Flow": "rows/1/0", "Ms-Flow-In": f"{made_of}:0"})


async def test_what_was_made_of_a_message_may_come_to_the_hub_before_it() -> None:
    others = [frame(seq, ROW, f"E_e2_I:{seq}") for seq in range(4, 9)]
    hub = _Hub(of_flow(3, "E_e1_F:1", "E_e1_I:7"), *others, frame(9, ROW, "E_e1_I:7"), frame(10, ROW, "E_e1_I:8"))
    for asked in ("H:3", "H:9"):
        found = await find_trace(cast("Streams", hub), (), asked, "tag", 60 * SECOND)
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
        found = await find_trace(cast("Streams", hub), (), f"H:{seq}", "tag", 60 * SECOND)
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
        found = await find_trace(cast("Streams", hub), [{"name": "e1", "flows": [flow]}], "H:1", "tag", 60 * SECOND)
        assert found.is_complete is whether
        assert ("flow rows" in [station.where for station in found.stations]) is (flow is mine and is_complete)
