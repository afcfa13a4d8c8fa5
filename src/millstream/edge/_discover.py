"""Ask the hosts that a person named which devices they are: one place of a host at a time, at a bounded rate."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from millstream.edge._apart import run_apart
from millstream.edge._scan_range import parse_hosts, parse_sought, plan
from millstream.kernel import Clock, ConfigError, PlantError, SystemClock, Unreachable
from millstream.sdk import Connector, Discoverable, Discovered, DiscoveryInfo, DiscoveryTools, Place

RATE_MAX = 500.0  # things sent a second; old stacks fall over above that
CONCURRENCY_MAX = 64  # hosts at a time
PATIENCE_REQUESTS = 6  # answers that one place may take its full time for, besides one a unit


@dataclass(frozen=True, slots=True)
class Gentleness:
    """How hard it may ask: `rate` connections and requests a second in all, `concurrency` hosts at a time, and so many
    seconds for each answer."""

    rate: float = 20.0
    concurrency: int = 16
    timeout_s: float = 2.0

    def check(self) -> None:
        """Raise ConfigError outside the bounds."""
        for name, value, high in (
            ("rate", self.rate, RATE_MAX),
            ("concurrency", self.concurrency, CONCURRENCY_MAX),
            ("timeout", self.timeout_s, 60),
        ):
            if not 0 < value <= high:
                raise ConfigError(f"{name} is out of bounds", expected=f"above 0, at most {high:g}", got=f"{value:g}")


@dataclass(frozen=True, slots=True)
class Found:
    """One device and the connector type that reaches it."""

    type: str
    device: Discovered


@dataclass(slots=True)
class Discovery:
    """What became of a run. `sent` counts by what it was; `odd` holds places that answer, but not as asked."""

    hosts: tuple[str, ...]
    found: list[Found] = field(default_factory=list)
    odd: list[tuple[str, str, PlantError]] = field(default_factory=list)
    silent_count: int = 0
    sent: Counter[str] = field(default_factory=Counter)


class _Pace:
    """Turns, `1 / rate` seconds apart, in the order in which they were asked for."""

    def __init__(self, rate: float, clock: Clock) -> None:
        self._apart_ns = int(1e9 / rate)
        self._clock = clock
        self._next_ns = clock.monotonic_ns()

    async def wait(self) -> None:
        now_ns = self._clock.monotonic_ns()
        due_ns = max(self._next_ns, now_ns)
        self._next_ns = due_ns + self._apart_ns
        if due_ns > now_ns:
            await self._clock.sleep((due_ns - now_ns) / 1e9)


def discoverable(types: Mapping[str, type[Connector]]) -> dict[str, type[Connector]]:
    """The installed connectors that can find devices; one that cannot be loaded takes no part."""
    found: dict[str, type[Connector]] = {}
    for name in types:
        try:
            cls = types[name]
        except PlantError:
            continue
        if isinstance(cls, Discoverable):
            found[name] = cls
    return found


def questions(types: Mapping[str, type[Connector]]) -> dict[str, DiscoveryInfo]:
    """What each of them asks."""
    capable: dict[str, object] = {**types}
    return {name: cls.discovery for name, cls in capable.items() if isinstance(cls, Discoverable)}


class Discoverer:
    """One run over a range. Building it checks the range and sends nothing. Raises ConfigError."""

    def __init__(
        self,
        hosts: Sequence[str],
        look_for: Sequence[str],
        types: Mapping[str, type[Connector]],
        gentleness: Gentleness | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._gentleness = gentleness or Gentleness()
        self._gentleness.check()
        self._types = discoverable(types)
        self._clock = clock or SystemClock()
        known = questions(self._types)
        self.questions = {entry.type: known[entry.type] for entry in (parse_sought(text, known) for text in look_for)}
        self.plan = plan(parse_hosts(hosts), [parse_sought(text, known) for text in look_for])

    @property
    def places_count(self) -> int:
        """Ports of hosts that are asked."""
        return sum(len(places) for places in self.plan.values())

    async def run(self) -> Discovery:
        """Ask. What does not answer is only counted."""
        return await run_apart(self._run())

    async def _run(self) -> Discovery:
        result = Discovery(tuple(self.plan))
        pace = _Pace(self._gentleness.rate, self._clock)
        hosts = iter(self.plan)
        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._gentleness.concurrency, len(self.plan))):
                group.create_task(self._work(hosts, pace, result))
        order = {str(place): i for i, place in enumerate(p for places in self.plan.values() for _, p in places)}
        result.found.sort(key=lambda found: order.get(found.device.where.partition("/")[0], 0))
        return result

    async def _work(self, hosts: Iterator[str], pace: _Pace, result: Discovery) -> None:
        """One host after the other, and of each one place after the other: no device sees two of us."""
        for host in hosts:
            for type_name, place in self.plan[host]:
                await self._ask(type_name, place, pace, result)

    async def _ask(self, type_name: str, place: Place, pace: _Pace, result: Discovery) -> None:
        async def turn(what: str) -> None:
            await pace.wait()
            result.sent[what] += 1

        cls = self._types[type_name]
        assert isinstance(cls, Discoverable)
        patience_s = self._gentleness.timeout_s * (PATIENCE_REQUESTS + len(place.units))
        # Turns take their time too, when many wait for theirs.
        patience_s += (PATIENCE_REQUESTS + len(place.units)) * self._gentleness.concurrency / self._gentleness.rate
        tools = DiscoveryTools(turn, self._gentleness.timeout_s, self._clock)
        try:
            async with asyncio.timeout(patience_s):
                devices = await cls.discover(place, tools)
        except (Unreachable, TimeoutError):
            result.silent_count += 1
        except PlantError as error:
            if isinstance(error, ConfigError):
                raise
            result.odd.append((type_name, str(place), error))
        else:
            result.found += [Found(type_name, device) for device in devices]
            result.silent_count += not devices
