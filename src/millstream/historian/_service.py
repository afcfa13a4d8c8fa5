"""The historian of a hub or edge: ingests streams, seals days, answers queries. One process owns one history folder."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from millstream.historian._contract_keep import Around, RetentionKeeper
from millstream.historian._copy import copy_history
from millstream.historian._engine import Plan, QueryStopped, Running
from millstream.historian._home import FolderHome, Home, Keeping, Server, server_home
from millstream.historian._import import import_rows
from millstream.historian._keep import Keep, KeepBook, KeepRule
from millstream.historian._ports import DeadLetterSink, Reply, RequestServer, StreamState, StreamStates
from millstream.historian._query import Last, Names, Query, check_query
from millstream.historian._server import HistoryServerError
from millstream.historian._server_copy import copy_server, freeze
from millstream.historian._sink import StreamSink
from millstream.historian._stats import Counted, HistorianState, HistorianStats, StreamStats, count
from millstream.historian._store import DAY_NS, MEMORY_BYTES_MAX, Commit, HistoryStore, HistoryStoreError, Position
from millstream.historian._tags import TagDictionary, TagEntry
from millstream.historian._view import HistoryView
from millstream.kernel import Backoff, Clock, PlantError, SystemClock
from millstream.protocols.history_job import PART_ROWS
from millstream.protocols.history_query import QUERY_SUBJECT
from millstream.protocols.ledger import OriginAccount
from millstream.sdk import Log, Reader

if TYPE_CHECKING:
    import pyarrow as pa

QUERY_THREADS_MAX = 2
QUERIES_WAITING_MAX = 32  # beyond it a query is refused rather than queued for longer than anyone waits
DEAD_LETTERS_AT_ONCE = 200
ENTRIES_AT_ONCE = 500
COUNT_S_MAX = 2.0  # for a server to tell its numbers; then those that it told last are given
_STORE = "store"  # among the errors: the server that holds the history

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class HistorianOptions:
    """Seconds, unless the name says else. A day is sealed once it lies `hot_window_s` back; what is over by `keep` and
    `rules` (the first that fits a tag decides; where none does, contracts) is dropped by whole days, events as `keep`
    says. Beyond `bytes_max` on disk, looked at every `maintain_every_s`, the oldest go first. With a `server` all lies
    there, and neither `hot_window_s`, `memory_bytes_max` nor `bytes_max` holds."""

    hot_window_s: float = 2 * 86400.0
    keep: Keep = field(default_factory=Keep)
    rules: tuple[KeepRule, ...] = ()
    commit_rows: int = 50_000
    commit_every_s: float = 0.5
    maintain_every_s: float = 300.0
    watch_every_s: float = 2.0
    contracts_every_s: float = 10.0
    query_s_max: float = 20.0
    memory_bytes_max: int = MEMORY_BYTES_MAX
    bytes_max: int | None = None
    server: Server | None = None


class _Silent:
    def info(self, event: str, **fields: object) -> None:
        """Drop."""

    warning = error = info


class HistorianService:
    """Use as ``async with HistorianService(reader, folder) as historian``. Leaving the scope stops it; a crash
    instead of it loses nothing. While `is_held` says so nothing is read: the machine has more urgent work. Raises
    FencedError on entry when another process has the folder."""

    def __init__(
        self,
        reader: Reader,
        folder: Path,
        *,
        streams: Sequence[str] = ("H_INTEGRITY", "H_THROUGHPUT"),
        states: StreamStates | None = None,
        dead_letters: DeadLetterSink | None = None,
        requests: RequestServer | None = None,
        subject: str = QUERY_SUBJECT,
        clock: Clock | None = None,
        log: Log | None = None,
        options: HistorianOptions | None = None,
        is_held: Callable[[], bool] = lambda: False,
        contracts: Around | None = None,
    ) -> None:
        self._reader = reader
        self._states = states
        self._dead_letters = dead_letters
        self._requests = requests
        self._subject = subject
        self._clock = clock or SystemClock()
        self._log = log or _Silent()
        self._options = options or HistorianOptions()
        self._is_held = is_held
        self._stream_names = tuple(streams)
        self._tags = TagDictionary()
        chosen = self._options
        self._folder = folder
        self._home: Home = (
            server_home(chosen.server)
            if chosen.server is not None
            else FolderHome(
                folder, hot_window_s=chosen.hot_window_s, memory_bytes_max=chosen.memory_bytes_max,
                bytes_max=chosen.bytes_max,
            )
        )  # fmt: skip
        self._store = self._home.store
        book = KeepBook(chosen.keep, chosen.rules)
        self._keeping = Keeping(book, self._on_writer, self._clock, self._log)
        self._retention = None if contracts is None else RetentionKeeper(contracts, book)
        self._engine, self._upkeep = self._home.furnish(self._tags, self._keeping)
        self._sinks: dict[str, StreamSink] = {}
        self._seen: dict[str, StreamState] = {}
        self._looking = asyncio.Lock()
        self._errors: dict[str, str] = {}
        self._is_open = False
        self._counted = Counted()
        self._counting: asyncio.Task[Counted] | None = None
        self._queries_waiting = 0
        self._scope = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self._writer: ThreadPoolExecutor | None = None
        self._readers: ThreadPoolExecutor | None = None

    async def __aenter__(self) -> Self:
        self._writer = ThreadPoolExecutor(1, "historian-writer")
        self._readers = ThreadPoolExecutor(QUERY_THREADS_MAX, "historian-query")
        has_begun = False
        try:
            await self._begin()
            has_begun = True
        finally:
            if not has_begun:  # the threads and the folder's lock must not outlive a failed start
                await self._close()
        group = await self._scope.enter_async_context(asyncio.TaskGroup())
        self._tasks = [group.create_task(self._every(self._watch))]
        if self._is_open:
            self._store_streams(group)
        else:
            self._tasks.append(group.create_task(self._wait_for_server(group)))
        return self

    def _store_streams(self, group: asyncio.TaskGroup) -> None:
        jobs: list[Callable[[], object]] = [self.maintain, self._drain_dead_letters, self.look_at_contracts]
        self._tasks += [group.create_task(self._supervise(sink)) for sink in self._sinks.values()]
        self._tasks += [group.create_task(self._every(job)) for job in jobs]

    async def _wait_for_server(self, group: asyncio.TaskGroup) -> None:
        """Until the server that holds the history answers; the streams hold what comes meanwhile."""
        with suppress(PlantError):  # looked at again soon
            await self._watch()
        backoff = Backoff(floor_s=0.2, ceiling_s=10.0)
        while not self._is_open:
            await self._clock.sleep(backoff.next_s())
            try:
                await self._open(self._store.reopen)
            except PlantError as error:
                self._note(_STORE, str(error))
        self._errors.pop(_STORE, None)
        self._log.info("history's server answers")
        self._store_streams(group)

    async def _open(self, open_store: Callable[[], None]) -> None:
        await self._on_writer(open_store)
        self._tags = TagDictionary(await self._on_writer(self._store.tags))
        self._upkeep.close()  # of the empty dictionary
        self._engine, self._upkeep = self._home.furnish(self._tags, self._keeping)
        await self._upkeep.begin()
        self._counted = await self._on_writer(partial(count, self._store, self._upkeep))
        self._sinks = {name: self._sink(name) for name in self._stream_names}
        self._is_open = True

    def _check_open(self) -> None:
        """Without the dictionary of what is stored nothing can be answered or taken. Raises HistoryServerError."""
        if not self._is_open:
            raise HistoryServerError(
                "history's server has not answered yet",
                got=self._errors.get(_STORE),
                next_step="start it, then ask again",
            )

    async def _begin(self) -> None:
        try:
            await self._open(self._store.open)
        except HistoryServerError as error:
            self._note(_STORE, str(error))
        if self._requests is not None:
            await self._scope.enter_async_context(self._requests.serve(self._subject, self._reply))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await self._close()

    async def _close(self) -> None:
        try:
            await self._scope.aclose()
        finally:
            if self._counting is not None:
                self._counting.cancel()
            if self._readers is not None:
                self._readers.shutdown(wait=True, cancel_futures=True)
            self._upkeep.close()
            if self._writer is not None:
                self._writer.submit(self._shut)
                self._writer.shutdown(wait=True)

    def _shut(self) -> None:
        try:
            self._store.save_last()
        except HistoryStoreError as error:
            # Only a shortcut for the next start is lost: the last values are read from the rows then.
            self._log.warning("last values not checkpointed", error=str(error))
        self._store.close()

    def _sink(self, name: str) -> StreamSink:
        return StreamSink(
            name,
            store=self._store,
            on_writer=self._on_writer,
            tags=self._tags,
            clock=self._clock,
            log=self._log,
            commit_rows=self._options.commit_rows,
            commit_every_s=self._options.commit_every_s,
            is_held=self._is_held,
        )

    async def _on_writer(self, call: Callable[[], T]) -> T:
        assert self._writer is not None, "the historian is not running"
        return await asyncio.get_running_loop().run_in_executor(self._writer, call)

    async def _supervise(self, sink: StreamSink) -> None:
        backoff = Backoff(floor_s=0.2, ceiling_s=10.0)
        while True:
            commits = sink.commits
            try:
                state = await self._states.state(sink.stream) if self._states is not None else None
                if state is not None:
                    self._seen[sink.stream] = state
                await sink.run(self._reader, state)
                delay_s = 0.0
            except PlantError as error:
                self._note(sink.stream, str(error))
                delay_s = backoff.next_s()
            except Exception as error:  # noqa: BLE001 (a bug in one stream's ingest must not stop the other's, nor queries)
                self._note(sink.stream, f"{type(error).__name__}: {error}")
                delay_s = backoff.next_s()
            else:
                self._errors.pop(sink.stream, None)
            if sink.commits > commits:
                backoff.reset()
            await self._clock.sleep(delay_s)

    def _note(self, what: str, error: str) -> None:
        if self._errors.get(what) != error:
            self._log.error("historian: trouble", what=what, error=error)
        self._errors[what] = error

    async def _every(self, job: Callable[[], object]) -> None:
        options = self._options
        periods = {"maintain": options.maintain_every_s, "look_at_contracts": options.contracts_every_s}
        name = getattr(job, "__name__", "job")
        period_s = periods.get(name, options.watch_every_s)
        while True:
            await self._clock.sleep(period_s)
            try:
                await job()  # type: ignore[misc]
            except PlantError as error:
                self._note(name, str(error))
            except Exception as error:  # noqa: BLE001 (housekeeping must not stop ingest; it is tried again)
                self._note(name, f"{type(error).__name__}: {error}")
            else:
                self._errors.pop(name, None)

    async def _watch(self) -> None:
        """See whether a stream was made anew or rolled back, and how far behind we are."""
        if self._states is None:
            return
        for name in self._stream_names:
            sink = self._sinks.get(name)
            before = None if sink is None else sink.position
            state = await self._states.state(name)
            self._seen[name] = state
            if sink is None or before is None:
                continue
            if before.generation and (state.created_ns != before.generation or state.last_seq < before.last_seq):
                sink.is_stale = True

    async def _drain_dead_letters(self) -> None:
        """Hand over what could not be decoded. It was stored with the position, so that a crash loses none."""
        if self._dead_letters is None:
            return
        while letters := await self._on_writer(lambda: self._store.dead_letters(DEAD_LETTERS_AT_ONCE)):
            for letter in letters:
                await self._dead_letters(letter)
            sources = [letter.source for letter in letters]
            await self._on_writer(lambda sources=sources: self._store.drop_dead_letters(sources))  # type: ignore[misc]

    async def maintain(self) -> None:
        """Seal what is old enough, again where late data came, and drop what is too old."""
        try:
            await self.look_at_contracts()  # what is kept longer from now on must not go
        except PlantError as error:  # what held goes on
            self._note("look_at_contracts", str(error))
        for at, entry in enumerate(self._tags.find("*", None), 1):
            self._keeping.book.of(entry)  # many contracts take a while, in which others have their turn
            if at % ENTRIES_AT_ONCE == 0:
                await asyncio.sleep(0)
        await self._upkeep.maintain(self._tags)

    async def look_at_contracts(self) -> None:
        """What contracts say of how long what is kept."""
        if self._retention is None:
            return
        store = self._store
        async with self._looking:
            await self._retention.look(
                lambda name: self._on_writer(partial(store.position, name, 0)),
                lambda position: self._on_writer(partial(store.set_position, position)),
            )

    async def seal(self, day: int) -> bool:
        """Seal one day (since 1970) now; False when it has no hot rows, or the engine seals none."""
        self._check_open()
        return await self._upkeep.seal(day)

    async def sealed_days(self) -> list[int]:
        """Those with samples, since 1970."""
        self._check_open()
        return await self._upkeep.sealed_days()

    async def roll_up_again(self, day: int) -> bool:
        """Work the rollup of a sealed day out anew; False when it has no samples. Raises HistoryStoreError."""
        self._check_open()
        return await self._upkeep.roll_up_again(day)

    async def copy(self) -> Path:
        """A copy of all of it in a folder, of one moment, in the embedded form. What comes in meanwhile waits in its
        stream; with a history on a server only for a moment. Raises HistoryStoreError."""
        self._check_open()
        store = self._store
        if isinstance(store, HistoryStore):
            return await self._on_writer(partial(copy_history, store))
        frozen = await self._on_writer(partial(freeze, store))
        return await asyncio.to_thread(copy_server, frozen, self._folder)

    async def imported_parts(self, id: str) -> int:
        """How many parts of an import are stored."""
        self._check_open()
        return (await self._on_writer(partial(self._store.position, f"import:{id}", 0))).last_seq

    async def store_import(self, id: str, part: int, rows: bytes, kind: str, *, is_correction: bool = False) -> int:
        """Store one part (from 1) of an import, in order, unless it is stored already; how many of its rows are of days
        of which retention has left only the rollup: they will be dropped again. Raises DecodeError, HistoryStoreError,
        FencedError for a part that is not the next one."""
        self._check_open()
        taken = import_rows(rows, self._tags, kind, (part - 1) * PART_ROWS + 1)
        if is_correction:
            for tag_id in set(taken.tag_id.tolist()):
                self._tags.mark_corrected(tag_id)
        pairs = list(zip(taken.tag_id.tolist(), (taken.time_ns // DAY_NS).tolist(), strict=True))
        closed = await self._upkeep.closed(sorted(set(pairs)))
        tags, position = self._tags.dirty(), Position(f"import:{id}", 0, part)
        counts = {"imported": len(taken)}
        commit = Commit(position, part - 1, taken, tags, counts=counts, now_ns=self._clock.now_ns())
        if await self._on_writer(partial(self._store.commit, commit)):
            self._tags.stored(tags)
        return sum(pair in closed for pair in pairs)

    async def query(self, query: Query) -> pa.Table:
        """Answer one query as Arrow: tag, kind, timestamp, value, quality; windows have a column for each aggregate.

        Raises DecodeError (MS-0320) for a query that cannot be answered, NotFoundError for an unknown tag,
        HistoryStoreError, and refuses when too many wait.
        """
        self._check_open()
        check_query(query)
        plan = self._engine.plan(query)
        if isinstance(query, Last | Names):
            return self._engine.answer(query, plan)
        if self._queries_waiting >= QUERIES_WAITING_MAX:
            raise HistoryStoreError(
                "too many queries wait",
                expected=f"at most {QUERIES_WAITING_MAX}",
                next_step="ask again later or for less",
            )
        self._queries_waiting += 1
        try:
            return await self._timed(query, plan)
        finally:
            self._queries_waiting -= 1

    async def _timed(self, query: Query, plan: Plan) -> pa.Table:
        """The answer within `query_s_max`, waiting for a thread included; a query nobody waits for is stopped."""
        assert self._readers is not None, "the historian is not running"
        running, limit_s = Running(), self._options.query_s_max
        answer = asyncio.get_running_loop().run_in_executor(self._readers, self._engine.answer, query, plan, running)
        try:
            async with asyncio.timeout(limit_s):
                return await answer
        except TimeoutError as error:
            raise QueryStopped(
                "query takes too long",
                expected=f"an answer within {limit_s:g} s",
                next_step="ask for less time, fewer tags or aggregates, or raise historian.query_timeout",
            ) from error
        finally:
            running.stop()

    async def _reply(self, request: bytes) -> AsyncIterator[Reply]:
        async with aclosing(HistoryView(self).answer(request)) as parts:  # type: ignore[type-var]
            async for part in parts:
                yield part

    def note_fault(self, error: Exception) -> HistoryStoreError:
        """A bug in one query: written to the log, and what to tell whoever asked."""
        self._note("query", f"{type(error).__name__}: {error}")
        return HistoryStoreError("query met a fault of the historian", got=type(error).__name__)

    def tags(self, pattern: str = "*", kind: str | None = "tag") -> list[TagEntry]:
        """What is known of a kind (None: of all) whose name matches a shell pattern, sorted by name."""
        return self._tags.find(pattern, kind)

    @property
    def positions(self) -> dict[str, int]:
        """Last stored sequence of each stream; cheap."""
        return {name: sink.position.last_seq for name, sink in self._sinks.items()}

    @property
    def is_healthy(self) -> bool:
        """True while every stream is read and stored."""
        return self._is_open and all(s.fault is None and s.stream not in self._errors for s in self._sinks.values())

    def ledger(self) -> dict[str, OriginAccount]:
        """The recount of each origin, added up over the streams that it came through."""
        found: dict[str, OriginAccount] = {}
        for sink in self._sinks.values():
            for origin, account in sink.accounts.items():
                found[origin] = _added(found[origin], account) if origin in found else replace(account)
        return found

    def missing(self, origin: str, count: int) -> list[tuple[int, int]]:
        """The newest `count` gaps of one origin, each by its first and last sequence at the origin, ascending."""
        return sorted(gap for sink in self._sinks.values() for gap in sink.missing(origin, count))[-count:]

    @property
    def state(self) -> HistorianState:
        """How it fares."""
        return "waiting" if not self._is_open else "running" if self.is_healthy else "held"

    async def stats(self) -> HistorianStats:
        """Rows, positions, lag, ledger, disk. Cost: a few counts in the store."""
        counted = await self._count()
        return HistorianStats(
            state=self.state,
            rows=counted.rows,
            tags=len(self._tags),
            dead_letters_waiting=counted.dead_letters_waiting,
            gap_messages=counted.gap_messages,
            disk_bytes=counted.disk_bytes,
            sealed_days=counted.sealed_days,
            oldest_ns=counted.oldest_ns,
            streams=tuple(self._stream_stats(name) for name in self._stream_names),
            ledger=self.ledger(),
            error=next(iter(self._errors.values()), None),
            **{
                name: counted.counters.get(name, 0)
                for name in ("messages", "samples", "events", "repeats", "others", "dead_letters", "expired")
            },
        )

    async def _count(self) -> Counted:
        """What the store tells, or told last: who asks how the hub fares must not wait for a server that is away."""
        if not self._is_open:
            return self._counted
        if self._counting is None or self._counting.done():
            self._counting = asyncio.ensure_future(self._on_writer(partial(count, self._store, self._upkeep)))
            self._counting.add_done_callback(lambda task: task.cancelled() or task.exception())
        counting, has_server = self._counting, self._options.server is not None
        await asyncio.wait({counting}, timeout=COUNT_S_MAX if has_server else None)
        if counting.done():
            try:
                self._counted = counting.result()
            except HistoryStoreError as error:
                self._note("count", str(error))
            else:
                self._errors.pop("count", None)
        return self._counted

    def _stream_stats(self, name: str) -> StreamStats:
        sink, state = self._sinks.get(name), self._seen.get(name)
        if sink is None:
            lag = None if state is None else max(0, state.last_seq - state.first_seq + 1)
            return StreamStats(name, 0, 0, lag, 0, 0, self._errors.get(_STORE))
        lag = max(0, state.last_seq - sink.position.last_seq) if state is not None else None
        error = str(sink.fault) if sink.fault is not None else self._errors.get(name)
        at = sink.position
        return StreamStats(name, at.generation, at.last_seq, lag, sink.commits, sink.rollbacks, error)


def _added(left: OriginAccount, right: OriginAccount) -> OriginAccount:
    summed = {f.name: getattr(left, f.name) + getattr(right, f.name) for f in fields(OriginAccount)}
    summed["first_seq"], summed["last_seq"] = min(left.first_seq, right.first_seq), max(left.last_seq, right.last_seq)
    return OriginAccount(**summed)
