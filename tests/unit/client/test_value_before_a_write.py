"""What the audit says of the value before a write, and that no write waits for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from millstream.bus._link import Frame
from millstream.client import Reading
from millstream.client._writes import BEFORE_S_MAX, write_tag
from millstream.kernel import Unreachable

TAG, NOW_NS, VALID_NS = "acme/plant1/boiler:setpoint", 1_790_000_000_000_000_000, 10**10
WRITE = "millstream.node.e1.write"


@dataclass
class Edge:
    """Lets one tag be written; answers once `is_asked` says that the value before was asked for."""

    is_asked: asyncio.Event = field(default_factory=asyncio.Event)
    written: list[Any] = field(default_factory=list)

    async def request(self, subject: str, payload: bytes = b"", **_: object) -> Frame:
        """The list, or that it is done."""
        assert subject == WRITE
        if not payload:
            await self.is_asked.wait()
            return Frame(subject, json.dumps({"writable": [{"tag": TAG, "interval_s": 1.0}]}).encode(), {})
        self.written.append(json.loads(payload))
        return Frame(subject, json.dumps({"id": "one", "tag": TAG, "state": "done", "time_ns": NOW_NS}).encode(), {})


@dataclass
class Acts:
    """Keeps what is told."""

    is_told: bool = True
    origin: str = "desk"
    told: list[Mapping[str, Any]] = field(default_factory=list)

    async def asked(self, what: str, data: Mapping[str, Any], **_: object) -> None:
        """See `Acts.asked`."""
        self.told.append(data)


async def write(edge: Edge, acts: Acts, last: Any) -> None:
    """A value, as `Plant.write` does."""
    times, told = (NOW_NS, VALID_NS), (acts, last)
    await write_tag(edge, [WRITE], TAG, 21, times, told, id="one", who="ada")  # type: ignore[arg-type]


async def test_the_value_before_is_asked_for_beside_the_check_and_told() -> None:
    edge, acts = Edge(), Acts()

    async def last(tag: str) -> Reading:
        """Comes before the check has its answer, which waits for this question."""
        edge.is_asked.set()
        return Reading(tag, 20.5, time_ns=NOW_NS)

    async with asyncio.timeout(5):
        await write(edge, acts, last)
    assert acts.told[0]["before"] == {"value": 20.5, "time": "2026-09-21T14:13:20Z"}
    assert [each["value"] for each in edge.written] == [21]


async def test_a_tag_without_a_value_has_none_before() -> None:
    edge, acts = Edge(), Acts()
    edge.is_asked.set()

    async def last(tag: str) -> None:
        """Nothing was ever stored."""

    await write(edge, acts, last)
    assert acts.told[0]["before"] is None


@pytest.mark.parametrize("is_silent", [True, False])
async def test_what_does_not_come_in_time_is_told_as_not_known_and_the_write_goes_on(is_silent: bool) -> None:
    edge, acts = Edge(), Acts()
    edge.is_asked.set()

    async def last(tag: str) -> Reading:
        """Never, or not at all."""
        if is_silent:
            await asyncio.Event().wait()
        raise Unreachable("nobody answers", where=tag)

    begun_s = asyncio.get_running_loop().time()
    await write(edge, acts, last)
    assert asyncio.get_running_loop().time() - begun_s >= (BEFORE_S_MAX if is_silent else 0)
    assert acts.told[0]["before"] == {"known": False}
    assert [each["value"] for each in edge.written] == [21]


async def test_nobody_asks_where_nothing_is_told() -> None:
    edge, acts = Edge(), Acts(is_told=False)
    edge.is_asked.set()

    async def last(tag: str) -> Reading:
        """Must not be asked."""
        raise AssertionError(tag)

    await write(edge, acts, last)
    assert acts.told == []
    assert len(edge.written) == 1
