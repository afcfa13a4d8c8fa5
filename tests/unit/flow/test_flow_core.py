"""The core alone: what it reads, what it writes down, what it refuses."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from millstream.bus._group_commit import BATCH_MESSAGES_MAX
from millstream.flow import (
    Emit,
    Event,
    Flow,
    FlowCore,
    Input,
    KeyStore,
    ProcessFullError,
    Refuse,
    SetTimer,
    Tick,
    TimePolicy,
    drive,
    in_order,
    read_lines,
    write_lines,
)
from millstream.flow._codec import decode_facts
from millstream.flow._core import UNIT_OUTPUTS
from millstream.flow._model import OUTPUTS_MAX
from millstream.protocols.trace_context import parse_traceparent
from millstream.sdk import Received

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
LINES = """{"time": "1s", "path": "acme/press1:temperature", "value": 1}
{"time": "2s", "path": "acme/saw1:temperature", "value": 2}
{"time": "3s", "path": "acme/press2:temperature", "value": 3}
{"time": "4s", "path": "acme/press2:temperature/mean", "value": 4}
"""


def received(text: str = LINES) -> list[Received]:
    return [one for one in read_lines(text) if isinstance(one, Received)]


def flow(step: Any, pattern: str = "acme/**", state: Any = int, **more: Any) -> Flow[Any]:
    return Flow("f", (Input(pattern),), step, state, state, outputs=("kpi",), **more)


def copy(state: int, event: Event) -> tuple[int, list[Any]]:
    return state, [Emit(f"{event.key}:copy", event.value, event.time_ns, kind="kpi")]


@pytest.mark.parametrize(
    ("pattern", "values"),
    [
        ("acme/press*:temperature", [1, 3]),
        ("**:temperature", [1, 2, 3]),
        ("acme/press2:temperature", [3]),
        ("acme/*:temp*", [1, 2, 3]),
        ("acme/**", [1, 2, 3, 4]),
        ("**:temperature/*", [4]),
    ],
)
def test_a_flow_reads_what_its_pattern_says_and_nothing_beside(pattern: str, values: list[int]) -> None:
    outcome = drive(flow(copy, pattern), received())
    assert [msgspec.json.decode(message.payload)["value"] for message in outcome.messages] == values


def test_a_flow_without_state_writes_no_keys_down() -> None:
    def pass_on(state: int, event: Event) -> tuple[None, list[Any]]:
        return None, copy(state, event)[1]

    core: FlowCore[Any] = FlowCore(flow(pass_on), KeyStore())
    core.begin()
    for one in received():
        core.feed("IN", one)
    unit = core.take()
    assert (len(unit.messages), unit.commit.entries) == (4, [])


def test_a_key_that_is_given_up_is_written_down_as_gone() -> None:
    def forget(state: int, event: Event) -> tuple[int | None, list[Any]]:
        return (1, []) if event.value == 1 else (None, [])

    core: FlowCore[Any] = FlowCore(flow(forget, key=lambda address: "one"), KeyStore())
    core.begin()
    first, second, *_ = received()
    core.feed("IN", first)
    [(key, raw)] = core.take().commit.entries
    assert (key, raw is None) == ("one", False)
    core.feed("IN", second)
    assert core.take().commit.entries == [("one", None)]


def test_a_step_may_refuse_an_input_and_keep_the_rest() -> None:
    def check(state: int, event: Event) -> tuple[int, list[Any]]:
        if event.value == 2:
            return state + 1, [Refuse(event, "two is no temperature")]
        return state + 1, copy(state, event)[1]

    outcome = drive(flow(check), received())
    assert len(outcome.messages) == 3
    [rejected] = outcome.rejected
    assert (rejected.code, rejected.reason, rejected.received.seq) == ("MS-0702", "two is no temperature", 2)
    assert rejected.received.subject == "uns.v1.acme.saw1._tag.temperature"
    assert decode_facts("tag", rejected.received)[0].value == 2
    assert write_lines([outcome])[-1] == '{"rejected":"two is no temperature","code":"MS-0702","line":2}'


def test_an_input_that_fails_when_its_turn_comes_fails_once_and_leaves_no_trace() -> None:
    """The step changes its state in place and then raises: the state before it stands."""

    def add(state: dict[str, int], event: Event) -> tuple[dict[str, int], list[Any]]:
        state["sum"] = state.get("sum", 0) + event.value
        if event.value == 2:
            raise ValueError("two")
        return state, [Emit("acme:sum", state["sum"], event.time_ns, kind="kpi")]

    late = TimePolicy(lateness_ns=10**12)
    summing = in_order(flow(add, state=dict, key=lambda address: "one", time=late))
    outcome = drive(summing, [*received(), Tick(2 * 10**18)])
    assert [msgspec.json.decode(message.payload)["value"] for message in outcome.messages] == [1, 4, 8]
    [rejected] = outcome.rejected
    assert (rejected.reason, "ValueError: two" in rejected.detail) == ("step raised ValueError: two", True)


def test_a_corrected_result_says_how_often() -> None:
    def correct(state: int, event: Event) -> tuple[int, list[Any]]:
        return state + 1, [Emit("acme:sum", state, 0, kind="kpi", revision=state)]

    outcome = drive(flow(correct, key=lambda address: "one"), received())
    assert [dict(message.headers).get("Ms-Revision") for message in outcome.messages] == [None, "1", "2", "3"]


def test_a_flow_does_not_read_what_it_said_itself() -> None:
    own, other = (
        received()[0]._replace(headers=b"NATS/1.0\r\nMs-Flow: %b/2/0\r\n\r\n" % name) for name in (b"f", b"other")
    )
    assert len(drive(flow(copy), [own]).messages) == 0
    assert len(drive(flow(copy), [other]).messages) == 1


def test_a_unit_fits_into_a_batch_whatever_timers_and_events_say() -> None:
    def talk(state: int, event: Event) -> tuple[int, list[Any]]:
        if event.key == "acme/small":
            return state, [Emit("acme/small:n", event.value, event.time_ns, kind="kpi")]
        said = [Emit(f"acme/big:n{i}", state, event.time_ns, kind="kpi") for i in range(OUTPUTS_MAX)]
        return state + 1, said if event.is_timer or state else [SetTimer("t", event.time_ns + 1)]

    lines = ['{"time": "1s", "path": "acme/big:x", "value": 1}']
    lines += [f'{{"time": "2s", "path": "acme/small:x", "value": {n}}}' for n in range(UNIT_OUTPUTS - 1)]
    lines += ['{"time": "3s", "path": "acme/big:x", "value": 1}']
    core: FlowCore[Any] = FlowCore(flow(talk, time=TimePolicy(idle_ns=None)), KeyStore(), created={"IN": "made"})
    core.begin()
    sizes = []
    for one in received("\n".join(lines)):
        while not core.feed("IN", one):
            sizes.append(len(core.take().messages))
    sizes.append(len(core.take().messages))
    assert sizes == [UNIT_OUTPUTS - 1 + OUTPUTS_MAX, OUTPUTS_MAX]
    assert max(sizes) + 2 <= BATCH_MESSAGES_MAX


@pytest.mark.parametrize("full_at", ["event", "timer"])
def test_what_was_taken_before_the_memory_was_full_is_committed_and_the_rest_is_taken_again(full_at: str) -> None:
    is_full = True

    def step(state: int, event: Event) -> tuple[int, list[Any]]:
        if is_full and (event.is_timer if full_at == "timer" else event.value == 3):
            raise ProcessFullError("no room")
        said = [Emit("acme/p:said", -1 if event.is_timer else event.value, event.time_ns, kind="kpi")]
        return state + 1, [*said, SetTimer("t", event.time_ns + 1)] if event.value == 1 else said

    one = flow(step, key=lambda address: "one", time=TimePolicy(idle_ns=None))
    core: FlowCore[Any] = FlowCore(one, KeyStore(), created={"IN": "made"})
    core.begin()
    with pytest.raises(ProcessFullError):
        _ = [core.feed("IN", each) for each in received()]
    first = core.take()
    again: FlowCore[Any] = FlowCore(one, KeyStore(), created={"IN": "made"})
    again.restore([(1, first.commit)])
    again.begin()
    is_full = False
    for each in received():
        again.feed("IN", each)
    messages = [*first.messages, *again.take().messages]
    assert [msgspec.json.decode(message.payload)["value"] for message in messages] == [1, -1, 2, 3, 4]
    origins = [dict(message.headers)["Ms-Flow-In"] for message in messages]
    assert len(set(origins)) == 5


def test_what_is_made_of_a_traced_input_goes_on_with_its_trace_and_nothing_else_does() -> None:
    def step(state: int, event: Event) -> tuple[int, list[Any]]:
        said = Emit(f"{event.key}:copy", 1, event.time_ns, kind="kpi")
        return state, [said] if event.is_timer else [said, said, SetTimer("later", event.time_ns + 1)]

    def run() -> list[str]:
        core = FlowCore(flow(step), KeyStore())
        core.begin()
        block = f"NATS/1.0\r\ntraceparent: {TRACEPARENT}\r\n\r\n".encode()
        one, two, *_ = received()
        core.feed("S", one._replace(headers=block))
        core.feed("S", two)
        core.tick(10_000_000_000_000_000_000)
        return [dict(m.headers).get("traceparent", "") for m in core.take().messages]

    first, second, *others = run()
    found = parse_traceparent(first), parse_traceparent(second)
    assert [each.trace_id for each in found if each is not None] == [TRACEPARENT[3:35]] * 2
    assert first != second
    assert TRACEPARENT not in (first, second)
    assert others == [""] * 4
    assert run() == [first, second, *others], "after a crash it would say something else"
