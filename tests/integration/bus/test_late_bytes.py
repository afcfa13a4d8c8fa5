"""Throughput class: bytes that a dead link still held when it broke, and that the server reads long afterwards.

A proxy holds them, so the worst moments come each time and not once in a thousand runs.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from bus_server import LEDGER, SUBJECT, Server, make_stream, recounted

from millstream.bus import FastIngestPublisher, RawConnection, StreamApi, StreamReader, _fast_ingest
from millstream.protocols.ledger import is_ledger_subject
from millstream.sdk import Message, Received

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

STREAM = "E_edge1_T"
START = b"Nats-Expected-Last-Sequence"  # only the first message of a fast batch bears it
FIRST, MORE = 3, 400


class Link:
    """One connection through the proxy; what the client sends can be held, and sent after the client has gone."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter, *, holds_starts: bool) -> None:
        self.client = client
        self.server = server
        self.holds_starts = holds_starts
        self.held = bytearray()
        self.is_holding = False
        self.pongs = 0

    def take(self, data: bytes) -> None:
        """Bytes of the client."""
        self.is_holding = self.is_holding or (self.holds_starts and START in data)
        if self.is_holding:
            self.held += data
        else:
            self.server.write(data)

    def has_start(self) -> bool:
        return START in self.held

    def release(self) -> None:
        """Send what is held, and hold nothing any more."""
        self.server.write(bytes(self.held))
        self.held.clear()
        self.is_holding = self.holds_starts = False

    def release_one(self) -> bytes:
        """Send the first operation that is held; it is returned, empty when nothing whole is there."""
        line, end, _ = self.held.partition(b"\r\n")
        size = len(line) + len(end)
        if line.startswith((b"PUB ", b"HPUB ")):
            size += int(line.split()[-1]) + 2
        if not end or len(self.held) < size:
            return b""
        operation = bytes(self.held[:size])
        del self.held[:size]
        self.server.write(operation)
        return operation


class LateProxy:
    """Loopback in front of the server; each link is kept, in order."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.links: list[Link] = []
        self.holds_starts = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> LateProxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for link in self.links:
            link.client.close()
            link.server.close()
        await asyncio.gather(*self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._port)
        link = Link(writer, up_writer, holds_starts=self.holds_starts)
        self.links.append(link)
        down = asyncio.ensure_future(self._down(up_reader, link))
        with suppress(OSError):
            while data := await reader.read(65536):
                link.take(data)
        writer.close()
        await down

    async def _down(self, reader: asyncio.StreamReader, link: Link) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                link.pongs += data.count(b"PONG\r\n")
                if not link.client.is_closing():
                    link.client.write(data)


async def until(is_true: object, what: str) -> None:
    """Poll a condition, 60 s at most."""
    async with asyncio.timeout(60):
        while True:
            answer = is_true()  # type: ignore[operator]
            if await answer if asyncio.iscoroutine(answer) else answer:
                return
            await asyncio.sleep(0.005)
    raise AssertionError(what)


async def all_stored(connection: RawConnection) -> list[Received]:
    """The stream from its start."""
    last_seq = (await StreamApi(connection).state(STREAM)).last_seq
    found: list[Received] = []
    async with aclosing(StreamReader(connection).read(STREAM)) as batches:
        async for batch in batches:
            found += batch
            if batch and batch[-1].seq >= last_seq:
                return found
    return found


@asynccontextmanager
async def publisher_behind(proxy: LateProxy, server: Server) -> AsyncIterator[FastIngestPublisher]:
    url = f"nats://127.0.0.1:{proxy.port}"
    async with (
        RawConnection(url, credentials=server.credentials) as connection,
        FastIngestPublisher(connection, STREAM, ledger_subject=LEDGER, publish_prefix="fast.") as publisher,
    ):
        yield publisher


def is_to_store(operation: bytes) -> bool:
    """Whether it is a message of a fast batch, and not the bare end of one (3)."""
    return operation.partition(b".$FI")[0][-2:] in (b".0", b".1", b".2")


async def make_throughput_stream(connection: RawConnection) -> None:
    await make_stream(
        connection, STREAM, subjects=["fast.uns.v1.>"], allow_atomic=False, allow_batched=True, persist_mode="async",
        subject_transform={"src": "fast.uns.v1.>", "dest": "uns.v1.>"},
    )  # fmt: skip


async def release_all(link: Link) -> None:
    """Send what `link` holds, and wait until the server has read it."""
    link.release()
    pongs = link.pongs
    link.server.write(b"PING\r\n")
    await until(lambda: link.pongs > pongs, "the server has read all of the dead link")


async def check_exact(connection: RawConnection, link: Link) -> None:
    """Everything once and in order, when the server has read all that the dead link held."""
    await release_all(link)
    received = await all_stored(connection)
    assert [int(m.payload) for m in received if not is_ledger_subject(m.subject)] == list(range(FIRST + MORE))
    account = recounted(received, STREAM).accounts[STREAM]
    assert account.is_clean, account


@pytest.mark.parametrize("early", [1, 100, MORE], ids=["the start", "a hundred", "all"])
async def test_a_batch_whose_start_is_read_late_counts_once(server: Server, early: int) -> None:
    """The link breaks before the server has read the start of a batch; it reads it when the next link has asked what is
    stored, and the rest when all is stored."""
    numbered = [Message(SUBJECT, b"%d" % n) for n in range(FIRST + MORE)]
    async with server.connect() as direct, LateProxy(server.port) as proxy:
        await make_throughput_stream(direct)
        api = StreamApi(direct)
        async with publisher_behind(proxy, server) as publisher:
            await (await publisher.submit(numbered[:FIRST]))
            await publisher.flush()
            base = (await api.state(STREAM)).last_seq
            (first,) = proxy.links
            proxy.holds_starts = True
            first.is_holding = True
            done = await publisher.submit(numbered[FIRST:])
            await until(lambda: first.held.count(SUBJECT.encode()) == MORE, "the batch is on its way")
            first.client.close()

            await until(lambda: len(proxy.links) == 2 and proxy.links[1].has_start(), "the next link sends again")
            for _ in range(early):
                while SUBJECT.encode() not in first.release_one():
                    pass

            async def is_stored() -> bool:
                return (await api.state(STREAM)).last_seq == base + early

            await until(is_stored, "the server has read the late start")
            proxy.links[1].release()
            async with asyncio.timeout(60):
                await done
                await publisher.flush()
            await check_exact(direct, first)


@pytest.mark.parametrize(
    "ends", [{"BATCH_MESSAGES_MAX": 100}, {"UNACKED_S": -1.0}], ids=["ended by records", "ended without"]
)
async def test_a_start_that_is_read_late_in_the_middle_of_what_is_sent_again_counts_once(
    server: Server, monkeypatch: pytest.MonkeyPatch, ends: dict[str, float]
) -> None:
    """Several batches were on their way: the start of a later one is valid while the stream ends where it expects."""
    monkeypatch.setattr(_fast_ingest, "BURST_MESSAGES", 100)
    usual = [(name, getattr(_fast_ingest, name)) for name in ends]
    for name, value in ends.items():
        monkeypatch.setattr(_fast_ingest, name, value)
    numbered = [Message(SUBJECT, b"%d" % n) for n in range(FIRST + MORE)]
    async with server.connect() as direct, LateProxy(server.port) as proxy:
        await make_throughput_stream(direct)
        api = StreamApi(direct)
        async with publisher_behind(proxy, server) as publisher:
            await (await publisher.submit(numbered[:FIRST]))
            await publisher.flush()
            (first,) = proxy.links
            proxy.holds_starts = True
            first.is_holding = True
            for at in range(FIRST, FIRST + MORE, 50):
                done = await publisher.submit(numbered[at : at + 50])
            await until(lambda: first.held.count(SUBJECT.encode()) == MORE, "the batches are on their way")
            for name, value in [("BURST_MESSAGES", 10 * MORE), *usual]:  # left alone, batches would end elsewhere now
                monkeypatch.setattr(_fast_ingest, name, value)
            first.client.close()
            bases = [int(line.split(b": ")[1]) for line in first.held.split(b"\r\n") if line.startswith(START + b": ")]
            assert len(bases) > 2, "several batches"

            await until(lambda: len(proxy.links) == 2 and proxy.links[1].has_start(), "the next link sends again")

            for _ in range(bases[1] - bases[0]):
                await until(lambda: is_to_store(proxy.links[1].release_one()), "the next message is sent again")

            async def is_at_the_second_base() -> bool:
                return (await api.state(STREAM)).last_seq == bases[1]

            await until(is_at_the_second_base, "the stream ends where the second batch expects it")
            await release_all(first)
            proxy.links[1].release()
            async with asyncio.timeout(60):
                await done
                await publisher.flush()
            await check_exact(direct, first)
