"""Windows by shift, hour and day for what flows work out of a machine: given once over, live before that, and given
again with the next revision when what comes late changes them."""

from __future__ import annotations

import datetime
import zlib
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar

import msgspec
from pydantic import Field, model_validator

from millstream.flow._model import Effect, EmitEvent, Event, SetTimer
from millstream.flow.library._type import FlowConfig, nanoseconds
from millstream.model import BAD_DATA_UNAVAILABLE, GOOD, UNCERTAIN, Quality
from millstream.protocols.cloudevents import format_time
from millstream.sdk import Duration
from millstream.shop import Calendar, Shift, parse_clock, parse_days

MINUTE_NS, HOUR_NS, DAY_NS = 60 * 10**9, 3600 * 10**9, 86_400 * 10**9
STATES_MAX = (
    2500  # changes of state that a machine may have within `keep`, so that all of it stays below what the state of
)
# a key may be; the oldest go first, and are unknown then
CORRECTED_MAX = 30  # windows that one late input may correct at once; the rest follow
WINDOWS_AT_ONCE = 20  # of each kind
AHEAD_NS = 40 * DAY_NS  # how far the next shift is looked for
QUIET_NS = MINUTE_NS  # without an input live figures are given that often
DUE, LIVE, RESTATE = "due", "live", "restate"
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


class WindowsConfig(FlowConfig):
    """Which time is planned, over which windows figures are given, and how long they are corrected."""

    timezone: str = "UTC"
    """Where the shifts' clock hangs, such as `Europe/Berlin`."""
    shifts: tuple[ShiftConfig, ...] = Field(default=(), max_length=32)
    """The planned time; without shifts all time is."""
    holidays: tuple[datetime.date, ...] = Field(default=(), max_length=1000)
    """Days on which no shift starts."""
    windows: tuple[WindowKind, ...] = Field(default=("hour",), min_length=1, max_length=3)
    """Over what: `shift`, `hour`, `day` (local). The first is also shown live."""
    every: Duration = 60.0
    """How often the live figures of the running window are given; 0s: not at all."""
    live: Literal["clock", "input"] = "clock"
    """When live figures are given: by the `clock`, or with each `input`, at most once in `every`, those that it has
    changed, and without inputs once a minute."""
    keep: Duration = Field(default=172_800.0, le=172_800)
    """So long after its end a window is corrected by what comes late, two days at most; what comes later is an
    event."""

    @model_validator(mode="after")
    def _windows_fit(self) -> WindowsConfig:
        if "shift" in self.windows and not self.shifts:
            raise ValueError("windows by shift need shifts")
        if len(set(self.windows)) < len(self.windows):
            raise ValueError("a window twice")
        if nanoseconds(self.keep) < DAY_NS:
            raise ValueError("keep is a day at least: a window of a day could not be worked out")
        for shift in self.shifts:
            shift.shift()
        return self

    def calendar(self) -> Calendar:
        """Of the shifts and holidays. Raises ConfigError."""
        return Calendar(self.timezone, [each.shift() for each in self.shifts], self.holidays)


class Given(msgspec.Struct, array_like=True):
    """A window that was given: where it ends, how often it was corrected, and a digest of its figures."""

    end_ns: int
    revision: int
    digest: int


class Kept(Protocol):
    """What the state of a machine has for this: windows that were given, up to where each kind of window was given,
    from where on corrections are possible, windows that are still to be corrected, and when live figures were given."""

    given: dict[str, Given]
    done: dict[str, int]
    gone_ns: int
    restate: list[str]
    shown_ns: int


K = TypeVar("K", bound=Kept)
KeptT_contra = TypeVar("KeptT_contra", bound=Kept, contravariant=True)
F = TypeVar("F")


@dataclass(frozen=True, slots=True)
class Over(Generic[F]):
    """A window that is over, which is given: its kind, its figures, all they are made of, and how often that was
    corrected."""

    kind: str
    figures: F
    told: dict[str, Any]
    revision: int


class Subject(Protocol[KeptT_contra, F]):
    """What is worked out over the windows."""

    def take(self, kept: KeptT_contra, name: str, event: Event) -> tuple[int, int] | None:
        """Keep one input; the time of which figures may have changed. Raises ValueError."""
        ...

    def path(self, key: str, name: str) -> str:
        """Where it says something."""
        ...

    def figures(self, kept: KeptT_contra, window: tuple[int, int]) -> F:
        """The figures of a stretch of time, UTC ns."""
        ...

    def told(self, kept: KeptT_contra, found: F) -> dict[str, Any]:
        """All that they are made of; a window is given again when this is another."""
        ...

    def said(self, key: str, over: Over[F]) -> Sequence[Effect]:
        """A window that is over."""
        ...

    def shown(self, kept: KeptT_contra, key: str, window: tuple[int, int] | None, now_ns: int) -> Sequence[Effect]:
        """The first kind's window that runs, live; None: none does, as between two shifts."""
        ...

    def forget(self, kept: KeptT_contra, gone_ns: int) -> None:
        """Let go what no correction may reach any more."""
        ...


class CalendarWindows(Generic[K, F]):
    """Gives the windows of a machine, and corrects them. `kinds` are in the order in which they are given; what is no
    shift, hour or day has its length in `lengths_ns`, a part of an hour. They are given `wait_ns` behind their end."""

    def __init__(
        self, config: WindowsConfig, subject: Subject[K, F], calendar: Calendar, *,
        kinds: Sequence[str] = (), lengths_ns: Mapping[str, int] | None = None, wait_ns: int = 0,
    ) -> None:  # fmt: skip
        self._subject, self._calendar = subject, calendar
        self._kinds = (*config.windows, *kinds)
        self._lengths_ns = {"hour": HOUR_NS, **(lengths_ns or {})}
        self._keep_ns, self._every_ns, self._wait_ns = nanoseconds(config.keep), nanoseconds(config.every), wait_ns
        self._is_by_input = config.live == "input"
        self._found: dict[str, tuple[int, int]] = {}  # the window of each kind that was asked for last

    def put(self, kept: K, name: str, event: Event) -> list[Effect]:
        """Take one input: it corrects what was given, or is told when it comes too late for that."""
        if event.time_ns < kept.gone_ns:
            return [late_input(self._subject.path(event.key, "late"), event)]
        touched = self._subject.take(kept, name, event)
        effects = self.correct(kept, event.key, touched) if touched is not None else []
        effects += self._begin(kept, event.time_ns)
        return [*effects, *self._show(kept, event)] if self._is_by_input and self._every_ns else effects

    def _begin(self, kept: K, time_ns: int) -> list[Effect]:
        """With the first input of a machine its windows begin."""
        if kept.done:
            return []
        kept.done = dict.fromkeys(self._kinds, time_ns)
        return [*self._due_timer(kept), *self._live_timer(time_ns)]

    def _show(self, kept: K, event: Event) -> Sequence[Effect]:
        """Live figures with an input, unless some were given just now: then in a moment."""
        due_ns = kept.shown_ns + self._every_ns
        if event.time_ns < due_ns:
            return [SetTimer(LIVE, due_ns)]
        kept.shown_ns = event.time_ns
        return [*self._live(kept, event.key, event.time_ns), *self._live_timer(event.time_ns)]

    def on_timer(self, kept: K, event: Event) -> list[Effect]:
        """Give what is due."""
        if event.timer == RESTATE:
            return self._restate(kept, event.key)
        if event.timer == LIVE:
            kept.shown_ns = event.time_ns
            return [*self._live(kept, event.key, event.time_ns), *self._live_timer(event.time_ns)]
        effects: list[Effect] = []
        for kind in self._kinds:
            for _ in range(WINDOWS_AT_ONCE):  # behind a long silence the next call gives the next ones
                window = self.window(kind, kept.done[kind])
                if window is None or window[1] + self._wait_ns > event.time_ns:
                    break
                kept.done[kind] = window[1]
                effects += self._give(kept, event.key, kind, window)
        self._forget(kept)
        return [*effects, *self._due_timer(kept)]

    def correct(self, kept: K, key: str, touched: tuple[int, int]) -> list[Effect]:
        """Give the windows again whose figures a late input has changed."""
        if not kept.restate and touched[0] >= max(kept.done.values(), default=0):
            return []  # no window that was given is as young
        found = []
        for name, given in kept.given.items():
            start_ns = int(name.partition(" ")[2])
            if start_ns < touched[1] and touched[0] < given.end_ns and start_ns >= kept.gone_ns:
                found.append(name)
        kept.restate = list(dict.fromkeys([*kept.restate, *found]))
        return self._restate(kept, key)

    def window(self, kind: str, after_ns: int) -> tuple[int, int] | None:
        """The first window that ends behind `after_ns`."""
        known = self._found.get(kind)  # that of all machines, mostly
        if known is not None and known[0] <= after_ns < known[1]:
            return known
        found = self._window(kind, after_ns)
        if found is not None:
            self._found[kind] = found
        return found

    def _window(self, kind: str, after_ns: int) -> tuple[int, int] | None:
        if kind == "shift":
            spans = self._calendar.spans(after_ns, after_ns + AHEAD_NS)
            return (spans[0].start_ns, spans[0].end_ns) if spans else None
        day_ns, next_day_ns = self._calendar.day(after_ns)
        if kind == "day":
            return day_ns, next_day_ns
        length_ns = self._lengths_ns[kind]
        start_ns = after_ns - (after_ns - day_ns) % length_ns
        return start_ns, start_ns + length_ns

    def _due_timer(self, kept: K) -> list[Effect]:
        windows = [self.window(kind, kept.done[kind]) for kind in self._kinds]
        ends = [window[1] for window in windows if window is not None]
        if not ends:  # holidays for weeks: look again
            ends = [max(kept.done.values()) + AHEAD_NS]
        return [SetTimer(DUE, min(ends) + self._wait_ns)]

    def _live_timer(self, now_ns: int) -> list[Effect]:
        if not self._every_ns:
            return []
        if self._is_by_input:
            return [SetTimer(LIVE, now_ns + max(self._every_ns, QUIET_NS))]
        return [SetTimer(LIVE, now_ns - now_ns % self._every_ns + self._every_ns)]

    def _live(self, kept: K, key: str, now_ns: int) -> Sequence[Effect]:
        window = self.window(self._kinds[0], now_ns)
        if window is not None and not window[0] < now_ns < window[1]:
            window = None
        return self._subject.shown(kept, key, window, now_ns)

    def _give(self, kept: K, key: str, kind: str, window: tuple[int, int]) -> Sequence[Effect]:
        found = self._subject.figures(kept, window)
        told = self._subject.told(kept, found)
        kept.given[f"{kind} {window[0]}"] = Given(window[1], 0, _digest(told))
        return self._subject.said(key, Over(kind, found, told, 0))

    def _restate(self, kept: K, key: str) -> list[Effect]:
        effects: list[Effect] = []
        for name in kept.restate[:CORRECTED_MAX]:
            given = kept.given.get(name)
            if given is None:
                continue
            kind, _, start = name.partition(" ")
            found = self._subject.figures(kept, (int(start), given.end_ns))
            told = self._subject.told(kept, found)
            digest = _digest(told)
            if digest != given.digest:
                given.revision, given.digest = given.revision + 1, digest
                effects += self._subject.said(key, Over(kind, found, told, given.revision))
        del kept.restate[:CORRECTED_MAX]
        if kept.restate:
            effects.append(SetTimer(RESTATE, max(kept.done.values())))
        return effects

    def _forget(self, kept: K) -> None:
        gone_ns = min(kept.done.values()) - self._keep_ns
        if gone_ns <= kept.gone_ns:
            return
        kept.gone_ns = gone_ns
        self._subject.forget(kept, gone_ns)
        kept.given = {name: given for name, given in kept.given.items() if given.end_ns > gone_ns}


class KeptStates(Kept, Protocol):
    """The same of a machine with changes of state."""

    states: list[tuple[int, str]]


def put_state(kept: KeptStates, time_ns: int, state: str) -> tuple[int, int]:
    """Keep a change of state, also one that is told late; the time of which figures may have changed."""
    states = kept.states
    at = bisect_right(states, time_ns, key=_time_of)
    if at and states[at - 1][0] == time_ns:  # the same moment again: what came last counts
        states[at - 1] = (time_ns, state)
        at -= 1
    else:  # the same state again is kept too: another one may still come in between
        states.insert(at, (time_ns, state))
    end_ns = states[at + 1][0] if at + 1 < len(states) else max(kept.done.values(), default=time_ns)
    before = max(at - 1, 0)  # this one lasted shorter than was thought
    while before and states[before - 1][1] == states[before][1]:
        before -= 1
    begun_ns = states[before][0]
    if len(states) > STATES_MAX:
        del states[: STATES_MAX // 10]
        kept.gone_ns = max(kept.gone_ns, states[0][0])
    return begun_ns, max(end_ns, time_ns + 1)


def forget_states(kept: KeptStates, gone_ns: int) -> None:
    """Let the older ones go; the one that lasts into the rest stays."""
    del kept.states[: max(0, bisect_right(kept.states, gone_ns, key=_time_of) - 1)]


def late_input(path: str, event: Event) -> EmitEvent:
    """An input that comes too late to correct anything is told."""
    data = {"value": event.value, "source": event.source, "time": format_time(event.time_ns)}
    return EmitEvent(path, "millstream.flow.late", data, event.time_ns)


def figure_quality(value: float | None, *, is_sure: bool) -> Quality:
    """Of a figure: bad without a value, uncertain when it is not sure."""
    if value is None:
        return BAD_DATA_UNAVAILABLE
    return GOOD if is_sure else UNCERTAIN


def _digest(told: dict[str, Any]) -> int:
    return zlib.crc32(msgspec.json.encode(told))


def _time_of(change: tuple[int, str]) -> int:
    return change[0]
