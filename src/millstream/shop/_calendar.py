"""Shifts and holidays as a plant writes them down, in local time, and the UTC spans that follow from them. Pure."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from millstream.kernel import ConfigError

SECOND_NS = 1_000_000_000
MINUTES_OF_DAY, MINUTES_OF_WEEK = 1440, 10080
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
SPANS_MAX = 20_000  # of one question: three shifts a day for eighteen years
_UTC_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


@dataclass(frozen=True, slots=True)
class Shift:
    """A shift of every week. `start` and `end` are minutes of the local day; an `end` not behind the `start` is on the
    next day. `days` are those on which it starts, 0 is Monday. `breaks` are planned pauses, (start, end) likewise."""

    name: str
    start: int
    end: int
    days: tuple[int, ...] = (0, 1, 2, 3, 4)
    breaks: tuple[tuple[int, int], ...] = ()

    @property
    def minutes(self) -> int:
        """Its length on a day without a change of the clock."""
        return (self.end - self.start - 1) % MINUTES_OF_DAY + 1


@dataclass(frozen=True, slots=True)
class ShiftSpan:
    """One shift of one day, UTC ns. `day` is the local date on which it starts. `planned` is its time less breaks."""

    name: str
    day: datetime.date
    start_ns: int
    end_ns: int
    planned: tuple[tuple[int, int], ...]


class Calendar:
    """Which time is planned. Without shifts all of it is. Raises ConfigError for an unknown zone, for shifts that
    overlap, and for a break outside its shift."""

    def __init__(self, zone: str, shifts: Sequence[Shift] = (), holidays: Sequence[datetime.date] = ()) -> None:
        try:
            self._zone = ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ConfigError(
                "unknown time zone", expected='a name of the IANA list, for example "Europe/Berlin"', got=repr(zone)
            ) from error
        self.shifts = tuple(shifts)
        self._holidays = frozenset(holidays)
        for shift in self.shifts:
            for start, end in shift.breaks:
                if not 0 <= _behind(shift.start, start) < _behind(shift.start, end, of_end=True) <= shift.minutes:
                    raise ConfigError(
                        "a break outside its shift", where=shift.name, got=f"{clock(start)} to {clock(end)}"
                    )
        self._refuse_overlaps()

    def _refuse_overlaps(self) -> None:
        spans = sorted(
            (day * MINUTES_OF_DAY + shift.start, day * MINUTES_OF_DAY + shift.start + shift.minutes, shift.name)
            for shift in self.shifts
            for day in shift.days
        )
        if not spans:
            return
        first, _, name = spans[0]  # the week is a circle: Sunday's night shift may meet Monday's early one
        around = [*spans, (first + MINUTES_OF_WEEK, first + MINUTES_OF_WEEK, name)]
        for (_, end, one), (start, _, other) in pairwise(around):
            if start < end:
                day = WEEKDAYS[start // MINUTES_OF_DAY % 7]
                raise ConfigError(
                    "shifts overlap", where=f"{one} and {other}", got=f"{day} {clock(start % MINUTES_OF_DAY)}",
                    next_step="let one end where the next begins",
                )  # fmt: skip

    def day(self, time_ns: int) -> tuple[int, int]:
        """The local day that holds this time, as UTC ns: 23 to 25 hours."""
        local = self._local(time_ns).date()
        return self._at(local, 0), self._at(local + datetime.timedelta(days=1), 0)

    def date(self, time_ns: int) -> datetime.date:
        """The local date of this time."""
        return self._local(time_ns).date()

    def spans(self, start_ns: int, end_ns: int) -> list[ShiftSpan]:
        """The shifts that have a part in [start_ns, end_ns), in order. Raises ConfigError for too long a time."""
        if not self.shifts or end_ns <= start_ns:
            return []
        day = self._local(start_ns).date() - datetime.timedelta(days=1)
        last = self._local(end_ns - 1).date()
        if (last - day).days * len(self.shifts) > SPANS_MAX:
            raise ConfigError("too many shifts at once", expected=f"at most {SPANS_MAX}", got=f"{day} to {last}")
        found = []
        while day <= last:
            if day not in self._holidays:
                found += [self._span(shift, day) for shift in self.shifts if day.weekday() in shift.days]
            day += datetime.timedelta(days=1)
        return sorted((s for s in found if s.start_ns < end_ns and s.end_ns > start_ns), key=lambda s: s.start_ns)

    def planned(self, start_ns: int, end_ns: int) -> list[tuple[int, int]]:
        """The planned time in [start_ns, end_ns): shifts without breaks and holidays; all of it without shifts."""
        if not self.shifts:
            return [(start_ns, end_ns)] if start_ns < end_ns else []
        parts = [part for span in self.spans(start_ns, end_ns) for part in span.planned]
        clipped = [(max(start, start_ns), min(end, end_ns)) for start, end in parts]
        return [(start, end) for start, end in clipped if start < end]

    def _span(self, shift: Shift, day: datetime.date) -> ShiftSpan:
        start_ns = self._at(day, shift.start)
        end_ns = self._at(day, shift.start + shift.minutes)
        planned, at_ns = [], start_ns
        for begin, end in sorted(shift.breaks, key=lambda each: _behind(shift.start, each[0])):
            pause_ns = self._at(day, shift.start + _behind(shift.start, begin))
            if pause_ns > at_ns:
                planned.append((at_ns, pause_ns))
            at_ns = self._at(day, shift.start + _behind(shift.start, end, of_end=True))
        if end_ns > at_ns:
            planned.append((at_ns, end_ns))
        return ShiftSpan(shift.name, day, start_ns, end_ns, tuple(planned))

    def _at(self, day: datetime.date, minute: int) -> int:
        """UTC ns of a wall clock's time; `minute` may lie behind the end of the day. A time that the clock leaves out
        lies behind the change; of one that comes twice the first counts."""
        whole = day + datetime.timedelta(days=minute // MINUTES_OF_DAY)
        time = datetime.time(minute % MINUTES_OF_DAY // 60, minute % 60)
        local = datetime.datetime.combine(whole, time, self._zone)
        return round((local - _UTC_EPOCH) / datetime.timedelta(seconds=1)) * SECOND_NS

    def _local(self, time_ns: int) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(time_ns // SECOND_NS, self._zone)


def _behind(start: int, minute: int, *, of_end: bool = False) -> int:
    """How many minutes behind the start of a shift; an end that is its start is a day behind."""
    found = (minute - start) % MINUTES_OF_DAY
    return MINUTES_OF_DAY if of_end and not found else found


def clock(minute: int) -> str:
    """Minutes of a day as ``06:00``."""
    return f"{minute // 60 % 24:02}:{minute % 60:02}"


def parse_clock(text: str) -> int:
    """``06:00`` as minutes of the day; ``24:00`` is 0 of the next. Raises ValueError."""
    hours, _, minutes = text.partition(":")
    is_number = hours.isascii() and hours.isdigit() and minutes.isascii() and minutes.isdigit()
    if not is_number or len(hours) > 2 or len(minutes) != 2 or int(minutes) > 59 or int(hours + minutes) > 2400:
        raise ValueError(f"not a time of the day: {text!r}, expected for example 06:00")
    return (int(hours) * 60 + int(minutes)) % MINUTES_OF_DAY


def parse_days(text: str) -> tuple[int, ...]:
    """``mon-fri``, ``sat,sun`` or ``daily`` as weekdays, 0 is Monday. A range may go over the end of the week. Raises
    ValueError."""
    found: set[int] = set()
    for part in text.replace(" ", "").lower().replace("daily", "mon-sun").split(","):
        first, dash, last = part.partition("-")
        if first not in WEEKDAYS or (dash and last not in WEEKDAYS):
            raise ValueError(f"not days of the week: {text!r}, expected for example mon-fri or sat,sun")
        start = WEEKDAYS.index(first)
        count = (WEEKDAYS.index(last or first) - start) % 7 + 1
        found |= {(start + n) % 7 for n in range(count)}
    return tuple(sorted(found))
