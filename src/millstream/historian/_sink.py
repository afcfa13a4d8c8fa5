"""One stream into the store: read, check the sequence, decode, commit; hold the stream back while the store cannot."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TypeVar

from millstream.historian._decode import Decoded, StreamDecoder
from millstream.historian._events import EventRow
from millstream.historian._ports import DeadLetter, StreamState
from millstream.historian._rows import Rows, join_rows
from millstream.historian._store import Commit, HistoryStoreError, Position
from millstream.historian._storing import Store
from millstream.historian._tags import TagDictionary
from millstream.kernel import Backoff, Clock
from millstream.protocols.ledger import LedgerVerifier, OriginAccount
from millstream.sdk import Log, Reader, Received

READ_MESSAGES_MAX = 2_000  # of one list: about 10 ms of decoding, which is how long the event loop stands still
HELD_CHECK_S = 0.1
PAYLOAD_BYTES_MAX = 32 * 2**20  # of one commit; blocks of text or waveforms reach it before the rows

T = TypeVar("T")


@dataclass(slots=True)
class _Pending:
    """What is decoded and not yet stored."""

    parts: list[Rows] = field(default_factory=list)
    events: list[EventRow] = field(default_factory=list)
    bad: list[DeadLetter] = field(default_factory=list)
    gaps: list[tuple[int, int]] = field(default_factory=list)
    origins: set[str] = field(default_factory=set)
    counts: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    payload_bytes: int = 0
    begun_ns: int | None = None

    def add(self, decoded: Decoded, payload_bytes: int, now_ns: int) -> None:
        """Take one decoded list in."""
        if len(decoded.rows):
            self.parts.append(decoded.rows)
        self.events += decoded.events
        self.bad += decoded.bad
        self.origins |= decoded.origins
        self.rows += len(decoded.rows) + len(decoded.events)
        self.payload_bytes += payload_bytes
        self.begun_ns = now_ns if self.begun_ns is None else self.begun_ns
        for name, count in (
            ("messages", decoded.messages),
            ("samples", len(decoded.rows)),
            ("events", len(decoded.events)),
            ("repeats", decoded.repeats),
            ("others", decoded.others),
            ("dead_letters", len(decoded.bad)),
        ):
            if count:
                self.counts[name] = self.counts.get(name, 0) + count


class StreamSink:
    """Stores one stream exactly once. `run` may end and be called again; it begins where the store stands."""

    def __init__(
        self,
        stream: str,
        *,
        store: Store,
        on_writer: Callable[[Callable[[], object]], Awaitable[object]],
        tags: TagDictionary,
        clock: Clock,
        log: Log,
        commit_rows: int,
        commit_every_s: float,
        is_held: Callable[[], bool] = lambda: False,
    ) -> None:
        self.stream = stream
        self.is_stale = False
        self.fault: HistoryStoreError | None = None
        self.position = Position(stream, 0, 0)
        self.rollbacks = 0
        self.commits = 0
        self._store = store
        self._on_writer = on_writer
        self._tags = tags
        self._clock = clock
        self._log = log
        self._commit_rows = commit_rows
        self._commit_every_s = commit_every_s
        self._is_held = is_held
        self._ledger = LedgerVerifier()
        self._decoder: StreamDecoder | None = None
        self._pending = _Pending()
        self._seq = 0  # the last one taken, stored or pending
        self._stored_ns = 0

    @property
    def accounts(self) -> dict[str, OriginAccount]:
        """The recount of each origin that came through this stream (pending messages included)."""
        return self._ledger.accounts

    def missing(self, origin: str, count: int) -> list[tuple[int, int]]:
        """The newest gaps of one origin, by first and last sequence."""
        return self._ledger.missing(origin, count)

    async def run(self, reader: Reader, state: StreamState | None) -> None:
        """Read and store until the stream turns out to be another generation (`is_stale`). Raises what the reader
        raises."""
        await self._begin(state)
        if state is not None and state.last_seq < self._seq:
            await self._rewind(reader)
            return
        start = max(1, self._seq)  # the last stored one too: it shows whether the stream is still the same
        async with aclosing(
            reader.read(self.stream, start_seq=start, batch_max=READ_MESSAGES_MAX, wait_s=self._commit_every_s)
        ) as lists:
            is_first = True
            async for messages in lists:
                if messages and is_first and not self._is_same(messages[0]):
                    await self._rewind(reader)
                    return
                if messages:
                    is_first = False
                    self._take(messages)
                is_held = self._is_held()
                if self._is_due() or (is_held and self._pending.begun_ns is not None):
                    await self._commit()
                while is_held and not self.is_stale:
                    await self._clock.sleep(HELD_CHECK_S)
                    is_held = self._is_held()
                if self.is_stale:
                    return

    async def _begin(self, state: StreamState | None) -> None:
        generation = state.created_ns if state is not None else 0
        store, stream = self._store, self.stream

        def load() -> tuple[Position, dict[str, bytes]]:
            """Both from one moment of the store."""
            return store.position(stream, generation), store.ledger(stream)

        self.is_stale = False
        position, ledger = await self._write(load)
        self._ledger = LedgerVerifier()
        for origin, kept in ledger.items():
            self._ledger.load(origin, kept)
        self._pending = _Pending()
        own = self._ledger.accounts.get(stream)
        if own is not None and own.last_seq > position.last_seq:
            # Messages without an origin count under the stream's own name, and its sequences go on from an earlier
            # place.
            self._ledger.forget(stream)
            self._pending.origins.add(stream)
        self.position = position
        self._seq, self._stored_ns = position.last_seq, position.last_stored_ns
        self._decoder = StreamDecoder(
            stream, generation, tags=self._tags, ledger=self._ledger, now_ns=self._clock.now_ns
        )

    def _is_same(self, first: Received) -> bool:
        return first.seq != self._seq or not self._stored_ns or first.stored_time_ns == self._stored_ns

    async def _rewind(self, reader: Reader) -> None:
        """The sequence that was stored last holds another message now: the server lost its tail and wrote on. Go
        back to the first message that can be new: published here after the last one stored, or sourced (the ledger
        knows those)."""
        self._log.warning("stream lost its tail and went on", stream=self.stream, stored=self._seq)
        self.rollbacks += 1
        before_ns, seq = self._stored_ns, 0
        async with aclosing(reader.read(self.stream, start_seq=1, batch_max=READ_MESSAGES_MAX, wait_s=0.2)) as lists:
            async for messages in lists:
                old = next((i for i, m in enumerate(messages) if _is_sourced(m) or m.stored_time_ns > before_ns), None)
                seq = (
                    messages[-1].seq if messages and old is None else messages[old].seq - 1 if old is not None else seq
                )
                if old is not None or not messages:
                    break
        position = Position(self.stream, self.position.generation, seq, 0)
        await self._write(lambda: self._store.set_position(position))

    def _take(self, messages: Sequence[Received]) -> None:
        assert self._decoder is not None
        first, last = messages[0].seq, messages[-1].seq
        if first != self._seq + 1 or last - first != len(messages) - 1:
            messages = self._align(messages)
            if not messages:
                return
        size = sum(len(m.payload) for m in messages)
        self._pending.add(self._decoder.decode(messages), size, self._clock.monotonic_ns())
        self._seq = max(self._seq, last)
        self._stored_ns = messages[-1].stored_time_ns

    def _align(self, messages: Sequence[Received]) -> list[Received]:
        """Only what follows the stored sequence; holes are written down."""
        fresh = []
        expected = self._seq + 1
        for message in messages:
            if message.seq < expected:
                continue
            if message.seq > expected:
                self._pending.gaps.append((expected, message.seq - 1))
            expected = message.seq + 1
            fresh.append(message)
        return fresh

    def _is_due(self) -> bool:
        pending = self._pending
        if pending.begun_ns is None:
            return False
        if pending.rows >= self._commit_rows or pending.payload_bytes >= PAYLOAD_BYTES_MAX:
            return True
        return self._clock.monotonic_ns() - pending.begun_ns >= self._commit_every_s * 1e9

    async def _commit(self) -> None:
        """Store what is pending. While the store cannot, wait and try again: nothing more is read, nothing is
        dropped."""
        pending = self._pending
        position = Position(self.stream, self.position.generation, self._seq, self._stored_ns)
        commit = Commit(
            position,
            self.position.last_seq,
            join_rows(pending.parts),
            self._tags.dirty(),
            {o: self._ledger.dump(o) if o in self._ledger.accounts else None for o in pending.origins},
            tuple(pending.gaps),
            tuple(pending.bad),
            pending.counts,
            self._clock.now_ns(),
            tuple(pending.events),
        )
        backoff = Backoff(floor_s=0.2, ceiling_s=10.0)
        while True:
            try:
                await self._write(lambda: self._store.commit(commit))
                break
            except HistoryStoreError as error:
                if self.fault is None:
                    self._log.error("history holds the stream back", stream=self.stream, error=str(error))
                self.fault = error
            await self._clock.sleep(backoff.next_s())
            await self._reopen()
        if self.fault is not None:
            self._log.info("history stores again", stream=self.stream)
        self.fault = None
        self._tags.stored(commit.tags)
        self.position = position
        self.commits += 1
        self._pending = _Pending()

    async def _reopen(self) -> None:
        try:
            await self._write(self._store.reopen)
        except HistoryStoreError as error:
            self.fault = error

    async def _write(self, call: Callable[[], T]) -> T:
        return await self._on_writer(call)  # type: ignore[return-value]  # the executor hands back what `call` gives


def _is_sourced(message: Received) -> bool:
    return message.headers is not None and b"\r\nNats-Stream-Source:" in message.headers
