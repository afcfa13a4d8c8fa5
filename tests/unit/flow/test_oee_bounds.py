"""What OEE keeps of a machine in pieces: it comes to the same figures as all of it at once, what an event costs does
not grow with what is kept, and a machine that never rests stays within its bounds."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from millstream.flow import Emit, EmitEvent, Event, Flow, Input, TimePolicy
from millstream.flow._model import STATE_BYTES_MAX
from millstream.flow.library import FLOW_TYPES
from millstream.flow.library._oee_kept import HOURS_MAX, STATES_MAX, Bucket, Machine, Piece
from millstream.model import BAD_NO_COMMUNICATION, GOOD, UNCERTAIN, Quality
from millstream.protocols.cloudevents import format_time
from millstream.shop import Category, Figures, Made, OrderSpan, figures
from millstream.shop._orders import ORDERS_MAX

BASE = 1_767_225_600_000_000_000  # 2026-01-01
SECOND, MINUTE, HOUR = 10**9, 60 * 10**9, 3600 * 10**9
CYCLE_NS = SECOND
CONFIG = {
    "names": {"state": "state", "produced": "parts"}, "windows": ["hour", "day"], "ideal_cycle": "1s",
    "live": "input", "every": "1s",
}  # fmt: skip


class Kept:
    """Pieces as the core keeps them: encoded between two steps."""

    def __init__(self) -> None:
        self.raw: dict[str, bytes] = {}
        self._open: dict[str, Any] = {}
        self._put: set[str] = set()
        self.touched: set[str] = set()

    def get(self, name: str) -> Any:
        self.touched.add(name)
        if name not in self._open:
            self._open[name] = msgspec.msgpack.decode(self.raw[name], type=Piece) if name in self.raw else None
        return self._open[name]

    def put(self, name: str, piece: Any) -> None:
        self._open[name] = piece
        self._put.add(name)

    def store(self) -> None:
        for name in self._put:
            self.raw.pop(name, None)
            if self._open[name] is not None:
                self.raw[name] = msgspec.msgpack.encode(self._open[name])
                assert len(self.raw[name]) < STATE_BYTES_MAX
        self._open, self._put = {}, set()


def oee(**changes: Any) -> Flow[Any]:
    inputs = [Input("acme/**", "state"), Input("acme/**", "count")]
    return FLOW_TYPES["oee"].make("oee", inputs, {**CONFIG, **changes}, time=TimePolicy(0, None))


class Site:
    """One machine, stepped by hand."""

    def __init__(self, **changes: Any) -> None:
        self.flow, self.pieces = oee(**changes), Kept()
        self.machine: Machine = self.flow.initial()

    def take(self, kind: str, tag: str, value: Any, time_ns: int, quality: Quality = GOOD) -> Sequence[Any]:
        self.pieces.touched = set()
        event = Event("acme", kind, time_ns, value, quality, source=f"acme:{tag}", pieces=self.pieces)
        state, effects = self.flow.step(self.machine, event)
        self.pieces.store()
        self.machine = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=Machine)
        return effects

    def due(self, kind: str, at_ns: int) -> Sequence[Any]:
        event = Event("acme", "timer", at_ns, timer=kind, pieces=self.pieces)
        state, effects = self.flow.step(self.machine, event)
        self.pieces.store()
        assert isinstance(state, Machine)
        self.machine = state
        return effects


def all_at_once(states: dict[int, str], parts: Sequence[tuple[int, int]], window: tuple[int, int]) -> Figures:
    """The same window of everything that was ever said."""
    minute = window[0] - window[0] % MINUTE
    made = sum(n for at, n in parts if minute <= at - at % MINUTE < window[1])
    return figures(
        sorted(states.items()), [window], Made(made, 0.0, made * CYCLE_NS), window, small_stop_ns=300 * SECOND
    )  # fmt: skip


def as_told(data: Any) -> tuple[Any, ...]:
    return data["states_s"], data["produced"], data["small_stops"], data["failures"], data["oee"], data["availability"]


def expected(found: Figures) -> tuple[Any, ...]:
    states = {state or "?": ns / 1e9 for state, ns in found.states_ns.items()}
    return (
        states, pytest.approx(found.made.produced), found.small_stops, found.failures, pytest.approx(found.oee),
        pytest.approx(found.availability),
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(6))
def test_live_figures_and_windows_are_those_of_everything_at_once_also_when_states_come_late(seed: int) -> None:
    rng = random.Random(seed)
    site = Site()
    states: dict[int, str] = {}
    parts: list[tuple[int, int]] = []
    newest: dict[tuple[int, int], Any] = {}
    shown: dict[str, Any] = {}
    total, now_ns, due_ns = 0, BASE + rng.randrange(HOUR), 0
    site.take("count", "parts", 0, now_ns)
    for _ in range(500):
        now_ns += rng.choice((SECOND, 40 * SECOND, 7 * MINUTE))
        while (due_ns or (now_ns - now_ns % HOUR)) <= now_ns:
            due_ns = due_ns or now_ns - now_ns % HOUR
            told(site.due("due", due_ns), newest, shown)
            due_ns += HOUR
        if rng.random() < 0.5:
            total += rng.randrange(1, 4)
            parts.append((now_ns, rng_last(total, parts)))
            effects = site.take("count", "parts", total, now_ns)
        else:
            at_ns = now_ns if rng.random() < 0.7 else max(now_ns - rng.randrange(6 * HOUR), BASE)
            state = rng.choice(("Execute", "Execute", "Held", "Idle", "Aborted", "Stopped"))
            states[at_ns] = state
            effects = site.take("state", "state", state, at_ns)
        told(effects, newest, shown)
        if "oee" in shown and shown["at"] == now_ns:
            found = all_at_once(states, parts, (now_ns - now_ns % HOUR, now_ns))
            assert shown == {
                "at": now_ns, "oee": pytest.approx(found.oee), "availability": pytest.approx(found.availability),
                "known": pytest.approx(found.known),
            }  # fmt: skip
    assert len(newest) > 10
    for (start_ns, end_ns), data in newest.items():
        assert as_told(data) == expected(all_at_once(states, parts, (start_ns, end_ns))), "the newest revision counts"


def rng_last(total: int, parts: Sequence[tuple[int, int]]) -> int:
    return total - sum(n for _, n in parts)


def told(effects: Sequence[Any], newest: dict[tuple[int, int], Any], shown: dict[str, Any]) -> None:
    """Keep the newest revision of each window, and the newest live figures."""
    from millstream.protocols.cloudevents import parse_time_ns

    for effect in effects:
        if isinstance(effect, EmitEvent):
            newest[parse_time_ns(effect.data["start"]), parse_time_ns(effect.data["end"])] = effect.data
        elif isinstance(effect, Emit) and "/live/" in effect.path:
            name = effect.path.rpartition("/")[2]
            if name in ("oee", "availability", "known"):
                shown.update({"at": effect.time_ns, name: effect.value})  # what is not told again is as it was


@pytest.mark.parametrize("totals", [(100, 110, 3), (100, 110, 0), (100, 90, 95)], ids=str)
def test_a_counter_that_runs_backwards_makes_the_figures_uncertain_live_and_later(totals: tuple[int, ...]) -> None:
    site = Site(names={"state": "state", "produced": "parts"}, ideal_cycle="1s")
    site.take("state", "state", "Execute", BASE)
    for n, total in enumerate(totals):
        effects = site.take("count", "parts", total, BASE + (n + 1) * MINUTE + SECOND)
    live = {effect.path.rpartition("/")[2]: effect for effect in effects if isinstance(effect, Emit)}
    assert live["oee"].quality.is_uncertain
    window = [each for each in site.due("due", BASE + HOUR) if isinstance(each, EmitEvent)]
    assert window[0].data["doubts"] == ["a counter ran backwards or began anew (1 times)"]
    assert window[0].data["produced"] >= 0


def hours(site: Site) -> Piece:
    """Which there are."""
    return msgspec.msgpack.decode(site.pieces.raw["hours"], type=Piece)


def test_parts_made_while_their_counter_was_not_known_are_a_doubt_of_the_windows_that_they_may_be_of() -> None:
    """The link to the counter is gone from 8:30 to 9:30. An hour is not 50 % and the next one 150 %, and sure of it;
    the day that holds both is."""
    site = Site(windows=["hour", "day"], ideal_cycle="60s", live="clock")
    site.take("state", "state", "Execute", BASE)

    def count(at_ns: int, value: float | None, quality: Quality = GOOD) -> Sequence[Any]:
        return site.take("count", "parts", value, at_ns, quality)

    def sure(effects: Sequence[Any], window: str) -> dict[int, bool]:
        return {
            e.time_ns: not e.data["doubts"] for e in effects if isinstance(e, EmitEvent) and e.data["window"] == window
        }

    for minute in range(8 * 60 + 30):
        count(BASE + minute * MINUTE, minute)
    count(BASE + 8 * HOUR + 30 * MINUTE, None, BAD_NO_COMMUNICATION)
    count(BASE + 8 * HOUR + 31 * MINUTE, None, BAD_NO_COMMUNICATION)
    assert sure(site.due("due", BASE + 9 * HOUR), "hour")[BASE + 9 * HOUR] is False, "at once"
    count(BASE + 9 * HOUR + 30 * MINUTE, 9 * 60 + 30)
    for minute in range(9 * 60 + 31, 24 * 60):
        count(BASE + minute * MINUTE, minute)
        if minute == 12 * 60:  # gone for five minutes in which nothing was made, and for a moment in which a part was
            count(BASE + minute * MINUTE + 1, None, BAD_NO_COMMUNICATION)
            count(BASE + minute * MINUTE + 2, minute)
            count(BASE + minute * MINUTE + 3, None, BAD_NO_COMMUNICATION)
            count(BASE + minute * MINUTE + 4, minute + 0.5)
    told = site.due("due", BASE + 24 * HOUR)
    hours = sure(told, "hour")
    assert [at // HOUR - BASE // HOUR for at, is_sure in hours.items() if not is_sure] == [10]
    assert len(hours) == 15
    assert sure(told, "day") == {BASE + 24 * HOUR: True}


@pytest.mark.parametrize(("good", "doubt"), [(56, None), (55, None), (40, "16 fewer"), (70, "14 more")])
def test_three_counters_that_disagree_are_a_doubt_live_and_later(good: int, doubt: str | None) -> None:
    """60 produced and 4 rejected; they do not step in the same moment."""
    names = {"state": "state", "produced": "parts", "good": "good", "rejected": "scrap"}
    site = Site(windows=["hour"], ideal_cycle="60s", names=names)
    site.take("state", "state", "Execute", BASE)
    told: list[Any] = []
    for minute in range(60):
        for name, total in (("parts", 60), ("good", good), ("scrap", 4)):
            told += site.take("count", name, total * minute / 59, BASE + minute * MINUTE)
    live = [e.quality for e in told if isinstance(e, Emit) and e.path.endswith("live/oee")]
    assert live[-1].is_uncertain is (doubt is not None)
    (data,) = (e.data for e in site.due("due", BASE + HOUR) if isinstance(e, EmitEvent))
    assert data["doubts"] == ([f"good and rejected parts are {doubt} than were produced"] if doubt else [])
    assert (data["produced"], data["rejected"]) == (pytest.approx(60), pytest.approx(4))


def test_a_set_up_that_is_told_late_makes_rejects_of_the_next_window_those_of_the_start() -> None:
    names = {"state": "state", "produced": "parts", "rejected": "scrap"}
    site = Site(windows=["hour"], ideal_cycle="60s", live="clock", names=names, startup="10min")
    for minute, state in ((0, "Execute"), (56, "Idle"), (58, "Execute"), (59, "Held"), (61, "Execute")):
        site.take("state", "state", state, BASE + minute * MINUTE)
    for minute, parts, scrap in ((0, 0, 0), (65, 50, 4)):
        site.take("count", "parts", parts, BASE + minute * MINUTE)
        site.take("count", "scrap", scrap, BASE + minute * MINUTE)
    (*_, second) = (e.data for e in site.due("due", BASE + 2 * HOUR) if isinstance(e, EmitEvent))
    assert (second["rejected"], second["startup_rejected"], "startup" in second["losses_s"]) == (4, 0, False)
    late = site.take("state", "state", "Setup", BASE + 57 * MINUTE)
    told = {e.data["start"]: e.data for e in late if isinstance(e, EmitEvent)}
    again = told[format_time(BASE + HOUR)]
    assert (again["revision"], again["startup_rejected"], again["losses_s"]["startup"]) == (1, 4, 240)


def test_a_gap_in_which_nothing_was_made_leaves_no_doubt_and_a_total_that_is_not_sure_does() -> None:
    site = Site(windows=["hour"], ideal_cycle="60s", live="clock")
    site.take("state", "state", "Execute", BASE)
    site.take("count", "parts", 0, BASE)
    site.take("count", "parts", 59, BASE + 50 * MINUTE)
    site.take("count", "parts", None, BASE + 55 * MINUTE, BAD_NO_COMMUNICATION)
    (data,) = (e.data for e in site.due("due", BASE + HOUR) if isinstance(e, EmitEvent))
    assert data["doubts"] == ["a counter was not known or not sure (1 times)"]
    again = site.take("count", "parts", 59, BASE + HOUR + 5 * MINUTE)
    (data,) = (e.data for e in again if isinstance(e, EmitEvent))
    assert (data["revision"], data["doubts"]) == (1, []), "the same total: nothing was made meanwhile"
    site.take("count", "parts", 110, BASE + HOUR + 50 * MINUTE, UNCERTAIN)
    (data,) = (e.data for e in site.due("due", BASE + 2 * HOUR) if isinstance(e, EmitEvent))
    assert (data["produced"], data["doubts"]) == (51, ["a counter was not known or not sure (1 times)"])


def test_what_was_made_is_told_by_the_order_of_each_minute_also_of_none() -> None:
    site = Site(orders=True, live="clock")
    for number, (start, end) in enumerate(((5, 10), (10, 0), (20, 30)), 1):
        began, ended = (format_time(BASE + at * MINUTE) if at else None for at in (start, end))
        data = {"product": f"P{number}", "ideal_cycle_s": number, "start": began, "end": ended}
        site.take("context", f"order/{number}", data, BASE)
    site.take("state", "state", "Execute", BASE)
    for minute in range(60):
        site.take("count", "parts", 10 * minute, BASE + minute * MINUTE)
    told = next(each.data for each in site.due("due", BASE + HOUR) if isinstance(each, EmitEvent))
    found = {each["order"]: (each["produced"], each["ideal_s"]) for each in told["orders"]}
    assert found == {
        None: (10.0 * (4 + 30), 10.0 * (4 + 30)),  # the counter begins with its first value; the file's 1 s a part
        "1": (50.0, 50.0), "2": (100.0, 200.0), "3": (100.0, 300.0),
    }  # fmt: skip
    assert (told["produced"], told["ideal_s"]) == (590.0, 890.0)


def test_an_event_of_a_machine_with_two_days_touches_the_pieces_of_its_hour_only() -> None:
    site = Site()
    for minute in range(2 * 24 * 60):
        site.take("state", "state", ("Execute", "Held")[minute % 2], BASE + minute * MINUTE)
        site.take("count", "parts", minute * 10, BASE + minute * MINUTE + SECOND)
        if minute % 60 == 0:
            site.due("due", BASE + minute * MINUTE)
    assert len(site.pieces.raw) > 90
    now_ns = BASE + 2 * 24 * HOUR + 30 * SECOND
    site.take("count", "parts", 50_000, now_ns)
    site.take("count", "parts", 50_001, now_ns + 1)
    assert site.pieces.touched == set(), "the running minute is at hand"
    site.take("state", "state", "Aborted", now_ns + 2)
    assert site.pieces.touched == {f"s{now_ns // HOUR}", "hours"}
    assert len(msgspec.msgpack.encode(site.machine)) < 1000


def test_changes_and_minutes_are_bounded_and_the_oldest_go() -> None:
    site = Site(every="0s", keep="1d")
    for n in range(STATES_MAX + 100):
        site.take("state", "state", ("Execute", "Held")[n % 2], BASE + n * 20 * SECOND)
    changes = hours(site).changes
    assert STATES_MAX * 0.9 <= sum(count for _, count in changes) <= STATES_MAX
    assert site.machine.gone_ns == msgspec.msgpack.decode(site.pieces.raw[f"s{changes[0][0]}"], type=Piece).states[0][0]
    for n in range(HOURS_MAX + 3):
        site.take("count", "parts", n, BASE + (100 + n) * HOUR)
    assert len(hours(site).minutes) <= HOURS_MAX
    assert site.machine.gone_ns >= hours(site).minutes[0] * HOUR, "what is gone corrects nothing any more"
    late = site.take("state", "state", "Held", BASE)
    assert [each.type for each in late] == ["millstream.flow.late"]
    one_hour = Site(every="0s")
    one_hour.take("state", "state", "Held", BASE)
    full = [(BASE + n, ("Held", "Execute")[n % 2]) for n in range(STATES_MAX)]
    one_hour.pieces.raw[f"s{BASE // HOUR}"] = msgspec.msgpack.encode(Piece(full))
    one_hour.pieces.raw["hours"] = msgspec.msgpack.encode(Piece(changes=[(BASE // HOUR, STATES_MAX)]))
    one_hour.machine.newest = full[-1]
    one_hour.take("state", "state", "Aborted", BASE + MINUTE)
    assert STATES_MAX * 0.9 <= sum(count for _, count in hours(one_hour).changes) <= STATES_MAX
    assert one_hour.machine.gone_ns > BASE


def test_no_piece_grows_larger_than_a_state_may_be() -> None:
    states = [(BASE + n, ("EXECUTE", "SUSPENDED")[n % 2]) for n in range(STATES_MAX)]
    buckets = [Bucket(BASE + n * MINUTE, 60.0, 58.0, 2.0, 3.6e12) for n in range(60)]
    orders = [OrderSpan(BASE + n * MINUTE, f"ORDER-{n:06}", 0, f"PRODUCT-{n:06}", 6e10) for n in range(ORDERS_MAX)]
    for piece in (Piece(states), Piece(buckets=buckets), Piece(orders=orders)):
        assert len(msgspec.msgpack.encode(piece)) < 0.95 * STATE_BYTES_MAX
    assert Category.UNKNOWN in dict.fromkeys(Category, 0)
