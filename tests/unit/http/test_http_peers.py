"""One wrapper for HTTP: the same fault of a peer is told with the words and the code of whoever asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from millstream.http import (
    ClientOptions,
    GetOptions,
    ListenerOptions,
    Reply,
    Request,
    Words,
    get,
    open_http,
    open_listener,
)
from millstream.kernel import ConfigError, PlantError, ProtocolViolation, Unreachable, free_port

METER = Words("meter", "a meter", "http", "MS-1601", "MS-1603", "MS-1600")
AGENT = Words("agent", "an agent", "mtconnect")
XML = GetOptions("text/xml", 60.0, 1000)


@asynccontextmanager
async def saying(answer: bytes) -> AsyncIterator[int]:
    """A peer that reads a request, says this and hangs up; its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def ask(port: int) -> bytes:
    """By kept connections."""
    url = f"http://127.0.0.1:{port}/x"
    async with open_http(ClientOptions(), METER) as client, client.exchange("GET", url) as response:
        return b"".join([part async for part in response.parts])


HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n{"


@pytest.mark.parametrize(
    ("answer", "kind", "what"),
    [
        (HALF, Unreachable, "closed the connection within its answer"),
        (b"SSH-2.0-x\r\n\r\n", ProtocolViolation, "answer is no HTTP"),
        (b"", Unreachable, ""),
    ],
)
async def test_the_same_fault_has_each_peers_own_word_and_code(
    answer: bytes, kind: type[PlantError], what: str
) -> None:
    async with saying(answer) as port:
        with pytest.raises(kind) as by_client:
            await ask(port)
        with pytest.raises(kind) as by_get:
            await get(f"http://127.0.0.1:{port}/x", XML, AGENT)
    assert what in by_client.value.what
    assert what in by_get.value.what
    assert by_client.value.code == ("MS-1603" if kind is ProtocolViolation else "MS-1601")
    assert by_get.value.code == kind.default_code
    if kind is Unreachable:
        assert "meter" in by_client.value.what
        assert "agent" in by_get.value.what


async def test_nobody_there_is_unreachable_and_no_address_is_a_fault_of_the_configuration() -> None:
    with pytest.raises(Unreachable, match="meter cannot be reached"):
        await ask(free_port())
    async with open_http(ClientOptions(), METER) as client:
        with pytest.raises(ConfigError) as caught:
            async with client.exchange("GET", "ftp://127.0.0.1/x"):
                pass
    assert caught.value.code == "MS-1600"


async def test_what_the_listener_takes_is_what_the_client_sent() -> None:
    taken: list[Request] = []

    async def handle(request: Request) -> Reply:
        taken.append(request)
        return Reply(200, "stored")

    options = ListenerOptions("127.0.0.1", 0, 60.0, 100)
    async with open_listener(options, METER, lambda request: None, handle) as listener:
        url = f"http://127.0.0.1:{listener.port}/a"
        async with open_http(ClientOptions({"X-One": "1"}, ("ann", "secret")), METER) as client:
            async with client.exchange("POST", url, content=b"body", headers={"X-Two": "2"}) as response:
                assert (response.status, b"".join([part async for part in response.parts])) == (200, b"stored\n")
            async with client.exchange("POST", url, content=b"x" * 101) as response:
                assert response.status == 413
        with pytest.raises(Unreachable, match="meter cannot listen"):
            async with open_listener(
                ListenerOptions("127.0.0.1", listener.port, 1.0, 1), METER, lambda _: None, handle
            ):
                pass
    (request,) = taken
    assert (request.method, request.target, request.body) == ("POST", "/a", b"body")
    assert request.headers["x-one"] + request.headers["x-two"] == "12"
    assert request.headers["authorization"].startswith("Basic ")
