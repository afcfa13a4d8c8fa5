"""A machine's words that come late, since a link was cut: their states land in their own time, and what holds now is
what all of them say."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from millstream.flow import Flow, Input, Outcome, TimePolicy, drive, with_ticks
from millstream.flow.library import FLOW_TYPES
from millstream.protocols.uns_payload import decode_sample, encode_sample
from millstream.sdk import Received
from millstream.shop import state_at

BASE = 1_767_225_600_000_000_000
SECOND, MINUTE, HOUR = 10**9, 60 * 10**9, 3600 * 10**9
TIME = TimePolicy(idle_ns=5 * SECOND)
RULES = [
    {"state": "Execute", "when": 'execution == "ACTIVE" and power > 500'},
    {"state": "Held", "when": 'execution == "WAIT"'},
]


def states() -> Flow[Any]:
    config = {"names": {"execution": "execution", "power": "power"}, "rules": RULES, "otherwise": "Idle"}
    return FLOW_TYPES["machine_state"].make("f", [Input("acme/**")], config, time=TIME)


def received(seq: int, name: str, value: Any, time_ns: int, stored_ns: int | None = None) -> Received:
    payload = encode_sample(value, quality=0, source_time_ns=time_ns, ingest_time_ns=time_ns)
    return Received(f"uns.v1.acme.m._tag.{name}", payload, None, seq, stored_ns or time_ns)


def told(outcome: Outcome) -> list[tuple[int, str]]:
    """States in the order in which they were told."""
    records = [decode_sample(m.payload) for m in outcome.messages if "._state." in m.subject]
    return [(record.time_ns, str(record.value)) for record in records]


def kept(said: Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
    """A reader that keeps what was told last of each time."""
    return sorted(dict(said).items())


def rule_of(execution: str | None, power: float) -> str:
    """The rules, as a person reads them."""
    return "Execute" if execution == "ACTIVE" and power > 500 else "Held" if execution == "WAIT" else "Idle"


def test_words_of_a_connector_that_was_cut_off_land_in_their_own_time_and_what_follows_is_put_right() -> None:
    """The controller's words of half an hour come behind those of the meter."""
    in_time = [("execution", "ACTIVE", 0), ("power", 3000.0, 0), ("power", 0.0, 30)]
    late = [("execution", "WAIT", 10), ("execution", "ACTIVE", 40)]
    items = [received(n + 1, name, value, BASE + at * MINUTE) for n, (name, value, at) in enumerate(in_time)]
    for name, value, at in late:
        items.append(received(len(items) + 1, name, value, BASE + at * MINUTE, BASE + HOUR))
    found = told(drive(states(), with_ticks(states(), items)))
    assert [(state, (time_ns - BASE) // MINUTE) for time_ns, state in kept(found) if time_ns >= BASE] == [
        ("Execute", 0), ("Held", 10), ("Held", 30), ("Idle", 40),
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_whatever_comes_late_the_newest_state_is_that_of_the_newest_words(seed: int) -> None:
    """Two sources, each in its own order, of which now and then one is cut off."""
    rng = random.Random(seed)
    values = {"execution": ("ACTIVE", "WAIT", "READY"), "power": (0.0, 3000.0)}
    said = [(BASE + n * 10 * SECOND, name := rng.choice(("execution", "power")), rng.choice(values[name]))
            for n in range(120)]  # fmt: skip
    queue, arrivals = {"execution": [], "power": []}, list[Received]()  # type: ignore[var-annotated]
    for time_ns, name, value in said:
        queue[name].append((time_ns, value))
        for other in queue if rng.random() < 0.2 else (name,) if rng.random() < 0.7 else ():
            for at_ns, each in queue[other]:
                arrivals.append(received(len(arrivals) + 1, other, each, at_ns, time_ns))
            queue[other].clear()
    newest: dict[str, Any] = {}
    for count in range(1, len(arrivals) + 1):
        latest = arrivals[count - 1]
        newest[latest.subject.rpartition(".")[2]] = decode_sample(latest.payload).value
        if count % 10 == 0:
            found = kept(told(drive(states(), arrivals[:count])))
            assert found[-1][1] == rule_of(newest.get("execution"), newest.get("power", 0.0)), count


def test_a_window_of_oee_is_given_again_when_the_words_of_its_time_come_from_behind_a_cut() -> None:
    """The machine stood from the 20th to the 50th minute; the hub hears of it an hour later."""
    before = [received(1, "power", 3000.0, BASE), received(2, "execution", "ACTIVE", BASE)]
    cut_ns = BASE + 2 * HOUR
    late = [("power", 3000.0, 10), ("execution", "WAIT", 20), ("execution", "ACTIVE", 50), ("power", 3000.0, 119)]
    behind = [received(n + 3, name, value, BASE + at * MINUTE, cut_ns) for n, (name, value, at) in enumerate(late)]
    said = drive(states(), with_ticks(states(), [*before, cut_ns - SECOND, *behind, cut_ns + MINUTE])).messages
    read = [Received(m.subject, m.payload, None, n + 1, BASE if n < 2 else cut_ns) for n, m in enumerate(said)]
    config = {"names": {"state": "state"}, "windows": ["hour"], "every": "0s"}
    oee = FLOW_TYPES["oee"].make("oee", [Input("acme/**", "state")], config, time=TIME)
    outcome = drive(oee, with_ticks(oee, [*read[:2], cut_ns - SECOND, *read[2:], cut_ns + HOUR]))
    events = [msgspec.json.decode(m.payload) for m in outcome.messages if "._event." in m.subject]
    first = [e for e in events if e["start"] == "2026-01-01T00:00:00Z"]
    assert (first[0]["revision"], round(first[0]["availability"], 3)) == (0, 1.0)
    assert first[-1]["revision"] > 0
    assert round(first[-1]["availability"], 3) == 0.5
    assert state_at(kept(told(drive(states(), [*before, *behind]))), BASE + 30 * MINUTE) == "Held"
