"""The historian's ports on a node's connection: stream states, contracts, dead letters, requests with many replies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import cast

import msgspec

from millstream.bus import ContractLog, RawConnection, StreamApi, find_stream
from millstream.historian import DeadLetter, RequestHandler, StreamState, parse_created_ns
from millstream.kernel import NotFoundError, PlantError, ProtocolViolation, Unreachable
from millstream.protocols.audit import REQUEST_INFO, origin_told
from millstream.protocols.contract import Contract
from millstream.protocols.nats_wire import WireMessage, parse_headers

STORED_MARK = b"Nats-Stream:"
_REQUEST_INFO = f"{REQUEST_INFO}:".encode()
REQUESTS_COUNT_MAX = 64  # answered at a time; more wait in the socket


class NodeStreamStates:
    """`StreamStates` by JetStream's API."""

    def __init__(self, connection: RawConnection) -> None:
        self._api = StreamApi(connection)

    async def state(self, stream: str) -> StreamState:
        """The stream now. Raises NotFoundError or Unreachable."""
        info = await find_stream(self._api, stream)
        if info is None:
            raise NotFoundError("no such stream", where=stream)
        return StreamState(parse_created_ns(info.created), info.first_seq, info.last_seq)


class NodeContracts:
    """`ContractSource` by the node's bucket; a node without one has none."""

    def __init__(self, connection: RawConnection) -> None:
        self._log = ContractLog(StreamApi(connection))

    async def contracts(self) -> Sequence[Contract] | None:
        """All versions; None when there is nothing new. Raises Unreachable."""
        try:
            return self._log.contracts if await self._log.look() else None
        except NotFoundError:
            return None


class NodeDeadLetters:
    """`DeadLetterSink`: into the hub's dead-letter stream, each once (``Nats-Msg-Id`` within the stream's window)."""

    def __init__(self, connection: RawConnection, subject: str) -> None:
        self._connection = connection
        self._subject = subject

    async def __call__(self, letter: DeadLetter) -> None:
        """Store one letter. Raises Unreachable or what the stream answers."""
        headers = {
            "Ms-Reason": letter.reason,
            "Ms-Code": letter.code,
            "Ms-Source": letter.source,
            "Ms-Subject": letter.subject,
            "Content-Type": letter.content_type,
            "Ms-Time": str(letter.time_ns),
            "Nats-Msg-Id": letter.source,
        }
        lines = "".join(f"{name}: {_line(value)}\r\n" for name, value in headers.items()).encode()
        answer = await self._connection.request(self._subject, letter.payload, header_lines=lines)
        raw = msgspec.json.decode(answer[4])
        if "error" in raw:
            raise Unreachable("the dead-letter stream refused a message", where=self._subject, got=str(raw["error"]))


def _origin(headers: bytes | None) -> str:
    """What the server says of who asks; most requests bear nothing of the kind."""
    if not headers or _REQUEST_INFO not in headers:
        return ""
    try:
        return origin_told(parse_headers(bytes(headers)).values.get(REQUEST_INFO))
    except ProtocolViolation:
        return ""


def _line(value: str) -> str:
    return " ".join(value.split())


class NodeRequests:
    """`RequestServer`: one task a request, each with any number of replies."""

    def __init__(self, connection: RawConnection) -> None:
        self._connection = connection

    @asynccontextmanager
    async def serve(self, subject: str, handler: RequestHandler) -> AsyncIterator[None]:
        """Answer while the scope is open."""
        async with self.serve_each(subject, lambda *_: handler):
            yield

    @asynccontextmanager
    async def serve_each(self, subject: str, choose: Callable[[str, str], RequestHandler]) -> AsyncIterator[None]:
        """Answer what comes on a subject with wildcards; the subject that was asked, and from where it was asked as far
        as the server says so, choose who answers."""
        running: set[asyncio.Task[None]] = set()
        gate = asyncio.Semaphore(REQUESTS_COUNT_MAX)
        group = asyncio.TaskGroup()
        await group.__aenter__()

        def take(messages: list[WireMessage]) -> None:
            for message in messages:
                handler = choose(bytes(message[1]).decode(), _origin(message[3]))
                task = group.create_task(self._answer(message, handler, gate))
                running.add(task)
                task.add_done_callback(running.discard)

        sid = self._connection.subscribe(subject, take)
        try:
            yield
        finally:
            self._connection.unsubscribe(sid)
            for task in list(running):
                task.cancel()
            await group.__aexit__(None, None, None)

    async def _answer(self, message: WireMessage, handler: RequestHandler, gate: asyncio.Semaphore) -> None:
        reply = cast("bytes | None", message[2])
        if not reply or STORED_MARK in (message[3] or b""):
            return  # the second: JetStream's answer to somebody, aimed here by its reply subject
        async with gate:
            try:
                async with aclosing(handler(message[4])) as replies:  # type: ignore[type-var]
                    async for part in replies:
                        lines = "".join(f"{name}: {_line(value)}\r\n" for name, value in part.headers).encode()
                        self._connection.publish(reply.decode(), part.payload, header_lines=lines)
                        await self._connection.drained()
            except PlantError:
                return  # the link is gone, and with it whoever asked
