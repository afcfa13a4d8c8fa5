"""A client's link: gathered replies, each to its own asker, and one subscription for them all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from bus_server import SUBJECT, Server, make_stream

from millstream.bus import RawConnection, get_batch
from millstream.bus._link import Link, open_link
from millstream.protocols.nats_wire import WireMessage


@asynccontextmanager
async def listening(server: Server) -> AsyncIterator[tuple[str, list[bytes]]]:
    """The server's address through a relay, and the SUB and UNSUB lines that come over it."""
    lines: list[bytes] = []
    ends: list[asyncio.StreamWriter] = []

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_noted: bool) -> None:
        while data := await reader.readline():
            if is_noted and data.startswith((b"SUB ", b"UNSUB ")):
                lines.append(data)
            writer.write(data)
        writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", server.port)
        ends.extend((writer, back))
        await asyncio.gather(copy(reader, back, is_noted=True), copy(there, writer, is_noted=False))

    async with await asyncio.start_server(relay, "127.0.0.1", 0) as door:
        yield f"nats://127.0.0.1:{door.sockets[0].getsockname()[1]}", lines
        for end in ends:
            end.close()


@asynccontextmanager
async def echo(connection: RawConnection) -> AsyncIterator[None]:
    """Answers each question three times."""

    def answer(messages: list[WireMessage]) -> None:
        for _, _, reply, _, payload in messages:
            for part in (b"a", b"b", b"c"):
                connection.publish(reply.decode(), payload + part)

    sid = connection.subscribe("ask", answer)
    await connection.request("$JS.API.INFO")  # the server knows of the subscription
    yield
    connection.unsubscribe(sid)


async def asked(link: Link, question: bytes, count: int = 3) -> list[bytes]:
    """The first `count` answers."""
    found = []
    async with aclosing(link.request_many("ask", question)) as replies:
        async for frame in replies:
            found.append(frame.payload)
            if len(found) == count:
                break
    return found


async def test_requests_with_many_answers_share_one_subscription_that_no_site_is_told_of_again(server: Server) -> None:
    async with (
        server.connect() as connection,
        echo(connection),
        listening(server) as (url, lines),
        open_link(url, server.credentials) as link,
        asyncio.timeout(30),
    ):
        assert await asked(link, b"1") == [b"1a", b"1b", b"1c"]
        assert [line.split()[0] for line in lines] == [b"SUB"]
        assert await asked(link, b"2", count=1) == [b"2a"]  # it leaves before the others come
        several = await asyncio.gather(*(asked(link, b"%d" % n) for n in range(3, 20)))
        assert several == [[b"%d%b" % (n, part) for part in (b"a", b"b", b"c")] for n in range(3, 20)]
        assert len(lines) == 1


async def test_messages_that_are_read_at_once_come_on_one_subscription_for_all_reads(server: Server) -> None:
    async with server.connect() as connection, listening(server) as (url, lines), asyncio.timeout(30):
        await make_stream(connection)
        for n in range(5):
            await connection.request(SUBJECT, b"%d" % n)
        async with RawConnection(url, credentials=server.credentials) as reader:
            found = await asyncio.gather(*(get_batch(reader, "E_edge1_I", ">", seq=n, count=2) for n in range(1, 6)))
            assert [[m.payload for m in messages] for messages, _ in found] == [
                [b"0", b"1"], [b"1", b"2"], [b"2", b"3"], [b"3", b"4"], [b"4"],
            ]  # fmt: skip
            assert [is_more for _, is_more in found] == [True, True, True, False, False]
            assert [line.split()[0] for line in lines if b".g." in line] == [b"SUB"]
