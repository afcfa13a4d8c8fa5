"""Energy of each machine by shift, hour, day and demand interval: in all, a part, while idle; and its peaks, ahead."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec
from pydantic import Field, model_validator

from millstream.flow._model import Effect, Emit, EmitEvent, Event, Flow, Input, TimePolicy
from millstream.flow.library._calendar_windows import (
    HOUR_NS,
    MINUTE_NS,
    CalendarWindows,
    Given,
    Over,
    WindowsConfig,
    figure_quality,
    forget_states,
    put_state,
)
from millstream.flow.library._inputs import Inputs, Names
from millstream.flow.library._rested import Rested
from millstream.flow.library._type import FlowType, OutputName, nanoseconds, number
from millstream.protocols.cloudevents import format_time
from millstream.sdk import Duration
from millstream.shop import CATEGORIES, Category, Draw, Energy, Meter, energy, forecast_w, held, metered

POINTS_MAX = 4320  # readings, minutes of power, minutes of parts: three days, `keep` and the day that runs
DEMAND_S_MIN = 300.0  # windows are remembered for as long as they may be corrected
DOUBTS_MAX = 100  # of powers that cannot be right; the oldest go first
RECENT = 5  # the forecast goes on with the mean power of this part of the interval
OVERDUE_STEPS = 2
DEMAND = "demand"
SOURCES = {"meter", "power"}


class EnergyConfig(WindowsConfig):
    """Where the energy comes from, what is known of the meter, and over which windows."""

    names: Names
    """The tags below the place: `meter` (a total that only grows) or `power`; and where there are such, `state` (as
    `machine_state` says it) and `parts`, a total that only grows."""
    scale: float = Field(default=1.0, gt=0)
    """Wh of one unit of the meter, W of one of the power: 1000 for kWh and kW."""
    step: float = Field(default=0.0, ge=0)
    """The smallest step of the meter in its own unit: 1 where it counts whole kWh."""
    max_power: float = Field(gt=0)
    """The most that the machine can draw, in W. A meter that grows faster has jumped; a power above it is wrong."""
    gap: Duration = Field(default=300.0, ge=1, le=86_400)
    """A power holds so long at most. Readings of a meter further apart do not tell when something was drawn."""
    demand: Duration = 900.0
    """The demand interval: whole minutes, five at least, a part of an hour; 0s: none."""
    wait: Duration = Field(default=60.0, le=3600)
    """Windows are given so long behind their end: as long as the meter's next reading may take."""
    states: Mapping[str, Literal["production", "setup", "delay", "idle", "down", "planned", "unknown"]] = Field(
        default_factory=dict
    )
    """What a state counts as, where it differs from the usual. What is neither production nor unknown makes nothing."""
    known: float = Field(default=0.99, ge=0, le=1)
    """Figures are uncertain when less than this share of the time is known."""
    output: OutputName = "energy"
    """Name of the results at the same place: `energy/hour/energy`, `energy/demand/forecast` and so on."""

    @model_validator(mode="after")
    def _fits(self) -> EnergyConfig:
        if set(self.names) - {*SOURCES, "state", "parts"} or len(SOURCES & set(self.names)) != 1:
            raise ValueError("names are meter or power, one of them, and state and parts")
        if self.step and "meter" not in self.names:
            raise ValueError("step is for a meter")
        demand_ns = nanoseconds(self.demand)
        if demand_ns and (self.demand < DEMAND_S_MIN or demand_ns % MINUTE_NS or HOUR_NS % demand_ns):
            raise ValueError("demand is whole minutes, five at least, and a part of an hour, such as 15min")
        return self


class Minute(msgspec.Struct, array_like=True):
    """What was drawn in the minute that begins at `start_ns`, and of how much of it nothing is known."""

    start_ns: int
    wh: float = 0.0
    missing_ns: int = MINUTE_NS


class Consumer(msgspec.Struct, array_like=True):
    """Of one machine, within `keep`: readings of its meter (UTC ns, Wh), or minutes of its power with the newest power
    (None: nobody knows) and the newest one that came late; changes of state; minutes of parts, their newest total and
    since when it is known; powers that cannot be right; windows that were given. Of each list only what is not older
    than `since_ns` is here, the windows are asked for only when one is due or touched; how many are rested."""

    readings: list[tuple[int, float]] = []
    minutes: list[Minute] = []
    power: tuple[int, float | None] | None = None
    late: tuple[int, float | None] | None = None
    states: list[tuple[int, str]] = []
    parts: list[tuple[int, float]] = []
    total: tuple[int, float] | None = None
    counted_ns: int = 0
    doubts: list[tuple[int, str]] = []
    given: dict[str, Given] = {}
    done: dict[str, int] = {}
    gone_ns: int = 0
    restate: list[str] = []
    shown_ns: int = 0
    rested: dict[str, int] = {}
    since_ns: int = 0


class Past(msgspec.Struct, array_like=True):
    """The older part of one of a consumer's lists, or the windows that were given."""

    readings: list[tuple[int, float]] = []
    minutes: list[Minute] = []
    states: list[tuple[int, str]] = []
    parts: list[tuple[int, float]] = []
    given: dict[str, Given] = {}


class _EnergyStep:
    """The step."""

    def __init__(self, config: EnergyConfig, inputs: Inputs) -> None:
        self._config, self._inputs = config, inputs
        self._categories = {**CATEGORIES, **{name: Category(value) for name, value in config.states.items()}}
        self._gap_ns, self._demand_ns = nanoseconds(config.gap), nanoseconds(config.demand)
        self._meter = Meter(self._gap_ns, config.max_power, config.step * config.scale)
        self._windows: CalendarWindows[Consumer, Energy] = CalendarWindows(
            config, self, config.calendar(), kinds=(DEMAND,) if self._demand_ns else (),
            lengths_ns={DEMAND: self._demand_ns}, wait_ns=nanoseconds(config.wait),
        )  # fmt: skip

    def __call__(self, consumer: Consumer, event: Event) -> tuple[Consumer, Sequence[Effect]]:
        name = self._inputs.name(event) if not event.is_timer else None
        if name is None and not event.is_timer:
            return consumer, ()
        if event.pieces is None or (consumer.rested and name is not None and self._is_newest(consumer, name, event)):
            return consumer, self._take(consumer, name, event)
        woken = _RESTED.wake(consumer, event.pieces)
        effects = self._take(consumer, name, event)
        consumer.since_ns = max(consumer.since_ns, _newest_ns(consumer) // HOUR_NS * HOUR_NS)
        _RESTED.rest(consumer, event.pieces, consumer.since_ns, woken)
        return consumer, effects

    def _take(self, consumer: Consumer, name: str | None, event: Event) -> Sequence[Effect]:
        if name is None:
            return self._windows.on_timer(consumer, event)
        return self._windows.put(consumer, name, event)

    def _is_newest(self, consumer: Consumer, name: str, event: Event) -> bool:
        """It follows what is there, within the hour that is here, and nothing that was given is touched by it."""
        time_ns, done_ns = event.time_ns, max(consumer.done.values(), default=0)
        if not done_ns or consumer.restate or time_ns // HOUR_NS * HOUR_NS != consumer.since_ns:
            return False
        if self._config.live == "input" and time_ns >= consumer.shown_ns + nanoseconds(self._config.every):
            return False
        least_ns = max(done_ns, consumer.since_ns)
        if name == "meter":
            tail = consumer.readings[-3:]
            is_behind = len(tail) == 3 and tail[1][0] >= least_ns and time_ns > tail[2][0]
            return is_behind and _has_room(consumer, "readings")
        if name == "power":
            power = consumer.power
            is_behind = power is not None and least_ns <= power[0] <= time_ns
            return is_behind and _has_room(consumer, "minutes")
        return name == "parts" and time_ns - time_ns % MINUTE_NS >= least_ns and _has_room(consumer, "parts")

    # -- taking in ----------------------------------------------------------------------------------------------------

    def take(self, kept: Consumer, name: str, event: Event) -> tuple[int, int] | None:
        """Keep one input; the time of which figures may have changed."""
        is_bad = event.value is None or event.quality.is_bad
        if name == "state":
            return put_state(kept, event.time_ns, "" if is_bad else str(event.value))
        if is_bad:  # a total that comes later holds all; a power is unknown from then on
            return self._take_power(kept, event.time_ns, None) if name == "power" else None
        value = number(event.value)
        if value is None:
            raise ValueError(f"not a number: {event.value!r:.60}")
        if name == "power":
            return self._take_power(kept, event.time_ns, value * self._config.scale)
        if name == "parts":
            return _take_parts(kept, event.time_ns, value)
        return self._take_reading(kept, event.time_ns, value * self._config.scale)

    def _take_reading(self, consumer: Consumer, time_ns: int, total_wh: float) -> tuple[int, int] | None:
        """Keep a reading: the first of each minute, the newest, and those about which something is wrong."""
        readings = consumer.readings
        at = bisect_right(readings, time_ns, key=_time_of)
        if at and readings[at - 1][0] == time_ns:  # the same moment again: what came last counts
            at -= 1
            readings[at] = (time_ns, total_wh)
        elif at < len(readings):
            if at and readings[at][0] - readings[at - 1][0] <= MINUTE_NS:
                return None  # late, and the readings around it tell all to the minute
            readings.insert(at, (time_ns, total_wh))
        else:
            readings.append((time_ns, total_wh))
            if len(readings) > 2 and self._is_spare(readings[-3], readings[-2], readings[-1]):
                del readings[-2]
                at -= 1
        touched = readings[max(at - 1, 0)][0], readings[min(at + 1, len(readings) - 1)][0]
        _shorten(consumer, readings, _time_of)
        return touched

    def _is_spare(self, before: tuple[int, float], one: tuple[int, float], after: tuple[int, float]) -> bool:
        is_same_minute = before[0] // MINUTE_NS == one[0] // MINUTE_NS
        return is_same_minute and not (self._meter.step_doubt(before, one) or self._meter.step_doubt(one, after))

    def _take_power(self, consumer: Consumer, time_ns: int, watts: float | None) -> tuple[int, int]:
        if watts is not None and (doubt := self._meter.power_doubt(watts)):
            watts = None
            if (time_ns - time_ns % MINUTE_NS, doubt) not in consumer.doubts:
                consumer.doubts = [*consumer.doubts[1 - DOUBTS_MAX :], (time_ns - time_ns % MINUTE_NS, doubt)]
        if watts is not None:
            watts = max(watts, 0.0)
        before = consumer.power
        is_late = before is not None and time_ns < before[0]
        if is_late:  # counts only where nothing was known
            before, consumer.late = consumer.late, (time_ns, watts)
        else:
            consumer.power = (time_ns, watts)
        if before is None or before[0] > time_ns:
            return time_ns, time_ns + 1
        hold_ns = before[0] + self._gap_ns
        if before[1] is not None:
            self._fill(consumer, before[0], min(time_ns, hold_ns), before[1])
        return before[0], max(time_ns + 1, hold_ns)

    def _fill(self, consumer: Consumer, start_ns: int, end_ns: int, watts: float) -> None:
        minutes = consumer.minutes
        while start_ns < end_ns:
            begin_ns = start_ns - start_ns % MINUTE_NS
            over_ns = min(end_ns, begin_ns + MINUTE_NS)
            at = bisect_left(minutes, begin_ns, key=_start_of)
            if at == len(minutes) or minutes[at].start_ns != begin_ns:
                minutes.insert(at, Minute(begin_ns))
            new_ns = min(over_ns - start_ns, minutes[at].missing_ns)
            minutes[at].wh += watts * new_ns / HOUR_NS
            minutes[at].missing_ns -= new_ns
            start_ns = over_ns
        _shorten(consumer, minutes, _start_of)

    # -- giving -------------------------------------------------------------------------------------------------------

    def forget(self, kept: Consumer, gone_ns: int) -> None:
        """Let go what no correction may reach any more."""
        forget_states(kept, gone_ns)
        minute_ns = gone_ns - MINUTE_NS
        del kept.readings[: max(0, bisect_right(kept.readings, gone_ns, key=_time_of) - 1)]
        del kept.minutes[: bisect_left(kept.minutes, minute_ns, key=_start_of)]
        del kept.parts[: bisect_left(kept.parts, minute_ns, key=_time_of)]
        kept.doubts = [each for each in kept.doubts if each[0] > minute_ns]

    def figures(self, kept: Consumer, window: tuple[int, int]) -> Energy:
        """Of all the time in a window, planned or not."""
        names, known = self._config.names, self._config.known
        first, last = (bisect_left(kept.parts, at, key=_time_of) for at in window)
        late_ns = (1.0 - known) * (window[1] - window[0])
        return energy(
            self._draws(kept, window), window,
            states=kept.states if "state" in names else None, categories=self._categories,
            parts=sum(count for _, count in kept.parts[first:last]) if "parts" in names else None,
            parts_known=kept.total is not None and kept.counted_ns <= window[0] + late_ns,
            step_wh=self._meter.step_wh, share=known,
            remarks=[doubt for at, doubt in kept.doubts if window[0] <= at < window[1]],
        )  # fmt: skip

    def _draws(self, kept: Consumer, window: tuple[int, int]) -> list[Draw]:
        if "meter" in self._config.names:
            first = max(0, bisect_right(kept.readings, window[0], key=_time_of) - 1)
            return metered(kept.readings[first : bisect_left(kept.readings, window[1], key=_time_of) + 1], self._meter)
        found = []
        newest_ns, watts = kept.power or (0, None)
        first = bisect_left(kept.minutes, window[0] - window[0] % MINUTE_NS, key=_start_of)
        for minute in kept.minutes[first : bisect_left(kept.minutes, window[1], key=_start_of)]:
            end_ns = minute.start_ns + MINUTE_NS
            if minute.start_ns < newest_ns < end_ns:  # it is not over, as far as is known
                end_ns = newest_ns
            known_ns = max(0, MINUTE_NS - minute.missing_ns)
            found.append(Draw(minute.start_ns, end_ns, minute.wh, min(known_ns, end_ns - minute.start_ns)))
        if watts is not None:
            found.append(held(newest_ns, watts, newest_ns + self._gap_ns))
        return found

    def told(self, kept: Consumer, found: Energy) -> dict[str, Any]:
        """All that figures are made of."""
        return _explained(found)

    def said(self, key: str, over: Over[Energy]) -> list[Effect]:
        """A window that is over: its figures, and the event that has all they are made of."""
        data = {"window": over.kind, "revision": over.revision, **over.told}
        event = EmitEvent(self.path(key, over.kind), "millstream.energy", data, over.figures.end_ns)
        return [*self._tags(key, over.kind, over.figures, over.revision), event]

    def shown(self, kept: Consumer, key: str, window: tuple[int, int] | None, now_ns: int) -> list[Effect]:
        """The running window so far, and what the running demand interval will come to: up to the meter's newest
        reading, as long as the next one is not overdue."""
        newest_ns = min(now_ns, kept.readings[-1][0]) if kept.readings else now_ns
        until_ns = newest_ns if now_ns - newest_ns <= self._gap_ns else now_ns
        effects: list[Effect] = []
        if window is not None and until_ns > window[0]:
            effects += self._tags(key, "live", self.figures(kept, (window[0], until_ns)), 0)
        interval = self._windows.window(DEMAND, now_ns) if self._demand_ns else None
        if interval is not None:
            effects += self._forecast(kept, key, interval, until_ns, now_ns)
        return effects

    def _forecast(
        self, kept: Consumer, key: str, interval: tuple[int, int], until_ns: int, now_ns: int
    ) -> Sequence[Effect]:
        """What the interval will come to, and the share of its time so far of which it is known what was drawn."""
        over_ns = max(MINUTE_NS, self._demand_ns // RECENT)
        recent = self.figures(kept, (until_ns - over_ns, until_ns))
        so_far = self.figures(kept, (interval[0], until_ns)) if until_ns > interval[0] else None
        is_sure = all(each.is_sure(self._config.known) for each in (recent, so_far) if each is not None)
        watts = forecast_w(so_far, recent, interval)
        known = so_far.known_ns / (now_ns - interval[0]) if so_far is not None else 0.0
        return (
            self._tag(key, f"{DEMAND}/forecast", watts, now_ns, "W", is_sure=is_sure and not _is_overdue(kept, now_ns)),
            self._tag(key, f"{DEMAND}/forecast_known", known, now_ns, None, is_sure=True),
        )

    def _tags(self, key: str, kind: str, found: Energy, revision: int) -> list[Effect]:
        share, end_ns = self._config.known, found.end_ns
        tags: list[Effect] = []
        if kind == DEMAND:
            tags.append(
                self._tag(key, f"{kind}/power", found.mean_w, end_ns, "W", revision, is_sure=found.is_sure(share))
            )
        else:
            values = [("energy", found.energy_wh, found.is_sure(share))]
            if "parts" in self._config.names:
                values.append(("per_part", found.per_part_wh, found.is_part_sure(share)))
            if "state" in self._config.names:
                values.append(("idle", found.not_producing_wh, found.is_split_sure(share)))
            tags += [
                self._tag(key, f"{kind}/{name}", value, end_ns, "Wh", revision, is_sure=is_sure)
                for name, value, is_sure in values
            ]
        return [*tags, self._tag(key, f"{kind}/known", found.known, end_ns, None, revision, is_sure=True)]

    def _tag(
        self, key: str, name: str, value: float | None, time_ns: int, unit: str | None, revision: int = 0, *,
        is_sure: bool,
    ) -> Emit:  # fmt: skip
        quality = figure_quality(value, is_sure=is_sure)
        return Emit(self.path(key, name), _round(value), time_ns, "kpi", quality, unit, revision)

    def path(self, key: str, name: str) -> str:
        """Of a result."""
        return f"{key}:{self._config.output}/{name}"


def _is_overdue(consumer: Consumer, now_ns: int) -> bool:
    """The meter's next reading should have come: it is silent for longer than two of its last steps."""
    if len(consumer.readings) < 2:
        return False
    (before_ns, _), (newest_ns, _) = consumer.readings[-2:]
    return now_ns - newest_ns > OVERDUE_STEPS * max(newest_ns - before_ns, MINUTE_NS)


def _has_room(consumer: Consumer, name: str) -> bool:
    """No list gets so long that its oldest go: an hour has 60 minutes."""
    return consumer.rested.get(name, 0) + len(getattr(consumer, name)) + HOUR_NS // MINUTE_NS < POINTS_MAX


def _newest_ns(consumer: Consumer) -> int:
    newest = [each[-1][0] for each in (consumer.readings, consumer.states, consumer.parts) if each]
    return max([*newest, *(minute.start_ns for minute in consumer.minutes[-1:])], default=0)


def _take_parts(consumer: Consumer, time_ns: int, total: float) -> tuple[int, int] | None:
    before = consumer.total
    if before is not None and time_ns < before[0]:
        return None  # an older total: the newer one contains it
    consumer.total = (time_ns, total)
    if before is None:
        consumer.counted_ns = time_ns
        return None
    made = total - before[1] if total >= before[1] else total  # the counter began anew
    if not made:
        return None
    start_ns, parts = time_ns - time_ns % MINUTE_NS, consumer.parts
    if parts and parts[-1][0] == start_ns:
        parts[-1] = (start_ns, parts[-1][1] + made)
    else:
        parts.append((start_ns, made))
    _shorten(consumer, parts, _time_of)
    return start_ns, start_ns + MINUTE_NS


def _shorten(consumer: Consumer, points: list[Any], time_of: Callable[[Any], int]) -> None:
    """Windows that have lost a part of what they are made of are not corrected any more."""
    if len(points) > POINTS_MAX:
        del points[:-POINTS_MAX]
        consumer.gone_ns = max(consumer.gone_ns, time_of(points[0]))


def _explained(found: Energy) -> dict[str, Any]:
    """All that a figure is made of."""
    return {
        "start": format_time(found.start_ns), "end": format_time(found.end_ns),
        "energy_wh": _round(found.energy_wh), "known": _round(found.known), "mean_w": _round(found.mean_w),
        "spread_wh": _round(found.spread_wh), "parts": found.parts, "per_part_wh": _round(found.per_part_wh),
        "producing_wh": _round(found.producing_wh), "idle_wh": _round(found.idle_wh),
        "state_unknown_wh": _round(found.unknown_wh), "mixed_wh": _round(found.mixed_wh),
        "doubts": list(found.doubts),
    }  # fmt: skip


def _round(value: float | None) -> float | None:
    """To a millionth: a figure that differs only in how it was summed up is the same."""
    return None if value is None else round(value, 6)


def _time_of(each: tuple[int, Any]) -> int:
    return each[0]


def _start_of(minute: Minute) -> int:
    return minute.start_ns


def _divide(points: list[Any], since_ns: int) -> tuple[list[Any], list[Any]]:
    count = bisect_left(points, since_ns, key=_time_of)
    return points[:count], points[count:]


def _divide_minutes(minutes: list[Minute], since_ns: int) -> tuple[list[Minute], list[Minute]]:
    count = bisect_left(minutes, since_ns, key=_start_of)
    return minutes[:count], minutes[count:]


def _all_rest(given: dict[str, Given], _: int) -> tuple[dict[str, Given], dict[str, Given]]:
    return given, {}


_RESTED = Rested(
    {"readings": _divide, "minutes": _divide_minutes, "states": _divide, "parts": _divide, "given": _all_rest}, Past
)


def _build(name: str, inputs: tuple[Input, ...], config: EnergyConfig, *, version: int, time: TimePolicy) -> Flow[Any]:
    found = Inputs(config.names, None)
    step = _EnergyStep(config, found)
    return Flow(
        name, inputs, step, Consumer, Consumer, found.key, None, ("kpi", "event"), time, version, piece_type=Past
    )  # fmt: skip


ENERGY = FlowType(
    "energy", EnergyConfig, _build,
    "Works out the energy of each machine by shift, hour and day, and live: in all, a part, and while it made nothing, "
    "from a meter or from its power. Gives the mean power of each demand interval, and ahead what the running one will "
    "come to, for an alarm. What comes late corrects what was given. Time of which nobody knows what was drawn is "
    "told, and a meter that runs backwards or jumps is a doubt: the figures are uncertain then.",
)  # fmt: skip
