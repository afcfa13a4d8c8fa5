"""Shifts in local time: over midnight, over both changes of the clock, holidays, breaks, and what cannot be."""

from __future__ import annotations

import datetime

import pytest

from millstream.kernel import ConfigError
from millstream.shop import Calendar, Shift, parse_clock, parse_days

HOUR = 3600 * 10**9


def ns(text: str) -> int:
    """UTC."""
    return int(datetime.datetime.fromisoformat(text + "+00:00").timestamp()) * 10**9


def hours(calendar: Calendar, start: str, end: str) -> list[tuple[str, str, float]]:
    """Name, local day and length of the shifts that have a part in the time."""
    return [(s.name, str(s.day), (s.end_ns - s.start_ns) / HOUR) for s in calendar.spans(ns(start), ns(end))]


EARLY, LATE = Shift("early", 360, 840), Shift("late", 840, 1320)
NIGHT = Shift("night", 1320, 360, days=(6, 0, 1, 2, 3))
THREE = Calendar("Europe/Berlin", (EARLY, LATE, NIGHT))


def test_a_night_shift_ends_on_the_next_day_and_belongs_to_the_day_on_which_it_starts() -> None:
    assert hours(THREE, "2026-06-01T22:00", "2026-06-02T05:00") == [
        ("night", "2026-06-01", 8.0), ("early", "2026-06-02", 8.0),
    ]  # fmt: skip
    assert hours(THREE, "2026-06-06T04:00", "2026-06-07T19:00") == []  # Saturday and Sunday, until the night shift
    assert hours(THREE, "2026-06-07T19:00", "2026-06-07T21:00") == [("night", "2026-06-07", 8.0)]


def test_the_night_of_a_changed_clock_is_an_hour_shorter_or_longer() -> None:
    nights = Calendar("Europe/Berlin", (Shift("night", 1320, 360, days=(5,)),))
    assert hours(nights, "2026-03-28T12:00", "2026-03-29T12:00") == [("night", "2026-03-28", 7.0)]
    assert hours(nights, "2026-10-24T12:00", "2026-10-25T12:00") == [("night", "2026-10-24", 9.0)]
    assert [(b - a) / HOUR for a, b in (nights.day(ns("2026-03-29T12:00")), nights.day(ns("2026-10-25T12:00")))] == [
        23.0, 25.0,
    ]  # fmt: skip


def test_a_shift_that_begins_in_the_hour_that_does_not_exist_begins_behind_the_change() -> None:
    calendar = Calendar("Europe/Berlin", (Shift("odd", 150, 360, days=(6,)),))
    (span,) = calendar.spans(ns("2026-03-29T00:00"), ns("2026-03-29T12:00"))
    assert (span.start_ns, span.end_ns) == (ns("2026-03-29T01:30"), ns("2026-03-29T04:00"))


def test_holidays_and_breaks_are_not_planned() -> None:
    shift = Shift("day", 480, 960, breaks=((720, 750), (600, 615)))
    calendar = Calendar("UTC", (shift,), (datetime.date(2026, 12, 25),))
    assert calendar.planned(ns("2026-12-25T00:00"), ns("2026-12-26T00:00")) == []
    planned = calendar.planned(ns("2026-12-24T09:00"), ns("2026-12-24T15:00"))
    assert planned == [
        (ns("2026-12-24T09:00"), ns("2026-12-24T10:00")), (ns("2026-12-24T10:15"), ns("2026-12-24T12:00")),
        (ns("2026-12-24T12:30"), ns("2026-12-24T15:00")),
    ]  # fmt: skip


def test_a_break_of_a_night_shift_may_lie_on_the_next_day() -> None:
    calendar = Calendar("UTC", (Shift("night", 1320, 360, days=(0,), breaks=((120, 150), (330, 360))),))
    (span,) = calendar.spans(ns("2026-06-01T00:00"), ns("2026-06-03T00:00"))
    assert span.planned == (
        (ns("2026-06-01T22:00"), ns("2026-06-02T02:00")), (ns("2026-06-02T02:30"), ns("2026-06-02T05:30")),
    )  # fmt: skip


def test_without_shifts_all_time_is_planned() -> None:
    assert Calendar("UTC").planned(3, 8) == [(3, 8)]
    assert Calendar("UTC").planned(8, 3) == []


@pytest.mark.parametrize(
    "shifts",
    [
        (EARLY, Shift("other", 830, 900)),
        (EARLY, Shift("early too", 360, 840, days=(4,))),
        (Shift("sunday night", 1320, 420, days=(6,)), EARLY),  # into Monday
        (Shift("day and night", 0, 0, days=(0, 1)), EARLY),
    ],
    ids=["minutes", "one day", "over the end of the week", "a whole day"],
)
def test_shifts_that_overlap_are_refused(shifts: tuple[Shift, ...]) -> None:
    with pytest.raises(ConfigError, match="overlap"):
        Calendar("UTC", shifts)


def test_a_wrong_zone_a_break_outside_and_too_long_a_time_are_refused() -> None:
    with pytest.raises(ConfigError, match="Europe/Berlin"):
        Calendar("Europe/Berlyn")
    with pytest.raises(ConfigError, match="break"):
        Calendar("UTC", (Shift("day", 480, 960, breaks=((470, 490),)),))
    with pytest.raises(ConfigError, match="too many"):
        THREE.spans(ns("1971-01-01T00:00"), ns("2026-01-01T00:00"))


def test_days_and_times_of_the_day_are_read() -> None:
    assert parse_days("mon-fri") == (0, 1, 2, 3, 4)
    assert parse_days("sat-mon, wed") == (0, 2, 5, 6)
    assert parse_days("daily") == tuple(range(7))
    assert [parse_clock(t) for t in ("06:00", "6:30", "00:00", "24:00")] == [360, 390, 0, 0]
    for text in ("6", "24:01", "12:60", "-1:00", "ab:cd", "1:2"):
        with pytest.raises(ValueError, match="time of the day"):
            parse_clock(text)
    for text in ("", "monday", "mon-", "mon--fri"):
        with pytest.raises(ValueError, match="days of the week"):
            parse_days(text)
