"""Windows, sessions, order, context and sequences against plain implementations, with events out of order."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.flow import (
    Context,
    Emit,
    EmitEvent,
    Event,
    Flow,
    Input,
    Kills,
    Panes,
    Progress,
    Sequenced,
    Session,
    Sessions,
    SetTimer,
    Sliding,
    Tick,
    TimePolicy,
    as_of,
    drive,
    in_order,
    remember,
)
from millstream.protocols.uns_payload import decode_sample, encode_sample
from millstream.sdk import Received

BASE = 1_767_225_600_000_000_000
END = Tick(BASE + 10**15)
QUICK = settings(max_examples=60, deadline=None)
EVENTS = st.lists(st.tuples(st.integers(0, 300), st.integers(1, 9)), min_size=1, max_size=40)  # (time in ns, value)


def received(events: list[tuple[int, Any]]) -> list[Any]:
    return [
        Received(
            "uns.v1.acme._tag.x",
            encode_sample(value, quality=0, source_time_ns=BASE + at, ingest_time_ns=BASE),
            None,
            seq,
            BASE,
        )
        for seq, (at, value) in enumerate(events, 1)
    ]


def run(step: Any, state: Any, events: list[tuple[int, Any]], lateness_ns: int, *, ordered: bool = False) -> list[Any]:
    """What the flow emits for these arrivals and a long silence; the same when it is killed on the way."""
    initial = getattr(state, "__origin__", state)
    flow: Flow[Any] = Flow(
        "f", (Input("acme:x"),), step, initial, state, outputs=("kpi",), time=TimePolicy(lateness_ns=lateness_ns)
    )
    if ordered:
        flow = in_order(flow)
    items = [*received(events), END]
    outcome = drive(flow, items)
    assert not outcome.rejected, outcome.rejected[0].detail
    kills = Kills({i: i % 3 for i in range(0, len(items), 3)})
    assert drive(flow, items, unit_items=2, kills=kills).said() == outcome.said()
    return [decode_sample(message.payload).value for message in outcome.messages]


def add(count: int, event: Event) -> int:
    return count + int(event.value)


def plus(one: int, other: int) -> int:
    return one + other


def windowed(window: Any) -> Any:
    def step(state: Any, event: Event) -> tuple[Any, list[Any]]:
        results, effects = window.take(state, event)
        said = [Emit("acme:y", msgspec.to_builtins(r), event.time_ns, kind="kpi") for r in results]
        return state, [*effects, *said]

    return step


def final(results: list[dict[str, Any]]) -> dict[tuple[int, int], int]:
    """The value of each window that counts in the end."""
    found: dict[tuple[int, int], int] = {}
    revisions: dict[tuple[int, int], int] = {}
    for r in results:
        if not r["is_supplement"]:
            place = (r["start_ns"] - BASE, r["end_ns"] - BASE)
            assert r["revision"] > revisions.get(place, -1), "revisions only grow"
            revisions[place] = r["revision"]
            found[place] = r["value"]
    return found


@QUICK
@given(EVENTS, st.sampled_from([(20, 20), (30, 10), (50, 25)]), st.integers(0, 40), st.integers(0, 7))
def test_windows_that_are_kept_end_up_exact_whatever_comes_late(
    events: list[tuple[int, int]], sizes: tuple[int, int], lateness: int, offset: int
) -> None:
    size, every = sizes
    window = Sliding(size, every, initial=int, fold=add, merge=plus, keep_ns=1000, offset_ns=BASE % every + offset)
    got = final(run(windowed(window), Panes[int], events, lateness))
    expected: dict[tuple[int, int], int] = defaultdict(int)
    for at, value in events:
        end = at - (at - offset) % every + every
        for k in range(size // every):
            expected[(end + k * every - size, end + k * every)] += value
    assert {place: value for place, value in got.items() if value} == dict(expected)


@QUICK
@given(EVENTS, st.integers(0, 40), st.integers(0, 40))
def test_what_is_too_late_for_its_window_is_a_supplement_so_that_nothing_is_dropped(
    events: list[tuple[int, int]], lateness: int, keep: int
) -> None:
    window = Sliding(20, initial=int, fold=add, merge=plus, keep_ns=keep)
    results = run(windowed(window), Panes[int], events, lateness)
    supplements = sum(r["value"] for r in results if r["is_supplement"])
    assert sum(final(results).values()) + supplements == sum(value for _, value in events)


@QUICK
@given(EVENTS)
def test_a_window_knows_the_sum_of_all_before_it(events: list[tuple[int, int]]) -> None:
    window = Sliding(40, 20, initial=int, fold=add, merge=plus, keep_ns=0)
    events.sort()
    for r in run(windowed(window), Panes[int], events, 0):
        assert (r["before"] or 0) == sum(value for at, value in events if BASE + at < r["start_ns"])


@QUICK
@given(EVENTS, st.integers(1, 30), st.integers(0, 40))
def test_sessions_that_are_kept_end_up_exact_whatever_comes_late(
    events: list[tuple[int, int]], gap: int, lateness: int
) -> None:
    session = Session(gap, initial=int, fold=add, merge=plus, keep_ns=1000)
    results = run(windowed(session), Sessions[int], events, lateness)
    standing: dict[int, tuple[int, int]] = {}
    retracted = set()
    for r in results:
        assert not r["is_supplement"]
        assert r["start_ns"] - BASE not in retracted, "what was taken back never returns"
        if r["is_retracted"]:
            retracted.add(r["start_ns"] - BASE)
            del standing[r["start_ns"] - BASE]
        else:
            standing[r["start_ns"] - BASE] = (r["end_ns"] - BASE, r["value"])
    expected: list[tuple[int, int, int]] = []
    for at, value in sorted(events):
        if expected and at - expected[-1][1] < gap:
            expected[-1] = (expected[-1][0], at, expected[-1][2] + value)
        else:
            expected.append((at, at, value))
    assert sorted((start, *rest) for start, rest in standing.items()) == expected


@QUICK
@given(EVENTS, st.integers(1, 30), st.integers(0, 20), st.integers(0, 20))
def test_sessions_that_are_let_go_lose_nothing(
    events: list[tuple[int, int]], gap: int, lateness: int, keep: int
) -> None:
    session = Session(gap, initial=int, fold=add, merge=plus, keep_ns=keep)
    standing: dict[int, int] = {}
    total = 0
    for r in run(windowed(session), Sessions[int], events, lateness):
        if r["is_supplement"]:
            total += r["value"]
        elif r["is_retracted"]:
            del standing[r["start_ns"]]
        else:
            standing[r["start_ns"]] = r["value"]
    assert total + sum(standing.values()) == sum(value for _, value in events)


@QUICK
@given(EVENTS)
def test_in_order_gives_every_event_once_and_those_in_time_in_order(events: list[tuple[int, int]]) -> None:
    def step(state: int, event: Event) -> tuple[int, list[Any]]:
        said = [event.time_ns - BASE, event.value, event.is_late]
        return state + 1, [Emit("acme:y", said, event.time_ns, kind="kpi")]

    got = run(step, int, events, 50, ordered=True)
    assert sorted((at, value) for at, value, _ in got) == sorted(events)
    in_time = [at for at, _, is_late in got if not is_late]
    assert in_time == sorted(in_time)
    newest = 0
    late = []
    for at, value in events:
        if at < newest - 50:
            late.append((at, value))
        newest = max(newest, at)
    assert sorted((at, value) for at, value, is_late in got if is_late) == sorted(late)


@QUICK
@given(EVENTS)
def test_timers_of_a_wrapped_step_fire_between_its_events_in_the_order_of_time(events: list[tuple[int, int]]) -> None:
    def step(state: int, event: Event) -> tuple[int, list[Any]]:
        said = [Emit("acme:y", event.time_ns - BASE, event.time_ns, kind="kpi")]
        return state, said if event.is_timer else [*said, SetTimer("t", event.time_ns + event.value)]

    got = run(step, int, events, 1000, ordered=True)
    assert got == sorted(got)


@QUICK
@given(st.lists(st.tuples(st.integers(0, 50), st.integers()), min_size=1, max_size=30), st.integers(0, 60))
def test_context_tells_what_held_at_a_time(changes: list[tuple[int, int]], keep: int) -> None:
    context: Context[int] = Context()
    known: dict[int, int] = {}
    for at, value in changes:
        before = {t: as_of(context, t) for t in range(max(known, default=0) - keep, 60)}
        known[at] = value
        start, end = remember(context, at, value, keep_ns=keep)
        for t in range(max(known) - keep, 60):
            holding = [v for when, v in sorted(known.items()) if when <= t]
            assert as_of(context, t) == (holding[-1] if holding else None) or at < max(known) - keep
            if t in before and not (start <= t and (end is None or t < end)):
                assert as_of(context, t) == before[t]


def brute_force(events: list[tuple[int, int]], steps: int, within: int) -> list[tuple[int, int]]:
    """Complete sequences: behind the last one, the newest first event from which the rest follows in order."""
    found: list[tuple[int, int]] = []
    begin = 0
    for i, (at, value) in enumerate(events):
        if value != steps - 1:
            continue
        for j in range(i - 1, begin - 1, -1):
            wanted = 1
            if events[j][1] != 0 or at - events[j][0] > within:
                continue
            for _, other in events[j + 1 : i + 1]:
                wanted += other == wanted
            if wanted == steps:
                found.append((events[j][0], at))
                begin = i + 1
                break
    return found


@QUICK
@given(
    st.lists(st.tuples(st.integers(0, 100), st.integers(0, 3)), min_size=1, max_size=40, unique_by=lambda e: e[0]),
    st.integers(2, 4), st.integers(1, 60),
)  # fmt: skip
def test_sequences_are_found_as_by_trying_everything(events: list[tuple[int, int]], steps: int, within: int) -> None:
    sequence = Sequenced(
        [lambda event, wanted=n: event.value == wanted for n in range(steps)],  # type: ignore[misc]
        within_ns=within,
    )
    got = run(windowed(sequence), Progress, events, 1000, ordered=True)
    complete = [(f["start_ns"] - BASE, f["end_ns"] - BASE) for f in got if f["is_complete"]]
    assert complete == brute_force(sorted(events), steps, within)
    firsts = {at for at, value in events if value == 0}
    for f in got:
        assert f["start_ns"] - BASE in firsts
        assert f["is_complete"] or 1 <= f["steps"] < steps


def test_a_sequence_that_stops_halfway_is_found_incomplete() -> None:
    sequence = Sequenced([lambda e: e.value == 0, lambda e: e.value == 1], within_ns=10)
    got = run(windowed(sequence), Progress, [(0, 0), (5, 7), (30, 1)], 0)
    assert [(f["steps"], f["is_complete"]) for f in got] == [(1, False)]


def test_events_have_a_place_in_the_alphabet_of_effects() -> None:
    """An EmitEvent in a wrapped step goes through unchanged."""

    def step(state: int, event: Event) -> tuple[int, list[Any]]:
        return state, [EmitEvent("acme:y", "seen", event.value, event.time_ns)]

    flow: Flow[Any] = Flow("f", (Input("acme:x"),), step, int, int, outputs=("event",), time=TimePolicy(lateness_ns=5))
    outcome = drive(in_order(flow), [*received([(3, "b"), (1, "a")]), END])
    assert [message.payload for message in outcome.messages] == [b'"a"', b'"b"']
