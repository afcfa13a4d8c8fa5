"""OEE of lines, areas and sites as tags: the same figures as `millstream oee` gives of the same windows, put right with
those of the machines, and inputs of alarm rules like any other tag."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import msgspec
import pytest

from millstream.flow import Flow, Input, Kills, Outcome, Tick, TimePolicy, drive
from millstream.flow.library import FLOW_TYPES
from millstream.model import Quality
from millstream.protocols.cloudevents import encode_event, format_time, parse_time_ns
from millstream.protocols.nats_wire import VERSION_LINE, encode_header_lines
from millstream.protocols.uns_payload import decode_sample, encode_sample
from millstream.sdk import Message, Received
from millstream.shop import Fact, OeeWindow, chosen_windows, fact_event, oee_total, read_window

MIN, HOUR = 60 * 10**9, 3600 * 10**9
BASE = parse_time_ns("2026-03-02T05:00:00Z")
HOURS = 5
MACHINES = tuple(f"acme/p1/{name}" for name in ("hall1/l1/press", "hall1/l1/saw", "hall1/l2/mill", "hall2/l3/kiln"))
PLACES = ("acme/p1", "acme/p1/hall1", "acme/p1/hall2", "acme/p1/hall1/l1", "acme/p1/hall1/l2", "acme/p1/hall2/l3")
SHIFT = {
    "name": "early",
    "start": "06:00",
    "end": "09:00",
    "days": "daily",
    "breaks": [{"start": "07:00", "end": "07:10"}],
}
NAMES = ("oee", "availability", "performance", "quality", "known")
Said = tuple[int, str, Any]


def machines_flow() -> Flow[Any]:
    config = {
        "names": {"state": "state", "produced": "parts"}, "orders": True, "ideal_cycle": "45s", "shifts": [SHIFT],
        "windows": ["shift", "hour"], "every": "10s", "live": "input", "explain": "10s",
    }  # fmt: skip
    inputs = [Input("acme/**:state", "state"), Input("acme/**:parts", "count"), Input("acme/**:order/*", "context")]
    return FLOW_TYPES["oee"].make("oee", inputs, config, time=TimePolicy(0, 0))


def places_flow(**config: Any) -> Flow[Any]:
    settings = {"levels": [2, 3, 4], "every": "30s", "explain": "10min", **config}
    return FLOW_TYPES["oee_total"].make("places", [Input("acme/**:oee/*", "event")], settings, time=TimePolicy(0, 0))


def received(number: int, said: Said) -> Received:
    time_ns, path, value = said
    asset, _, name = path.partition(":")
    if isinstance(value, dict):
        subject, event = fact_event(Fact(path, "order", value), "test", str(number), time_ns)
        headers, payload = encode_event(event)
        block = VERSION_LINE + b"\r\n" + encode_header_lines(tuple(headers.items())) + b"\r\n"
        return Received(subject, payload, block, number, time_ns)
    contract = "_state" if name == "state" else "_count"
    payload = encode_sample(value, quality=0, source_time_ns=time_ns, ingest_time_ns=time_ns)
    return Received(f"uns.v1.{asset.replace('/', '.')}.{contract}.{name}", payload, None, number, time_ns)


def read_by_the_next(messages: Sequence[Message]) -> list[Received]:
    """What one flow said, as another one reads it from the stream."""
    found = []
    for number, message in enumerate(messages, 1):
        lines = (
            message.headers
            if message.content_type is None
            else (("Content-Type", message.content_type), *message.headers)
        )
        block = VERSION_LINE + b"\r\n" + encode_header_lines(tuple(lines)) + b"\r\n"
        found.append(Received(message.subject, message.payload, block, number, BASE + number))
    return found


def days(seed: int) -> list[Said]:
    """Hours of all machines; states that come late, and an order that is told when all is over."""
    rng = random.Random(seed)
    said: list[tuple[int, Said]] = []
    for machine in MACHINES:
        said += [
            (BASE + n, (BASE + n, f"{machine}:{name}", value))
            for n, (name, value) in enumerate([("state", "Execute"), ("parts", 0)])
        ]
        for minute in sorted(rng.sample(range(1, HOURS * 60), 25)):
            at_ns = BASE + minute * MIN + 7
            state = rng.choice(("Execute", "Execute", "Held", "Aborted", "Idle", "Planned", "Unknown"))
            said.append((at_ns + rng.choice((0, 0, 80 * MIN)), (at_ns, f"{machine}:state", state)))
        for n, minute in enumerate(sorted(rng.sample(range(HOURS * 60), 90))):
            at_ns = BASE + minute * MIN + 11
            said.append((at_ns, (at_ns, f"{machine}:parts", n)))
    end_ns = BASE + HOURS * HOUR
    order = {
        "product": "M6",
        "ideal_cycle_s": 60.0,
        "start": format_time(BASE + HOUR),
        "end": format_time(BASE + 2 * HOUR),
    }
    said.append((end_ns, (end_ns, f"{MACHINES[0]}:order/4711", order)))
    return [each for _, each in sorted(said, key=lambda pair: pair[0])]


class OnRequest:
    """What `millstream oee` gives, as far as the stream of the machines' windows goes."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self._told: list[tuple[int, OeeWindow]] = []
        for seq, message in enumerate(messages, 1):
            place, _, window = message.subject.removeprefix("uns.v1.").partition("._event.oee.")
            if window:
                self._told.append((seq, read_window(place.replace(".", "/"), msgspec.json.decode(message.payload))))

    @cache  # noqa: B019
    def __call__(self, place: str, start_ns: int, end_ns: int, last_seq: int = 2**63) -> dict[str, Any]:
        told = [each for seq, each in self._told if seq <= last_seq and each.machine.startswith(f"{place}/")]
        return oee_total(chosen_windows(told, start_ns, end_ns), start_ns, end_ns)


def figures_of(outcome: Outcome) -> Iterator[tuple[str, str, str, Any, Message]]:
    """Place, window, name, sample of all that was said as tags."""
    for message in outcome.messages:
        place, _, names = message.subject.removeprefix("uns.v1.").partition("._kpi.oee.")
        if names:
            window, _, name = names.partition(".")
            yield place.replace(".", "/"), window, name, decode_sample(message.payload), message


def is_same(value: float | None, wanted: float | None) -> bool:
    return value == (None if wanted is None else pytest.approx(wanted, rel=1e-12))


@pytest.fixture(scope="module")
def machines() -> list[Message]:
    items: list[Any] = [received(number, said) for number, said in enumerate(days(3), 1)]
    outcome = drive(machines_flow(), [*items, Tick(BASE + (HOURS + 1) * HOUR)])
    assert not outcome.rejected
    return outcome.messages


@pytest.fixture(scope="module")
def places(machines: list[Message]) -> Outcome:
    outcome = drive(places_flow(), [*read_by_the_next(machines), Tick(BASE + (HOURS + 2) * HOUR)])
    assert not outcome.rejected
    return outcome


def test_windows_of_each_place_are_what_is_given_on_request_also_behind_corrections(
    machines: list[Message], places: Outcome
) -> None:
    on_request = OnRequest(machines)
    newest: dict[tuple[str, str, int, str], tuple[Any, Message]] = {}
    for place, window, name, sample, message in figures_of(places):
        if window != "live":
            newest[place, window, sample.time_ns, name] = (sample.value, message)
    assert {(place, window) for place, window, _, _ in newest} == {(p, w) for p in PLACES for w in ("hour", "shift")}
    for (place, window, end_ns, name), (value, _) in newest.items():
        start_ns = end_ns - (HOUR if window == "hour" else 3 * HOUR)
        assert is_same(value, on_request(place, start_ns, end_ns)[name]), (place, window, name)
    ordered = {BASE + 2 * HOUR: "hour", BASE + 4 * HOUR: "shift"}
    for machine_or_place in (MACHINES[0], "acme/p1/hall1/l1", "acme/p1/hall1", "acme/p1"):
        for end_ns, window in ordered.items():
            said = [*figures_of(Outcome(machines))] if machine_or_place == MACHINES[0] else [*figures_of(places)]
            revised = [
                dict(message.headers).get("Ms-Revision") for place, of, name, sample, message in said
                if (place, of, sample.time_ns, name) == (machine_or_place, window, end_ns, "oee")
            ]  # fmt: skip
            assert revised[0] is None
            assert len(revised) > 1, f"the late order has not reached {machine_or_place}"
            assert revised[1:] == [str(n) for n in range(1, len(revised))]
    untouched = [m for p, w, n, s, m in figures_of(places) if (p, w, n) == ("acme/p1/hall2/l3", "shift", "oee")]
    assert len({m.payload for m in untouched}) == len(untouched), "given again, and nothing had changed"


def test_live_figures_are_what_is_given_on_request_at_that_time(machines: list[Message]) -> None:
    """Machine events are taken one by one, as far as the step had them when it gave the figure."""
    inputs = read_by_the_next(machines)
    on_request = OnRequest(machines)
    seen = set()
    for message in drive(places_flow(), inputs).messages:
        if "._event.oee.live" not in message.subject:
            continue
        data = msgspec.json.decode(message.payload)
        seq = int(dict(message.headers)["Ms-Flow-In"].split(":")[1])
        place = message.subject.removeprefix("uns.v1.").partition("._event.")[0].replace(".", "/")
        start_ns, end_ns = parse_time_ns(data["start"]), parse_time_ns(data["end"])
        wanted = on_request(place, start_ns, end_ns, seq)
        if wanted["windows"] != data["windows"]:  # a timer was due before that event was taken
            wanted = on_request(place, start_ns, end_ns, seq - 1)
        for name in (*NAMES, "busy_s", "covered", "machines"):
            assert is_same(data[name], wanted[name]), (place, name, data["end"])
        seen.add(place)
    assert seen == set(PLACES)


def test_killed_anywhere_it_says_the_same(machines: list[Message]) -> None:
    inputs = [*read_by_the_next(machines), Tick(BASE + (HOURS + 2) * HOUR)]
    events = [each for each in inputs if isinstance(each, Tick) or "._event." in each.subject][-400:]
    kills = Kills({i: i % 4 for i in range(0, len(events), 9)})
    whole = drive(places_flow(), events)
    assert drive(places_flow(), events, unit_items=3, kills=kills).said() == whole.said()
    assert any("acme.p1.hall1.l1._kpi.oee.shift.oee" in message.subject for message in whole.messages)


def test_an_alarm_rule_on_the_oee_of_a_line_needs_nothing_of_its_own(places: Outcome) -> None:
    config = {
        "names": {"line": "oee/hour/oee"},
        "conditions": [{"name": "oee-low", "of": "line", "below": 0.6, "priority": "high", "message": "below 60 %"}],
    }
    flow = FLOW_TYPES["alarm"].make("watch", [Input("acme/p1/*/l1:oee/**", "kpi")], config, time=TimePolicy(0, 0))
    outcome = drive(flow, read_by_the_next(places.messages))
    assert not outcome.rejected
    raised = [msgspec.json.decode(m.payload) for m in outcome.messages if "._alarm." in m.subject]
    low = [s.value for p, w, n, s, _ in figures_of(places) if (p, w, n) == ("acme/p1/hall1/l1", "hour", "oee")]
    assert min(low) < 0.6
    assert raised
    assert {m.subject.partition("._alarm.")[0] for m in outcome.messages if "._alarm." in m.subject} == {
        "uns.v1.acme.p1.hall1.l1"
    }


def window(machine: str, number: int, kind: str = "hour", *, end_ns: int = 0, **more: Any) -> Received:
    """An event of the flow `oee`, told at the end of its window."""
    start_ns = BASE + number * HOUR
    end_ns = end_ns or start_ns + HOUR
    data = {
        "window": kind, "start": format_time(start_ns), "end": format_time(end_ns), "produced": 60.0, "rejected": 0.0,
        "planned_s": (end_ns - start_ns) / 1e9, "spent_s": {"production": (end_ns - start_ns) / 1e9}, "ideal_s": 1800.0,
        "losses_s": {}, "small_stops": 0, "failures": 0, "doubts": [], **more,
    }  # fmt: skip
    lines = (
        ("ce-specversion", "1.0"), ("ce-id", f"{machine}-{number}-{kind}-{end_ns}-{more}"), ("ce-source", "/flows/oee"),
        ("ce-type", "millstream.oee"), ("ce-time", format_time(end_ns)), ("Content-Type", "application/json"),
    )  # fmt: skip
    block = VERSION_LINE + b"\r\n" + encode_header_lines(lines) + b"\r\n"
    subject = f"uns.v1.{machine.replace('/', '.')}._event.oee.{kind}"
    return Received(subject, msgspec.json.encode(data), block, 0, end_ns)


def numbered(items: Sequence[Any]) -> list[Any]:
    return [
        each if isinstance(each, Tick) else Received(each.subject, each.payload, each.headers, n, each.stored_time_ns)
        for n, each in enumerate(items, 1)
    ]  # fmt: skip


def newest(outcome: Outcome, place: str, kind: str) -> dict[str, Any]:
    subject = f"uns.v1.{place.replace('/', '.')}._event.oee.{kind}"
    return msgspec.json.decode([m.payload for m in outcome.messages if m.subject == subject][-1])


def test_a_machine_that_tells_nothing_is_a_doubt_until_it_is_forgotten() -> None:
    press, saw = MACHINES[:2]
    both = [window(press, 0), window(saw, 0)]
    alone = [window(press, n) for n in range(1, 60)]
    outcome = drive(places_flow(every="0s"), numbered([*both, *alone, Tick(BASE + 61 * HOUR)]))
    hours = [
        msgspec.json.decode(m.payload) for m in outcome.messages if m.subject.endswith("p1.hall1.l1._event.oee.hour")
    ]
    assert [(hours[0]["machines"], hours[0]["is_sure"]), (hours[1]["machines"], hours[1]["is_sure"])] == [
        (2, True),
        (1, False),
    ]
    assert hours[1]["doubts"] == [
        {"path": saw, "start": format_time(BASE + HOUR), "doubt": "it told nothing of this time"}
    ]
    assert (hours[-1]["is_sure"], hours[-1]["doubts"]) == (True, []), (
        "two days later it is no machine of the line any more"
    )
    assert outcome.state_bytes < 40_000, "what no correction may reach is let go"


def test_a_machine_of_another_shift_counts_in_its_own_and_is_missed_in_none() -> None:
    press, saw = MACHINES[:2]
    items = [
        window(press, 0, "shift", end_ns=BASE + 8 * HOUR), window(saw, 1, "shift", end_ns=BASE + 9 * HOUR),
        Tick(BASE + 10 * HOUR),
    ]  # fmt: skip
    outcome = drive(places_flow(every="0s"), numbered(items))
    said = [
        msgspec.json.decode(m.payload) for m in outcome.messages if m.subject.endswith("p1.hall1.l1._event.oee.shift")
    ]
    assert [(each["machines"], each["is_sure"]) for each in said] == [(1, True), (1, True)]


def test_a_running_window_that_is_over_is_added_to_no_other() -> None:
    press, saw = MACHINES[:2]
    until = {"until": format_time(BASE + HOUR)}
    first = [
        window(each, 0, "live", end_ns=BASE + HOUR - 10**9, spent_s={"down": 3599.0}, ideal_s=0.0, **until)
        for each in (press, saw)
    ]
    later = {"until": format_time(BASE + 2 * HOUR)}
    second = [window(press, 1, "live", end_ns=BASE + HOUR + n * 60 * 10**9, **later) for n in (1, 2)]
    outcome = drive(places_flow(), numbered([*first, *second, Tick(BASE + HOUR + 3 * MIN)]))
    live = [s for p, w, n, s, _ in figures_of(outcome) if (p, w, n) == ("acme/p1/hall1/l1", "live", "availability")]
    assert live[-1].value == 1.0, "the hour before is in it"
    assert Quality(live[-1].quality).is_uncertain, "nobody knows what the saw does"
    both = drive(
        places_flow(),
        numbered(
            [
                *first,
                *second,
                window(saw, 1, "live", end_ns=BASE + HOUR + 2 * MIN, **later),
                Tick(BASE + HOUR + 3 * MIN),
            ]
        ),
    )
    live = [s for p, w, n, s, _ in figures_of(both) if (p, w, n) == ("acme/p1/hall1/l1", "live", "availability")]
    assert not Quality(live[-1].quality).is_uncertain


def test_many_places_are_given_in_steps_that_a_unit_holds_and_each_counts_once() -> None:
    machines = [f"acme/p1/hall{n // 10}/l{n}/m{n}" for n in range(150)]
    items = numbered([*(window(machine, 0) for machine in machines), Tick(BASE + HOUR + 11 * 10**9)])
    outcome = drive(places_flow(every="0s"), items)
    assert not outcome.rejected
    said = [m.subject for m in outcome.messages if "._event.oee.hour" in m.subject]
    assert len(said) == len(set(said)) == 150 + 15 + 1
    assert (
        outcome.said() == drive(places_flow(every="0s"), items, unit_items=7, kills=Kills({len(items) - 1: 200})).said()
    )
    site = newest(outcome, "acme/p1", "hour")
    assert (site["machines"], site["parts_count"], len(site["parts"])) == (150, 15, 15)


def test_live_figures_of_many_places_all_come_in_each_round() -> None:
    until = format_time(BASE + HOUR)
    machines = [f"acme/p1/hall{n // 10}/l{n}/m{n}" for n in range(90)]
    items = [
        window(
            machine, 0, "live", end_ns=BASE + MIN + second * 10**9 + n * 10**6, spent_s={"down": 60.0 - second},
            until=until,
        )
        for second in range(5) for n, machine in enumerate(machines)
    ]  # fmt: skip
    outcome = drive(places_flow(every="1s", explain="0s"), numbered([*items, Tick(BASE + 2 * MIN)]))
    said = [place for place, w, n, *_ in figures_of(outcome) if (w, n) == ("live", "availability")]
    assert {said.count(place) for place in said if place.count("/") == 3} == {1}, "it has not changed"
    values = [(place, s.value) for place, w, n, s, _ in figures_of(outcome) if (w, n) == ("live", "oee")]
    assert len({place for place, _ in values}) == 90 + 9 + 1
    lines = [place for place, _ in values if place.count("/") == 3]
    assert {lines.count(place) for place in lines} == {5}, "each in each second"


def test_what_many_machines_told_is_let_go_in_steps() -> None:
    machines = [f"acme/p1/hall1/l{n // 10}/m{n}" for n in range(450)]
    items = [window(machine, n) for n in (0, 1) for machine in machines]
    later = [window(machines[0], n) for n in (49, 51, 52, 53)]
    outcome = drive(places_flow(every="0s"), numbered([*items, *later, Tick(BASE + 55 * HOUR)]))
    assert not outcome.rejected
    assert outcome.state_bytes < 20_000
    assert newest(outcome, "acme/p1", "hour")["machines"] == 1


def test_it_is_told_which_machines_of_a_line_lost_most() -> None:
    press, saw = MACHINES[:2]
    items = numbered([window(press, 0), window(saw, 0, losses_s={"failures": 900.0}), Tick(BASE + 2 * HOUR)])
    found = newest(drive(places_flow(), items), "acme/p1/hall1/l1", "hour")
    assert [part["path"] for part in found["parts"]] == [saw, press]
    assert found["losses_s"] == {"failures": 900.0}


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"levels": []}, "at least 1"),
        ({"levels": [2, 2]}, "each once"),
        ({"levels": [2], "keep": "1h"}, "a day at least"),
    ],
)
def test_what_cannot_be_is_refused(config: dict[str, Any], why: str) -> None:
    with pytest.raises(Exception, match=why):
        FLOW_TYPES["oee_total"].make("places", [Input("acme/**:oee/*", "event")], config)


def test_what_a_running_window_is_made_of_by_order_is_what_it_is_once_it_is_over() -> None:
    press, begun_ns = MACHINES[0], BASE + HOUR
    hours = [format_time(begun_ns + n * HOUR) for n in range(3)]
    orders = [
        {"product": name, "ideal_cycle_s": 60.0, "start": hours[n], "end": hours[n + 1]}
        for n, name in enumerate(("M6", "M8"))
    ]
    said: list[Said] = [(begun_ns + n, f"{press}:order/{4711 + n}", order) for n, order in enumerate(orders)]
    for minute in range(180):
        at_ns = begun_ns + minute * MIN + 10**9
        state = ("Execute", "Setup", "Execute", "Aborted")[minute // 7 % 4]
        said += [(at_ns, f"{press}:state", state), (at_ns + 1, f"{press}:parts", 2 * minute)]
    said.append((begun_ns + 3 * HOUR - 10**9, f"{press}:state", "Execute"))
    items: list[Any] = [received(number, each) for number, each in enumerate(said, 1)]
    outcome = drive(machines_flow(), [*items, Tick(begun_ns + 4 * HOUR)])
    assert not outcome.rejected
    live = newest_before(outcome, press, "live", begun_ns + 3 * HOUR)
    over = newest(outcome, press, "shift")
    assert {each["order"] for each in over["orders"]} == {"4711", "4712", None}
    assert {each["order"] for each in live["orders"]} == {"4711", "4712", None}
    by_order = {each["order"]: each for each in live["orders"]}
    for each in over["orders"]:
        if each["order"] is not None:  # what runs without one goes on until the end
            assert by_order[each["order"]] == pytest.approx(each)
        assert by_order[each["order"]]["produced"] == each["produced"]


def newest_before(outcome: Outcome, place: str, kind: str, end_ns: int) -> dict[str, Any]:
    subject = f"uns.v1.{place.replace('/', '.')}._event.oee.{kind}"
    told = [msgspec.json.decode(m.payload) for m in outcome.messages if m.subject == subject]
    return [each for each in told if parse_time_ns(each["end"]) <= end_ns][-1]
