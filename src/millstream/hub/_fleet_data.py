"""Raw data from the edges that hold it: asked for page by page, edge beside edge, within one bound of bytes."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import aclosing

import msgspec

from millstream.bus import RawConnection
from millstream.historian import Reply
from millstream.hub._fleet_answers import EdgeAnswers
from millstream.kernel import Clock, PlantError, Unreachable
from millstream.protocols.fleet_data import (
    BAD,
    CURSOR,
    ERROR,
    HOLDS_FROM,
    NODE,
    ROWS,
    STATUS,
    DataQuestion,
    DataSummary,
    NodeAccount,
    PageAsk,
    check_range,
    decode_data_question,
    number,
)
from millstream.protocols.nats_wire import WireMessage, parse_headers
from millstream.protocols.uns_pattern import Pattern, overlap

EDGES_AT_ONCE = 8  # asked beside one another; each may have a page of some hundred KB under way
PARTS_WAITING_MAX = 16  # for a slow asker; then the edges wait
PARTS_OF_PAGE_MAX = 64
PAGE_TRIES = 2
PAGES_MAX = 1_000_000  # of one edge; each moves on, or an edge that lies would be asked for ever
EMPTY_PAGES_MAX = 1000  # one after the other, each of a thousand messages that do not fit


class FleetData:
    """Gathers pages for clients of the hub. `places` gives each configured edge's path."""

    def __init__(
        self, connection: RawConnection, answers: EdgeAnswers, places: Callable[[], Mapping[str, str]], *, clock: Clock
    ) -> None:
        self._connection = connection
        self._answers = answers
        self._places = places
        self._clock = clock

    async def answer(self, payload: bytes) -> AsyncGenerator[Reply, None]:
        """The parts of one answer as they come, each with its edge's name, and the account at the end."""
        try:
            question = decode_data_question(payload)
            patterns = check_range(question)
        except PlantError as error:
            yield Reply(b"", ((ERROR, msgspec.json.encode(error.as_dict()).decode()), (STATUS, "done")))
            return
        begun_ns = self._clock.monotonic_ns()
        edges = [
            edge for edge, path in self._places().items()
            if (question.nodes is None or edge in question.nodes)
            and any(overlap(Pattern.parse(path), pattern) for pattern in patterns)
        ]  # fmt: skip
        gathering = _Gathering(self, question, edges, self._answers.there(edges))
        async with aclosing(gathering.parts()) as parts:
            async for reply in parts:
                yield reply
        whole = all(account.error is None and not account.truncated for account in gathering.accounts.values())
        took_ms = round((self._clock.monotonic_ns() - begun_ns) / 1e6, 1)
        summary = DataSummary(dict(sorted(gathering.accounts.items())), whole, took_ms)
        yield Reply(msgspec.json.encode(summary), ((STATUS, "done"),))

    async def page(self, edge: str, ask: PageAsk, timeout_s: float) -> list[WireMessage]:
        """The parts of one page of one edge, the last one with its status. Raises Unreachable, PlantError."""
        parts: list[WireMessage] = []
        with self._answers.expecting(ask.id, edge) as arrived:
            self._connection.publish(f"millstream.node.{edge}.data", msgspec.json.encode(ask))
            try:
                async with asyncio.timeout(timeout_s):
                    while True:
                        message = await arrived.get()
                        parts.append(message)
                        if parse_headers(message[3]).get(STATUS) != "part":
                            return parts
                        if len(parts) > PARTS_OF_PAGE_MAX:
                            raise PlantError("a page without an end", where=edge, code="MS-2211")
            except TimeoutError as error:
                raise Unreachable("no answer in time", where=edge, expected=f"{timeout_s:g}s") from error


class _Gathering:
    """One answer under way."""

    def __init__(self, data: FleetData, question: DataQuestion, edges: list[str], there: Collection[str]) -> None:
        self._data = data
        self._question = question
        self._left_bytes = question.bytes_max
        self._parts: asyncio.Queue[Reply | None] = asyncio.Queue(PARTS_WAITING_MAX)
        self._there = there
        self.accounts = {edge: NodeAccount() for edge in edges}

    async def parts(self) -> AsyncGenerator[Reply, None]:
        """All parts of all edges; ending early ends the work."""
        work = asyncio.get_running_loop().create_task(self._pull_all())
        try:
            while (part := await self._parts.get()) is not None:
                yield part
        finally:
            work.cancel()
            await asyncio.wait([work])

    async def _pull_all(self) -> None:
        gate = asyncio.Semaphore(EDGES_AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for edge, account in self.accounts.items():
                group.create_task(self._pull(edge, account, gate))
        await self._parts.put(None)

    async def _pull(self, edge: str, account: NodeAccount, gate: asyncio.Semaphore) -> None:
        if edge not in self._there:
            account.error = "not reached"
            return
        async with gate:
            try:
                await self._pages(edge, account)
            except PlantError as error:
                account.error = str(error)[:300]

    async def _pages(self, edge: str, account: NodeAccount) -> None:
        cursor: str | None = None
        empty = 0
        for _ in range(PAGES_MAX):
            if self._left_bytes <= 0:
                account.truncated = True
                return
            parts = await self._page(edge, cursor)
            rows_before = account.rows
            for message in parts:
                headers = parse_headers(message[3])
                account.rows += number(headers.get(ROWS))
                if message[4]:
                    account.bytes += len(message[4])
                    self._left_bytes -= len(message[4])
                    await self._parts.put(Reply(message[4], ((NODE, edge),)))
            end = parse_headers(parts[-1][3])
            if (text := end.get(ERROR)) is not None:
                raise PlantError("the edge cannot answer", where=edge, got=text[:200], code="MS-2211")
            account.take_holds_from(end.get(HOLDS_FROM))
            if bad := number(end.get(BAD)):
                account.error = f"{bad} messages could not be read"
            empty = 0 if account.rows > rows_before else empty + 1
            cursor = end.get(CURSOR)
            if cursor is None:
                return
            if empty > EMPTY_PAGES_MAX:
                break
        raise PlantError("an edge without an end", where=edge, code="MS-2211")

    async def _page(self, edge: str, cursor: str | None) -> list[WireMessage]:
        question = self._question
        for attempt in range(1, PAGE_TRIES + 1):
            ask = question.page(secrets.token_hex(8), cursor)
            try:
                return await self._data.page(edge, ask, question.deadline_s / PAGE_TRIES)
            except Unreachable:
                if attempt == PAGE_TRIES:
                    raise
        raise AssertionError
