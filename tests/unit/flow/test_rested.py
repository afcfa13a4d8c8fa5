"""Flows whose older past rests in pieces say what they say when all of it is in their state, and write down little."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from millstream.flow import Flow, FlowCore, Input, KeyStore, Kills, TimePolicy, drive, with_ticks
from millstream.flow.library import FLOW_TYPES
from millstream.protocols.cloudevents import encode_event
from millstream.protocols.nats_wire import VERSION_LINE, encode_header_lines
from millstream.protocols.uns_payload import encode_sample
from millstream.sdk import Received
from millstream.shop import StopAsk, stop_ask_event

BASE = 1_767_225_600_000_000_000
SECOND, MINUTE, HOUR = 10**9, 60 * 10**9, 3600 * 10**9
TIME = TimePolicy(idle_ns=5 * SECOND)


def message(seq: int, name: str, value: Any, time_ns: int, *, is_bad: bool = False) -> Received:
    quality = 0x80000000 if is_bad else 0
    payload = encode_sample(value, quality=quality, source_time_ns=time_ns, ingest_time_ns=time_ns)
    return Received(f"uns.v1.acme.m._tag.{name}", payload, None, seq, BASE + seq)


def energy(source: str, **config: Any) -> Flow[Any]:
    names = {source: "e", "parts": "parts", "state": "state"}
    made = {"names": names, "max_power": 90_000, "windows": ["hour", "day"], **config}
    return FLOW_TYPES["energy"].make("f", [Input("acme/**")], made, time=TIME)


def downtime() -> Flow[Any]:
    config = {"names": {"state": "state", "infeed": "infeed"}, "rules": [{"reason": "starved", "when": "infeed == 0"}]}
    return FLOW_TYPES["downtime"].make("f", [Input("acme/**")], config, time=TIME)


def day(rng: random.Random, hours: int) -> list[Received]:
    """A machine with a meter or a power, parts and states, with gaps, what is late, wrong or told twice."""
    items: list[Received] = []
    now_ns, total, parts = BASE + rng.randrange(HOUR), 0.0, 0

    def say(name: str, value: Any, time_ns: int, *, is_bad: bool = False) -> None:
        items.append(message(len(items) + 1, name, value, time_ns, is_bad=is_bad))

    until_ns = now_ns + hours * HOUR
    while now_ns < until_ns:
        now_ns += rng.choice((5, 20, 40, 60, 60, 90, 400)) * SECOND + rng.choice((0, 0, 0, 0, 0, 0, 0, HOUR))
        total = rng.choice((total + 100.0,) * 20 + (0.0, total + 1e7))
        behind_ns = rng.choice((0,) * 20 + (30 * SECOND, 10 * MINUTE, 70 * MINUTE, 5 * HOUR))
        say("e", total, now_ns - behind_ns, is_bad=rng.random() < 0.02)
        if rng.random() < 0.5:
            parts = rng.choice((parts + 3,) * 15 + (0,))
            say("parts", parts, now_ns - rng.choice((0,) * 15 + (2 * HOUR,)))
        if rng.random() < 0.3:
            say("state", rng.choice(("Execute", "Held", "Idle", "Aborted")), now_ns - behind_ns)
        if rng.random() < 0.3:
            say("infeed", rng.randrange(3), now_ns - rng.choice((0, 0, 0, 3 * HOUR)))
    return items


FLOWS: dict[str, Callable[[], Flow[Any]]] = {
    "energy by meter": lambda: energy("meter"),
    "energy by power, live with each input": lambda: energy("power", live="input", every="10s"),
    "energy by power, without live figures": lambda: energy("power", every="0s"),
    "downtime": downtime,
}


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize("seed", range(3))
def test_what_rests_is_counted_as_if_it_were_at_hand(name: str, seed: int) -> None:
    flow, rng = FLOWS[name](), random.Random(seed)
    items = with_ticks(flow, day(rng, 4 if seed else 14))
    whole = drive(replace(flow, piece_type=None), items)
    torn = Kills({n: n % 4 for n in range(3, len(items), 50)})
    assert drive(flow, items).said() == whole.said()
    assert drive(flow, items, unit_items=7, kills=torn).said() == whole.said()
    assert len(whole.messages) > 5


def corrected(total_of: Callable[[int], float], jump: int = 0) -> list[Received]:
    """A meter of which more than five hours are told late, so that more windows are touched than are corrected at once,
    with an event of the newest hour in between; `jump`: the clock of one reading is so far ahead."""
    items: list[Received] = []

    def say(name: str, minute: int, value: float | str, *, behind_ns: int = 0) -> None:
        items.append(message(len(items) + 1, name, value, BASE + minute * MINUTE + behind_ns))

    for minute in (*range(5), *range(355, 376)):
        say("e", minute, total_of(minute))
        say("parts", minute, minute)
    if jump:
        at_ns = BASE + 375 * MINUTE + 30 * SECOND
        payload = encode_sample(
            total_of(375), quality=0, source_time_ns=at_ns + jump, ingest_time_ns=at_ns, clock="ahead"
        )
        items.append(Received("uns.v1.acme.m._tag.e", payload, None, len(items) + 1, at_ns))
    say("state", 376, "Execute")
    for minute in (180, 90, 270):
        say("e", minute, total_of(minute))
        say("parts", 375, 380 + minute, behind_ns=40 * SECOND)  # not newer than the state: no timer fires before it
    say("e", 377, total_of(377))
    return items


@pytest.mark.parametrize("jump", [0, 30 * 24 * HOUR])
@pytest.mark.parametrize("reset", [0, 200])
def test_corrections_that_wait_are_not_lost_to_the_next_event(reset: int, jump: int) -> None:
    """The truth comes late, beside a counter that begins anew and a clock that is a month ahead."""
    flow = energy("meter", demand="5min", wait="0s", every="0s")
    items = corrected(lambda minute: 100.0 * (minute - reset if minute >= reset else minute), jump)
    whole = drive(replace(flow, piece_type=None), items)
    outcome = drive(flow, items)
    assert outcome.said() == whole.said()
    torn = Kills(dict.fromkeys(range(40, len(items), 3), 2))
    assert drive(flow, items, unit_items=1, kills=torn).said() == whole.said()
    newest: dict[str, Any] = {}
    for made in outcome.messages:
        if "._event.energy.demand" in made.subject:
            data = msgspec.json.decode(made.payload)
            newest[data["start"]] = data
    assert len(newest) == 376 // 5, "no window of a time that has not come"
    doubtful = [data for data in newest.values() if data["doubts"]]
    assert len(doubtful) == (18 if reset else 0), "of the hour and a half in which the meter began anew"
    spread = [round(data["spread_wh"]) for data in newest.values() if not data["known"] and not data["doubts"]]
    assert (set(spread), len(spread)) == ({500}, 52 if reset else 70), "all are corrected, by 100 Wh a minute"


def asked(seq: int, **ask: Any) -> Received:
    """What somebody says of a stop."""
    subject, event = stop_ask_event("acme/m:downtime", StopAsk(id=str(seq), who="anna", **ask), BASE + 100 * 24 * HOUR)
    headers, payload = encode_event(event)
    block = VERSION_LINE + b"\r\n" + encode_header_lines(tuple(headers.items())) + b"\r\n"
    return Received(subject, payload, block, seq, BASE + seq)


@pytest.mark.parametrize("count", [40, 300, 1100])
def test_stops_that_people_put_right_long_after_are_found_where_they_rest(count: int) -> None:
    """Also when there are so many that the oldest have gone."""
    flow = downtime()
    items = [message(n + 1, "state", ("Execute", "Held")[n % 2], BASE + n * 5 * MINUTE) for n in range(count)]
    jam = {"action": "reason", "reason": "jam"}
    for back, ask in (
        (21, jam),
        (19, {"action": "split"}),
        (5, {"action": "split"}),
        (999, jam),
        (1001, jam),
        (3, jam),
    ):
        at_ns = BASE + ((count - back) * 5 + 2) * MINUTE
        items.append(asked(len(items) + 1, at_ns=at_ns, **ask))
    items.append(asked(len(items) + 1, at_ns=BASE + ((count - 19) * 5 + 3) * MINUTE, action="merge"))
    for name in ("infeed", "state"):
        items.append(message(len(items) + 1, name, 0 if name == "infeed" else "Held", BASE + 7 * MINUTE))
    said = drive(flow, items).said()
    assert said == drive(replace(flow, piece_type=None), items).said()
    assert sum(b"jam" in payload for _, payload, _ in said) >= 1


@pytest.mark.parametrize(("name", "most_bytes"), [("energy by meter", 2500), ("downtime", 5000)])
def test_an_event_of_a_machine_with_many_hours_writes_down_little(name: str, most_bytes: int) -> None:
    flow = FLOWS[name]()
    core: FlowCore[Any] = FlowCore(flow, KeyStore(), created={"IN": "made"})
    core.begin()
    written = []
    for n in range(14 * 60):
        at_ns = BASE + n * MINUTE
        for received in (
            message(3 * n + 1, "e", n * 100.0, at_ns),
            message(3 * n + 2, "state", ("Execute", "Held")[n // 3 % 2], at_ns + SECOND),
            message(3 * n + 3, "infeed", n % 3, at_ns + 2 * SECOND),
        ):
            while not core.feed("IN", received):
                core.take()
            entries = [(key, raw) for key, raw in core.take().commit.entries if raw is not None]
            core.committed(received.seq)
            if received.subject.endswith(".infeed" if name == "downtime" else ".e"):
                written.append(sum(len(raw) for _, raw in entries[:1]))
    written.sort()
    assert written[len(written) * 9 // 10] < most_bytes
