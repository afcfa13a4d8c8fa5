"""Pieces of a machine's time: begun by the machine, cut, joined and explained by people, and what OEE makes of it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.flow import Input, Tick, TimePolicy, drive
from millstream.flow.library import FLOW_TYPES
from millstream.kernel import DecodeError
from millstream.protocols.cloudevents import encode_event
from millstream.protocols.uns_payload import encode_sample
from millstream.sdk import Received
from millstream.shop import (
    NotAStop,
    Piece,
    StopAsk,
    begin_piece,
    check_stop_ask,
    give_reason,
    merge_piece,
    pareto,
    split_piece,
    stop_ask_event,
)

BASE = 1_767_225_600_000_000_000  # 2026-01-01
MIN = 60 * 10**9


def stop_and_run() -> list[Piece]:
    return [Piece(0, "Execute", "production"), Piece(10, "Aborted", "down"), Piece(20, "Execute", "production")]


def at(action: Any, time_ns: int) -> StopAsk:
    return StopAsk("1", action, "ada", time_ns)


def test_a_stop_that_was_cut_and_joined_again_is_the_stop_it_was() -> None:
    pieces = stop_and_run()
    assert split_piece(pieces, at("split", 15)) == (1, 2)
    assert [(p.start_ns, p.category) for p in pieces] == [
        (0, "production"),
        (10, "down"),
        (15, "down"),
        (20, "production"),
    ]
    changed, gone = merge_piece(pieces, at("merge", 17))
    assert (changed, gone.start_ns) == ((1,), 15)
    assert [(p.start_ns, p.state) for p in pieces] == [(p.start_ns, p.state) for p in stop_and_run()]


def test_a_reason_is_taken_back_and_a_rule_may_give_one_again() -> None:
    pieces = stop_and_run()
    check_stop_ask(msgspec.to_builtins(at("clear", 12)))
    give_reason(pieces, 1, "jam", "delay", StopAsk("1", "reason", "ada", 12, "jam"))
    assert not give_reason(pieces, 1, "micro-stop"), "a rule does not overrule a person"
    assert give_reason(pieces, 1, "", "down", at("clear", 12))
    assert (pieces[1].reason, pieces[1].by, pieces[1].category, pieces[1].who) == ("", "", "down", "ada")
    assert give_reason(pieces, 1, "micro-stop")


@pytest.mark.parametrize(
    ("action", "time_ns", "why"),
    [
        ("split", 5, "no stop"), ("split", 10, "begins there"), ("split", -1, "nothing is known"),
        ("merge", 12, "right before"), ("merge", 25, "right before"),
    ],
)  # fmt: skip
def test_what_fits_no_stop_is_refused_and_changes_nothing(action: str, time_ns: int, why: str) -> None:
    pieces = stop_and_run()
    with pytest.raises(NotAStop, match=why):
        (split_piece if action == "split" else merge_piece)(pieces, at(action, time_ns))
    assert pieces == stop_and_run()


@given(st.lists(st.tuples(st.integers(0, 50), st.sampled_from("abc")), max_size=40), st.randoms())
def test_states_in_any_order_give_the_same_time(changes: list[tuple[int, str]], rng: Any) -> None:
    known = dict(changes)  # one state a moment
    shuffled = list(known.items())
    rng.shuffle(shuffled)
    pieces: list[Piece] = []
    for time_ns, state in shuffled:
        begin_piece(pieces, Piece(time_ns, state, "down"))
    assert [p.start_ns for p in pieces] == sorted({p.start_ns for p in pieces})
    assert all(a.state != b.state for a, b in pairwise(pieces)), "a piece is a change"


@pytest.mark.parametrize("raw", [{}, {"id": "1", "action": "reason", "who": "a", "at_ns": 1},
    {"id": "1", "action": "split", "who": "a", "at_ns": 1, "reason": "x"},
    {"id": "", "action": "split", "who": "a", "at_ns": 1},
    {"id": "1", "action": "reason", "who": "a", "at_ns": 1, "reason": "x", "category": "holiday"}])  # fmt: skip
def test_what_says_nothing_of_a_stop_is_refused(raw: dict[str, Any]) -> None:
    with pytest.raises(DecodeError, match="MS-2720"):
        check_stop_ask(raw)


def test_a_pareto_names_the_longest_first_and_ends_with_all() -> None:
    stops = [("bearing", 60.0), ("starved", 100.0), ("bearing", 60.0), (None, 20.0)]
    rows = pareto({"reason": reason, "duration_s": s, "category": "down"} for reason, s in stops)
    assert [(r.reason, r.count, r.seconds, round(r.cumulative, 2)) for r in rows] == [
        ("bearing", 2, 120.0, 0.5), ("starved", 1, 100.0, 0.92), ("(down)", 1, 20.0, 1.0),
    ]  # fmt: skip
    assert pareto([{"reason": "x", "duration_s": None}]) == []


def test_a_pareto_by_branch_adds_up_at_the_top_of_the_tree_of_reasons() -> None:
    stops = [("bearing", 60.0), ("belt", 50.0), ("starved", 100.0), (None, 20.0)]
    parents = {"bearing": "drive", "belt": "drive", "drive": "mechanics", "starved": ""}
    rows = pareto(({"reason": reason, "duration_s": s, "category": "down"} for reason, s in stops), parents)
    assert [(r.reason, r.count, r.seconds) for r in rows] == [
        ("mechanics", 2, 110.0), ("starved", 1, 100.0), ("(down)", 1, 20.0),
    ]  # fmt: skip


def test_a_reason_that_is_given_afterwards_corrects_oee() -> None:
    def state(number: int, minute: int, value: str) -> Received:
        time_ns = BASE + minute * MIN
        payload = encode_sample(value, quality=0, source_time_ns=time_ns, ingest_time_ns=time_ns)
        return Received("uns.v1.acme.press._state.state", payload, None, number, 0)

    def said(number: int, ask: StopAsk) -> Received:
        subject, event = stop_ask_event("acme/press:downtime", ask, BASE + 70 * MIN)
        headers, payload = encode_event(event)
        block = "NATS/1.0\r\n" + "".join(f"{name}: {text}\r\n" for name, text in headers.items()) + "\r\n"
        return Received(subject, payload, block.encode(), number, 0)

    reading = [Input("acme/**:state", "state")]
    stops = FLOW_TYPES["downtime"].make("stops", reading, {"names": {"state": "state"}}, time=TimePolicy())
    inputs = [state(1, 0, "Execute"), state(2, 30, "Aborted"), state(3, 45, "Execute")]
    inputs += [said(4, StopAsk("1", "reason", "ada", BASE + 31 * MIN, "meeting", category="planned"))]
    made = drive(stops, inputs)
    assert not made.rejected
    states = [m for m in made.messages if "._state." in m.subject]
    oee = FLOW_TYPES["oee"].make(
        "oee", [Input("acme/**:downtime/state", "state")], {"names": {"state": "downtime/state"}, "every": "0s"},
        time=TimePolicy(),
    )  # fmt: skip
    messages = [Received(m.subject, m.payload, None, n, 0) for n, m in enumerate(states, 1)]
    items = [*messages[:-1], Tick(BASE + 61 * MIN), messages[-1]]
    told = [msgspec.json.decode(m.payload) for m in drive(oee, items).messages if "._event." in m.subject]
    found = [(data["revision"], data["availability"], data["spent_s"]) for data in told]
    assert found == [
        (0, 0.75, {"production": 2700.0, "down": 900.0}),
        (1, 1.0, {"production": 2700.0, "planned": 900.0}),
    ]
