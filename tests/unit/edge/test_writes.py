"""Writes to machines: what may go out, what is written down, and what a crash leaves, in virtual time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from edge_fakes import Rig, Script, rig
from hypothesis import given
from hypothesis import strategies as st

from millstream.bus import MemoryPublisher, MemoryStream
from millstream.edge._journal import DETAIL_BYTES_MAX, KNOWN_COUNT_MAX, Journal
from millstream.edge._scaling import scale_value
from millstream.edge._write_gate import unscale_value
from millstream.edge._writer import WRITE_TIMEOUT_S, WRITES_WAITING_MAX
from millstream.edge._writes import ANSWER_BYTES_MAX, REFUSALS_STORED_PER_S, WriteDesk
from millstream.kernel import DecodeError, Unreachable
from millstream.model import BAD_NO_COMMUNICATION, BAD_OUT_OF_RANGE, GOOD, AssetPath, Sample, Value
from millstream.protocols.write_request import WriteAnswer, WriteRequest, decode_write, encode_write, is_same
from millstream.sdk import Tag, Write, WriteResult
from millstream.sdk.testing import LoopClock, run_virtual

STATE = "uns.v1.acme.p1._ledger.e1.integrity.write_requests"
TAG = "acme/p1:t0"
RULE: dict[str, Any] = {"interval": "1s", "minimum": -100, "maximum": 100}


@dataclass
class Machine:
    """Remembers what was written. `answer_s` is how long it takes, `limit` what it cuts values to, `lag` how many reads
    still show the old value."""

    written: list[Value | None] = field(default_factory=list)
    shown: Value = 0
    answer_s: float = 0.0
    limit: float = 1e9
    lag: int = 0
    refuses: bool = False
    breaks: bool = False
    is_silent: bool = False
    busy: int = 0

    async def read(self, tags: Sequence[Tag]) -> Sequence[Sample]:
        assert self.busy == 0, "a read beside a write"
        if self.lag > 0 and self.written:
            self.lag -= 1
            return [Sample(tag.key, 0) for tag in tags]
        return [Sample(tag.key, self.shown) for tag in tags]

    async def write(self, writes: Sequence[Write]) -> Sequence[WriteResult]:
        self.busy += 1
        try:
            await asyncio.sleep(self.answer_s)
            if self.breaks:
                raise Unreachable("gone")
            if self.is_silent:
                return [WriteResult(BAD_NO_COMMUNICATION, "no answer")]
            if self.refuses:
                return [WriteResult(BAD_OUT_OF_RANGE, "too hot")]
            (write,) = writes
            self.written.append(write.value)
            is_number = isinstance(write.value, int | float)
            self.shown = min(write.value, self.limit) if is_number else write.value  # type: ignore[type-var, assignment]
            return [WriteResult(GOOD)]
        finally:
            self.busy -= 1


@dataclass
class Desk:
    """An edge's desk, its machine, and what it stored."""

    machine: Machine
    made: Rig
    desk: WriteDesk
    clock: LoopClock
    journal: Journal
    ids: Any = field(default_factory=lambda: itertools.count(1))

    async def write(
        self, value: Value | None, *, tag: str = TAG, valid_s: float = 10.0, id: str | None = None
    ) -> WriteAnswer:
        expires_ns = self.clock.now_ns() + int(valid_s * 1e9)
        return await self.desk.take(WriteRequest(id or f"w{next(self.ids)}", tag, value, expires_ns, "ada"))

    @property
    def events(self) -> list[tuple[str, Any]]:
        """Type and data of each stored event."""
        return [
            (m.subject.rpartition("._event.")[2], msgspec.json.decode(m.payload))
            for m in self.made.stream.messages
            if "._event." in m.subject
        ]

    @property
    def kinds(self) -> list[str]:
        return [kind.removeprefix("millstream.write.") for kind, _ in self.events]


def desk_of(
    machine: Any, stream: MemoryStream | None = None, publisher: Any = None, rule: Any = RULE, **tag: Any
) -> Desk:
    clock = LoopClock()
    stream = stream or MemoryStream(clock=clock)
    made = rig(
        Script(tags_count=2), stream=stream, clock=clock, make=lambda _: machine,
        tag={**({"write": rule} if rule is not None else {}), **tag},
    )  # fmt: skip
    journal = Journal(publisher or MemoryPublisher(stream, clock=clock), STATE, clock)
    desk = WriteDesk(
        made.mapped, {m.tag.key: made.supervisor for m in made.mapped}, journal, place=AssetPath.parse("acme/p1"),
        clock=clock, log=made.recorder,
    )  # fmt: skip
    return Desk(machine, made, desk, clock, journal)


def at_work(desk: Desk, work: Callable[[], Awaitable[None]]) -> None:
    """Run `work` while the connector has a session."""

    async def run() -> None:
        await desk.journal.open()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(desk.made.supervisor.run())
            await asyncio.sleep(0.5)
            await work()
            desk.made.supervisor.stop()
            await asyncio.wait_for(task, 60)

    run_virtual(run())


def test_a_write_is_stored_before_and_after_and_read_back() -> None:
    desk = desk_of(Machine(lag=3))

    async def work() -> None:
        answer = await desk.write(21)
        assert (answer.state, answer.read_back) == ("done", 21)

    at_work(desk, work)
    assert desk.machine.written == [21]
    assert desk.kinds == ["requested", "done"]
    assert desk.events[0][1] == {"tag": TAG, "value": 21, "who": "ada", "id": "w1"}
    assert desk.desk.status() == {
        "requested": 1, "done": 1, "refused": 0, "failed": 0, "unknown": 0, "unstored_refusals": 0,
    }  # fmt: skip


def test_nothing_is_written_but_what_is_listed() -> None:
    desk = desk_of(Machine(), rule=None)

    async def work() -> None:
        for tag in (TAG, "acme/p2:t0", "no path at all", "acme/p1:t0.>"):
            answer = await desk.write(1, tag=tag)
            assert (answer.state, answer.code) == ("refused", "MS-2001")

    at_work(desk, work)
    assert desk.machine.written == []
    assert desk.kinds == ["refused"] * 4
    assert {m.subject for m in desk.made.stream.messages if "_event" in m.subject} == {
        "uns.v1.acme.p1._event.millstream.write.refused"
    }


@pytest.mark.parametrize("value", [101, -100.5, "warm", True, [1, 101]])
def test_a_value_out_of_bounds_never_reaches_the_machine(value: Value) -> None:
    desk = desk_of(Machine())

    async def work() -> None:
        assert (await desk.write(value)).code == "MS-2002"

    at_work(desk, work)
    assert desk.machine.written == []


def test_a_tag_is_written_at_its_pace_and_others_are_not_held_up() -> None:
    desk = desk_of(Machine())

    async def work() -> None:
        assert (await desk.write(1)).state == "done"
        assert (await desk.write(2)).code == "MS-2003"
        assert (await desk.write(3, tag="acme/p1:t1")).state == "done"
        await asyncio.sleep(1.0)
        assert (await desk.write(4)).state == "done"

    at_work(desk, work)
    assert desk.machine.written == [1, 3, 4]


@pytest.mark.parametrize(("valid_s", "code"), [(0.0, "MS-2004"), (-3600.0, "MS-2004"), (61.0, "MS-2004")])
def test_a_request_that_has_expired_or_lives_for_too_long_is_refused(valid_s: float, code: str) -> None:
    desk = desk_of(Machine())

    async def work() -> None:
        assert (await desk.write(1, valid_s=valid_s)).code == code

    at_work(desk, work)
    assert desk.machine.written == []


def test_a_request_that_expires_behind_a_slow_one_is_not_sent() -> None:
    desk = desk_of(Machine(answer_s=5.0))

    async def work() -> None:
        first = asyncio.ensure_future(desk.write(1))
        second = asyncio.ensure_future(desk.write(2, tag="acme/p1:t1", valid_s=2.0))
        assert (await first).state == "done"
        assert ((await second).state, (await second).code) == ("refused", "MS-2007")

    at_work(desk, work)
    assert desk.machine.written == [1]


def test_a_request_that_comes_again_is_answered_and_not_carried_out_again() -> None:
    desk = desk_of(Machine(answer_s=1.0))

    async def work() -> None:
        both = await asyncio.gather(desk.write(5, id="x"), desk.write(5, id="x"))
        assert both[0] == both[1] == await desk.write(5, id="x")

    at_work(desk, work)
    assert desk.machine.written == [5]


def test_a_machine_that_refuses_limits_or_breaks_is_told_apart() -> None:
    desk = desk_of(Machine(limit=50))

    async def work() -> None:
        limited = await desk.write(60)
        assert (limited.state, limited.code, limited.read_back) == ("failed", "MS-2006", 50)
        await asyncio.sleep(1)
        desk.machine.refuses = True
        refused = await desk.write(10)
        assert (refused.state, refused.code, refused.reason) == ("failed", "MS-2005", "too hot")
        await asyncio.sleep(1)
        desk.machine.breaks = True
        lost = await desk.write(10)
        assert (lost.state, lost.code) == ("unknown", "MS-2008")
        unsent = await desk.write(10, tag="acme/p1:t1")
        assert (unsent.state, unsent.code) == ("refused", "MS-2007")

    at_work(desk, work)
    assert desk.made.supervisor.lifecycle.state.value == "closed"


def test_a_machine_that_does_not_answer_may_have_taken_the_write() -> None:
    desk = desk_of(Machine(is_silent=True))

    async def work() -> None:
        answer = await desk.write(10)
        assert (answer.state, answer.code) == ("unknown", "MS-2008")

    at_work(desk, work)


def test_a_machine_that_never_answers_costs_its_session_and_the_outcome_is_unknown() -> None:
    desk = desk_of(Machine(answer_s=1e6))

    async def work() -> None:
        begun_ns = desk.clock.monotonic_ns()
        assert (await desk.write(1, valid_s=30)).state == "unknown"
        assert desk.clock.monotonic_ns() - begun_ns < (WRITE_TIMEOUT_S + 1) * 1e9

    at_work(desk, work)


def test_a_flood_of_writes_is_bounded() -> None:
    desk = desk_of(Machine(answer_s=1.0), rule={"interval": "50ms"})

    async def work() -> None:
        async def one(i: int) -> WriteAnswer:
            await asyncio.sleep(i * 0.05)
            return await desk.write(i, tag=f"acme/p1:t{i % 2}", valid_s=60)

        answers = await asyncio.gather(*(one(i) for i in range(WRITES_WAITING_MAX + 60)))
        assert {a.state for a in answers} == {"done", "refused"}
        assert {a.code for a in answers if a.state == "refused"} <= {"MS-2003", "MS-2007", "MS-2009"}

    at_work(desk, work)


def test_a_flood_of_refused_writes_does_not_fill_the_store() -> None:
    desk = desk_of(Machine())

    async def work() -> None:
        answers = await asyncio.gather(*(desk.write(1000) for _ in range(50)))
        assert {a.code for a in answers} == {"MS-2002"}

    at_work(desk, work)
    assert len(desk.events) == REFUSALS_STORED_PER_S
    assert desk.desk.counters.unstored_refusals == 50 - REFUSALS_STORED_PER_S


class DyingPublisher(MemoryPublisher):
    """The edge ends before its `dies_at`-th unit is stored."""

    def __init__(self, stream: MemoryStream, dies_at: int) -> None:
        super().__init__(stream)
        self.left = dies_at

    async def submit(self, messages: Any, control: Any = None) -> Any:
        if self.left == 0:
            raise SystemExit("killed")
        self.left -= 1
        return await super().submit(messages, control)


@pytest.mark.parametrize(("dies_at", "written", "state"), [(0, [], "done"), (1, [7], "unknown")])
def test_an_edge_that_is_killed_in_between_writes_nothing_twice(dies_at: int, written: list[Value], state: str) -> None:
    machine, stream = Machine(), MemoryStream(clock=LoopClock())
    first = desk_of(machine, stream, DyingPublisher(stream, dies_at))

    async def until_killed() -> None:
        with pytest.raises(SystemExit):
            await first.write(7, id="x")

    at_work(first, until_killed)
    assert machine.written == written
    second = desk_of(machine, stream)

    async def again() -> None:
        assert (await second.write(7, id="x")).state == state

    at_work(second, again)
    assert machine.written == [7]


def test_the_memory_of_requests_is_bounded_and_keeps_the_newest() -> None:
    desk = desk_of(Machine(), rule={"interval": "50ms", "read_back": None})

    async def work() -> None:
        for i in range(KNOWN_COUNT_MAX + 10):
            await desk.write(i, id=f"n{i}")
            await asyncio.sleep(0.06)
        assert (await desk.write(0, id=f"n{KNOWN_COUNT_MAX}")).state == "done"
        assert len(desk.machine.written) == KNOWN_COUNT_MAX + 10

    at_work(desk, work)


def test_a_connector_that_cannot_write_says_so() -> None:
    desk = desk_of(ReadOnly())

    async def work() -> None:
        answer = await desk.write(1)
        assert (answer.code, answer.reason) == ("MS-2007", "this connector cannot write")

    at_work(desk, work)


class ReadOnly:
    async def read(self, tags: Sequence[Tag]) -> Sequence[Sample]:
        return [Sample(tag.key, 0) for tag in tags]


def test_a_value_is_scaled_back_to_what_the_machine_holds() -> None:
    desk = desk_of(Machine(), scale={"factor": 0.1, "offset": -40})

    async def work() -> None:
        answer = await desk.write(20)
        assert answer.state == "done"
        assert is_same(answer.read_back, 20)

    at_work(desk, work)
    assert is_same(desk.machine.written[0], 600)


def test_a_null_goes_out_only_where_it_is_allowed_and_what_shows_then_is_told_not_judged() -> None:
    desk = desk_of(Relinquished(), rule={**RULE, "allow_null": True})

    async def work() -> None:
        answer = await desk.write(None)
        assert (answer.state, answer.read_back) == ("done", 17)
        assert (await desk.write(1000, tag="acme/p1:t1")).code == "MS-2002"  # the bounds hold for values as before

    at_work(desk, work)
    assert desk.machine.written == [None]
    assert [data["value"] for _, data in desk.events[:2]] == [None, None]
    strict = desk_of(Relinquished())

    async def refused() -> None:
        answer = await strict.write(None)
        assert (answer.state, answer.code) == ("refused", "MS-2010")

    at_work(strict, refused)
    assert strict.machine.written == []


class Relinquished(Machine):
    """After a null it shows what another one had set."""

    async def write(self, writes: Sequence[Write]) -> Sequence[WriteResult]:
        results = await super().write(writes)
        self.shown = 17
        return results


def test_what_a_machine_answers_is_passed_on_and_not_read_back() -> None:
    desk = desk_of(Answering(outputs={"mean": 0.5}))

    async def work() -> None:
        answer = await desk.write(5)
        assert (answer.state, answer.answer, answer.read_back) == ("done", {"mean": 0.5}, None)
        desk.machine.outputs = "x" * ANSWER_BYTES_MAX
        long = await desk.write(6, tag="acme/p1:t1", id="long")
        assert (long.state, long.answer) == ("done", None)
        assert "too long" in str(long.reason)

    at_work(desk, work)
    assert desk.events[1][1]["answer"] == {"mean": 0.5}


def test_a_long_answer_is_not_kept_with_the_known_requests() -> None:
    stream = MemoryStream(clock=LoopClock())
    outputs = "x" * 2 * DETAIL_BYTES_MAX
    first, second = desk_of(Answering(outputs=outputs), stream), desk_of(Answering(), stream)

    async def ask() -> None:
        assert (await first.write(5, id="x")).answer == outputs
        assert (await first.write(5, id="x")).answer == outputs

    async def ask_after_restart() -> None:
        again = await second.write(5, id="x")
        assert (again.state, again.answer) == ("done", None)

    at_work(first, ask)
    at_work(second, ask_after_restart)
    assert second.machine.written == []


@dataclass
class Answering(Machine):
    """A method: it gives something back, and there is nothing to read."""

    outputs: Value = field(default_factory=dict)

    async def read(self, tags: Sequence[Tag]) -> Sequence[Sample]:
        assert not self.written, "an answer was read back"
        return await super().read(tags)

    async def write(self, writes: Sequence[Write]) -> Sequence[WriteResult]:
        await super().write(writes)
        return [WriteResult(GOOD, answer=self.outputs)]


def test_a_value_that_the_machine_holds_in_another_form_is_compared_in_that_form() -> None:
    desk = desk_of(Utc(), rule={"interval": "1s"})

    async def work() -> None:
        answer = await desk.write("2026-01-02T04:00:00+01:00")
        assert (answer.state, answer.read_back) == ("done", "2026-01-02T03:00:00Z")

    at_work(desk, work)


class Utc(Machine):
    async def write(self, writes: Sequence[Write]) -> Sequence[WriteResult]:
        await super().write(writes)
        self.shown = "2026-01-02T03:00:00Z"
        return [WriteResult(GOOD, written=self.shown)]


def test_structures_are_the_same_when_their_numbers_are() -> None:
    assert is_same({"a": 0.1, "b": [1, {"c": True}]}, {"a": 0.10000000149011612, "b": [1.0, {"c": 1}]})
    assert not is_same({"a": 0.1}, {"a": 0.1, "b": 1})
    assert not is_same({"a": 0.1}, {"a": 0.2})
    assert not is_same({"a": 1}, [1])


numbers = st.integers(-(2**53), 2**53) | st.floats(-1e12, 1e12)


@given(numbers, st.sampled_from([1, 2, 10, -4, 0.1, 0.25, 1e-3]), st.integers(-1000, 1000) | st.floats(-1e3, 1e3))
def test_scaling_back_and_forth_gives_the_same_number(value: float, factor: float, offset: float) -> None:
    there = scale_value(unscale_value(value, factor, offset), factor, offset)
    assert isinstance(there, int | float)
    assert abs(there - value) <= 1e-6 * max(1.0, abs(value))


@given(st.integers(-(2**63), 2**63), st.integers(1, 1000), st.integers(-1000, 1000))
def test_integers_come_back_exact(raw: int, factor: int, offset: int) -> None:
    assert unscale_value(raw * factor + offset, factor, offset) == raw


@pytest.mark.parametrize(
    "payload",
    [
        b"{", b"[]", b"{}", b'"x"', b"\xff", b"[" * 100_000,
        b'{"id":"","tag":"a/b:c","value":1,"expires_ns":1,"who":"a"}',
        b'{"id":"1","tag":"a/b:c","expires_ns":1,"who":"a"}',
        b'{"id":"1","tag":"a/b:c","value":[null],"expires_ns":1,"who":"a"}',
        b'{"id":"1","tag":"a/b:c","value":{"a":null},"expires_ns":1,"who":"a"}',
        b'{"id":"1","tag":"a/b:c","value":[[[[[[[[[1]]]]]]]]],"expires_ns":1,"who":"a"}',
        b'{"id":"1","tag":"a/b:c","value":1,"expires_ns":1,"who":"a","more":1}',
    ],
)  # fmt: skip
def test_a_malformed_request_is_refused(payload: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        decode_write(payload)
    assert caught.value.code == "MS-2000"


@given(st.binary(max_size=300))
def test_any_bytes_are_a_request_or_a_decode_error(payload: bytes) -> None:
    try:
        request = decode_write(payload)
    except DecodeError:
        return
    assert decode_write(encode_write(request)) == request


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], [None], {"a": b"raw"}, {1: 2}, b"raw"])
def test_a_value_that_json_has_not_is_refused_before_it_is_sent(value: Any) -> None:
    with pytest.raises(DecodeError):
        encode_write(WriteRequest("1", TAG, value, 1, "a"))
