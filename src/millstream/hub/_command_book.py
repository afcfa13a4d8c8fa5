"""The hub's record of every command at every node: one message each in a stream, the newest state of it.

A state is stored before anything follows from it ("sent" before the first delivery), so that a hub that is killed
anywhere knows afterwards what an edge may have. States only go up.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import msgspec

from millstream.bus import RawConnection, StreamApi, StreamConfig, decode_answer, ensure_stream, get_all, get_batch
from millstream.kernel import Clock, FencedError, PlantError
from millstream.protocols.command import FINAL, RANK, Command, State
from millstream.sdk import Received

STREAM = "H_CMD"
SUBJECT = "millstream.command"
STREAM_BYTES_MAX = 256 << 20
KEPT_S = 30 * 86_400  # what is over
OPEN_MAX = 20_000
OF_ID_MAX = 5000  # nodes of one command
LOCKS = 64  # stripes: one record is changed by one at a time, others beside it
LOOK_FIRST = 512  # sequences at the end of the stream; then twice as many, and so on
LOOKED_AT_MAX = 20_000  # records for one list
RESULT_BYTES_MAX = 16 * 1024  # kept here; a larger one is in the event


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """One command at one node. `changed_ns` is UTC; `cancel_who` stands there once somebody asked to cancel it."""

    node: str
    command: Command
    state: State
    changed_ns: int
    code: str | None = None
    reason: str | None = None
    result: Any = None
    cancel_who: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Node and id."""
        return self.node, self.command.id

    @property
    def is_open(self) -> bool:
        """Whether it is not over."""
        return self.state not in FINAL


def command_stream() -> StreamConfig:
    """A command that is asked for and does not fit is refused; none is dropped to make room."""
    return {
        "name": STREAM, "subjects": [f"{SUBJECT}.>"], "storage": "file", "retention": "limits", "discard": "new",
        "max_msgs_per_subject": 1, "max_bytes": STREAM_BYTES_MAX, "allow_direct": True, "allow_msg_ttl": True,
        "num_replicas": 1,
    }  # fmt: skip


class CommandBook:
    """The records that are open, in memory; all, in the stream."""

    def __init__(self, connection: RawConnection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._open: dict[tuple[str, str], tuple[Record, int]] = {}
        self.opened = asyncio.Event()
        """Set while something is open."""
        self._locks = tuple(asyncio.Lock() for _ in range(LOCKS))

    async def load(self) -> None:
        """Read what is open. Raises Unreachable."""
        await ensure_stream(StreamApi(self._connection), command_stream())
        async for record, seq in self.all():
            if record.is_open:
                self._keep(record, seq)

    async def all(self) -> AsyncGenerator[tuple[Record, int], None]:
        """Every record, in the order of their last change, as (record, sequence)."""
        async for message in get_all(self._connection, STREAM, f"{SUBJECT}.>", count=1000):
            yield _record_of(message), message.seq

    async def newest(self, limit: int, node: str | None = None) -> list[Record]:
        """The records that were changed last, of one node or of all, the newest last. Looks from the end of the stream
        backwards, so that a long history costs nothing. Raises Unreachable."""
        state = await StreamApi(self._connection).state(STREAM)
        filter_subject = f"{SUBJECT}.{node}.*" if node is not None else f"{SUBJECT}.>"
        found: list[Record] = []
        end, window, looked_at = state.last_seq + 1, LOOK_FIRST, 0
        while end > max(1, state.first_seq) and len(found) < limit and looked_at < LOOKED_AT_MAX:
            start = max(1, state.first_seq, end - window)
            part = await self._between(start, end, filter_subject)
            looked_at += len(part)
            found = [*part, *found]
            end, window = start, 2 * window
        return found[-limit:]

    async def _between(self, start: int, end: int, filter_subject: str) -> list[Record]:
        """Those whose newest state has a sequence from `start` on and before `end`."""
        records: list[Record] = []
        seq, has_more = start, True
        while has_more and seq < end:
            found, has_more = await get_batch(self._connection, STREAM, filter_subject, seq=seq, count=1000)
            records += [_record_of(message) for message in found if message.seq < end]
            seq = found[-1].seq + 1 if found else end
        return records

    def open_records(self) -> Iterator[Record]:
        """What is not over."""
        return (record for record, _ in list(self._open.values()))

    @property
    def open_count(self) -> int:
        """How many are not over."""
        return len(self._open)

    def find_open(self, node: str, id: str) -> Record | None:
        """One that is not over."""
        found = self._open.get((node, id))
        return found[0] if found is not None else None

    async def find(self, node: str, id: str) -> Record | None:
        """One, over or not. Raises Unreachable."""
        record = self.find_open(node, id)
        if record is not None:
            return record
        found = await StreamApi(self._connection).last(STREAM, f"{SUBJECT}.{node}.{id}")
        return _record_of(found) if found is not None else None

    async def of_id(self, id: str) -> list[Record]:
        """One command at all its nodes. Raises Unreachable."""
        found, _ = await get_batch(
            self._connection, STREAM, f"{SUBJECT}.*.{id}", seq=1, count=OF_ID_MAX, bytes_max=64 << 20
        )
        return sorted((_record_of(message) for message in found), key=lambda record: record.node)

    async def add(self, record: Record) -> Record:
        """Store a new one; one that was there before stays, and is given back. Raises StoreFullError, Unreachable."""
        async with self._lock_of(record):
            try:
                await self._store(record, 0)
            except FencedError:
                found = await self.find(*record.key)
                if found is None:
                    raise
                return found
            return record

    def _lock_of(self, record: Record) -> asyncio.Lock:
        return self._locks[hash(record.key) % LOCKS]

    async def change(
        self, record: Record, state: State, *, only_from: State | None = None, **fields: Any
    ) -> Record | None:
        """Store a higher state, or the same with other fields; None, and nothing stored, when it is over or in a
        higher one by now, or in another than `only_from`. Raises FencedError when another hub process wrote it,
        Unreachable."""
        async with self._lock_of(record):
            found = self._open.get(record.key)
            if found is None:
                return None
            current, seq = found
            if RANK[state] < RANK[current.state] or only_from not in (None, current.state):
                return None
            changed = msgspec.structs.replace(current, state=state, changed_ns=self._clock.now_ns(), **fields)
            if changed.result is not None and len(msgspec.json.encode(changed.result)) > RESULT_BYTES_MAX:
                changed = msgspec.structs.replace(changed, result=None, reason="its result is in the history's event")
            await self._store(changed, seq)
            return changed

    async def _store(self, record: Record, expected_seq: int) -> None:
        lines = f"Nats-Expected-Last-Subject-Sequence: {expected_seq}\r\n"
        if not record.is_open:
            lines += f"Nats-TTL: {KEPT_S}s\r\n"
        subject = f"{SUBJECT}.{record.node}.{record.command.id}"
        try:
            answer = await self._connection.request(subject, msgspec.json.encode(record), header_lines=lines.encode())
            seq = int(decode_answer(answer[4], where=subject)["seq"])
        except PlantError:
            # It may be stored all the same: what is there now counts.
            found = await StreamApi(self._connection).last(STREAM, subject)
            if found is None or found.payload != msgspec.json.encode(record):
                if found is not None:
                    self._keep(_record_of(found), found.seq)
                raise
            seq = found.seq
        self._keep(record, seq)

    def _keep(self, record: Record, seq: int) -> None:
        if record.is_open:
            self._open[record.key] = (record, seq)
            self.opened.set()
        else:
            self._open.pop(record.key, None)
            if not self._open:
                self.opened.clear()


_decoder = msgspec.json.Decoder(Record)


def _record_of(message: Received) -> Record:
    return _decoder.decode(message.payload)
