"""OEE of each machine by shift, hour and day, live and corrected, with all that a figure is made of."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
from pydantic import Field, model_validator

from millstream.flow._model import Effect, Emit, EmitEvent, Event, Flow, Input, TimePolicy
from millstream.flow.library._calendar_windows import (
    MINUTE_NS,
    CalendarWindows,
    Given,
    WindowsConfig,
    figure_quality,
    forget_states,
    put_state,
)
from millstream.flow.library._inputs import Inputs, Names
from millstream.flow.library._type import FlowType, OutputName, nanoseconds, number
from millstream.kernel import ConfigError
from millstream.protocols.cloudevents import format_time
from millstream.sdk import Duration
from millstream.shop import (
    CATEGORIES,
    Category,
    Figures,
    Made,
    OrderSpan,
    figures,
    order_at,
    order_doubts,
    put_order,
    read_order,
)

COUNTS = ("produced", "good", "rejected")
BUCKETS_MAX = 3200  # minutes with parts: two days and more; the oldest go first (see STATES_MAX)


class OeeConfig(WindowsConfig):
    """Where states and counts come from, which time is planned, and over which windows."""

    names: Names
    """The tags below the place: `state` (as `machine_state` says it), totals that only grow: `produced`, `good`,
    `rejected` (two of the three, or `produced` alone), and `cycle`, the ideal seconds a part, where a tag tells it."""
    ideal_cycle: Duration | None = None
    """The ideal time of one part, when no tag tells it."""
    orders: bool = False
    """Take the ideal cycle from the order that ran (inputs of kind `context`), to the minute; where no order is told,
    from a tag or `ideal_cycle`."""
    order_max: Duration = 604_800.0
    """An order that has no end after this time is a doubt."""
    states: Mapping[str, Literal["production", "setup", "delay", "idle", "down", "planned", "unknown"]] = Field(
        default_factory=dict
    )
    """What a state counts as, where it differs from the usual (PackML, ISO 22400, MTConnect). One that nobody knows is
    unknown, and never downtime."""
    small_stop: Duration = 300.0
    """A delay or idle time shorter than this is a small stop."""
    known: float = Field(default=0.95, ge=0, le=1)
    """Figures are uncertain when less than this share of the planned time is known."""
    output: OutputName = "oee"
    """Name of the results at the same place: `oee/shift/availability` and so on."""

    @model_validator(mode="after")
    def _fits(self) -> OeeConfig:
        unknown = set(self.names) - {"state", "cycle", *COUNTS}
        if unknown or "state" not in self.names:
            raise ValueError("names are state, produced, good, rejected and cycle; state is needed")
        if set(COUNTS) <= set(self.names) or set(COUNTS) & set(self.names) == {"rejected"}:
            raise ValueError("give produced, or good, and with it rejected: the third follows")
        return self


class Bucket(msgspec.Struct, array_like=True):
    """What was made in the minute that begins at `start_ns`."""

    start_ns: int
    produced: float = 0.0
    good: float = 0.0
    rejected: float = 0.0
    ideal_ns: float = 0.0


class Machine(msgspec.Struct, array_like=True):
    """Changes of state and minutes of counts within `keep`; the newest total by name with its time; the ideal cycle;
    windows that were given; up to where each kind of window was given, and from where on corrections are possible."""

    states: list[tuple[int, str]] = []
    buckets: list[Bucket] = []
    totals: dict[str, tuple[int, float]] = {}
    cycle_ns: float = 0.0
    given: dict[str, Given] = {}
    done: dict[str, int] = {}
    gone_ns: int = 0
    restate: list[str] = []
    orders: list[OrderSpan] = []


class _Oee:
    """The step."""

    def __init__(self, config: OeeConfig, inputs: Inputs) -> None:
        self._config, self._inputs = config, inputs
        self._calendar = config.calendar()
        self._windows: CalendarWindows[Machine, Figures] = CalendarWindows(config, self, self._calendar)
        self._categories = {**CATEGORIES, **{name: Category(value) for name, value in config.states.items()}}
        self._cycle_ns = nanoseconds(config.ideal_cycle) if config.ideal_cycle is not None else 0
        self._small_ns = nanoseconds(config.small_stop)

    def __call__(self, machine: Machine, event: Event) -> tuple[Machine, Sequence[Effect]]:
        if event.is_timer:
            return machine, self._windows.on_timer(machine, event)
        if event.kind == "context":
            return machine, self._take_order(machine, event)
        name = self._inputs.name(event)
        return machine, self._windows.put(machine, name, event) if name is not None else ()

    # -- taking in ----------------------------------------------------------------------------------------------------

    def take(self, kept: Machine, name: str, event: Event) -> tuple[int, int] | None:
        """Keep one input; the time of which figures may have changed."""
        is_bad = event.value is None or event.quality.is_bad
        if name == "state":
            return put_state(kept, event.time_ns, "" if is_bad else str(event.value))
        if is_bad:
            return None
        value = number(event.value)
        if value is None or value < 0:
            raise ValueError(f"not a number from 0 on: {event.value!r:.60}")
        if name == "cycle":
            kept.cycle_ns = value * 1e9
            return None
        return self._take_total(kept, name, event.time_ns, value)

    def _take_order(self, machine: Machine, event: Event) -> list[Effect]:
        """What was told about an order may be about any time: windows that were given are given again."""
        head = f"{event.key}:order/"
        if not self._config.orders or not event.source.startswith(head):
            return []
        name = event.source.removeprefix(head)
        touched = put_order(machine.orders, name, read_order(name, event.value))
        return self._windows.correct(machine, event.key, touched) if touched is not None else []

    def _take_total(self, machine: Machine, name: str, time_ns: int, total: float) -> tuple[int, int] | None:
        before = machine.totals.get(name)
        if before is not None and time_ns < before[0]:
            return None  # an older total: the newer one contains it
        machine.totals[name] = (time_ns, total)
        if before is None:
            return None
        made = total - before[1] if total >= before[1] else total  # the counter began anew
        if not made:
            return None
        start_ns = time_ns - time_ns % MINUTE_NS
        at = bisect_left(machine.buckets, start_ns, key=_start_of)
        if at == len(machine.buckets) or machine.buckets[at].start_ns != start_ns:
            machine.buckets.insert(at, Bucket(start_ns))
        bucket = machine.buckets[at]
        if len(machine.buckets) > BUCKETS_MAX:
            del machine.buckets[: BUCKETS_MAX // 10]
            machine.gone_ns = max(machine.gone_ns, machine.buckets[0].start_ns)
        setattr(bucket, name, getattr(bucket, name) + made)
        if name == "produced" or "produced" not in self._config.names:
            bucket.ideal_ns += made * (machine.cycle_ns or self._cycle_ns)
        return start_ns, start_ns + MINUTE_NS

    # -- giving -------------------------------------------------------------------------------------------------------

    def forget(self, kept: Machine, gone_ns: int) -> None:
        """Let go what no correction may reach any more."""
        forget_states(kept, gone_ns)
        del kept.buckets[: bisect_left(kept.buckets, gone_ns - MINUTE_NS, key=_start_of)]
        kept.orders = [each for each in kept.orders if not each.end_ns or each.end_ns > gone_ns]

    def said(self, kept: Machine, key: str, kind: str, found: Figures, revision: int) -> list[Effect]:
        """A window that is over: its figures, and the event that has all they are made of."""
        data = {"window": kind, "revision": revision, **self.told(kept, found)}
        event = EmitEvent(self.path(key, kind), "millstream.oee", data, found.end_ns)
        return [*self._tags(key, kind, found, found.end_ns, revision), event]

    def shown(self, kept: Machine, key: str, window: tuple[int, int] | None, now_ns: int) -> list[Effect]:
        """The running window so far."""
        if window is None:
            return []
        return self._tags(key, "live", self.figures(kept, (window[0], now_ns)), now_ns, 0)

    def told(self, kept: Machine, found: Figures) -> dict[str, Any]:
        """All that figures are made of."""
        told = _explained(found)
        return {**told, "orders": self._orders(kept, found)} if self._config.orders else told

    # -- figures ------------------------------------------------------------------------------------------------------

    def figures(self, kept: Machine, window: tuple[int, int]) -> Figures:
        """Of the planned time in a window."""
        planned = self._calendar.planned(*window)
        made = Made()
        for start_ns, end_ns in planned:
            made += self._made(kept, start_ns, end_ns)
        return figures(
            kept.states, planned, made, window, categories=self._categories, small_stop_ns=self._small_ns,
            remarks=self._remarks(kept, planned, window) if self._config.orders else (),
        )  # fmt: skip

    def _remarks(
        self, machine: Machine, planned: Sequence[tuple[int, int]], window: tuple[int, int]
    ) -> Sequence[str]:  # fmt: skip
        """What is not sure about the orders: their ends, and parts of which nobody knows how long one should take."""
        found = order_doubts(machine.orders, *window, nanoseconds(self._config.order_max))
        without = sum(
            self._ideal_ns(machine, bucket) <= 0 < bucket.produced + bucket.good
            for start_ns, end_ns in planned
            for bucket in self._buckets(machine, start_ns, end_ns)
        )
        return [*found, f"parts were made without an order ({without} min)"] if without else found

    def _orders(self, machine: Machine, found: Figures) -> list[dict[str, Any]]:
        """What was made for which order in a window."""
        made: dict[str, Made] = {}
        products: dict[str, str] = {}
        for start_ns, end_ns in self._calendar.planned(found.start_ns, found.end_ns):
            for bucket in self._buckets(machine, start_ns, end_ns):
                order = order_at(machine.orders, bucket.start_ns + MINUTE_NS // 2)
                name = order.name if order is not None else ""
                products[name] = order.product if order is not None else ""
                made[name] = made.get(name, Made()) + self._made_in(machine, bucket)
        return [
            {
                "order": name or None, "product": products[name] or None, "produced": part.produced,
                "rejected": part.rejected, "ideal_s": part.ideal_ns / 1e9,
            }
            for name, part in made.items()
        ]  # fmt: skip

    @staticmethod
    def _buckets(machine: Machine, start_ns: int, end_ns: int) -> Sequence[Bucket]:
        first = bisect_left(machine.buckets, start_ns - start_ns % MINUTE_NS, key=_start_of)
        return machine.buckets[first : bisect_left(machine.buckets, end_ns, key=_start_of)]

    def _ideal_ns(self, machine: Machine, bucket: Bucket) -> float:
        """Ideal time of what was made in a minute: by the order that ran in its middle, else by tag or file."""
        order = order_at(machine.orders, bucket.start_ns + MINUTE_NS // 2) if machine.orders else None
        if order is None:
            return bucket.ideal_ns
        produced = bucket.produced if "produced" in self._config.names else bucket.good + bucket.rejected
        return produced * order.cycle_ns

    def _made(self, machine: Machine, start_ns: int, end_ns: int) -> Made:
        found = Made()
        for bucket in self._buckets(machine, start_ns, end_ns):
            found += self._made_in(machine, bucket)
        return found

    def _made_in(self, machine: Machine, bucket: Bucket) -> Made:
        names = self._config.names
        produced = bucket.produced if "produced" in names else bucket.good + bucket.rejected
        rejected = produced - bucket.good if "rejected" not in names and "good" in names else bucket.rejected
        return Made(produced, rejected, self._ideal_ns(machine, bucket))

    def path(self, key: str, name: str) -> str:
        """Of a result."""
        return f"{key}:{self._config.output}/{name}"

    def _tags(self, key: str, kind: str, found: Figures, time_ns: int, revision: int) -> list[Effect]:
        if not found.planned_ns:
            return []
        is_sure = found.known >= self._config.known and not found.doubts()
        values = {
            "oee": found.oee, "availability": found.availability, "performance": found.performance,
            "quality": found.quality, "known": found.known,
        }  # fmt: skip
        return [
            Emit(
                self.path(key, f"{kind}/{name}"), value, time_ns, "kpi",
                quality=figure_quality(value, is_sure=is_sure or name == "known"), revision=revision,
            )
            for name, value in values.items()
        ]  # fmt: skip


def _explained(found: Figures) -> dict[str, Any]:
    """All that a figure is made of; times in seconds."""
    return {
        "start": format_time(found.start_ns), "end": format_time(found.end_ns),
        "oee": found.oee, "availability": found.availability, "performance": found.performance,
        "quality": found.quality, "teep": found.teep, "known": found.known,
        "planned_s": found.planned_ns / 1e9, "busy_s": found.busy_ns / 1e9,
        "spent_s": {category.value: ns / 1e9 for category, ns in found.spent_ns.items() if ns},
        "states_s": {state or "?": ns / 1e9 for state, ns in found.states_ns.items()},
        "produced": found.made.produced, "rejected": found.made.rejected, "ideal_s": found.made.ideal_ns / 1e9,
        "losses_s": {name: ns / 1e9 for name, ns in found.losses_ns().items() if ns},
        "small_stops": found.small_stops, "failures": found.failures,
        "mttr_s": None if found.mttr_ns is None else found.mttr_ns / 1e9,
        "mtbf_s": None if found.mtbf_ns is None else found.mtbf_ns / 1e9,
        "doubts": found.doubts(),
    }  # fmt: skip


def _start_of(bucket: Bucket) -> int:
    return bucket.start_ns


def _build(name: str, inputs: tuple[Input, ...], config: OeeConfig, *, version: int, time: TimePolicy) -> Flow[Any]:
    counts = [count for count in COUNTS if count in config.names]
    if counts and "cycle" not in config.names and not config.ideal_cycle and not config.orders:
        raise ConfigError(
            "parts are counted, and nobody says how long one should take",
            expected="`ideal_cycle`, a tag under the name `cycle`, or `orders`",
        )
    found = Inputs(config.names, None)
    return Flow(name, inputs, _Oee(config, found), Machine, Machine, found.key, None, ("kpi", "event"), time, version)


OEE = FlowType(
    "oee", OeeConfig, _build,
    "Works out availability, performance, quality and OEE of each machine after ISO 22400-2, by shift, hour and day, "
    "and live. What comes late corrects what was given: the result comes again with the next revision. With each "
    "window comes an event that has all it was made of: seconds by state, losses, parts, failures, and where the "
    "sources disagree. Time of which nobody knows what it was is left out, and the figures are uncertain then.",
)  # fmt: skip
