"""Energy: an hour by hand, meters that cannot be right, what is told too seldom, and how a demand interval goes on."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.flow import Event, Input, TimePolicy, drive, with_ticks
from millstream.flow.library import FLOW_TYPES
from millstream.model import Quality
from millstream.protocols.cloudevents import parse_time_ns
from millstream.protocols.uns_payload import decode_sample, encode_sample
from millstream.sdk import Received
from millstream.shop import Draw, Meter, energy, forecast_w, held, metered

MIN = 60 * 10**9
HOUR = (0, 60 * MIN)
METER = Meter(gap_ns=20 * MIN, max_w=30_000)
QUARTERS = [(0, 1000.0), (15 * MIN, 4000.0), (30 * MIN, 7000.0), (45 * MIN, 8000.0), (60 * MIN, 9000.0)]


def test_an_hour_by_hand() -> None:
    """8 kWh, of which 2 were drawn in the half hour in which nothing was made; 80 parts."""
    found = energy(metered(QUARTERS, METER), HOUR, states=[(0, "Execute"), (30 * MIN, "Idle")], parts=80)
    assert (found.energy_wh, found.producing_wh, found.not_producing_wh, found.unknown_wh) == (8000, 6000, 2000, 0)
    assert (found.known, found.mean_w, found.per_part_wh, found.doubts) == (1.0, 8000, 100, ())
    assert found.is_sure(0.99)
    assert found.is_split_sure(0.99)


@pytest.mark.parametrize(
    ("wrong_wh", "doubts"), [(0.0, ("the meter ran backwards",)), (9e6, ("the meter jumped",))], ids=["back", "jump"]
)
def test_a_meter_that_cannot_be_right_is_a_doubt_and_not_counted(wrong_wh: float, doubts: tuple[str, ...]) -> None:
    readings = [*QUARTERS[:3], (45 * MIN, wrong_wh), (60 * MIN, wrong_wh + 1000)]
    found = energy(metered(readings, METER), HOUR)
    assert (found.energy_wh, found.known, found.doubts) == (7000, 0.75, doubts)
    assert not found.is_sure(0.0), "a doubt is never sure, however little has to be known"


def test_one_wrong_reading_is_two_doubts() -> None:
    readings = [*QUARTERS[:2], (20 * MIN, 9e6), *QUARTERS[2:]]
    assert energy(metered(readings, METER), HOUR).doubts == ("the meter jumped", "the meter ran backwards")


def test_what_the_steps_of_a_coarse_meter_hide_is_a_doubt() -> None:
    coarse = Meter(gap_ns=20 * MIN, max_w=10_000, step_wh=1000)
    readings = [(0, 0.0), (MIN, 1000.0), (15 * MIN, 2000.0)]
    assert [draw.doubt for draw in metered(readings, coarse)] == ["", ""], "a step within a minute is no jump"
    found = energy(metered(readings, coarse), (0, 15 * MIN), step_wh=1000)
    assert found.doubts == ("the meter's steps are coarse for so little energy",)
    assert energy([Draw(0, 15 * MIN, 200_000, 15 * MIN)], (0, 15 * MIN), step_wh=1000).doubts == ()


def test_of_readings_too_far_apart_the_whole_is_known_and_the_parts_are_not() -> None:
    draws = metered([(0, 0.0), (120 * MIN, 4000.0)], METER)
    whole, first = energy(draws, (0, 120 * MIN)), energy(draws, HOUR)
    assert (whole.energy_wh, whole.known, whole.spread_wh) == (4000, 1.0, 0)
    assert (first.energy_wh, first.known, first.spread_wh) == (None, 0.0, 2000)


def test_energy_of_a_state_that_nobody_knows_is_not_called_idle() -> None:
    draws = metered(QUARTERS, METER)
    found = energy(draws, HOUR, states=[(30 * MIN, "Idle"), (45 * MIN, "Unknown")])
    assert (found.unknown_wh, found.not_producing_wh) == (7000, 1000)
    assert (found.is_sure(0.99), found.is_split_sure(0.99)) == (True, False)


def test_a_state_that_changes_between_the_readings_makes_its_share_uncertain() -> None:
    found = energy(metered(QUARTERS, METER), HOUR, states=[(0, "Execute"), (10 * MIN, "Idle")])
    assert (found.mixed_wh, found.is_sure(0.99), found.is_split_sure(0.99)) == (3000, True, False)
    steady = energy([held(0, 6000, 60 * MIN)], HOUR, states=[(0, "Execute"), (10 * MIN, "Idle")])
    assert (steady.producing_wh, steady.mixed_wh) == (1000, 0), "of a steady power each part is known"


def test_a_demand_interval_goes_on_as_it_went_last() -> None:
    draws = [held(0, 20_000, 2 * MIN), held(2 * MIN, 60_000, 4 * MIN)]
    so_far, recent = energy(draws, (0, 4 * MIN)), energy(draws, (3 * MIN, 4 * MIN))
    assert forecast_w(so_far, recent, (0, 15 * MIN)) == pytest.approx((2 * 20_000 + 13 * 60_000) / 15)
    assert forecast_w(None, recent, (0, 15 * MIN)) == pytest.approx(60_000)
    assert forecast_w(so_far, energy([], (3 * MIN, 4 * MIN)), (0, 15 * MIN)) is None


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(0, 9000)), min_size=1, max_size=30),
    st.lists(st.tuples(st.integers(0, 600), st.sampled_from(["Execute", "Idle", "Down", "?"])), max_size=10),
    st.lists(st.integers(0, 1300), max_size=6, unique=True),
)  # fmt: skip
def test_windows_side_by_side_hold_all_that_the_meter_told(
    steps: list[tuple[int, int]], states: list[tuple[int, str]], borders: list[int]
) -> None:
    readings = [(0, 0.0)]
    for minutes, wh in steps:
        readings.append((readings[-1][0] + minutes * MIN, readings[-1][1] + wh))
    cuts = [*sorted({0, *(b * MIN for b in borders if b * MIN < readings[-1][0])}), readings[-1][0]]
    draws = metered(readings, Meter(20 * MIN, 1e9))
    parts = [energy(draws, (a, b), states=sorted((m * MIN, s) for m, s in states)) for a, b in pairwise(cuts)]
    assert sum(part.wh for part in parts) == pytest.approx(readings[-1][1])
    for part in parts:
        split = (part.producing_wh or 0) + (part.idle_wh or 0) + (part.unknown_wh or 0)
        assert split == pytest.approx(part.wh)
        assert 0 <= part.known_ns <= part.covered_ns <= part.end_ns - part.start_ns


# -- the flow ---------------------------------------------------------------------------------------------------------


def stepped(config: dict[str, Any], values: list[tuple[int, Any]]) -> Any:
    """The state of the flow after values of its source, without its timers."""
    flow = FLOW_TYPES["energy"].make("energy", [Input("acme:**")], config)
    state = flow.initial()
    for time_ns, value in values:
        state, _ = flow.step(state, Event("acme", "tag", time_ns, value, source="acme:e"))
    return state


def test_of_a_fast_meter_one_reading_a_minute_is_kept() -> None:
    values = [(second * 10**9, second * 2.0) for second in range(0, 3600, 2)]
    state = stepped({"names": {"meter": "e"}, "max_power": 30_000}, values)
    assert [time_ns for time_ns, _ in state.readings] == [*(minute * MIN for minute in range(60)), 3598 * 10**9]


def test_readings_around_a_doubt_are_all_kept() -> None:
    values = [(0, 100.0), (10**9, 100.1), (2 * 10**9, 0.0), (3 * 10**9, 0.1), (4 * 10**9, 0.2)]
    state = stepped({"names": {"meter": "e"}, "max_power": 30_000}, values)
    assert (10**9, 100.1) in state.readings
    assert (2 * 10**9, 0.0) in state.readings


def test_the_oldest_minutes_go_before_the_state_is_too_large() -> None:
    state = stepped({"names": {"power": "e"}, "max_power": 30_000}, [(n * 3 * MIN, 0.1 + n) for n in range(2001)])
    assert len(state.minutes) == 4320
    assert state.gone_ns == (6000 - 4320) * MIN
    assert len(msgspec.msgpack.encode(state)) < 100_000


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"names": {"state": "s"}}, "names are meter or power"),
        ({"names": {"meter": "m", "power": "p"}}, "names are meter or power"),
        ({"names": {"power": "p"}, "step": 1}, "step is for a meter"),
        ({"names": {"power": "p"}, "demand": "25min"}, "demand is whole minutes"),
        ({"names": {"power": "p"}, "demand": "1min"}, "five at least"),
        ({"names": {"power": "p"}, "windows": ["shift"]}, "windows by shift need shifts"),
    ],
)  # fmt: skip
def test_a_configuration_that_does_not_fit_is_refused(config: dict[str, Any], told: str) -> None:
    with pytest.raises(Exception, match=told):
        FLOW_TYPES["energy"].make("energy", [Input("acme:**")], {"max_power": 1000, **config})


def given_of(config: dict[str, Any], powers: list[tuple[float, float]]) -> dict[tuple[str, int], Any]:
    """What the flow gives for powers at minutes, in the order in which they come: by name and minute, as last given."""
    items = [received(n, "uns.v1.acme._tag.e", w, round(at * MIN)) for n, (at, w) in enumerate(powers, 1)]
    flow = FLOW_TYPES["energy"].make(
        "energy", [Input("acme:**")], {"names": {"power": "e"}, "max_power": 90_000, "wait": "0s", **config}
    )
    samples = [
        (m.subject.partition(".energy.")[2], decode_sample(m.payload))
        for m in drive(flow, items).messages
        if "._kpi." in m.subject
    ]
    return {(name, sample.time_ns // MIN): sample.value for name, sample in samples}


def received(seq: int, subject: str, watts: float, time_ns: int) -> Received:
    payload = encode_sample(watts, quality=0, source_time_ns=time_ns, ingest_time_ns=time_ns)
    return Received(subject, payload, None, seq, 0)


def test_powers_that_come_late_fill_only_what_was_not_known() -> None:
    powers = [(n, 6000.0) for n in (*range(20), *range(40, 62))]
    before = given_of({}, powers)
    late = [*powers, *((n, 60_000.0) for n in range(5, 15)), *((n, 6000.0) for n in range(20, 41))]
    after = given_of({}, late)
    assert before["hour.energy", 60] == pytest.approx(100 * 44), "a power holds for five minutes"
    assert after["hour.energy", 60] == pytest.approx(6000)
    assert after["hour.known", 60] == 1.0


def test_a_minute_that_is_not_over_is_what_was_drawn_of_it_so_far() -> None:
    found = given_of({"every": "20s"}, [(0, 9000.0), (1, 9000.0), (1 + 1 / 3, 0.0), (1.5, 0.0), (1.75, 0.0)])
    assert found["live.energy", 1] == pytest.approx(9000 / 60 * 4 / 3)


def test_a_peak_is_seen_ahead_also_where_no_shift_runs() -> None:
    shift = {"name": "early", "start": "06:00", "end": "14:00", "days": "daily"}
    found = given_of({"shifts": [shift], "windows": ["shift"]}, [(n, 50_000.0) for n in range(20)])
    assert found["demand.forecast", 10] == pytest.approx(50_000)
    assert ("live.energy", 10) not in found


def test_an_alarm_watches_what_the_demand_interval_will_come_to() -> None:
    def received(seq: int, subject: str, payload: bytes) -> Received:
        return Received(subject, payload, None, seq, 0)

    powers = [10_000.0] * 5 + [60_000.0] * 7
    items = [
        received(n, "uns.v1.acme._tag.e", encode_sample(w, quality=0, source_time_ns=n * MIN, ingest_time_ns=n * MIN))
        for n, w in enumerate(powers, 1)
    ]
    flow = FLOW_TYPES["energy"].make("energy", [Input("acme:**")], {"names": {"power": "e"}, "max_power": 90_000})
    said = [m for m in drive(flow, items).messages if m.subject.endswith("._kpi.energy.demand.forecast")]
    watts = [decode_sample(m.payload).value for m in said]
    assert max(watts) > 40_000
    condition = {"name": "peak", "of": "forecast", "above": 40_000}
    alarm = FLOW_TYPES["alarm"].make(
        "alarm", [Input("acme:**", "kpi")], {"names": {"forecast": "energy/demand/forecast"}, "conditions": [condition]}
    )
    raised = drive(alarm, [received(n, m.subject, m.payload) for n, m in enumerate(said, 1)]).messages
    assert any(b'"peak"' in m.payload or ".peak" in m.subject for m in raised)


# -- a meter that is silent in a demand interval -----------------------------------------------------------------------

TIME = TimePolicy(idle_ns=5 * 10**9)
QUIET = 10_000.0 / 60  # Wh of a minute


def peak_watch(readings: list[tuple[int, float, int]]) -> tuple[dict[tuple[str, int], Any], dict[str, list[int]]]:
    """What is told of a meter's readings (at minute, Wh, stored at minute): samples as last given by name and minute,
    and at which minutes the alarms `peak`, `blind` and `was` were raised or over."""
    arrivals: list[Any] = [n * MIN + 20 * 10**9 for n in range(readings[-1][2])]  # the clock goes on
    for n, (at, wh, stored) in enumerate(readings, 1):
        payload = encode_sample(wh, quality=0, source_time_ns=at * MIN, ingest_time_ns=at * MIN)
        arrivals.append(Received("uns.v1.acme._tag.e", payload, None, n, stored * MIN + 1))
    arrivals.sort(key=lambda each: each if isinstance(each, int) else each.stored_time_ns)
    config = {"names": {"meter": "e"}, "max_power": 90_000, "wait": "60s"}
    flow = FLOW_TYPES["energy"].make("energy", [Input("acme:**")], config, time=TIME)
    made = [m for m in drive(flow, with_ticks(flow, arrivals)).messages if "._kpi.energy.demand." in m.subject]
    samples = [(m.subject.rpartition("demand.")[2], decode_sample(m.payload)) for m in made]
    names = {"forecast": "energy/demand/forecast", "power": "energy/demand/power"}
    conditions = [
        {"name": "peak", "of": "forecast", "above": 40_000}, {"name": "was", "of": "power", "above": 40_000},
        {"name": "blind", "of": "forecast", "missing": "2min"},
    ]  # fmt: skip
    alarm = FLOW_TYPES["alarm"].make(
        "alarm", [Input("acme:**", "kpi")], {"names": names, "conditions": conditions}, time=TIME
    )
    told = [Received(m.subject, m.payload, None, n, _ingest_ns(m.payload)) for n, m in enumerate(made, 1)]
    found: dict[str, list[int]] = {}
    for m in drive(alarm, with_ticks(alarm, told)).messages:
        if "._alarm." in m.subject:
            at_ns = dict(m.headers)["ce-time"]
            found.setdefault(m.subject.rpartition(".")[2], []).append(round(parse_time_ns(at_ns) / MIN))
    return {(name, each.time_ns // MIN): each for name, each in samples}, found


def _ingest_ns(payload: bytes) -> int:
    return int(msgspec.json.decode(payload)["ingest_ns"])


def quality(sample: Any) -> str:
    found = Quality(sample.quality)
    return "bad" if found.is_bad else "uncertain" if found.is_uncertain else "good"


def metered_minutes(drawn: dict[int, float], told: set[int], late: dict[int, int] | None = None) -> Any:
    """Readings at the end of each minute that is told, `late` ones later than that."""
    found, total = [], 0.0
    for minute in range(max(drawn) + 1):
        total += drawn.get(minute, 0.0) if minute else 0.0
        if minute in told:
            found.append((minute, round(total, 6), (late or {}).get(minute, minute)))
    return sorted(found, key=lambda each: (each[2], each[0]))


def test_a_peak_behind_a_silent_meter_is_no_false_alarm_and_is_not_missed() -> None:
    """80 kW from the 17th to the 26th minute, of which the meter tells nothing before the 26th."""
    drawn = {n: 80_000 / 60 if 17 < n <= 26 else QUIET for n in range(36)}
    found, alarms = peak_watch(metered_minutes(drawn, set(range(36)) - set(range(18, 26))))
    told = {n: quality(found["forecast", n]) for n in range(16, 30)}
    assert [told[n] for n in (16, 18, 19)] == ["good"] * 3
    assert [told[n] for n in (20, 21, 22)] == ["uncertain"] * 3, "two of its steps are over, and none has come"
    assert [told[n] for n in (23, 24, 25)] == ["bad"] * 3, "a reading stands for five minutes at most"
    assert [found["forecast", n].value for n in (23, 24, 25)] == [None] * 3
    assert found["forecast_known", 21].value == pytest.approx(2 / 6)
    assert alarms["blind"][0] == 24, "nobody watches the peak, and that is told"
    assert (told[28], found["forecast", 28].value > 40_000) == ("uncertain", True)
    assert min(alarms["peak"]) == 28, "as soon as anything is known of it, and not before"
    assert found["power", 30].value == pytest.approx((6 * QUIET + 9 * 80_000 / 60) * 4)
    assert (quality(found["power", 30]), found["known", 30].value) == ("good", 1.0), "both readings are of it"


def test_a_gap_over_the_end_of_an_interval_is_not_known_in_either_until_it_is_told() -> None:
    """80 kW from the 27th to the 34th minute; the meter has kept its readings and tells them at the 40th."""
    drawn = {n: 80_000 / 60 if 26 < n <= 34 else QUIET for n in range(60)}
    silent = set(range(27, 34))
    found, alarms = peak_watch(metered_minutes(drawn, set(range(60)) - silent))
    for end, known in ((30, 11 / 15), (45, 11 / 15)):
        assert (quality(found["power", end]), found["known", end].value) == ("uncertain", pytest.approx(known))
    assert "was" not in alarms, "24 kW spread over each"
    later, alarms = peak_watch(metered_minutes(drawn, set(range(60)), dict.fromkeys(silent, 40)))
    for end, minutes in ((30, 4), (45, 4)):
        assert later["power", end].value == pytest.approx((minutes * 80_000 / 60 + 11 * QUIET) * 4)
        assert (quality(later["power", end]), later["known", end].value) == ("good", 1.0)


def test_a_meter_that_is_read_each_quarter_is_not_overdue_in_between() -> None:
    readings = [(n, 1000.0 * n / 15, n) for n in range(0, 61, 15)]
    config = {"names": {"meter": "e"}, "max_power": 90_000, "gap": "20min"}
    flow = FLOW_TYPES["energy"].make("energy", [Input("acme:**")], config, time=TIME)
    arrivals = [
        Received(
            "uns.v1.acme._tag.e",
            encode_sample(wh, quality=0, source_time_ns=at * MIN, ingest_time_ns=at * MIN),
            None,
            n,
            stored * MIN + 1,
        )
        for n, (at, wh, stored) in enumerate(readings, 1)
    ]
    said = [m for m in drive(flow, with_ticks(flow, arrivals)).messages if m.subject.endswith("demand.forecast")]
    found = {s.time_ns // MIN: s for s in (decode_sample(m.payload) for m in said)}
    assert {quality(found[n]) for n in range(31, 44)} == {"good"}
    assert found[44].value == pytest.approx(4000.0)
