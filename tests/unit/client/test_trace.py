"""The way of a message at a hub, whose one stream takes from several of an edge's, each at its own pace."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, cast

from millstream.client._streams import StoredFrame, Streams
from millstream.client._trace import find_trace

SECOND = 1_000_000_000
ROW, ROWS = "uns.v1.acme.p1._tag.row", "uns.v1.acme.p1._count.rows"


def frame(seq: int, subject: str, origin: str, headers: Mapping[str, str] | None = None) -> StoredFrame:
    source = {"Nats-Stream-Source": f"{origin.replace(':', ' ')} > >"}
    return StoredFrame("H", seq, 1000 * SECOND + seq, subject, b"{}", source | dict(headers or {}))


class _Hub:
    """One stream."""

    def __init__(self, *frames: StoredFrame) -> None:
        self.frames = frames

    async def names(self) -> Sequence[str]:
        return ["H"]

    async def of_data(self, *, with_local: bool = False) -> Sequence[str]:
        return ["H"]

    async def info(self, stream: str) -> Mapping[str, Any]:
        return {"state": {"first_seq": self.frames[0].seq, "last_seq": self.frames[-1].seq}}

    async def range(self, stream: str, *, start_seq: int, count: int, subject: str = ">") -> Sequence[StoredFrame]:
        return [each for each in self.frames if each.seq >= start_seq][:count]

    async def since(self, stream: str, subject: str, time_ns: int) -> AsyncGenerator[StoredFrame, None]:
        for each in self.frames:
            if each.time_ns >= time_ns:
                yield each


def of_flow(seq: int, origin: str, made_of: str) -> StoredFrame:
    return frame(seq, ROWS, origin, {"Ms-Flow": "rows/1/0", "Ms-Flow-In": f"{made_of}:0"})


async def test_what_was_made_of_a_message_may_come_to_the_hub_before_it() -> None:
    others = [frame(seq, ROW, f"E_e2_I:{seq}") for seq in range(4, 9)]
    hub = _Hub(of_flow(3, "E_e1_F:1", "E_e1_I:7"), *others, frame(9, ROW, "E_e1_I:7"), frame(10, ROW, "E_e1_I:8"))
    for asked in ("H:3", "H:9"):
        found = await find_trace(cast("Streams", hub), (), asked, "tag", 60 * SECOND)
        wheres = [station.where for station in found.stations]
        way = [where for where in wheres if where != "edge"][-5:]
        assert way == ["E_e1_I:7", "H:9", "flow rows", "E_e1_F:1", "H:3"]
        assert found.is_complete
