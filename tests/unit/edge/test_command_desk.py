"""Commands at an edge: one effect at most, whatever dies in between, in virtual time and with a store in memory."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from millstream.bus import MemoryPublisher, MemoryStream
from millstream.edge._command_types import Admitted, BuiltIn, CommandTypes, Outcome
from millstream.edge._commands import OPEN_MAX, CommandDesk
from millstream.edge._journal import ENTRIES_COUNT_MAX, KNOWN_COUNT_MAX, Journal
from millstream.kernel import ConfigError
from millstream.model import AssetPath
from millstream.protocols.command import Command, Delivery
from millstream.sdk import CommandContext, Message
from millstream.sdk.testing import LoopClock, run_virtual

STATE = "uns.v1.acme.p1._ledger.e1.integrity.commands"
PLACE = AssetPath.parse("acme/p1")
SCHEMA: Mapping[str, Any] = {"type": "object", "properties": {"s": {"type": "number"}}}


class Quiet:
    def info(self, event: str, **fields: object) -> None:
        """Nothing."""

    warning = error = info


@dataclass
class Effect:
    """Something that must not happen twice. It notes its beginning, takes `s` seconds, notes its end."""

    begun: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    description = "effect"
    schema: Mapping[str, Any] = field(default_factory=lambda: SCHEMA)
    time_limit_s: float = 100.0
    is_cancellable: bool = True

    async def run(self, args: Mapping[str, Any], context: CommandContext) -> Any:
        self.begun.append(context.id)
        await asyncio.sleep(args.get("s", 0))
        for _ in range(3):
            await context.progress(0.5, "on its way")
        self.ended.append(context.id)
        return {"ok": True}


class Dying(MemoryPublisher):
    """The edge ends before (or, with `after`, right behind) its `dies_at`-th unit is stored."""

    def __init__(self, stream: MemoryStream, dies_at: int, *, after: bool) -> None:
        super().__init__(stream)
        self.left = dies_at
        self.after = after
        self.died = asyncio.Event()

    async def submit(self, messages: Any, control: Any = None) -> Any:
        if self.left <= 0:
            stored = await super().submit(messages, control) if self.after and self.left == 0 else None
            self.left -= 1
            if stored is not None:
                await stored
            self.died.set()
            await asyncio.Event().wait()  # nothing goes on from here
        self.left -= 1
        return await super().submit(messages, control)


@dataclass
class Edge:
    desk: CommandDesk
    journal: Journal
    effect: Effect
    stream: MemoryStream
    clock: LoopClock
    ids: Any = field(default_factory=lambda: itertools.count(1))

    def command(self, id: str | None = None, *, valid_s: float = 1000.0, **more: Any) -> Command:
        now_ns = self.clock.now_ns()
        return Command(id or f"c{next(self.ids)}", "effect", "ada", now_ns, now_ns + int(valid_s * 1e9), **more)

    async def take(self, command: Command, cancel_who: str | None = None) -> str:
        return (await self.desk.take(Delivery("t", command, cancel_who))).state

    def told(self, id: str) -> list[str]:
        found = [m for m in self.stream.messages if "._event.millstream.command." in m.subject]
        return [m.subject.rpartition(".")[2] for m in found if msgspec.json.decode(m.payload)["id"] == id]


def edge_of(effect: Effect, stream: MemoryStream, publisher: Any = None, clock: LoopClock | None = None) -> Edge:
    clock = clock or LoopClock()
    publisher = publisher or MemoryPublisher(stream, clock=clock)
    journal = Journal(publisher, STATE, clock)
    types = CommandTypes({}, "e1", Path("/nowhere"), clock=clock, log=Quiet(), foreign={"effect": effect})
    desk = CommandDesk("e1", PLACE, journal, types, publisher, lambda: {"name": "e1"}, clock=clock, log=Quiet())
    return Edge(desk, journal, effect, stream, clock)


async def running(edge: Edge, work: Callable[[], Awaitable[None]]) -> None:
    await edge.journal.open()
    task = asyncio.ensure_future(edge.desk.run())
    await asyncio.sleep(0)
    try:
        await work()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("dies_at", [0, 1, 2, 3])
def test_an_edge_that_is_killed_anywhere_has_the_effect_once_at_most_and_tells(dies_at: int, after: bool) -> None:
    """The units that are stored: accepted, running, progress, done. The hub delivers again after the restart."""
    is_marked = dies_at > 1 or (dies_at == 1 and after)
    expected = "unknown" if is_marked and not (dies_at == 3 and after) else "done"
    effect, stream = Effect(), MemoryStream(clock=LoopClock())

    async def killed() -> None:
        publisher = Dying(stream, dies_at, after=after)
        first = edge_of(effect, stream, publisher)

        async def work() -> None:
            taking = asyncio.ensure_future(first.take(first.command("x")))
            await publisher.died.wait()
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)

        await running(first, work)

    run_virtual(killed())
    assert effect.begun == (["x"] if dies_at > 1 else [])

    async def again() -> None:
        second = edge_of(effect, stream)

        async def work() -> None:
            await second.take(second.command("x"))
            await asyncio.sleep(10)
            assert await second.take(second.command("x")) == expected
            told = [what for what in second.told("x") if what != "progress"]
            assert told == ["accepted", "running", expected]

        await running(second, work)

    run_virtual(again())
    assert effect.begun == ([] if dies_at == 1 and after else ["x"])


def test_of_what_waits_the_highest_priority_begins_first_and_what_expires_meanwhile_does_not() -> None:
    effect = Effect()
    edge = edge_of(effect, MemoryStream(clock=LoopClock()))

    async def work() -> None:
        for i in range(4):  # all workers
            await edge.take(edge.command(f"busy{i}", args={"s": 50}))
        await asyncio.sleep(1)
        await edge.take(edge.command("low", priority=1))
        await edge.take(edge.command("high", priority=9))
        await edge.take(edge.command("late", priority=9, valid_s=10))
        await asyncio.sleep(100)
        assert effect.begun[4:] == ["high", "low"]
        assert edge.told("late") == ["accepted", "expired"]

    run_virtual(running(edge, work))


def test_a_command_that_takes_too_long_is_ended_and_its_outcome_is_unknown() -> None:
    effect = Effect(time_limit_s=5)
    edge = edge_of(effect, MemoryStream(clock=LoopClock()))

    async def work() -> None:
        await edge.take(edge.command("x", args={"s": 60}))
        await asyncio.sleep(10)
        assert await edge.take(edge.command("x")) == "unknown"
        assert (effect.begun, effect.ended) == (["x"], [])

    run_virtual(running(edge, work))


def test_one_that_was_cancelled_before_it_came_never_begins() -> None:
    effect = Effect()
    edge = edge_of(effect, MemoryStream(clock=LoopClock()))

    async def work() -> None:
        assert await edge.take(edge.command("x"), "bob") == "cancelled"
        assert await edge.take(edge.command("x")) == "cancelled"
        await asyncio.sleep(10)
        assert (effect.begun, edge.told("x")) == ([], ["cancelled"])

    run_virtual(running(edge, work))


def test_one_that_cannot_be_cancelled_while_it_runs_goes_on() -> None:
    effect = Effect(is_cancellable=False)
    edge = edge_of(effect, MemoryStream(clock=LoopClock()))

    async def work() -> None:
        await edge.take(edge.command("x", args={"s": 5}))
        await asyncio.sleep(1)
        answer = await edge.desk.take(Delivery("t", edge.command("x"), "bob"))
        assert (answer.state, answer.reason) == ("running", "it runs, and cannot be cancelled any more")
        await asyncio.sleep(10)
        assert await edge.take(edge.command("x"), "bob") == "done"
        assert effect.ended == ["x"]

    run_virtual(running(edge, work))


def test_more_than_an_edge_takes_waits_at_the_hub() -> None:
    edge = edge_of(Effect(), MemoryStream(clock=LoopClock()))

    async def work() -> None:
        states = [await edge.take(edge.command(args={"s": 50})) for _ in range(OPEN_MAX + 3)]
        assert states == ["accepted"] * OPEN_MAX + ["busy"] * 3

    run_virtual(running(edge, work))


def test_what_was_forgotten_is_not_begun_again_also_when_the_clock_goes_back() -> None:
    effect, stream = Effect(), MemoryStream(clock=LoopClock())
    edge = edge_of(effect, stream)

    async def work() -> None:
        first = edge.command("first", valid_s=5)
        await edge.take(first)
        await asyncio.sleep(10)
        for i in range(KNOWN_COUNT_MAX + 1):
            await edge.take(edge.command(f"n{i}"))
            await asyncio.sleep(0.01)
        assert edge.journal.find("first") is None
        late = edge_of(effect, stream, clock=LoopClock())
        late.clock.now_ns = lambda: first.created_ns  # type: ignore[method-assign]

        async def replay() -> None:
            assert await late.take(first) == "expired"
            assert await late.take(late.command("n0")) == "done"  # known as long as it has not expired

        await running(late, replay)
        assert effect.begun.count("first") == 1

    run_virtual(running(edge, work))


def test_a_journal_that_may_forget_nothing_takes_nothing_more() -> None:
    edge = edge_of(Effect(), MemoryStream(clock=LoopClock()))

    async def work() -> None:
        for i in range(ENTRIES_COUNT_MAX):
            assert await edge.take(edge.command(f"n{i}", valid_s=10_000), "bob") == "cancelled"
        assert await edge.take(edge.command("more", valid_s=10_000)) == "busy"

    run_virtual(running(edge, work))


@pytest.mark.parametrize("schema", [{"type": "array"}, {"$ref": "http://example/"}, {"type": "object", "not": {}}, 5])
def test_a_package_whose_schema_is_wrong_stops_the_edge_at_its_start(schema: Any) -> None:
    with pytest.raises(ConfigError, match="MS-2310"):
        edge_of(Effect(schema=schema), MemoryStream(clock=LoopClock()))


class Slow(MemoryPublisher):
    """Storing takes its time."""

    async def submit(self, messages: Any, control: Any = None) -> Any:
        await asyncio.sleep(0.1)
        return await super().submit(messages, control)


@pytest.mark.parametrize("pause_s", [0.0, 0.05, 0.12, 0.15, 0.19, 0.21, 0.25, 0.31, 0.35])
def test_a_command_that_is_cancelled_in_the_moment_in_which_it_begins_is_one_of_both(pause_s: float) -> None:
    """Others are being stored meanwhile, so that beginning and cancelling both wait for their turn."""
    effect, stream = Effect(is_cancellable=False), MemoryStream(clock=LoopClock())
    edge = edge_of(effect, stream, Slow(stream))

    async def work() -> None:
        others = [asyncio.ensure_future(edge.take(edge.command("x", args={"s": 1})))]
        await asyncio.sleep(0.01)
        others += [asyncio.ensure_future(edge.take(edge.command(f"y{i}"))) for i in range(2)]
        await asyncio.sleep(pause_s)
        await edge.take(edge.command("x"), "bob")
        await asyncio.gather(*others)
        await asyncio.sleep(10)
        told = [what for what in edge.told("x") if what != "progress"]
        assert told[-1] == ("done" if "x" in effect.begun else "cancelled")
        assert told.count("done") + told.count("cancelled") == 1

    run_virtual(running(edge, work))


def test_one_that_expires_while_its_beginning_is_stored_does_not_begin() -> None:
    effect, stream = Effect(), MemoryStream(clock=LoopClock())
    edge = edge_of(effect, stream, Slow(stream))

    async def work() -> None:
        assert await edge.take(edge.command("x", valid_s=0.15)) == "accepted"
        await asyncio.sleep(5)
        assert (effect.begun, edge.told("x")) == ([], ["accepted", "running", "expired"])

    run_virtual(running(edge, work))


def test_one_that_does_not_let_itself_be_ended_holds_up_no_other() -> None:
    effect = Effect(time_limit_s=5)

    async def deaf(args: Mapping[str, Any], context: CommandContext) -> Any:
        effect.begun.append(context.id)
        until = asyncio.get_running_loop().time() + args.get("s", 0)
        while asyncio.get_running_loop().time() < until:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(1)

    effect.run = deaf  # type: ignore[method-assign]
    edge = edge_of(effect, MemoryStream(clock=LoopClock()))

    async def work() -> None:
        for i in range(4):
            await edge.take(edge.command(f"deaf{i}", args={"s": 60}))
        await edge.take(edge.command("x"))
        await asyncio.sleep(30)
        assert await edge.take(edge.command("deaf0")) == "unknown"
        assert await edge.take(edge.command("x")) == "done"
        await asyncio.sleep(60)

    run_virtual(running(edge, work))


def test_one_that_this_edge_had_and_does_not_know_any_more_is_not_begun_again() -> None:
    effect = Effect()
    edge = edge_of(effect, MemoryStream(clock=LoopClock()))

    async def work() -> None:
        answer = await edge.desk.take(Delivery("t", edge.command("x"), None, was_accepted=True))
        assert (answer.state, answer.code) == ("unknown", "MS-2308")
        assert await edge.take(edge.command("x")) == "unknown"
        answer = await edge.desk.take(Delivery("t", edge.command("y"), "bob", was_accepted=True))
        assert answer.state == "unknown"  # it may have run: to say that it was cancelled would be a guess
        await asyncio.sleep(10)
        assert (effect.begun, edge.told("x")) == ([], ["unknown"])

    run_virtual(running(edge, work))


def test_what_runs_when_the_carrying_out_itself_breaks_is_told_as_unknown_and_the_rest_goes_on() -> None:
    effect, stream = Effect(), MemoryStream(clock=LoopClock())
    edge = edge_of(effect, stream)

    async def main() -> None:
        await edge.journal.open()
        for _ in range(2):  # as the node runs it again after a fault
            task = asyncio.ensure_future(edge.desk.run())
            await asyncio.sleep(0.1)
            if not effect.begun:
                for i in range(5):
                    await edge.take(edge.command(f"c{i}", args={"s": 50}))
                await asyncio.sleep(1)
            else:
                await asyncio.sleep(100)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert [edge.told(f"c{i}")[-1] for i in range(5)] == ["unknown"] * 4 + ["done"]
        assert sorted(effect.begun) == [f"c{i}" for i in range(5)]

    run_virtual(main())


class OfFlows:
    """A flow that is starting for a while, then offers a command; it answers what it was asked, once stored."""

    def __init__(self, stream: MemoryStream, clock: LoopClock, starts_s: float) -> None:
        self.stream, self.clock = stream, clock
        self.up_ns = clock.monotonic_ns() + int(starts_s * 1e9)

    def is_awaited(self, type: str) -> bool:
        return type == "tally.add" and self.clock.monotonic_ns() < self.up_ns

    def offered(self) -> Mapping[str, BuiltIn]:
        is_up = self.clock.monotonic_ns() >= self.up_ns
        return {"tally.add": BuiltIn("Add.", SCHEMA, self._admit, resume=self.resume)} if is_up else {}

    def asked(self) -> list[str]:
        return [m.payload.decode() for m in self.stream.messages if m.subject == "uns.v1.acme.p1._cmd.ask"]

    def _admit(self, command: Command, context: CommandContext) -> Admitted:
        ask = Message("uns.v1.acme.p1._cmd.ask", command.id.encode(), None, 0)
        return Admitted(lambda: self._wait(command), 100.0, lambda end: [ask] if end is None else [])

    def resume(self, command: Command, context: CommandContext) -> Admitted:
        return Admitted(lambda: self._wait(command), 100.0)

    async def _wait(self, command: Command) -> Outcome:
        while command.id not in self.asked():
            await self.clock.sleep(1)
        await self.clock.sleep(5)
        return Outcome("done", result=len(self.asked()))


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("dies_at", [0, 1, 2])
def test_a_command_of_a_flow_is_asked_once_and_ends_as_done_whenever_the_edge_is_killed(
    dies_at: int, after: bool
) -> None:
    """The units: accepted, running with what is asked, done. The flow is only starting, also after the restart."""
    stream = MemoryStream(clock=LoopClock())

    async def life(dying: Dying | None) -> None:
        clock = LoopClock()
        edge = edge_of(Effect(), stream, dying, clock)
        flows = OfFlows(stream, clock, 3.0)
        types = CommandTypes({}, "e1", Path("/nowhere"), clock=clock, log=Quiet(), foreign={}, flows=flows)
        publisher = dying or MemoryPublisher(stream, clock=clock)
        edge.desk = CommandDesk(
            "e1", PLACE, edge.journal, types, publisher, lambda: {"name": "e1"}, clock=clock, log=Quiet()
        )  # fmt: skip
        command = msgspec.structs.replace(edge.command("x"), type="tally.add", args={"s": 1})

        async def work() -> None:
            async def until_taken() -> None:
                while (await edge.desk.take(Delivery("t", command))).state == "busy":
                    await clock.sleep(0.5)

            taking = asyncio.ensure_future(until_taken())
            if dying is not None:
                await dying.died.wait()
                taking.cancel()
                await asyncio.gather(taking, return_exceptions=True)
                return
            await taking
            await asyncio.sleep(30)
            assert (await edge.desk.take(Delivery("t", command))).state == "done"
            assert flows.asked() == ["x"]
            assert edge.told("x") == ["accepted", "running", "done"]

        await running(edge, work)

    run_virtual(life(Dying(stream, dies_at, after=after)))
    run_virtual(life(None))
