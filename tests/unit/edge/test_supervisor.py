"""The supervisor keeps the promises of the connector contract, in virtual time."""

from __future__ import annotations

import asyncio

import pytest
from edge_fakes import Rig, Script, rig

from millstream.bus import MemoryPublisher
from millstream.edge._lifecycle import State
from millstream.kernel import AuthError, FencedError, PlantError, ProtocolViolation, Unreachable
from millstream.model import BAD_NO_COMMUNICATION, BAD_NODE_ID_UNKNOWN
from millstream.sdk.testing import JumpingClock, LoopClock, run_virtual


async def for_a_while(made: Rig, span_s: float) -> None:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(made.supervisor.run())
        await asyncio.sleep(span_s)
        made.supervisor.stop()
        await asyncio.wait_for(task, 60)


def test_a_finite_source_is_stored_once_in_order_and_acknowledged() -> None:
    made = rig(Script(rows_count=1234, batch_rows=7))
    run_virtual(made.supervisor.run())
    assert made.values == list(range(1234))
    assert made.script.acks[-1] == 1234
    assert made.supervisor.lifecycle.state is State.ENDED
    assert made.stored_position == b"1234"
    status = made.supervisor.status()
    assert (status["samples_received"], status["samples_stored"], status["opens"]) == (1234, 1234, 1)


def test_a_batch_larger_than_a_unit_is_cut_and_stored_once() -> None:
    made = rig(Script(rows_count=4000, batch_rows=2000, tags_count=2))
    run_virtual(made.supervisor.run())
    assert made.values == [r for r in range(4000) for _ in range(2)]


@pytest.mark.parametrize("call", ["open", "stream", "ack", "close"])
@pytest.mark.parametrize("error", [Unreachable("gone"), ProtocolViolation("odd", frame=b"\xff"), KeyError("bug")])
def test_a_failure_in_any_call_loses_and_repeats_nothing(call: str, error: BaseException) -> None:
    made = rig(Script(rows_count=500, batch_rows=10, pause_s=0.01, fail={call: [error]}))
    run_virtual(made.supervisor.run())
    assert made.values == list(range(500))
    assert made.supervisor.lifecycle.state is State.ENDED
    assert made.script.opens == made.script.closes


def test_a_link_that_drops_at_every_place_gives_no_gap_and_no_repeat() -> None:
    drops: list[tuple[int, BaseException]] = [(r, Unreachable("drop")) for r in range(0, 500, 7)]
    made = rig(Script(rows_count=500, batch_rows=5, stream_fail_at=drops, pause_s=0.1))
    run_virtual(made.supervisor.run())
    assert made.values == list(range(500))


@pytest.mark.parametrize("batch_rows", [1, 10, 700, 1600])
def test_a_crash_anywhere_resumes_without_gap_or_repeat(batch_rows: int) -> None:
    script = Script(rows_count=5000, batch_rows=batch_rows, pause_s=0.001)

    async def crash_twenty_times() -> Rig:
        made = rig(script)
        for turn in range(20):
            task = asyncio.ensure_future(made.supervisor.run())
            await asyncio.sleep(0.003 * (turn + 1))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            made = rig(script, stream=made.stream)
        await made.supervisor.run()
        return made

    made = run_virtual(crash_twenty_times())
    assert made.values == list(range(5000))
    assert made.supervisor.status()["samples_received"] == 5000


def test_counters_continue_after_a_restart() -> None:
    first = rig(Script(rows_count=100))
    run_virtual(first.supervisor.run())
    second = rig(Script(rows_count=150), stream=first.stream)
    run_virtual(second.supervisor.run())
    assert second.supervisor.status()["samples_received"] == 150
    assert second.supervisor.status()["samples_stored"] == 150
    assert second.script.resumes == [b"100"]


def test_the_link_loss_is_one_bad_sample_a_tag_and_one_line_each_way() -> None:
    fails: list[BaseException] = [Unreachable("down")] * 8
    made = rig(Script(tags_count=3), polled=True)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(made.supervisor.run())
            await asyncio.sleep(5)
            made.script.fail = {"read": [Unreachable("down")], "open": fails}
            await asyncio.sleep(600)
            made.supervisor.stop()
            await task

    run_virtual(main())
    assert made.bad == [BAD_NO_COMMUNICATION] * 3
    assert made.recorder.lines == [("warning", "link down"), ("info", "link up")]
    assert made.supervisor.status()["samples_added"] == 3


def test_a_refused_password_stops_the_connector_and_raises_an_alarm() -> None:
    made = rig(Script(fail={"open": [AuthError("bad password")]}))
    run_virtual(made.supervisor.run())
    assert made.script.opens == 0
    assert made.supervisor.lifecycle.state is State.STOPPED
    assert made.supervisor.lifecycle.alarm is not None
    assert made.supervisor.lifecycle.alarm.code == "MS-0201"
    assert made.bad == [BAD_NO_COMMUNICATION]


def test_a_link_that_opens_but_never_brings_data_is_degraded_with_an_alarm() -> None:
    made = rig(Script(stream_fail_at=[(0, ProtocolViolation("poison", frame=b"\x00\x01"))] * 50))
    run_virtual(for_a_while(made, 120))
    life = made.supervisor.lifecycle
    assert life.opens_count > 5
    assert life.alarm is not None
    assert life.alarm.code == "MS-0204"
    assert made.recorder.letters[0].payload == b"\x00\x01"
    assert made.supervisor.status()["frames_quarantined"] == life.opens_count


def test_it_recovers_from_degraded_when_data_comes() -> None:
    made = rig(Script(rows_count=20, stream_fail_at=[(0, ProtocolViolation("poison"))] * 8))
    run_virtual(made.supervisor.run())
    assert made.values == list(range(20))
    assert made.supervisor.lifecycle.alarm is None


def test_a_bug_keeps_its_traceback_and_the_connector_is_opened_again() -> None:
    made = rig(Script(rows_count=50), polled=True)
    made.script.fail = {"read": [ZeroDivisionError("division by zero")] * 3}

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(made.supervisor.run())
            while made.supervisor.lifecycle.trace is None:
                await asyncio.sleep(0.01)
            assert "ZeroDivisionError" in made.supervisor.lifecycle.trace
            assert made.supervisor.lifecycle.alarm is not None
            await asyncio.sleep(60)
            made.supervisor.stop()
            await task

    run_virtual(main())
    assert made.script.opens == 4
    assert made.supervisor.lifecycle.alarm is None


def test_bad_frames_beside_good_samples_go_to_the_dead_letters() -> None:
    made = rig(Script(rows_count=100, frames_bad={5: b"\xde\xad", 55: b"\xbe\xef"}))
    run_virtual(made.supervisor.run())
    assert made.values == list(range(100))
    assert [letter.payload for letter in made.recorder.letters] == [b"\xde\xad", b"\xbe\xef"]


def test_one_bad_tag_does_not_hurt_the_others() -> None:
    made = rig(Script(tags_count=3, bad_tags=frozenset({"1"})), polled=True)
    run_virtual(for_a_while(made, 3.5))
    assert made.bad == [BAD_NODE_ID_UNKNOWN] * 4
    assert made.values == [1, 1, 2, 2, 3, 3, 4, 4]


def test_polls_keep_their_rate_without_drift() -> None:
    made = rig(Script(read_s=0.13), polled=True)
    run_virtual(for_a_while(made, 100.5))
    steps = {b - a for a, b in zip(made.script.reads, made.script.reads[1:], strict=False)}
    assert len(made.script.reads) == 101
    assert all(abs(step - 1e9) < 1e6 for step in steps)


def test_missed_polls_are_counted_and_never_overlap() -> None:
    made = rig(Script(read_s=2.5), polled=True)
    run_virtual(for_a_while(made, 60))
    assert made.supervisor.polls_missed_count >= 20
    assert min(b - a for a, b in zip(made.script.reads, made.script.reads[1:], strict=False)) >= 2.5e9 - 1e6


def test_each_sampling_interval_is_a_group_of_its_own() -> None:
    made = rig(Script(tags_count=2), polled=True, sampling=["1s", "5s"])
    run_virtual(for_a_while(made, 20.5))
    subjects = [m.subject[-2:] for m in made.stream.messages]
    assert (subjects.count("t0"), subjects.count("t1")) == (21, 5)


def test_a_read_that_hangs_is_a_lost_link() -> None:
    made = rig(Script(hangs_in="read"), polled=True)
    run_virtual(for_a_while(made, 60))
    assert made.script.opens == 2
    assert made.values
    assert made.bad == [BAD_NO_COMMUNICATION]


@pytest.mark.parametrize("phase", ["open", "close", "ack"])
def test_a_hang_anywhere_ends_at_its_deadline(phase: str) -> None:
    made = rig(Script(hangs_in=phase, rows_count=100, pause_s=0.01))
    run_virtual(for_a_while(made, 200))
    assert made.values == list(range(100))


def test_back_pressure_bounds_what_a_source_may_be_ahead() -> None:
    made = rig(Script(rows_count=20_000, batch_rows=100))

    async def main() -> None:
        gate = asyncio.Event()
        made.supervisor.outbox._publisher = _Gated(made, gate)  # type: ignore[assignment]
        async with asyncio.TaskGroup() as group:
            task = group.create_task(made.supervisor.run())
            for _ in range(2000):
                await asyncio.sleep(0)
            assert made.script.produced <= 100 * 70
            ahead = made.script.produced
            await asyncio.sleep(100)
            assert made.script.produced == ahead
            assert made.script.acks == []
            gate.set()
            await asyncio.sleep(0.001)
            assert made.script.produced > ahead
            made.script.rows_count = 0
            task.cancel()

    run_virtual(main())


class _Gated:
    """A publisher whose answers wait for a gate."""

    def __init__(self, made: Rig, gate: asyncio.Event) -> None:
        self._inner = MemoryPublisher(made.stream)
        self._gate = gate
        self._tasks: set[asyncio.Task[object]] = set()

    async def submit(self, messages: object, control: object = None) -> object:
        done = await self._inner.submit(messages, control)  # type: ignore[arg-type]
        future = asyncio.get_running_loop().create_future()

        async def later() -> None:
            await self._gate.wait()
            future.set_result(await done)

        task = asyncio.ensure_future(later())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return future


def test_a_source_has_ended_only_when_all_of_it_is_stored() -> None:
    made = rig(Script(rows_count=50))

    async def main() -> None:
        gate = asyncio.Event()
        made.supervisor.outbox._publisher = _Gated(made, gate)  # type: ignore[assignment]
        async with asyncio.TaskGroup() as group:
            task = group.create_task(made.supervisor.run())
            await asyncio.sleep(10)
            assert made.supervisor.lifecycle.state is State.UP
            gate.set()
            await task
        assert made.supervisor.lifecycle.state is State.ENDED
        assert made.supervisor.status()["samples_stored"] == 50

    run_virtual(main())


class _Refusing(MemoryPublisher):
    """Refuses for good the unit that holds the value 7, or everything."""

    error: PlantError = PlantError("refused", code="MS-0403")

    async def submit(self, messages, control=None):  # type: ignore[no-untyped-def]
        if any(b'"value":7,' in m.payload for m in messages):
            future = asyncio.get_running_loop().create_future()
            future.set_exception(self.error)
            return future
        return await super().submit(messages, control)


def test_a_unit_that_the_store_refuses_goes_to_the_dead_letters_and_the_rest_goes_on() -> None:
    made = rig(Script(rows_count=20, batch_rows=1))
    made.supervisor.outbox._publisher = _Refusing(made.stream)
    run_virtual(made.supervisor.run())
    assert made.values == [v for v in range(20) if v != 7]
    assert len(made.recorder.letters) == 1
    assert made.script.acks[-1] == 20


def test_a_fenced_writer_stops() -> None:
    made = rig(Script(rows_count=20, batch_rows=1, pause_s=0.01))
    publisher = _Refusing(made.stream)
    publisher.error = FencedError("another one")
    made.supervisor.outbox._publisher = publisher
    run_virtual(made.supervisor.run())
    assert made.supervisor.lifecycle.state is State.STOPPED
    assert max(made.script.acks, default=0) <= 7


def test_one_connector_that_crashes_leaves_the_others() -> None:
    good, bad = rig(Script(), polled=True), rig(Script(fail={"read": [RuntimeError("bug")] * 1000}), polled=True)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(made.supervisor.run()) for made in (good, bad)]
            await asyncio.sleep(30.5)
            for made in (good, bad):
                made.supervisor.stop()
            await asyncio.wait(tasks)

    run_virtual(main())
    assert good.values == list(range(1, 32))
    assert good.supervisor.lifecycle.failures_count == 0
    assert bad.values == []


def test_a_cancellation_that_a_library_leaks_is_a_lost_link() -> None:
    made = rig(Script(fail={"open": [asyncio.CancelledError()]}, rows_count=10))
    run_virtual(made.supervisor.run())
    assert made.values == list(range(10))


def test_a_leak_after_an_earlier_failure_is_still_told_from_our_own_cancellation() -> None:
    made = rig(Script(rows_count=50, stream_fail_at=[(10, Unreachable("x")), (20, asyncio.CancelledError())]))
    run_virtual(made.supervisor.run())
    assert made.values == list(range(50))
    assert made.supervisor.lifecycle.state is State.ENDED


def test_our_own_cancellation_is_never_swallowed() -> None:
    made = rig(Script(rows_count=10**6, pause_s=0.01))

    async def main() -> None:
        task = asyncio.ensure_future(made.supervisor.run())
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_virtual(main())
    assert made.script.open_now == 0


def test_collected_blocks_and_their_position_are_one_unit_over_crashes() -> None:
    script = Script(rows_count=3000, batch_rows=10, pause_s=0.05)

    async def main() -> Rig:
        made = rig(script, publishing="2s")
        for turn in range(6):
            task = asyncio.ensure_future(made.supervisor.run())
            await asyncio.sleep(1.3 * (turn + 1))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            made = rig(script, stream=made.stream, publishing="2s")
        await made.supervisor.run()
        return made

    made = run_virtual(main())
    assert _block_values(made) == list(range(3000))


def _block_values(made: Rig) -> list[int]:
    from millstream.protocols.ledger import is_ledger_subject
    from millstream.protocols.uns_payload import decode_block

    values: list[int] = []
    for message in made.stream.messages:
        if is_ledger_subject(message.subject):
            continue
        is_block = message.headers is not None and b"arrow" in message.headers
        values += list(decode_block(message.payload).values) if is_block else []  # type: ignore[arg-type]
    return values


def test_a_stop_flushes_what_was_collected() -> None:
    made = rig(Script(rows_count=10**6, batch_rows=1, pause_s=0.1, has_positions=False), publishing="1h")
    run_virtual(for_a_while(made, 10.05))
    assert _block_values(made) == list(range(101))


def test_a_source_that_cannot_rewind_is_not_skipped_after_a_drop() -> None:
    made = rig(Script(rows_count=10, has_positions=False, stream_fail_at=[(0, Unreachable("x"))]))
    run_virtual(made.supervisor.run())
    assert made.values == list(range(10))


def test_gaps_that_the_source_shows_are_counted() -> None:
    made = rig(Script(gaps=17), polled=True)
    run_virtual(for_a_while(made, 3))
    assert made.supervisor.status()["source_gaps"] == 17


def test_what_a_source_without_positions_said_while_the_node_was_away_is_a_marked_gap() -> None:
    first = rig(Script(rows_count=10, tags_count=2, has_positions=False))
    run_virtual(first.supervisor.run())
    assert first.bad == []
    second = rig(Script(rows_count=5, tags_count=2, has_positions=False), stream=first.stream)
    run_virtual(second.supervisor.run())
    assert second.bad == [BAD_NO_COMMUNICATION] * 2
    values = [d["value"] for d in second.decoded()]
    assert values[18:24] == [9, 9, None, None, 0, 0]  # between what was before and what came after
    assert second.script.resumes == [None]
    assert second.values == [r for r in range(10) for _ in range(2)] + [r for r in range(5) for _ in range(2)]


@pytest.mark.parametrize("place", ["open", "stream"])
def test_the_gap_of_a_source_that_stays_silent_after_a_restart_is_marked_at_once(place: str) -> None:
    first = rig(Script(rows_count=10, tags_count=2, has_positions=False))
    run_virtual(first.supervisor.run())
    silent = Script(tags_count=2, has_positions=False, hangs_in=place)
    second = rig(silent, stream=first.stream)

    async def until_killed() -> None:
        task = asyncio.get_running_loop().create_task(second.supervisor.run())
        await asyncio.sleep(5)
        assert second.bad == [BAD_NO_COMMUNICATION] * 2
        task.cancel()
        await asyncio.wait([task])

    run_virtual(until_killed())
    assert silent.produced == 0
    assert second.decoded()[-1]["value"] is None


def test_gaps_at_the_source_are_known_after_a_restart() -> None:
    first = rig(Script(gaps=17), polled=True)
    run_virtual(for_a_while(first, 3))
    second = rig(Script(gaps=3), polled=True, stream=first.stream)
    run_virtual(for_a_while(second, 3))
    assert second.supervisor.status()["source_gaps"] == 20


def test_a_source_that_rewinds_has_no_gap_over_a_restart() -> None:
    first = rig(Script(rows_count=10))
    run_virtual(first.supervisor.run())
    second = rig(Script(rows_count=15), stream=first.stream)
    run_virtual(second.supervisor.run())
    assert second.bad == []


def test_a_clock_that_jumps_moves_no_poll() -> None:
    clock = JumpingClock(LoopClock())
    made = rig(Script(), polled=True, clock=clock)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(made.supervisor.run())
            await asyncio.sleep(10.5)
            clock.jump(-86400)
            await asyncio.sleep(10)
            clock.jump(10 * 86400)
            await asyncio.sleep(10)
            made.supervisor.stop()
            await task

    run_virtual(main())
    assert len(made.values) == 31


def test_a_malformed_position_stops_rather_than_counting_twice() -> None:
    made = rig(Script())

    async def main() -> None:
        made.stream.append("uns.v1.acme.p1._ledger.e1.integrity.fake", b"garbage")
        await made.supervisor.run()

    run_virtual(main())
    assert made.supervisor.lifecycle.state is State.STOPPED
    assert made.script.opens == 0
