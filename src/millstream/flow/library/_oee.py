"""OEE of each machine by shift, hour and day, live and corrected, with all that a figure is made of."""

from __future__ import annotations

import datetime
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
from pydantic import Field, model_validator

from millstream.flow._model import Effect, Emit, EmitEvent, Event, Flow, Input, SetTimer, TimePolicy
from millstream.flow.library._inputs import Inputs, Names
from millstream.flow.library._type import FlowConfig, FlowType, OutputName, nanoseconds, number
from millstream.kernel import ConfigError
from millstream.model import BAD_DATA_UNAVAILABLE, GOOD, UNCERTAIN, Quality
from millstream.protocols.cloudevents import format_time
from millstream.sdk import Duration
from millstream.shop import (
    CATEGORIES,
    Calendar,
    Category,
    Figures,
    Made,
    OrderSpan,
    Shift,
    figures,
    order_at,
    order_doubts,
    parse_clock,
    parse_days,
    put_order,
    read_order,
)

MINUTE_NS, HOUR_NS, DAY_NS = 60 * 10**9, 3600 * 10**9, 86_400 * 10**9
STATES_MAX = 5000  # changes of state that a machine may have within `keep`; the oldest go first, and are unknown then
CORRECTED_MAX = 30  # windows that one late input may correct at once; the rest follow
WINDOWS_AT_ONCE = 20  # of each kind
AHEAD_NS = 40 * DAY_NS  # how far the next shift is looked for
DUE, LIVE, RESTATE = "due", "live", "restate"
COUNTS = ("produced", "good", "rejected")
WindowKind = Literal["shift", "hour", "day"]


class BreakConfig(FlowConfig):
    """A planned pause of a shift."""

    start: str
    """When it begins, such as `09:00`."""
    end: str
    """When it ends."""


class ShiftConfig(FlowConfig):
    """A shift of every week."""

    name: str = Field(min_length=1, max_length=64)
    """Its name."""
    start: str
    """When it begins in local time, such as `06:00`."""
    end: str
    """When it ends; not behind the start: on the next day."""
    days: str = "mon-fri"
    """The days on which it starts: `mon-fri`, `sat,sun`, `daily`."""
    breaks: tuple[BreakConfig, ...] = Field(default=(), max_length=16)
    """Pauses that are planned."""

    def shift(self) -> Shift:
        """As the calendar takes it. Raises ValueError."""
        breaks = tuple((parse_clock(each.start), parse_clock(each.end)) for each in self.breaks)
        return Shift(self.name, parse_clock(self.start), parse_clock(self.end), parse_days(self.days), breaks)


class OeeConfig(FlowConfig):
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
    timezone: str = "UTC"
    """Where the shifts' clock hangs, such as `Europe/Berlin`."""
    shifts: tuple[ShiftConfig, ...] = Field(default=(), max_length=32)
    """The planned time; without shifts all time is."""
    holidays: tuple[datetime.date, ...] = Field(default=(), max_length=1000)
    """Days on which no shift starts."""
    states: Mapping[str, Literal["production", "setup", "delay", "idle", "down", "planned", "unknown"]] = Field(
        default_factory=dict
    )
    """What a state counts as, where it differs from the usual (PackML, ISO 22400, MTConnect). One that nobody knows is
    unknown, and never downtime."""
    windows: tuple[WindowKind, ...] = Field(default=("hour",), min_length=1, max_length=3)
    """Over what: `shift`, `hour`, `day` (local). The first is also shown live."""
    every: Duration = 60.0
    """How often the live figures of the running window are given; 0s: not at all."""
    small_stop: Duration = 300.0
    """A delay or idle time shorter than this is a small stop."""
    keep: Duration = 172_800.0
    """So long after its end a window is corrected by what comes late; what comes later is an event."""
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
        if "shift" in self.windows and not self.shifts:
            raise ValueError("windows by shift need shifts")
        if len(set(self.windows)) < len(self.windows):
            raise ValueError("a window twice")
        if nanoseconds(self.keep) < DAY_NS:
            raise ValueError("keep is a day at least: a window of a day could not be worked out")
        for shift in self.shifts:
            shift.shift()
        return self


class Bucket(msgspec.Struct, array_like=True):
    """What was made in the minute that begins at `start_ns`."""

    start_ns: int
    produced: float = 0.0
    good: float = 0.0
    rejected: float = 0.0
    ideal_ns: float = 0.0


class Given(msgspec.Struct, array_like=True):
    """A window that was given: where it ends, how often it was corrected, and a digest of its figures."""

    end_ns: int
    revision: int
    digest: int


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
        self._calendar = Calendar(config.timezone, [each.shift() for each in config.shifts], config.holidays)
        self._categories = {**CATEGORIES, **{name: Category(value) for name, value in config.states.items()}}
        self._cycle_ns = nanoseconds(config.ideal_cycle) if config.ideal_cycle is not None else 0
        self._keep_ns, self._every_ns = nanoseconds(config.keep), nanoseconds(config.every)
        self._small_ns = nanoseconds(config.small_stop)

    def __call__(self, machine: Machine, event: Event) -> tuple[Machine, Sequence[Effect]]:
        if event.is_timer:
            return machine, self._on_timer(machine, event)
        if event.kind == "context":
            return machine, self._take_order(machine, event)
        name = self._inputs.name(event)
        if name is None:
            return machine, ()
        if event.time_ns < machine.gone_ns:
            data = {"value": event.value, "source": event.source, "time": format_time(event.time_ns)}
            late = EmitEvent(self._path(event.key, "late"), "millstream.flow.late", data, event.time_ns)
            return machine, (late,)
        touched = self._take(machine, name, event)
        effects = self._correct(machine, event.key, touched) if touched is not None else []
        if not machine.done:
            machine.done = dict.fromkeys(self._config.windows, event.time_ns)
            effects += self._timers(machine, event.time_ns)
        return machine, effects

    # -- taking in ----------------------------------------------------------------------------------------------------

    def _take(self, machine: Machine, name: str, event: Event) -> tuple[int, int] | None:
        """Keep one input; the time of which figures may have changed."""
        is_bad = event.value is None or event.quality.is_bad
        if name == "state":
            return self._take_state(machine, event.time_ns, "" if is_bad else str(event.value))
        if is_bad:
            return None
        value = number(event.value)
        if value is None or value < 0:
            raise ValueError(f"not a number from 0 on: {event.value!r:.60}")
        if name == "cycle":
            machine.cycle_ns = value * 1e9
            return None
        return self._take_total(machine, name, event.time_ns, value)

    def _take_order(self, machine: Machine, event: Event) -> list[Effect]:
        """What was told about an order may be about any time: windows that were given are given again."""
        head = f"{event.key}:order/"
        if not self._config.orders or not event.source.startswith(head):
            return []
        name = event.source.removeprefix(head)
        touched = put_order(machine.orders, name, read_order(name, event.value))
        return self._correct(machine, event.key, touched) if touched is not None else []

    @staticmethod
    def _take_state(machine: Machine, time_ns: int, state: str) -> tuple[int, int]:
        states = machine.states
        at = bisect_right(states, time_ns, key=_time_of)
        if at and states[at - 1][0] == time_ns:  # the same moment again: what came last counts
            states[at - 1] = (time_ns, state)
            at -= 1
        else:  # the same state again is kept too: another one may still come in between
            states.insert(at, (time_ns, state))
        end_ns = states[at + 1][0] if at + 1 < len(states) else max(machine.done.values(), default=time_ns)
        before = max(at - 1, 0)  # this one lasted shorter than was thought
        while before and states[before - 1][1] == states[before][1]:
            before -= 1
        begun_ns = states[before][0]
        if len(states) > STATES_MAX:
            del states[: STATES_MAX // 10]
            machine.gone_ns = max(machine.gone_ns, states[0][0])
        return begun_ns, max(end_ns, time_ns + 1)

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
        setattr(bucket, name, getattr(bucket, name) + made)
        if name == "produced" or "produced" not in self._config.names:
            bucket.ideal_ns += made * (machine.cycle_ns or self._cycle_ns)
        return start_ns, start_ns + MINUTE_NS

    # -- giving -------------------------------------------------------------------------------------------------------

    def _on_timer(self, machine: Machine, event: Event) -> list[Effect]:
        if event.timer == RESTATE:
            return self._restate(machine, event.key)
        if event.timer == LIVE:
            return [*self._live(machine, event.key, event.time_ns), *self._live_timer(event.time_ns)]
        effects: list[Effect] = []
        for kind in self._config.windows:
            for _ in range(WINDOWS_AT_ONCE):  # behind a long silence the next call gives the next ones
                window = self._window(kind, machine.done[kind])
                if window is None or window[1] > event.time_ns:
                    break
                machine.done[kind] = window[1]
                effects += self._give(machine, event.key, kind, window)
        self._forget(machine)
        return [*effects, *self._due_timer(machine)]

    def _timers(self, machine: Machine, now_ns: int) -> list[Effect]:
        return [*self._due_timer(machine), *self._live_timer(now_ns)]

    def _due_timer(self, machine: Machine) -> list[Effect]:
        windows = [self._window(kind, machine.done[kind]) for kind in self._config.windows]
        ends = [window[1] for window in windows if window is not None]
        if not ends:  # holidays for weeks: look again
            ends = [max(machine.done.values()) + AHEAD_NS]
        return [SetTimer(DUE, min(ends))]

    def _live_timer(self, now_ns: int) -> list[Effect]:
        if not self._every_ns:
            return []
        return [SetTimer(LIVE, now_ns - now_ns % self._every_ns + self._every_ns)]

    def _window(self, kind: str, after_ns: int) -> tuple[int, int] | None:
        """The first window that ends behind `after_ns`."""
        day_ns, next_day_ns = self._calendar.day(after_ns)
        if kind == "day":
            return day_ns, next_day_ns
        if kind == "hour":
            start_ns = after_ns - (after_ns - day_ns) % HOUR_NS
            return start_ns, start_ns + HOUR_NS
        spans = self._calendar.spans(after_ns, after_ns + AHEAD_NS)
        return (spans[0].start_ns, spans[0].end_ns) if spans else None

    def _give(self, machine: Machine, key: str, kind: str, window: tuple[int, int]) -> list[Effect]:
        found = self._figures(machine, window)
        machine.given[f"{kind} {window[0]}"] = Given(window[1], 0, self._digest(machine, found))
        return self._said(machine, key, kind, found, 0)

    def _live(self, machine: Machine, key: str, now_ns: int) -> list[Effect]:
        window = self._window(self._config.windows[0], now_ns)
        if window is None or not window[0] < now_ns < window[1]:
            return []
        return self._tags(key, "live", self._figures(machine, (window[0], now_ns)), now_ns, 0)

    def _correct(self, machine: Machine, key: str, touched: tuple[int, int]) -> list[Effect]:
        """Give the windows again whose figures a late input has changed."""
        found = []
        for name, given in machine.given.items():
            start_ns = int(name.partition(" ")[2])
            if start_ns < touched[1] and touched[0] < given.end_ns and start_ns >= machine.gone_ns:
                found.append(name)
        machine.restate = list(dict.fromkeys([*machine.restate, *found]))
        return self._restate(machine, key)

    def _restate(self, machine: Machine, key: str) -> list[Effect]:
        effects: list[Effect] = []
        for name in machine.restate[:CORRECTED_MAX]:
            given = machine.given.get(name)
            if given is None:
                continue
            kind, _, start = name.partition(" ")
            found = self._figures(machine, (int(start), given.end_ns))
            digest = self._digest(machine, found)
            if digest != given.digest:
                given.revision, given.digest = given.revision + 1, digest
                effects += self._said(machine, key, kind, found, given.revision)
        del machine.restate[:CORRECTED_MAX]
        if machine.restate:
            effects.append(SetTimer(RESTATE, max(machine.done.values())))
        return effects

    def _forget(self, machine: Machine) -> None:
        """Let go what no correction may reach any more; of the states the one that lasts into the rest stays."""
        gone_ns = min(machine.done.values()) - self._keep_ns
        if gone_ns <= machine.gone_ns:
            return
        machine.gone_ns = gone_ns
        del machine.states[: max(0, bisect_right(machine.states, gone_ns, key=_time_of) - 1)]
        del machine.buckets[: bisect_left(machine.buckets, gone_ns - MINUTE_NS, key=_start_of)]
        machine.orders = [each for each in machine.orders if not each.end_ns or each.end_ns > gone_ns]
        machine.given = {name: given for name, given in machine.given.items() if given.end_ns > gone_ns}

    # -- figures ------------------------------------------------------------------------------------------------------

    def _figures(self, machine: Machine, window: tuple[int, int]) -> Figures:
        planned = self._calendar.planned(*window)
        made = Made()
        for start_ns, end_ns in planned:
            made += self._made(machine, start_ns, end_ns)
        return figures(
            machine.states, planned, made, window, categories=self._categories, small_stop_ns=self._small_ns,
            remarks=self._remarks(machine, planned, window) if self._config.orders else (),
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
                produced = bucket.produced if "produced" in self._config.names else bucket.good + bucket.rejected
                part = Made(produced, bucket.rejected, self._ideal_ns(machine, bucket))
                made[name] = made.get(name, Made()) + part
        return [
            {
                "order": name or None, "product": products[name] or None, "produced": part.produced,
                "ideal_s": part.ideal_ns / 1e9,
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
        found, names = Made(), self._config.names
        for bucket in self._buckets(machine, start_ns, end_ns):
            produced = bucket.produced if "produced" in names else bucket.good + bucket.rejected
            rejected = bucket.rejected
            if "rejected" not in names and "good" in names:
                rejected = produced - bucket.good
            found += Made(produced, rejected, self._ideal_ns(machine, bucket))
        return found

    def _path(self, key: str, name: str) -> str:
        return f"{key}:{self._config.output}/{name}"

    def _said(self, machine: Machine, key: str, kind: str, found: Figures, revision: int) -> list[Effect]:
        data = {"window": kind, "revision": revision, **self._told(machine, found)}
        event = EmitEvent(self._path(key, kind), "millstream.oee", data, found.end_ns)
        return [*self._tags(key, kind, found, found.end_ns, revision), event]

    def _told(self, machine: Machine, found: Figures) -> dict[str, Any]:
        told = _explained(found)
        return {**told, "orders": self._orders(machine, found)} if self._config.orders else told

    def _digest(self, machine: Machine, found: Figures) -> int:
        return zlib.crc32(msgspec.json.encode(self._told(machine, found)))

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
                self._path(key, f"{kind}/{name}"), value, time_ns, "kpi",
                quality=_quality(value, is_sure=is_sure or name == "known"), revision=revision,
            )
            for name, value in values.items()
        ]  # fmt: skip


def _quality(value: float | None, *, is_sure: bool) -> Quality:
    if value is None:
        return BAD_DATA_UNAVAILABLE
    return GOOD if is_sure else UNCERTAIN


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


def _time_of(change: tuple[int, str]) -> int:
    return change[0]


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
