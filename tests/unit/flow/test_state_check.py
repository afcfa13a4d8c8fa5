"""Two sources of a machine's state that disagree: no figure is sure of that time, and late truth puts it right."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.flow import Flow, Input, Kills, Outcome, TimePolicy, drive, with_ticks
from millstream.flow.library import FLOW_TYPES
from millstream.kernel import ConfigError
from millstream.model import Quality
from millstream.protocols.uns_payload import decode_sample, encode_sample
from millstream.sdk import Received
from millstream.shop import DISPUTED, agreed, as_heard, note_heard, put_change, state_at

BASE = 1_767_225_600_000_000_000
SECOND, MINUTE, HOUR = 10**9, 60 * 10**9, 3600 * 10**9
TIME = TimePolicy(idle_ns=5 * SECOND)
TOLERANCE_S = 10
BAD = 0x80000000
STATES = ("Execute", "Held", "Idle", "Aborted", "Unknown")
changes = st.lists(st.tuples(st.integers(0, 60), st.sampled_from(("Execute", "Idle", ""))), max_size=12).map(
    lambda found: sorted(dict(found).items())
)


def differ(state: str, word: str) -> bool:
    """One of them says that it runs, the other that it does not."""
    known = ("Execute", "Production", "Held", "Idle", "Aborted")
    return state in known and word in known and (state == "Execute") != (word in ("Execute", "Production"))


@settings(max_examples=60)
@given(first=changes, second=changes, tolerance=st.integers(0, 8))
def test_each_second_is_that_of_the_first_or_in_dispute(first: Any, second: Any, tolerance: int) -> None:
    """Against a look at each second, and the run of differing ones that it lies in."""
    now = 70
    found, due = agreed(first, second, differ, tolerance, now)
    odd = [bool(first) and t >= first[0][0] and differ(state_at(first, t), state_at(second, t)) for t in range(now)]
    for t in range(now):
        run = t
        while run and odd[run - 1]:
            run -= 1
        over = t
        while over < now and odd[over]:
            over += 1
        is_disputed = odd[t] and over - run >= tolerance
        assert state_at(found, t) == (DISPUTED if is_disputed else state_at(first, t)), t
        assert (due == run + tolerance) if odd[t] and over == now and not is_disputed else True
    assert (due is not None) <= odd[now - 1]


def test_what_a_source_says_again_or_late_is_kept_in_order() -> None:
    found: list[tuple[int, str]] = []
    told = [put_change(found, *each) for each in ((5, "a"), (9, "a"), (9, "b"), (7, "c"), (7, "d"), (6, "a"))]
    assert told == [True, False, True, True, True, False]
    assert found == [(5, "a"), (6, "a"), (7, "d"), (9, "b")]
    assert [put_change(found, t, "b", apart_ns=5) for t in (10, 13, 14, 16)] == [False] * 4
    assert found[3:] == [(9, "b"), (14, "b")], "the same again, once in five"


# -- the flow ---------------------------------------------------------------------------------------------------------


def checked(**config: Any) -> Flow[Any]:
    seconds = {
        "power": {"of": "power", "above": 500},
        "cycle": {"of": "cycle", "states": {"1": "ACTIVE", "0": "READY"}},
    }
    made = {"seconds": seconds, "second": "power", **config}
    return FLOW_TYPES["state_check"].make("f", [Input("acme/**"), Input("acme/**", "state")], made, time=TIME)


def received(seq: int, name: str, value: Any, time_ns: int, stored_ns: int | None = None) -> Received:
    contract = "_state" if name == "state" else "_tag"
    payload = encode_sample(value, quality=BAD if value is None else 0, source_time_ns=time_ns, ingest_time_ns=time_ns)
    return Received(f"uns.v1.acme.m.{contract}.{name}", payload, None, seq, stored_ns or time_ns)


def two_sources(rng: random.Random, hours: int) -> list[Received]:
    """A machine and its cycle signal, mostly of one mind; at times one is wrong, seconds late, or told hours later."""
    items: list[Received] = []
    later: list[tuple[str, Any, int]] = []
    now_ns, until_ns = BASE, BASE + hours * HOUR

    def say(name: str, value: Any, time_ns: int) -> None:
        items.append(received(len(items) + 1, name, value, time_ns, now_ns))

    while now_ns < until_ns:
        now_ns += rng.choice((3, 20, 60, 200, 400)) * SECOND
        state = rng.choice(STATES)
        cycle = rng.choice((int(state == "Execute"),) * 4 + (1, 0, None))
        said = [("state", state, now_ns), ("cycle", cycle, now_ns + rng.choice((0, 2, 4, 15)) * SECOND)]
        for each in said if rng.random() < 0.5 else said[::-1]:
            if rng.random() < 0.1:
                later.append(each)
            else:
                say(*each)
        if later and rng.random() < 0.05:
            for each in later:
                say(*each)
            later.clear()
    now_ns += MINUTE
    for each in later:
        say(*each)
    return items


def told(outcome: Outcome) -> list[tuple[int, str]]:
    """States in the order in which they were told."""
    records = [decode_sample(m.payload) for m in outcome.messages if "._state." in m.subject]
    return [(record.time_ns, str(record.value)) for record in records]


def keeps_all(said: Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
    """A reader that keeps what was told last of each time."""
    return sorted(dict(said).items())


def with_silences(second: Sequence[tuple[int, str]], stale_s: int, now_ns: int) -> list[tuple[int, str]]:
    """What a source says, and nothing from `stale_s` behind a word on, until the next one."""
    found: list[tuple[int, str]] = []
    ends = [time_ns for time_ns, _ in second[1:]] + [now_ns]
    for (time_ns, word), next_ns in zip(second, ends, strict=True):
        found.append((time_ns, word))
        if next_ns - time_ns > stale_s * SECOND:
            found.append((time_ns + stale_s * SECOND, ""))
    return found


@pytest.mark.parametrize(("seed", "stale_s"), [(0, None), (1, None), (2, 150), (3, 40)])
def test_whatever_comes_late_all_that_was_told_is_as_if_it_had_come_in_time(seed: int, stale_s: int | None) -> None:
    rng = random.Random(seed)
    arrivals = two_sources(rng, 5)
    cycle = {"of": "cycle", "states": {"1": "ACTIVE", "0": "READY"}, "stale": stale_s and f"{stale_s}s"}
    flow = checked(second="cycle", seconds={"cycle": cycle})
    items = with_ticks(flow, [*arrivals, arrivals[-1].stored_time_ns + HOUR])
    whole = drive(replace(flow, piece_type=None), items)
    torn = Kills({n: n % 4 for n in range(3, len(items), 50)})
    assert drive(flow, items).said() == whole.said()
    assert drive(flow, items, unit_items=7, kills=torn).said() == whole.said()
    first: list[tuple[int, str]] = []
    second: list[tuple[int, str]] = []
    for each in sorted((decode_sample(a.payload).time_ns, i) for i, a in enumerate(arrivals)):
        record = decode_sample(arrivals[each[1]].payload)
        if "._state." in arrivals[each[1]].subject:
            put_change(first, record.time_ns, str(record.value))
        else:
            put_change(second, record.time_ns, {None: "", 1: "Production", 0: "Idle"}[record.value])
    now_ns = arrivals[-1].stored_time_ns + HOUR
    if stale_s is not None:
        second = with_silences(second, stale_s, now_ns)
        assert [word for _, word in second].count("") > 20
    wanted, _ = agreed(first, second, differ, TOLERANCE_S * SECOND, now_ns)
    assert sum(state == DISPUTED for _, state in wanted) > 10
    found = keeps_all(told(whole))
    for time_ns, _ in (*found, *wanted):
        assert state_at(found, time_ns) == state_at(wanted, time_ns), time_ns


@settings(max_examples=60)
@given(times=st.lists(st.integers(0, 200), min_size=1, max_size=30), stale=st.integers(1, 20))
def test_stretches_in_which_a_source_is_heard_are_the_same_in_any_order(times: list[int], stale: int) -> None:
    """Against a look at each second."""
    heard: list[tuple[int, int]] = []
    for time in times:
        note_heard(heard, time, time + stale)
    found = as_heard([(time, "a") for time in sorted(set(times))], heard, 300)
    for t in range(min(times), 230):
        assert (state_at(found, t) == "a") == any(time <= t < time + stale for time in times), t


def test_a_second_source_that_falls_silent_is_not_known_and_is_told_of_once() -> None:
    """It draws power and says nothing more; the machine stops, which is no dispute; then it is heard of again."""
    flow = checked(seconds={"power": {"of": "power", "above": 500, "stale": "5min"}})
    arrivals = [received(1, "state", "Execute", BASE)]
    arrivals += [received(2 + n, "power", 3000.0, BASE + n * MINUTE) for n in range(10)]
    arrivals.append(received(20, "state", "Held", BASE + 12 * MINUTE))
    back = [received(21, "power", 40.0, BASE + 40 * MINUTE), received(22, "power", 3000.0, BASE + 41 * MINUTE)]
    outcome = drive(flow, with_ticks(flow, [*arrivals, BASE + 39 * MINUTE, *back, BASE + HOUR]), unit_items=1)
    found = keeps_all(told(outcome))
    assert [(state, (time_ns - BASE) // MINUTE) for time_ns, state in found] == [
        ("Execute", 0), (DISPUTED, 12), ("Held", 14), (DISPUTED, 41), ("Held", 46),
    ]  # fmt: skip
    events = [msgspec.json.decode(m.payload) for m in outcome.messages if "._event." in m.subject]
    silent = [event for event in events if "stale_s" in event]
    assert silent == [
        {"of": "power", "last": "2026-01-01T00:09:00Z", "stale_s": 300.0},
        {"of": "power", "last": "2026-01-01T00:41:00Z", "stale_s": 300.0},
    ]
    unbounded = keeps_all(told(drive(checked(), with_ticks(checked(), [*arrivals, BASE + 39 * MINUTE]))))
    assert unbounded[-1][1] == DISPUTED, "without a bound its last word speaks against the state for ever"


def test_words_that_come_late_from_a_silence_count_in_their_own_time() -> None:
    """The meter's link was cut for half an hour; what it had kept comes when the link is back."""
    flow = checked(seconds={"power": {"of": "power", "above": 500, "stale": "2min"}})
    arrivals = [received(1, "state", "Execute", BASE), received(2, "power", 3000.0, BASE)]
    late_ns = BASE + 30 * MINUTE
    kept = [received(10 + n, "power", 40.0 if n >= 10 else 3000.0, BASE + n * MINUTE, late_ns) for n in range(1, 31)]
    outcome = drive(flow, with_ticks(flow, [*arrivals, late_ns - SECOND, *kept, late_ns + MINUTE]))
    first = next(record for record in told(outcome) if record[0] == BASE)
    assert first[1] == "Execute"
    assert [(s, (t - BASE) // MINUTE) for t, s in keeps_all(told(outcome))] == [("Execute", 0), (DISPUTED, 10)]


def test_an_input_that_puts_right_more_than_is_told_at_once_tells_the_rest() -> None:
    """The power was thought to be gone for hours; it had come back, and is told only now."""
    arrivals = [received(1, "power", 0.0, BASE)]
    for n in range(300):
        arrivals.append(received(len(arrivals) + 1, "state", "Execute" if n % 2 else "Idle", BASE + n * MINUTE))
    last_ns = BASE + 300 * MINUTE
    arrivals += [received(302, "power", 3000.0, BASE, last_ns), received(303, "state", "Held", last_ns)]
    items = with_ticks(checked(), [*arrivals, last_ns + HOUR])
    outcome = drive(checked(), items)
    found = keeps_all(told(outcome))
    assert [state for _, state in found[:4]] == [DISPUTED, "Execute", DISPUTED, "Execute"]
    assert sum(state == DISPUTED for _, state in found) == 151, "of all in which it stood, by what it said"
    assert outcome.state_bytes < 200_000


# -- and the figures --------------------------------------------------------------------------------------------------


def passed_on(outcome: Outcome) -> list[Received]:
    """States that a flow stored, as the next one reads them."""
    made = [m for m in outcome.messages if "._state." in m.subject]
    return [Received(m.subject, m.payload, None, n + 1, BASE + 59 * MINUTE) for n, m in enumerate(made)]


def straight(arrivals: Sequence[Received]) -> tuple[Outcome, str]:
    """OEE reads what was agreed on."""
    return drive(checked(), with_ticks(checked(), arrivals)), "state/agreed"


def stops_of(read: Sequence[Received], name: str) -> Outcome:
    """States as the flow `downtime` says them."""
    flow = FLOW_TYPES["downtime"].make("f", [Input("acme/**", "state")], {"names": {"state": name}}, time=TIME)
    return drive(flow, with_ticks(flow, read))


def before_downtime(arrivals: Sequence[Received]) -> tuple[Outcome, str]:
    """Stops are those of what was agreed on, and OEE reads the states with these."""
    return stops_of(passed_on(straight(arrivals)[0]), "state/agreed"), "downtime/state"


def behind_downtime(arrivals: Sequence[Received]) -> tuple[Outcome, str]:
    """The states with their stops are held against the power."""
    stops = passed_on(stops_of([a for a in arrivals if "._state." in a.subject], "state"))
    flow = checked(state="downtime/state")
    return drive(flow, with_ticks(flow, [*stops, *arrivals])), "state/agreed"


def first_hour(outcome: Outcome, name: str) -> tuple[dict[str, Any], bool]:
    """What OEE says of it last, and whether it is sure of it."""
    config = {
        "names": {"state": name, "produced": "parts"}, "ideal_cycle": "60s", "windows": ["hour"], "every": "0s",
    }  # fmt: skip
    oee = FLOW_TYPES["oee"].make("oee", [Input("acme/**"), Input("acme/**", "state")], config, time=TIME)
    parts = [received(900 + n, "parts", n, BASE + n * MINUTE, BASE + 2 * HOUR) for n in range(60)]
    said = drive(oee, with_ticks(oee, [*passed_on(outcome), *parts, BASE + 3 * HOUR])).messages
    events = [msgspec.json.decode(m.payload) for m in said if "._event.oee.hour" in m.subject]
    (*_, last) = (each for each in events if each["start"] == "2026-01-01T00:00:00Z")
    records = [decode_sample(m.payload) for m in said if m.subject.endswith("_kpi.oee.hour.availability")]
    (*_, record) = (each for each in records if each.time_ns == BASE + HOUR)
    return last, not Quality(record.quality).is_uncertain


@pytest.mark.parametrize("way", [straight, before_downtime, behind_downtime])
def test_time_in_dispute_is_not_known_and_a_doubt_until_late_truth_settles_it(
    way: Callable[[Sequence[Received]], tuple[Outcome, str]],
) -> None:
    """It says that it produces all the hour; from the 20th to the 50th minute its spindle drew nothing. Then comes what
    the meter had kept: it was at work from the 20th minute on."""
    arrivals = [received(1, "power", 3000.0, BASE), received(2, "state", "Execute", BASE)]
    for n, (minute, watts) in enumerate(((20, 40.0), (50, 3000.0), (120, 3000.0))):
        arrivals.append(received(3 + n, "power", watts, BASE + minute * MINUTE))
    late = received(6, "power", 2900.0, BASE + 20 * MINUTE, BASE + 121 * MINUTE)
    disputed, is_sure = first_hour(*way(arrivals))
    assert (disputed["known"], disputed["states_s"][DISPUTED], is_sure) == (0.5, 1800, False)
    assert "two sources of the state disagreed (1800 s)" in disputed["doubts"]
    settled, is_sure = first_hour(*way([*arrivals, late]))
    assert (settled["known"], settled["availability"], settled["doubts"], is_sure) == (1.0, 1.0, [], True)


def test_a_window_that_was_given_is_given_again_when_the_dispute_is_settled() -> None:
    """OEE runs on, and reads what puts the states right behind the end of the window."""
    arrivals = [received(1, "power", 3000.0, BASE), received(2, "state", "Execute", BASE)]
    arrivals += [received(3, "power", 40.0, BASE + 20 * MINUTE), received(4, "power", 3000.0, BASE + 50 * MINUTE)]
    late = received(5, "power", 2900.0, BASE + 20 * MINUTE, BASE + 121 * MINUTE)
    states = drive(checked(), with_ticks(checked(), [*arrivals, BASE + 2 * HOUR, late]))
    told_late = [m for m in states.messages if dict(m.headers).get("Ms-Revision")]
    assert told_late, "what was told is put right with a revision"
    config = {"names": {"state": "state/agreed"}, "windows": ["hour"], "every": "0s"}
    oee = FLOW_TYPES["oee"].make("oee", [Input("acme/**", "state")], config, time=TIME)
    read = passed_on(states)
    at = next(n for n, m in enumerate(m for m in states.messages if "._state." in m.subject) if m in told_late)
    said = drive(oee, with_ticks(oee, [*read[:at], BASE + 3 * HOUR, *read[at:]])).messages
    found = [msgspec.json.decode(m.payload) for m in said if "._event.oee.hour" in m.subject]
    first = [(each["revision"], each["known"]) for each in found if each["start"] == "2026-01-01T00:00:00Z"]
    assert (first[0], first[-1][1]) == ((0, 0.5), 1.0)
    assert first[-1][0] > 0


def test_a_dispute_is_told_once_when_it_is_known_of_and_once_when_it_is_over() -> None:
    arrivals = [received(1, "power", 3000.0, BASE), received(2, "state", "Execute", BASE)]
    arrivals += [received(3 + n, "power", 40.0 + n, BASE + MINUTE + n * SECOND) for n in range(60)]
    arrivals += [received(70, "state", "Held", BASE + 3 * MINUTE)]
    outcome = drive(checked(), with_ticks(checked(), [*arrivals, BASE + HOUR]), unit_items=1)
    events = [msgspec.json.decode(m.payload) for m in outcome.messages if "._event." in m.subject]
    start = "2026-01-01T00:01:00Z"
    assert events == [
        {"start": start, "state": "Execute", "of": "power", "second": "Idle", "tolerance_s": 10.0},
        {"start": start, "end": "2026-01-01T00:03:00Z", "duration_s": 120.0},
    ]


@pytest.mark.parametrize(
    ("config", "match"),
    [
        ({"second": "current"}, "no such second source"), ({"templates": {"a": "current"}}, "no such second source"),
        ({"seconds": {"power": {"of": "state"}}}, "another tag"), ({"output": "{name}/agreed"}, "plain name"),
        ({"seconds": {"power": {"of": "p", "above": 1, "states": {"1": "Idle"}}}}, "one of them"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_an_error_of_the_configuration(config: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        checked(**config)
