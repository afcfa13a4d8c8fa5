"""OEE of lines and of longer times: what windows of the flow `oee` come to together is what all of it at once gives."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from millstream.flow import Input, Tick, TimePolicy, drive
from millstream.flow.library import FLOW_TYPES
from millstream.protocols.cloudevents import format_time, parse_time_ns
from millstream.protocols.uns_payload import encode_sample
from millstream.sdk import Received
from millstream.shop import (
    Calendar,
    Made,
    OeeWindow,
    Shift,
    chosen_windows,
    clip,
    figures,
    oee_by_place,
    oee_total,
    read_window,
)

MIN, HOUR, DAY = 60 * 10**9, 3600 * 10**9, 86_400 * 10**9
BASE = parse_time_ns("2026-03-28T23:00:00Z")  # midnight in Berlin, of the day of 23 hours
ZONE = "Europe/Berlin"
STATES = ("Execute", "Held", "Aborted", "Idle", "Planned", "Unknown", "Setup")
SHIFT = {
    "name": "early", "start": "06:00", "end": "14:00", "days": "daily", "breaks": [{"start": "09:00", "end": "09:30"}],
}  # fmt: skip
Changes = Sequence[tuple[int, Any]]


def told_of(place: str, states: Changes, totals: Changes, hours: int, **config: Any) -> list[OeeWindow]:
    """The windows that the flow tells of a machine, those that were given again too; states come an hour late."""
    arrivals = [(t + HOUR * (n % 3 == 1), t, "state", value) for n, (t, value) in enumerate(states)]
    arrivals += [(t, t, "parts", value) for t, value in totals]
    items: list[Any] = []
    for number, (_, time_ns, name, value) in enumerate(sorted(arrivals), 1):
        contract = "state" if name == "state" else "count"
        payload = encode_sample(value, quality=0, source_time_ns=time_ns, ingest_time_ns=time_ns)
        items.append(Received(f"uns.v1.{place.replace('/', '.')}._{contract}.{name}", payload, None, number, 0))
    settings = {
        "names": {"state": "state", "produced": "parts"}, "ideal_cycle": "45s", "timezone": ZONE, "shifts": [SHIFT],
        "windows": ["hour", "shift", "day"], "every": "0s", **config,
    }  # fmt: skip
    flow = FLOW_TYPES["oee"].make(
        "oee", [Input("acme/**", "state"), Input("acme/**", "count")], settings, time=TimePolicy()
    )
    outcome = drive(flow, [*items, Tick(BASE + (hours + 1) * HOUR)])
    assert not outcome.rejected
    return [
        read_window(place, msgspec.json.decode(m.payload)) for m in outcome.messages if "._event.oee." in m.subject
    ]  # fmt: skip


def days(seed: int, hours: int) -> tuple[Changes, Changes]:
    """States and totals of a machine."""
    rng = random.Random(seed)
    moments = sorted(rng.sample(range(1, hours * 60), 2 * hours))
    states = [(BASE, "Execute"), *((BASE + m * MIN + 7, rng.choice(STATES)) for m in moments)]
    parts = sorted(rng.sample(range(hours * 60), 5 * hours))
    return states, [(BASE + m * MIN + 11, 3 * n) for n, m in enumerate(parts)]


@pytest.mark.parametrize(
    ("first", "last"), [(0, 23), (5, 20), (0, 47), (23, 47)], ids=["short", "part", "two", "second"]
)
def test_hours_come_to_what_all_of_it_at_once_gives_also_where_the_clock_changes(first: int, last: int) -> None:
    states, totals = days(1, 48)
    start_ns, end_ns = BASE + first * HOUR, BASE + last * HOUR
    windows = chosen_windows(told_of("acme/p1/l1/press", states, totals, 48), start_ns, end_ns)
    found = oee_total(windows, start_ns, end_ns)
    planned = Calendar(ZONE, [Shift("early", 360, 840, tuple(range(7)), ((540, 570),))]).planned(start_ns, end_ns)
    made = sum(3 for t, n in totals if n and clip(planned, t, t + 1))
    at_once = figures(
        states, planned, Made(made, 0, made * 45e9), (start_ns, end_ns), small_stop_ns=5 * MIN
    )  # fmt: skip
    assert (found["planned_s"], found["produced"]) == (at_once.planned_ns / 1e9, made)
    for name in ("oee", "availability", "performance", "quality", "teep", "known"):
        assert found[name] == pytest.approx(getattr(at_once, name)), name
    assert (found["failures"], found["small_stops"]) == (at_once.failures, at_once.small_stops)
    assert (found["failures"] > 0) is (first < 23), "there is something to see"
    for name in ("mtbf", "mttr"):
        assert (found[f"{name}_s"] or 0) == pytest.approx((getattr(at_once, f"{name}_ns") or 0) / 1e9), name
    stops = ("failures", "setup", "idling", "small_stops")
    assert {n: found["losses_s"].get(n, 0.0) for n in stops} == pytest.approx(
        {n: at_once.losses_ns()[n] / 1e9 for n in stops}
    )
    assert found["covered"] == 1.0


def hour(place: str, number: int, *, produced: float = 60, ideal_s: float = 3600, **more: Any) -> OeeWindow:
    data = {
        "window": "hour", "start": format_time(BASE + number * HOUR), "end": format_time(BASE + (number + 1) * HOUR),
        "planned_s": 3600, "spent_s": {"production": 3600}, "produced": produced, "rejected": 0, "ideal_s": ideal_s,
        "losses_s": {}, "small_stops": 0, "failures": 0, "doubts": [],
    }  # fmt: skip
    return read_window(place, data | more)


def test_a_line_is_its_machines_together_and_the_plant_its_lines() -> None:
    told = [
        hour("acme/p1/l1/press", 0, spent_s={"production": 2700, "down": 900}, ideal_s=2700, rejected=6, failures=3),
        hour("acme/p1/l1/saw", 0, produced=600, ideal_s=1800, rejected=600),  # many quick parts, none of them good
        hour("acme/p1/l2/mill", 0, spent_s={"production": 900, "planned": 1800, "unknown": 900}, ideal_s=450),
    ]
    windows = chosen_windows(told, BASE, BASE + HOUR)
    lines = {place: oee_total(each, BASE, BASE + HOUR) for place, each in oee_by_place(windows, 3).items()}
    first = lines["acme/p1/l1"]
    assert (first["machines"], first["availability"], first["performance"]) == (2, 6300 / 7200, 4500 / 6300)
    assert (first["quality"], first["oee"]) == (0.9 * 2700 / 4500, 0.9 * 2700 / 7200)
    assert first["oee"] == pytest.approx(first["availability"] * first["performance"] * first["quality"])
    assert (first["mttr_s"], first["mtbf_s"], first["is_sure"]) == (300, 2100, True)
    second = lines["acme/p1/l2"]
    assert (second["busy_s"], second["known"], second["is_sure"]) == (900, 0.75, False)
    (plant,) = oee_by_place(windows, 2).values()
    whole = oee_total(plant, BASE, BASE + HOUR)
    assert (whole["machines"], whole["oee"]) == (3, (0.9 * 2700 + 450) / 8100)
    assert whole["teep"] == (0.9 * 2700 + 450) / (3 * 3600 - 900)


def test_the_newest_revision_counts_a_hole_is_told_and_so_is_a_doubt() -> None:
    place = "acme/p1/l1/press"
    told = [hour(place, 0), hour(place, 2), hour(place, 0, produced=30, ideal_s=1800, revision=1)]
    found = oee_total(chosen_windows(told, BASE, BASE + 3 * HOUR), BASE, BASE + 3 * HOUR)
    assert (found["produced"], found["windows"], found["covered"], found["is_sure"]) == (90, 2, 2 / 3, False)
    cut = chosen_windows(told, BASE + MIN, BASE + 3 * HOUR)
    assert [window.start_ns for window in cut[place]] == [BASE + 2 * HOUR], "a part of a window says nothing of itself"
    odd = oee_total(chosen_windows([hour(place, 0, doubts=["it was faster"])], BASE, BASE + HOUR), BASE, BASE + HOUR)
    assert (odd["is_sure"], odd["doubts"][0]["path"], odd["doubts_count"]) == (False, place, 1)


def test_windows_that_lie_over_one_another_count_once_and_the_running_one_behind_them() -> None:
    place = "acme/p1/l1/press"
    day = {"window": "day", "end": format_time(BASE + DAY)}
    hours = [hour(place, n) for n in range(24)]
    live = hour(place, 24, window="live", end=format_time(BASE + DAY + HOUR // 2), produced=7)
    told = [*hours, hour(place, 0, **day), live, hour(place, 3, window="live")]
    found = chosen_windows(told, BASE, BASE + DAY + HOUR)[place]
    assert ([window.told.window for window in found], found[-1]) == (["day", "live"], live), "as much, and not cut"
    found = chosen_windows([*hours, live], BASE, BASE + DAY + HOUR)[place]
    assert (len(found), {window.told.window for window in found}, found[-1]) == (25, {"hour", "live"}, live)
    found = chosen_windows([hour(place, 3), hour(place, 0, **day)], BASE, BASE + DAY + HOUR)[place]
    assert [window.told.window for window in found] == ["day"], "it tells more of the time"
    shift = hour(place, 0, window="live", end=format_time(BASE + 5 * HOUR // 2))
    assert chosen_windows([hour(place, 0), hour(place, 1), shift], BASE, BASE + 3 * HOUR)[place] == [shift]


def test_between_shifts_nothing_is_missing_and_all_of_it_counts_for_teep() -> None:
    told = [hour("acme/p1/press", n, window="shift") for n in (0, 9)]
    found = oee_total(chosen_windows(told, BASE, BASE + 10 * HOUR), BASE, BASE + 10 * HOUR)
    assert (found["covered"], found["oee"], found["teep"]) == (1.0, 1.0, 0.2)


@pytest.mark.parametrize("wrong", [{}, {"window": "hour"}, None, [1]])
def test_what_is_no_window_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="not a window"):
        read_window("acme/p1", wrong)
