"""The protocol client: errors on entering, requests, reconnect, and nothing left after leaving."""

from __future__ import annotations

import asyncio
import signal
import socket
from contextlib import suppress
from typing import Any

import nats.errors
import pytest
from bus_server import Server
from nats.aio.msg import Msg

from millstream.bus import Credentials, NatsPyConnection, RawConnection, StreamApi, StreamState, connect_nats
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


def test_a_web_socket_is_told_to_use_the_other_adapter() -> None:
    with pytest.raises(ConfigError, match="NATS over TCP"):
        RawConnection("wss://127.0.0.1:443")


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
            async with asyncio.timeout(60):
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
        async with asyncio.timeout(60):
            while connection.is_connected:
                await asyncio.sleep(0.01)
        server.signal(signal.SIGCONT)
        async with asyncio.timeout(60):
            await connection.wait_connected()


async def test_a_server_whose_handshake_fails_is_dialled_again_with_one_socket_at_a_time(server: Server) -> None:
    open_count = accepted_count = most = 0

    async def mumble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_count, accepted_count, most
        accepted_count, open_count = accepted_count + 1, open_count + 1
        most = max(most, open_count)
        writer.write(b"not a server of this protocol\r\n")
        await reader.read()  # ends when the client hangs up
        open_count -= 1
        writer.close()

    async with NatsPyConnection(server.url, credentials=server.credentials) as connection:
        server.kill()
        other = await asyncio.start_server(mumble, "127.0.0.1", server.port)
        async with other, asyncio.timeout(60):
            while accepted_count < 8:
                await asyncio.sleep(0.01)
        assert not connection.is_connected
    assert most <= 2  # the one before may still be hanging up


@pytest.mark.parametrize("fails", [False, True])
async def test_a_client_that_is_closed_dials_no_more_though_cancelling_was_overheard(
    server: Server, fails: bool
) -> None:
    """As `asyncio.wait_for` of Python 3.11 may, whose inner task ends in that moment; also when the goodbye fails."""
    overheard_count = 0

    async def dial() -> None:
        nonlocal overheard_count
        while overheard_count < 3:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                overheard_count += 1
        await asyncio.Event().wait()

    async def lost() -> None:
        if fails:
            raise ConnectionResetError("the server is gone")

    client = await connect_nats(server.url, server.credentials, on_lost=lost)
    dialling = client._reconnection_task = asyncio.create_task(dial())
    await asyncio.sleep(0)
    with suppress(ConnectionResetError):
        await client.close()
    assert dialling.cancelled()


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


async def test_what_a_node_asks_at_its_start_waits_for_a_jetstream_that_is_not_ready_yet(server: Server) -> None:
    asked = asyncio.Event()
    async with server.connect() as connection, server.connect() as late:
        api = StreamApi(connection, "late", patience_s=60.0)
        request = connection.request

        async def watched(*args: Any, **kwargs: Any) -> Any:
            asked.set()
            return await request(*args, **kwargs)

        connection.request = watched  # type: ignore[method-assign]
        state = asyncio.ensure_future(api.state("S"))
        await asked.wait()
        answer = b'{"state": {"messages": 1, "bytes": 2, "first_seq": 3, "last_seq": 3}}'

        def serve(messages: list[Any]) -> None:
            for message in messages:
                late.publish(message[2].decode(), answer)

        late.subscribe("$JS.late.API.STREAM.INFO.S", serve)
        assert await state == StreamState(1, 2, 3, 3)


async def test_a_jetstream_that_stays_away_is_one_clear_error(server: Server) -> None:
    async with server.connect() as connection:
        with pytest.raises(Unreachable, match=r"not ready, expected an answer within 0\.2 s.*nobody answers") as caught:
            await StreamApi(connection, "away", patience_s=0.2).last("S", "a.b")
        assert caught.value.code == "MS-0608"
        assert caught.value.next_step is not None


async def test_a_connection_of_a_node_waits_for_its_server(server: Server) -> None:
    server.kill()
    patient = RawConnection(server.url, credentials=server.credentials, patience_s=60.0)
    entered = asyncio.ensure_future(patient.__aenter__())
    await server.start()  # takes longer than a refused connect
    await entered
    await patient.__aexit__(None, None, None)


async def test_a_client_goes_on_after_the_server_ended_its_link_with_an_error_line() -> None:
    opened = 0
    writers: list[asyncio.StreamWriter] = []
    released = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        writers.append(writer)
        writer.write(b'INFO {"server_id":"x","version":"2.15.1","headers":true,"max_payload":1048576}\r\n')
        while line := await reader.readline():
            if line.startswith(b"PING"):
                writer.write(b"PONG\r\n")
            elif line.startswith(b"SUB") and opened == 1:
                writer.write(b"-ERR 'Authentication Timeout'\r\n")
                break
            elif line.startswith(b"SUB"):
                released.set()
        writer.close()

    other = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with other:
        client = await connect_nats(f"nats://127.0.0.1:{other.sockets[0].getsockname()[1]}")
        await client.subscribe("a.b", cb=_drop)
        async with asyncio.timeout(60):
            await released.wait()
        assert not client.is_closed
        await client.close()
        for writer in writers:
            writer.close()
            await writer.wait_closed()


async def _drop(message: object) -> None:
    """Nothing is to be done with it."""


async def _echo(message: Msg) -> None:
    await message.respond(b"heard")


async def test_a_client_hears_on_after_the_late_answer_to_a_ping_that_nobody_waits_for(server: Server) -> None:
    client = await connect_nats(server.url, server.credentials)
    try:
        await client.subscribe("echo", cb=_echo)
        server.signal(signal.SIGSTOP)
        with pytest.raises(nats.errors.TimeoutError):
            await client.flush(timeout=0.05)  # type: ignore[arg-type]
        waiting = asyncio.create_task(client.flush(timeout=60))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        server.signal(signal.SIGCONT)
        assert (await client.request("echo", b"", timeout=60)).data == b"heard"
        assert client.stats["reconnects"] == 0
    finally:
        await client.close()


async def test_a_client_whose_reader_broke_dials_again(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await connect_nats(server.url, server.credentials)
    try:
        await client.subscribe("echo", cb=_echo)

        async def break_once(_: bytes = b"") -> None:
            monkeypatch.undo()
            raise LookupError("what nobody expected")

        monkeypatch.setattr(client._ps, "parse", break_once)
        async with asyncio.timeout(60):
            with suppress(nats.errors.Error):
                await client.flush()
            while client.stats["reconnects"] == 0 or not client.is_connected:
                await asyncio.sleep(0.02)
        assert (await client.request("echo", b"", timeout=60)).data == b"heard"
    finally:
        await client.close()
