"""A run of `discover`: only the plan, one place of a host at a time, at the rate that was given."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar, cast

import pytest

from millstream.edge import Discoverer, Gentleness
from millstream.kernel import ConfigError, ProtocolViolation, Unreachable
from millstream.sdk import Connector, Discovered, DiscoveryInfo, DiscoveryTools, Place
from millstream.sdk.testing import LoopClock, run_virtual


class Hall:
    """Devices that answer by their host's name."""

    asked: ClassVar[list[tuple[float, str]]] = []
    busy: ClassVar[set[str]] = set()
    discovery: ClassVar[DiscoveryInfo] = DiscoveryInfo("a question", 9000)

    @classmethod
    async def discover(cls, place: Place, tools: DiscoveryTools) -> Sequence[Discovered]:
        assert place.host not in cls.busy, "one host, one question at a time"
        cls.busy.add(place.host)
        try:
            await tools.turn("question")
            cls.asked.append((tools.clock.monotonic_ns() / 1e9, str(place)))
            await tools.clock.sleep(0.01)
            if place.host == "odd":
                raise ProtocolViolation("no such device", where=str(place))
            if place.host == "hangs":
                await tools.clock.sleep(1e9)
            if place.host == "dead":
                raise Unreachable("nobody")
            return [Discovered(str(place), place.host, {"host": place.host})]
        finally:
            cls.busy.discard(place.host)


class Plain:
    """A connector that cannot find anything."""


TYPES = cast("dict[str, type[Connector]]", {"hall": Hall, "plain": Plain})


@pytest.fixture(autouse=True)
def fresh() -> None:
    Hall.asked.clear()
    Hall.busy.clear()


def run(hosts: Sequence[str], *look_for: str, **gentleness: Any) -> Any:
    """In virtual time."""

    async def work() -> Any:
        return await Discoverer(hosts, look_for, TYPES, Gentleness(**gentleness), LoopClock()).run()

    return run_virtual(work())


def test_what_answers_is_found_in_the_order_of_the_plan() -> None:
    result = run(["b", "dead", "odd", "a"], "hall:1-2")
    assert [(f.type, f.device.where) for f in result.found] == [
        ("hall", "b:1"), ("hall", "b:2"), ("hall", "a:1"), ("hall", "a:2"),
    ]  # fmt: skip
    assert [(name, where, error.code) for name, where, error in result.odd] == [
        ("hall", "odd:1", "MS-0202"), ("hall", "odd:2", "MS-0202"),
    ]  # fmt: skip
    assert result.silent_count == 2
    assert result.sent == {"question": 8}
    assert sorted({where for _, where in Hall.asked}) == sorted(
        f"{h}:{p}" for h in ("a", "b", "dead", "odd") for p in (1, 2)
    )


def test_no_more_is_sent_than_the_rate_allows() -> None:
    run(["10.0.0.0/24"], "hall:1", rate=50.0, concurrency=64)
    times = sorted(at for at, _ in Hall.asked)
    assert len(times) == 254
    assert all(later - sooner > 0.0199 for sooner, later in pairwise(times))


def test_a_device_that_hangs_stops_nobody() -> None:
    result = run(["hangs", "a"], "hall:1", concurrency=1)
    assert [f.device.where for f in result.found] == ["a:1"]
    assert result.silent_count == 1


@pytest.mark.parametrize(
    "wrong", [{"rate": 0.0}, {"rate": 501.0}, {"concurrency": 0}, {"concurrency": 65}, {"timeout_s": 0.0}]
)
def test_gentleness_has_bounds(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="out of bounds"):
        Discoverer(["a"], ["hall:1"], TYPES, Gentleness(**wrong))


def test_a_connector_that_cannot_discover_is_no_protocol_to_look_for() -> None:
    with pytest.raises(ConfigError, match="no such protocol"):
        Discoverer(["a"], ["plain:1"], TYPES)
