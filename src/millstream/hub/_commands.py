"""The hub's half of commands: deliver until the edge has it on disk, follow what becomes of it, end it.

    pending -> sent -> accepted -> running -> done | failed | refused | unknown | cancelled | expired | skipped

A command is delivered again, with back-off, until its edge answers; an edge that was away gets it when it is back.
What follows comes as events of the edge's integrity stream, which the hub has exactly once; and an edge that says
nothing for long is asked again, which changes nothing there.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import msgspec

from millstream.bus import HUB_INTEGRITY, RawConnection, StreamApi, StreamName, StreamReader, get_batch
from millstream.hub._command_book import CommandBook, Record
from millstream.hub._command_events import hub_event
from millstream.hub._fleet_answers import EdgeAnswers
from millstream.kernel import Backoff, Clock, DecodeError, FencedError, PlantError, Unreachable
from millstream.model import AssetPath
from millstream.protocols.cloudevents import decode_event
from millstream.protocols.command import (
    EVENT_TYPE,
    RANK,
    Delivery,
    DeliveryAnswer,
    decode_delivery_answer,
)
from millstream.protocols.ledger import parse_stream_source
from millstream.protocols.nats_wire import parse_headers
from millstream.protocols.uns_subject import PREFIX, escape_token
from millstream.sdk import Log, Received

TICK_S = 0.5
ANSWER_S = 5.0  # for one delivery
NODES_AT_ONCE = 16
LOOK_AROUND_S = 2.0  # at whether the edges are others, while they say nothing
LOOK_S = 15.0  # without a word from a command that the edge has, it is asked for again
GIVE_UP_NS = 30 * 86_400 * 10**9  # behind its expiry; an edge that never came back
RETRY_S = 1.0


@dataclass(slots=True)
class _Pace:
    """When a node is next talked to, and how patient the hub has become."""

    backoff: Backoff = field(default_factory=lambda: Backoff(floor_s=0.2, ceiling_s=30.0))
    due_ns: int = 0
    is_busy: bool = False


class Dispatcher:
    """Delivers what is open and follows it. Run `run` in the node's task group."""

    def __init__(
        self, connection: RawConnection, book: CommandBook, answers: EdgeAnswers,
        places: Callable[[], Mapping[str, str]], *, clock: Clock, log: Log,
    ) -> None:  # fmt: skip
        """`places` gives each configured edge's path."""
        self._connection = connection
        self._book = book
        self._answers = answers
        self._places = places
        self._clock = clock
        self._log = log
        self._paces: dict[str, _Pace] = {}
        self._looked_ns: dict[tuple[str, str], int] = {}
        self._wake = asyncio.Event()
        self.progress: dict[tuple[str, str], Mapping[str, Any]] = {}
        """What running commands say of themselves: not kept over a restart, the events are."""

    def wake(self) -> None:
        """There is something new."""
        for pace in self._paces.values():
            pace.due_ns = 0
        self._wake.set()

    async def run(self) -> None:
        """Deliver and follow for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._deliver_all(), name="commands: deliver")
            group.create_task(self._follow(), name="commands: follow")

    # -- delivering ---------------------------------------------------------------------------------------------------

    async def _deliver_all(self) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                self._wake.clear()
                for node, records in self._due().items():
                    pace = self._paces.setdefault(node, _Pace())
                    pace.is_busy = True
                    group.create_task(self._serve(node, records, pace))
                for record in list(self._book.open_records()):
                    await self._expire(record)
                self._forget_ended()
                await self._book.opened.wait()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(TICK_S):
                        await self._wake.wait()

    def _due(self) -> dict[str, list[Record]]:
        """By node, what it should hear now; the highest priority first, then the oldest."""
        now_ns = self._clock.monotonic_ns()
        there = self._answers.there({record.node for record in self._book.open_records()})
        found: dict[str, list[Record]] = {}
        for record in self._book.open_records():
            pace = self._paces.get(record.node)
            if record.node not in there or (pace is not None and (pace.is_busy or now_ns < pace.due_ns)):
                continue
            if RANK[record.state] >= RANK["accepted"] and record.cancel_who is None and not self._is_quiet(record):
                continue
            found.setdefault(record.node, []).append(record)
        busy = sum(pace.is_busy for pace in self._paces.values())
        chosen = list(found)[: max(0, NODES_AT_ONCE - busy)]
        return {node: sorted(found[node], key=_order) for node in chosen}

    def _is_quiet(self, record: Record) -> bool:
        looked_ns = self._looked_ns.get(record.key, 0)
        return self._clock.now_ns() - max(record.changed_ns, looked_ns) > LOOK_S * 1e9

    async def _serve(self, node: str, records: list[Record], pace: _Pace) -> None:
        """Everything that a node should hear, one after the other, until it does not answer."""
        try:
            for record in records:
                if not await self._deliver(record):
                    pace.due_ns = self._clock.monotonic_ns() + int(pace.backoff.next_s() * 1e9)
                    return
            pace.backoff.reset()
            if any(record.cancel_who is not None for record in records):  # it may still run: not at every tick
                pace.due_ns = self._clock.monotonic_ns() + 10**9
        except FencedError:
            self._log.warning("another process writes this hub's commands", node=node)
        except PlantError as error:
            pace.due_ns = self._clock.monotonic_ns() + int(pace.backoff.next_s() * 1e9)
            self._log.warning("commands wait", node=node, error=str(error))
        finally:
            pace.is_busy = False

    async def _deliver(self, record: Record) -> bool:
        """One delivery. False when the node does not answer, or wants it later."""
        current = self._book.find_open(*record.key)
        if current is None:
            return True
        if current.state == "pending":
            if current.cancel_who is not None:
                await self.end(current, "cancelled", None, f"cancelled by {current.cancel_who}")
                return True
            sent = await self._book.change(current, "sent", only_from="pending")
            if sent is None:
                return True
            current = sent
        self._looked_ns[current.key] = self._clock.now_ns()
        try:
            answer = await self._ask(current)
        except (Unreachable, DecodeError):
            return False
        if answer.state == "busy":
            return False
        if answer.state in ("pending", "sent"):
            return False  # no state of an edge
        state, code, reason = answer.state, answer.code, answer.reason
        if state in ("done", "failed") and self._clock.now_ns() - current.changed_ns < LOOK_S * 1e9:
            state, code, reason = "running", None, None  # its event comes behind, and has the result
        if (state, code, reason) != (current.state, current.code, current.reason):
            await self._book.change(current, state, code=code, reason=reason)
        return True

    async def _ask(self, record: Record) -> DeliveryAnswer:
        token = secrets.token_hex(8)
        was_accepted = RANK[record.state] >= RANK["accepted"]
        delivery = Delivery(token, record.command, record.cancel_who, was_accepted)
        with self._answers.expecting(token, record.node) as arrived:
            self._connection.publish(f"millstream.node.{record.node}.command", msgspec.json.encode(delivery))
            try:
                async with asyncio.timeout(ANSWER_S):
                    message = await arrived.get()
            except TimeoutError as error:
                raise Unreachable("no answer in time", where=record.node, expected=f"{ANSWER_S:g}s") from error
        return decode_delivery_answer(message[4])

    def _forget_ended(self) -> None:
        for kept in (self._looked_ns, self.progress):
            for key in [key for key in kept if self._book.find_open(*key) is None]:
                del kept[key]

    async def _expire(self, record: Record) -> None:
        """End what no edge can have any more."""
        now_ns = self._clock.now_ns()
        try:
            if record.state == "pending" and record.cancel_who is not None:
                await self.end(record, "cancelled", None, f"cancelled by {record.cancel_who}")
            elif record.state == "pending" and record.command.expires_ns <= now_ns:
                await self.end(record, "expired", "MS-2302", "the node could not be reached in time")
            elif record.command.expires_ns + GIVE_UP_NS <= now_ns:
                await self.end(record, "unknown", "MS-2308", "the node never told what became of it")
        except PlantError as error:
            self._log.warning("commands wait", node=record.node, error=str(error))

    async def end(self, record: Record, state: Any, code: str | None, reason: str | None) -> None:
        """End a command here; the event is the hub's, since its edge will never tell."""
        changed = await self._book.change(record, state, only_from=record.state, code=code, reason=reason)
        if changed is None:
            return
        place = self._places().get(record.node)
        if place is not None:
            data = {"state": state, "code": code, "reason": reason, "node": record.node}
            await hub_event(self._connection, place, record.command, state, self._clock.now_ns(), data)

    # -- following ----------------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        """Read the edges' events from the oldest open command on; anew when the edges are others, or on an error."""
        while True:
            if not self._places():  # the hub has no edges yet, and so no command is open
                await self._book.opened.wait()
            places = dict(self._places())
            try:
                if places:
                    await self._read(places)
            except PlantError as error:
                self._log.warning("commands are not followed", error=str(error))
            await self._clock.sleep(RETRY_S)

    async def _read(self, places: Mapping[str, str]) -> None:
        filters = [_events_of(path) for path in dict.fromkeys(places.values())]
        reader = StreamReader(self._connection)
        start = await self._start()
        async with aclosing(
            reader.read(HUB_INTEGRITY, start_seq=start, filter_subjects=filters, wait_s=LOOK_AROUND_S)
        ) as batches:
            async for messages in batches:
                for message in messages:
                    await self._take(message)
                if dict(self._places()) != places:
                    return

    async def _start(self) -> int:
        """Where the events of open commands may begin."""
        oldest_ns = min((record.command.created_ns for record in self._book.open_records()), default=None)
        state = await StreamApi(self._connection).state(HUB_INTEGRITY)
        if oldest_ns is None:
            return state.last_seq + 1
        found, _ = await get_batch(self._connection, HUB_INTEGRITY, ">", since_ns=oldest_ns - 3600 * 10**9, count=1)
        return found[0].seq if found else state.last_seq + 1

    async def _take(self, message: Received) -> None:
        """One event of an edge; what is no command's, or another's, is passed over."""
        headers = dict(parse_headers(message.headers).values) if message.headers is not None else {}
        try:
            event = decode_event(headers, message.payload)
            origin = StreamName.parse(parse_stream_source(headers.get("Nats-Stream-Source", ""))[0])
        except DecodeError:
            return
        data = event.data if isinstance(event.data, dict) else {}
        record = self._book.find_open(origin.edge, str(data.get("id"))) if origin is not None else None
        if record is None:
            return
        what = event.type.removeprefix(f"{EVENT_TYPE}.")
        if what == "progress":
            self.progress[record.key] = {"progress": data.get("progress"), "text": data.get("text")}
            return
        if what not in RANK or RANK[what] < RANK["accepted"]:
            return
        code, reason = _text(data.get("code")), _text(data.get("reason"))
        await self._book.change(record, what, code=code, reason=reason, result=data.get("result"))  # type: ignore[arg-type]


def _order(record: Record) -> tuple[int, int]:
    return -record.command.priority, record.command.created_ns


def _text(value: object) -> str | None:
    return value[:400] if isinstance(value, str) else None


def _events_of(path: str) -> str:
    place = ".".join(escape_token(level) for level in AssetPath.parse(path).levels)
    return f"{PREFIX}{place}._event.{EVENT_TYPE}.*"
