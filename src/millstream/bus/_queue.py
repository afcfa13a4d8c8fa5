"""The bounded queue of units between submitters and a publisher: back-pressure in messages and bytes, order kept."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from millstream.bus._units import UNIT_MESSAGES_MAX, header_lines
from millstream.kernel import PlantError
from millstream.protocols.nats_wire import subject_bytes
from millstream.sdk import Control, Message, Stored

QUEUE_MESSAGES_MAX = (
    20_000  # about 0.2 s of the fastest source: enough to hide a commit, small enough to notice a stall
)
QUEUE_BYTES_MAX = 64 * 1024 * 1024
MESSAGE_OVERHEAD_BYTES = 256  # subject, headers and objects of one message, as counted against the bound
UNIT_SHARE = 2  # a unit (in a fast stream a message) takes at most a half of what its stream may hold


class Unit:
    """What one submission holds; stored whole or not at all (integrity class)."""

    __slots__ = ("control", "future", "messages", "size_bytes")

    def __init__(
        self, messages: Sequence[Message], control: Control | None, future: asyncio.Future[Stored], size_bytes: int
    ) -> None:
        self.messages = messages
        self.control = control
        self.future = future
        self.size_bytes = size_bytes


class UnitQueue:
    """First in, first out. One publisher takes; any number of tasks put and wait in the order of their calls."""

    def __init__(
        self,
        messages_max: int = QUEUE_MESSAGES_MAX,
        bytes_max: int = QUEUE_BYTES_MAX,
        wake: asyncio.Event | None = None,
    ) -> None:
        """`wake`, if given, is set by each arrival and cleared by its owner; then `wait` is not to be used."""
        self._messages_max = messages_max
        self._bytes_max = bytes_max
        self._units: deque[Unit] = deque()
        self._turn = asyncio.Lock()
        self._room = asyncio.Event()
        self._waiting = 0
        self._is_wake_shared = wake is not None
        self._arrived = wake or asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._error: PlantError | None = None
        self.messages = 0
        self.bytes = 0
        self.last: asyncio.Future[Stored] | None = None
        self.payload_bytes_max = 1024 * 1024
        self.unit_bytes_max: int | None = None
        self.is_atomic = True

    def bound(self, payload_bytes_max: int, stream_bytes_max: int) -> None:
        """What can ever be stored: the server's max_payload, and the stream's max_bytes (not positive: no bound)."""
        self.payload_bytes_max = payload_bytes_max
        self.unit_bytes_max = stream_bytes_max // UNIT_SHARE if stream_bytes_max > 0 else None

    def __len__(self) -> int:
        return len(self._units)

    async def put(
        self, messages: Sequence[Message], control: Control | None, patience_s: float = 0.0
    ) -> asyncio.Future[Stored]:
        """Queue one unit, waiting for room. Who waits in `wait` hears of it after `patience_s`, unless another unit or
        `hurry` comes before. Raises PlantError when a message can never be stored, or the queue failed."""
        size = self._checked_size(messages, control)
        if self._waiting or (self._units and self._is_full(len(messages), size)):
            await self._wait_for_room(len(messages), size)
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        future: asyncio.Future[Stored] = self._loop.create_future()
        if self._error is not None:
            future.set_exception(self._error)
            future.exception()  # seen: a caller that drops the future is told by its next submission
            return future
        self._units.append(Unit(messages, control, future, size))
        self.messages += len(messages)
        self.bytes += size
        self.last = future
        if patience_s > 0:
            self._loop.call_later(patience_s, self.hurry)
        else:
            self._arrived.set()
        return future

    def hurry(self) -> None:
        """What is queued waits no longer for company."""
        if self._units:
            self._arrived.set()

    def _is_full(self, count: int, size: int) -> bool:
        return self.messages + count > self._messages_max or self.bytes + size > self._bytes_max

    def _checked_size(self, messages: Sequence[Message], control: Control | None) -> int:
        if len(messages) > UNIT_MESSAGES_MAX:
            raise PlantError(
                "a unit is too large", expected=f"at most {UNIT_MESSAGES_MAX} messages", got=str(len(messages)),
                next_step="submit it in parts", code="MS-0402",
            )  # fmt: skip
        if not messages and control is None:
            raise ValueError("an empty unit")
        size = largest = 0
        length_max = self.payload_bytes_max - MESSAGE_OVERHEAD_BYTES
        for message in messages:
            subject_bytes(message.subject)
            length = len(message.payload)
            if message.content_type is not None or message.headers:
                length += len(header_lines(message))
            if length > length_max:
                raise _too_large("the server", message.subject, length_max, length)
            size += length + MESSAGE_OVERHEAD_BYTES
            if length > largest:
                largest = length
        if control is not None:
            subject_bytes(control.subject)
            length = len(control.payload)
            if length > length_max:
                raise _too_large("the server", control.subject, length_max, length)
            size += length + MESSAGE_OVERHEAD_BYTES
        whole = size if self.is_atomic else largest
        if self.unit_bytes_max is not None and whole > self.unit_bytes_max:
            subject = messages[0].subject if messages else "a position"
            raise _too_large("its stream's max_bytes", subject, self.unit_bytes_max, whole)
        return size

    async def _wait_for_room(self, count: int, size: int) -> None:
        self._waiting += 1
        try:
            async with self._turn:  # first come, first served, as this lock is
                while self._units and self._is_full(count, size) and self._error is None:
                    self._room.clear()
                    await self._room.wait()
        finally:
            self._waiting -= 1

    def take(self, *, messages_max: int, bytes_max: int) -> list[Unit]:
        """The oldest whole units within the bounds (at least one if there is any). Their controls count as messages."""
        taken: list[Unit] = []
        count = size = 0
        subjects: set[str] = set()
        units = self._units
        while units:
            unit = units[0]
            extra = 1 if unit.control is not None and unit.control.subject not in subjects else 0
            length = len(unit.messages)
            if taken and (count + length + extra + len(subjects) > messages_max or size + unit.size_bytes > bytes_max):
                break
            units.popleft()
            taken.append(unit)
            count += length
            size += unit.size_bytes
            if extra and unit.control is not None:
                subjects.add(unit.control.subject)
        self.messages -= count
        self.bytes -= size
        if not self._units and not self._is_wake_shared:
            self._arrived.clear()
        self._room.set()
        return taken

    async def wait(self) -> None:
        """Until there is at least one unit."""
        await self._arrived.wait()

    def fail(self, error: PlantError) -> None:
        """Fail all that is queued, and all that comes later; the first error stays."""
        self._error = self._error or error
        for unit in self._units:
            fail_unit(unit, error)
        self._units.clear()
        self.messages = self.bytes = 0
        self._room.set()


def _too_large(what: str, where: str, expected: int, got: int) -> PlantError:
    return PlantError(
        f"a message is too large for {what}", where=where, expected=f"at most {expected} bytes", got=str(got),
        next_step="send smaller blocks, or raise max_payload or max_bytes", code="MS-0402",
    )  # fmt: skip


def fail_unit(unit: Unit, error: PlantError) -> None:
    """Resolve a unit with an error; one that nobody waits for makes no noise."""
    if not unit.future.done():
        unit.future.set_exception(error)
        unit.future.exception()


def resolve_unit(unit: Unit, stored: Stored) -> None:
    """Resolve a unit; its submitter may have gone."""
    if not unit.future.done():
        unit.future.set_result(stored)
