"""Commands of an edge, from a hub's delivery to the event that ends them. Each has one effect at most.

    delivered -> on disk, answered "accepted" -> on disk "running" -> its effect -> on disk, told as an event

What is killed before "running" is begun after the restart, if it has not expired. What is killed after it is never
begun again: its outcome is "unknown", unless its type keeps what became of it elsewhere and can tell. A delivery that
comes again, also weeks later, is answered with what is known.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from millstream.bus import RawConnection
from millstream.edge._command_events import command_event, repeat_event
from millstream.edge._command_types import Admitted, CommandTypes, Outcome
from millstream.edge._journal import Entry, Journal, JournalFull, ended_without_a_word
from millstream.edge._questions import Answer, Questions
from millstream.kernel import Clock, DecodeError, PlantError
from millstream.model import AssetPath
from millstream.protocols.command import FINAL, Command, Delivery, DeliveryAnswer, State, decode_delivery
from millstream.protocols.fleet_filter import FleetFilter
from millstream.protocols.nats_wire import WireMessage
from millstream.sdk import Log, Message, Publisher

DELIVERIES_WAITING_MAX = 256
OPEN_MAX = 32  # taken and not over; beyond it the hub is told to come again later
WORKERS = 4  # at once; a long one must not hold up the short
PROGRESS_INTERVAL_NS = 10**9
CANCEL_S = 10.0
KNOWN_WITHIN_S, KNOWN_LOOK_S = 60.0, 0.2  # for flows to say which commands they have
REPEATS_WAITING_MAX = 64  # to be told to the audit; more are counted
REPEATS_TOLD_MAX = 1000  # commands of which it was told that they came again; then nothing more is, in this life


@dataclass(slots=True)
class CommandCounters:
    """Since the start."""

    delivered: int = 0
    repeated: int = 0
    begun: int = 0
    ended: dict[str, int] = field(default_factory=dict)


class CommandDesk:
    """Takes, keeps and carries out the commands of one edge."""

    def __init__(
        self, name: str, place: AssetPath, journal: Journal, types: CommandTypes, publisher: Publisher,
        facts: Callable[[], Mapping[str, Any]], *, clock: Clock, log: Log,
    ) -> None:  # fmt: skip
        self._name = name
        self._place = place
        self._journal = journal
        self._types = types
        self._publisher = publisher
        self._facts = facts
        self._clock = clock
        self._log = log
        self._deliveries: Questions | None = None
        self._waiting: list[tuple[int, int, str]] = []
        self._wake = asyncio.Event()
        self._claimed: set[str] = set()  # by a worker that begins it, or by who cancels it: never by both
        self._runs: dict[str, asyncio.Task[Outcome]] = {}
        self._cancelled_by: dict[str, str] = {}
        self._repeats: deque[tuple[Command, Entry]] = deque(maxlen=REPEATS_WAITING_MAX)
        self._repeats_told: set[str] = set()
        self._came_again = asyncio.Event()
        self.counters = CommandCounters()

    def status(self) -> dict[str, Any]:
        """As the node's status shows it."""
        counters = self.counters
        return {
            "types": self._types.names(), "waiting": len(self._waiting), "running": len(self._runs),
            "delivered": counters.delivered, "repeated": counters.repeated, "begun": counters.begun,
            **counters.ended,
        }  # fmt: skip

    def offered(self) -> dict[str, Any]:
        """What may be asked for, by type: a description, and the schema of the arguments."""
        return self._types.listed()

    def listen(self, connection: RawConnection) -> Callable[[], None]:
        """Take deliveries until the returned function is called; `run` answers them."""
        self._deliveries = Questions(connection, self._name, "command", DELIVERIES_WAITING_MAX)
        return self._deliveries.open()

    async def run(self) -> None:
        """Say what the last run left unsaid, then work for ever."""
        resumed: list[tuple[Command, Admitted]] = []
        for orphan in self._journal.orphans():
            assert orphan.command is not None
            admitted = self._types.resumed(orphan.command, self._context_of(orphan.command))
            if admitted is None:
                await self._put(orphan.command, ended_without_a_word(orphan))
            else:
                resumed.append((orphan.command, admitted))
        self._claimed.clear()
        for entry in self._journal.waiting():
            self._enqueue(entry)
        async with asyncio.TaskGroup() as group:
            for command, admitted in resumed:
                group.create_task(self._see_through(command, admitted))
            group.create_task(self._receive())
            group.create_task(self._tell_repeats())
            for _ in range(WORKERS):
                group.create_task(self._work())

    # -- deliveries ---------------------------------------------------------------------------------------------------

    async def _receive(self) -> None:
        if self._deliveries is not None:
            await self._deliveries.run(self._answer)

    async def _answer(self, message: WireMessage) -> list[Answer]:
        assert self._deliveries is not None
        try:
            delivery = decode_delivery(message[4])
        except DecodeError as error:
            self._log.warning("a delivery that is no command", error=str(error))
            return []
        answer = await self.take(delivery)
        return [Answer(self._deliveries.answer_subject(delivery.token), msgspec.json.encode(answer))]

    async def take(self, delivery: Delivery) -> DeliveryAnswer:
        """Where the command stands now; a new one is on disk when this returns. Raises what storing raises."""
        self.counters.delivered += 1
        command = delivery.command
        known = self._journal.find(command.id)
        try:
            if known is None and delivery.was_accepted:
                known = await self._forgotten(command)
            elif delivery.cancel_who is not None:
                known = await self._cancel(command, known, delivery.cancel_who)
            elif known is None:
                known = await self._admit(command)
            else:
                self.counters.repeated += 1
                if known.state in FINAL and not delivery.was_accepted:  # a lost answer, or somebody plays it again
                    self._note_repeat(command, known)
        except JournalFull:
            return DeliveryAnswer("busy", self._clock.now_ns())
        if known is None:
            return DeliveryAnswer("busy", self._clock.now_ns())
        return DeliveryAnswer(known.state, known.time_ns, known.code, known.reason)

    async def _forgotten(self, command: Command) -> Entry:
        """The hub knows that this edge had it, and the edge does not: its store went back."""
        reason = "this edge had taken it, and its store does not know of it any more"
        entry = Entry(command.id, "unknown", self._clock.now_ns(), command.expires_ns, "MS-2308", reason)
        await self._put(command, entry)
        return entry

    async def _admit(self, command: Command) -> Entry | None:
        now_ns = self._clock.now_ns()
        entry = Entry(command.id, "accepted", now_ns, command.expires_ns, command=command)
        if self._journal.is_past(command.expires_ns):  # it may have been here: nothing is kept of it, or done
            entry = msgspec.structs.replace(entry, state="expired", code="MS-2302", reason="expired long ago")
            self._note_repeat(command, entry)
            return entry
        if command.expires_ns <= now_ns:
            entry = msgspec.structs.replace(entry, state="expired", code="MS-2302", reason="expired on its way")
        elif self._types.is_awaited(command.type):
            return None
        elif (refusal := self._refusal(command)) is not None:
            state, code, reason = refusal
            entry = msgspec.structs.replace(entry, state=state, code=code, reason=reason)
        elif self._journal.open_count >= OPEN_MAX:
            return None
        await self._put(command, entry)
        if entry.state == "accepted":
            self._enqueue(entry)
        return entry

    def _refusal(self, command: Command) -> tuple[State, str | None, str | None] | None:
        """Why this edge does not take it, None when it does."""
        if command.where is not None:
            try:
                verdict = FleetFilter.parse(command.where).judge(self._facts())
            except PlantError as error:
                return "refused", error.code, str(error)[:400]
            if verdict.outcome == "error":
                return "refused", "MS-2206", verdict.reason
            if verdict.outcome != "match":
                reason = f"this node has no fact {verdict.reason}" if verdict.outcome == "absent" else None
                return "skipped", None, reason or "this node does not fit the filter"
        try:
            self._types.check(command)
        except PlantError as error:
            return "refused", error.code, _reason(error)
        return None

    async def _cancel(self, command: Command, known: Entry | None, who: str) -> Entry:
        now_ns = self._clock.now_ns()
        ended = Entry(command.id, "cancelled", now_ns, command.expires_ns, None, f"cancelled by {who}")
        if known is None:  # not here yet: it will not begin when it comes
            await self._put(command, ended)
            return ended
        if known.state == "accepted" and command.id not in self._claimed:
            self._claimed.add(command.id)
            await self._put(command, ended)
            self._claimed.discard(command.id)
            return ended
        if known.state in ("accepted", "running") and (task := self._runs.get(command.id)) is not None:
            if not self._types.is_cancellable(command.type):
                return msgspec.structs.replace(known, reason="it runs, and cannot be cancelled any more")
            self._cancelled_by[command.id] = who
            task.cancel()
        return known

    def _enqueue(self, entry: Entry) -> None:
        assert entry.command is not None
        heapq.heappush(self._waiting, (-entry.command.priority, entry.command.created_ns, entry.id))
        self._wake.set()

    # -- carrying out -------------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        while True:
            while not self._waiting:
                self._wake.clear()
                await self._wake.wait()
            _, _, id = heapq.heappop(self._waiting)
            entry = self._journal.find(id)
            if entry is None or entry.state != "accepted" or entry.command is None or id in self._claimed:
                continue
            self._claimed.add(id)
            await self._carry_out(entry.command)
            self._claimed.discard(id)

    async def _carry_out(self, command: Command) -> None:
        """One command from "accepted" to its end."""
        await self._until_known(command)
        now_ns = self._clock.now_ns()
        entry = Entry(command.id, "running", now_ns, command.expires_ns, command=command)
        late = msgspec.structs.replace(entry, state="expired", code="MS-2302", reason="expired while it waited")
        if command.expires_ns <= now_ns:
            await self._put(command, late)
            return
        try:
            admitted = self._types.admit(command, self._context_of(command))
        except PlantError as error:
            refused = msgspec.structs.replace(entry, state="refused", code=error.code, reason=_reason(error))
            await self._put(command, refused)
            return
        await self._put(command, entry, more=admitted.events(None))
        if command.expires_ns <= self._clock.now_ns():  # a full store may have held it up
            outcome = Outcome("refused", "MS-2302", late.reason)
            await self._put(command, late, more=admitted.events(outcome))
            return
        self.counters.begun += 1
        await self._see_through(command, admitted)

    async def _until_known(self, command: Command) -> None:
        """After a restart the flow that offers it is only starting. One that does not come up does not hold others up
        for ever: then the command is unknown here."""
        end_ns = self._clock.monotonic_ns() + int(KNOWN_WITHIN_S * 1e9)
        while self._types.is_awaited(command.type) and self._clock.monotonic_ns() < end_ns:
            await self._clock.sleep(KNOWN_LOOK_S)

    async def _see_through(self, command: Command, admitted: Admitted) -> None:
        """From "running" to its end."""
        outcome = await self._outcome(command, admitted)
        ended = Entry(command.id, outcome.state, self._clock.now_ns(), command.expires_ns, outcome.code, outcome.reason)
        await self._put(command, ended, outcome.result, more=admitted.events(outcome))

    async def _outcome(self, command: Command, admitted: Admitted) -> Outcome:
        """Run it as a task of its own, so that a person's cancelling ends it and nothing else."""
        task = asyncio.get_running_loop().create_task(admitted.run(), name=f"command {command.id}")
        self._runs[command.id] = task
        try:
            await asyncio.wait([task], timeout=admitted.time_limit_s)
            if not task.done():
                limit = f"it took longer than {admitted.time_limit_s:g} s; part of it may have been done"
                return Outcome("unknown", "MS-2306", limit)
            if task.cancelled():
                who = self._cancelled_by.get(command.id)
                if who is None:
                    return Outcome("unknown", "MS-2305", "its code cancelled itself; part of it may have been done")
                reason = f"cancelled by {who} while it ran; part of it may have been done"
                return Outcome("cancelled", None, reason)
            return task.result()
        finally:
            if not task.done():  # its time is over, or the edge stops: after the restart its outcome is unknown
                task.cancel()
                await asyncio.wait([task], timeout=CANCEL_S)  # code that does not let itself be ended is left alone
            del self._runs[command.id]
            self._cancelled_by.pop(command.id, None)

    def _context_of(self, command: Command) -> Any:
        told_ns = -PROGRESS_INTERVAL_NS

        async def progress(ratio: float, text: str) -> None:
            nonlocal told_ns
            now_ns = self._clock.monotonic_ns()
            if now_ns - told_ns < PROGRESS_INTERVAL_NS:
                return
            told_ns = now_ns
            data = {"progress": max(0.0, min(1.0, float(ratio))), "text": str(text)[:200]}
            event = command_event(self._place, command, "progress", self._clock.now_ns(), data)
            await (await self._publisher.submit([event]))

        return self._types.context(command, progress)

    # -- keeping ------------------------------------------------------------------------------------------------------

    async def _put(
        self, command: Command, entry: Entry, result: Any = None, *, more: list[Message] | None = None
    ) -> None:
        await self._journal.put(entry, [*(more or ()), self._event(command, entry, result)])
        if entry.state in FINAL:
            self.counters.ended[entry.state] = self.counters.ended.get(entry.state, 0) + 1
        self._log.info(
            "command", id=command.id, type=command.type, who=command.who, state=entry.state, reason=entry.reason
        )

    def _note_repeat(self, command: Command, known: Entry) -> None:
        if command.id not in self._repeats_told and len(self._repeats_told) < REPEATS_TOLD_MAX:
            self._repeats_told.add(command.id)
            self._repeats.append((command, known))
            self._came_again.set()

    async def _tell_repeats(self) -> None:
        """What came again after it was over did nothing; the audit hears of it, once a command."""
        while True:
            await self._came_again.wait()
            self._came_again.clear()
            while self._repeats:
                command, known = self._repeats.popleft()
                event = repeat_event(self._place, self._name, command, known.state, known.reason, self._clock.now_ns())
                await (await self._publisher.submit([event]))

    def _event(self, command: Command, entry: Entry, result: Any = None) -> Message:
        data = {"state": entry.state, "code": entry.code, "reason": entry.reason}
        if result is not None:
            data["result"] = result
        return command_event(self._place, command, entry.state, entry.time_ns, data)


def _reason(error: PlantError) -> str:
    return str(error).removesuffix(f" [{error.code}]")[:400]
