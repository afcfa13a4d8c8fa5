"""Attempts to get between: each against real nodes; nothing secret is said to who is not the server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from pathlib import Path

import pytest
from tls_site import INFO, TlsSite, in_clear, tls_site, until

from millstream.bus import (
    Credentials,
    LeafListener,
    LeafUser,
    NatsPyConnection,
    NatsServer,
    RawConnection,
    ServerSettings,
    ServerTls,
)
from millstream.client import connect
from millstream.edge import EdgeNode
from millstream.kernel import Unreachable
from millstream.sdk import TlsFiles
from millstream.tls import issue, make_authority

attack = pytest.mark.attack
USER, PASSWORD = "millstream", "secret-of-the-plant"


def alarms_of(edge: EdgeNode) -> dict[str, str]:
    """Code -> message."""
    return {alarm["code"]: alarm["message"] for alarm in edge.status()["alarms"]}  # type: ignore[attr-defined]


async def all_clients_refuse(url: str, tls: TlsFiles, code: str) -> None:
    """The data plane, its fallback and the SDK."""
    login = Credentials(USER, PASSWORD, tls=tls)
    for client in (
        RawConnection(url, credentials=login),
        NatsPyConnection(url, credentials=login),
        connect(url=url, user=USER, password=PASSWORD, tls=tls),
    ):
        with pytest.raises(Unreachable) as refused:
            async with client:
                pass
        assert refused.value.code == code, client


@attack("a man in the middle with a certificate of another authority", layer="edge and clients (authority)")
async def test_a_man_in_the_middle_is_not_taken_for_the_hub(tmp_path: Path) -> None:
    async with tls_site(tmp_path) as site:
        make_authority(tmp_path / "evil", "test", time.time())  # by the same name, as anybody can make one
        issue(tmp_path / "evil", "hub", ["hub.example"], time.time())
        files = TlsFiles(
            ca_file=tmp_path / "evil" / "ca.pem", certificate=tmp_path / "evil" / "hub.pem",
            key=tmp_path / "evil" / "hub.key",
        )  # fmt: skip
        settings = ServerSettings(
            "h1", domain="hub", leaf_listener=LeafListener(users=(LeafUser("e1", "x"),)), tls=ServerTls(files)
        )
        async with NatsServer(settings, tmp_path / "middle") as middle:
            await all_clients_refuse(middle.url, site.trust, "MS-0221")
            listener = middle.settings.leaf_listener
            assert listener is not None
            async with site.edge(f"tls://localhost:{listener.port}") as edge:
                await until(lambda: "MS-2509" in alarms_of(edge), "the alarm of the edge")
                assert "of an authority that is not in" in alarms_of(edge)["MS-2509"]
                assert (await middle.monitor("/leafz"))["leafnodes"] == 0


@attack("taking the offer of TLS out of what the server says, to read passwords", layer="edge and clients (tls://)")
async def test_a_downgrade_to_clear_text_is_refused_before_anything_is_said(tmp_path: Path) -> None:
    async with tls_site(tmp_path) as site, in_clear(auth_required=True) as thief:
        for tls in (site.trust, TlsFiles()):
            await all_clients_refuse(f"tls://127.0.0.1:{thief.port}", tls, "MS-2511")
        await all_clients_refuse(f"nats://127.0.0.1:{thief.port}", site.trust, "MS-2511")
        assert thief.visits >= 9
        assert thief.heard == b""
        for url in (f"tls://127.0.0.1:{thief.port}", f"nats://127.0.0.1:{thief.port}"):
            await _edge_says_nothing(site, url, thief.heard)


async def _edge_says_nothing(site: TlsSite, url: str, heard: bytearray) -> None:
    secret = (site.folder / "hub" / "secrets" / "edges" / "e1").read_bytes().strip()
    async with site.edge(url) as edge:
        await until(lambda: "MS-2509" in alarms_of(edge), "the alarm of the edge")
        assert "no TLS" in alarms_of(edge)["MS-2509"]
    assert b"CONNECT" not in heard
    assert secret not in heard


@attack("words put into a link before it is encrypted", layer="clients (what came in clear is forgotten)")
async def test_what_is_put_in_before_the_handshake_is_never_heard(tmp_path: Path) -> None:
    async with tls_site(tmp_path) as site:
        server = site.hub.server
        forged = b"MSG evil 1 2\r\nhi\r\nMSG evil 2 2\r\nhi\r\nPONG\r\n"

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            """Hand on both ways, with words of our own behind INFO."""
            upstream, down = await asyncio.open_connection("127.0.0.1", server.settings.port)
            writer.write(await upstream.readline() + forged)

            async def hand_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
                while data := await source.read(65536):
                    sink.write(data)
                sink.close()

            try:
                await asyncio.gather(hand_on(reader, down), hand_on(upstream, writer), return_exceptions=True)
            finally:
                down.close()
                writer.close()

        middle = await asyncio.start_server(relay, "127.0.0.1", 0)
        port = middle.sockets[0].getsockname()[1]
        heard: list[object] = []
        connection = RawConnection(f"tls://127.0.0.1:{port}", credentials=server.credentials)
        connection.subscribe("evil", heard.append)
        connection.subscribe("good", heard.append)
        async with middle, connection:
            connection.publish("good", b"1")
            await until(lambda: heard, "what was said inside")
        assert [message[1] for batch in heard for message in batch] == [b"good"]  # type: ignore[attr-defined]


@attack("logging in without TLS, with the right password", layer="server (TLS required)")
async def test_a_hub_with_tls_does_not_talk_in_clear(tmp_path: Path) -> None:
    async with tls_site(tmp_path) as site:
        server = site.hub.server
        for port in (server.settings.port, site.leaf_port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            info = json.loads((await reader.readline()).removeprefix(b"INFO "))
            assert info["tls_required"] is True
            login = {"verbose": False, "user": server.user, "pass": server.password, "name": INFO["server_name"]}
            writer.write(b"CONNECT " + json.dumps(login).encode() + b"\r\nPING\r\n")
            said = b""
            with contextlib.suppress(ConnectionError):  # it may hang up on what it has not read
                async with asyncio.timeout(60):
                    said = await reader.read()  # to its end
            writer.close()
            assert b"PONG" not in said
