"""The protocol client: errors on entering, requests, reconnect, and nothing left after leaving."""

from __future__ import annotations

import asyncio
import signal
import socket

import pytest

from conftest import Server
from millstream.bus import Credentials, NatsPyConnection, RawConnection
from millstream.kernel import AuthError, ConfigError, ProtocolViolation, Unreachable

KINDS = [RawConnection, NatsPyConnection]


@pytest.mark.parametrize("kind", KINDS)
async def test_wrong_credentials_are_an_auth_error(
    server: Server, kind: type[RawConnection] | type[NatsPyConnection]
) -> None:
    with pytest.raises(AuthError):
        async with kind(server.url, credentials=Credentials("edge", "wrong")):
            pass


@pytest.mark.parametrize("kind", KINDS)
async def test_no_server_is_unreachable(kind: type[RawConnection] | type[NatsPyConnection]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(Unreachable):
            async with kind(f"nats://127.0.0.1:{free.getsockname()[1]}"):
                pass


async def test_what_is_no_nats_server_breaks_its_protocol() -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        writer.close()

    other = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with other:
        with pytest.raises(ProtocolViolation):
            async with RawConnection(f"nats://127.0.0.1:{other.sockets[0].getsockname()[1]}"):
                pass


def test_tls_is_told_to_use_the_other_adapter() -> None:
    with pytest.raises(ConfigError, match="plain NATS"):
        RawConnection("tls://127.0.0.1:4222")


async def test_a_request_that_nobody_serves_fails_at_once(server: Server) -> None:
    async with server.connect() as connection:
        with pytest.raises(Unreachable, match="nobody"):
            await connection.request("nobody.here", b"x")


async def test_subscriptions_come_back_after_a_restart(server: Server) -> None:
    async with server.connect() as connection:
        got: list[bytes] = []
        arrived = asyncio.Event()

        def take(messages: list[tuple[int, bytes, bytes, bytes | None, bytes]]) -> None:
            got.extend(m[4] for m in messages)
            arrived.set()

        connection.subscribe("news.>", take)
        for n in range(3):
            connects = connection.connects
            await server.restart()
            async with asyncio.timeout(10):
                while connection.connects == connects:
                    await asyncio.sleep(0.01)
                arrived.clear()
                connection.publish("news.x", b"%d" % n)
                await arrived.wait()
        assert got == [b"0", b"1", b"2"]


async def test_a_silent_server_is_given_up_and_found_again(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("millstream.bus._connection.PING_INTERVAL_S", 0.1)
    async with server.connect() as connection:
        server.signal(signal.SIGSTOP)
        async with asyncio.timeout(5):
            while connection.is_connected:
                await asyncio.sleep(0.01)
        server.signal(signal.SIGCONT)
        async with asyncio.timeout(10):
            await connection.wait_connected()


async def test_an_error_inside_the_scope_is_not_wrapped(server: Server) -> None:
    with pytest.raises(KeyError):
        async with server.connect():
            raise KeyError("mine")


async def test_cancelling_the_owner_leaves_nothing(server: Server) -> None:
    opened = asyncio.Event()

    async def hold() -> None:
        async with server.connect():
            opened.set()
            await asyncio.Event().wait()

    task = asyncio.ensure_future(hold())
    await opened.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_password_is_not_shown() -> None:
    assert "secret" not in repr(Credentials("me", "secret"))
