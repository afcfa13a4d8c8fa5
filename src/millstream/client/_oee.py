"""OEE at any level of the plant and over any time, from the windows that flows told of each machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from millstream.client._desk_tools import DeskTools
from millstream.client._flow_desk import FlowDesk
from millstream.client._paths import Where, to_patterns
from millstream.client._times import Time, to_time_ns
from millstream.kernel import DecodeError, NotFoundError
from millstream.model import TagPath
from millstream.shop import OeeWindow, chosen_windows, oee_by_place, oee_total, read_window

OEE_TYPE = "millstream.oee"
KINDS = ("hour", "shift", "day")  # of windows that are over; the running one is in the streams
DAY_NS = 86_400 * 10**9


class Oee:
    """What can be seen from here. Made by `Plant.oee`."""

    def __init__(self, tools: DeskTools) -> None:
        self._desk, self._clock = FlowDesk(tools), tools.clock

    async def total(
        self, *patterns: Where, start: Time = "-1d", end: Time = "now", levels: int | None = None, name: str = "oee"
    ) -> Mapping[str, Any]:  # fmt: skip
        """The figures of all machines of these places together, from whole windows of the flow `oee` (of hours, shifts
        or days, whichever tell the most of this time; of each its newest revision), and the running one where the flow
        explains it. Under `parts` the same of each machine, or of each place so many `levels` from the top. `name` is
        the flow's `output`. What the node's streams hold no more is of its history; where that cannot be asked, the
        figures are not sure, with a doubt that says since when they reach back. `covered` says how much of the time is
        told. Raises NotFoundError, DecodeError."""
        now_ns = self._clock.now_ns()
        start_ns, end_ns = to_time_ns(start, now_ns), to_time_ns(end, now_ns)
        if end_ns <= start_ns:
            raise DecodeError("the time ends before it begins", got=f"{start} to {end}", code="MS-0582")
        found = await self._desk.told(
            to_patterns(patterns),
            start_ns,
            OEE_TYPE,
            fits=lambda tag: tag.names[:-1] == (name,) and tag.names[-1] in KINDS,
        )
        told = [
            window for path, event in found.events if (window := _window(path, event.data, name)) is not None
        ]  # fmt: skip
        windows = chosen_windows(told, start_ns, end_ns)
        if not windows:
            raise NotFoundError(
                "no window of OEE is known in this time", where=", ".join(str(p) for p in patterns) or "everything",
                expected="places below which the flow `oee` works, and a time that holds one of its windows",
                got=found.doubt or None,
                next_step="`millstream tree --kind kpi` lists what it tells; take a longer time",
            )  # fmt: skip
        parts = {m: {m: each} for m, each in windows.items()} if levels is None else oee_by_place(windows, levels)
        return {
            **oee_total(windows, start_ns, end_ns, remark=found.doubt),
            "parts": [
                {"path": place, **oee_total(each, start_ns, end_ns, remark=found.doubt)}
                for place, each in parts.items()
            ],
        }


def _window(path: str, data: Any, name: str) -> OeeWindow | None:
    tag = TagPath.parse(path)
    if tag.names[:-1] != (name,):
        return None
    try:
        return read_window(str(tag.asset), data)
    except (ValueError, DecodeError):
        return None  # another program's event of this type
