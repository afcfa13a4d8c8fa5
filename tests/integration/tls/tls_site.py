"""A hub and an edge that speak TLS, with an authority of their own; and who stands between."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ramp import CATALOG

from millstream.config import EdgeConfig, HubConfig
from millstream.edge import EdgeNode
from millstream.hub import HubNode
from millstream.sdk import TlsFiles
from millstream.tls import issue, make_authority

DEADLINE_S = 60.0


async def until(check: Callable[[], Any], what: str) -> None:
    """Poll until true; `check` may give an awaitable."""
    end = time.monotonic() + DEADLINE_S
    while True:
        found = check()
        if isinstance(found, Awaitable):
            found = await found
        if found:
            return
        assert time.monotonic() < end, f"not in time: {what}"
        await asyncio.sleep(0.05)


@dataclass
class TlsSite:
    """A folder with an authority, a hub and an edge."""

    folder: Path
    hub: HubNode = field(init=False)

    @property
    def authority(self) -> Path:
        """Its folder."""
        return self.folder / "tls"

    @property
    def trust(self) -> TlsFiles:
        """Whom its people believe."""
        return TlsFiles(ca_file=self.authority / "ca.pem")

    @property
    def leaf_port(self) -> int:
        """Where edges dial."""
        listener = self.hub.server.settings.leaf_listener
        assert listener is not None
        return listener.port

    def section(self, name: str) -> dict[str, Any]:
        """A `tls` section."""
        return {
            "certificate": self.authority / f"{name}.pem", "key": self.authority / f"{name}.key",
            "ca_file": self.authority / "ca.pem",
        }  # fmt: skip

    @asynccontextmanager
    async def edge(self, url: str | None = None, rows: int = 0, **uplink: Any) -> AsyncIterator[EdgeNode]:
        """An edge with a ramp of so many rows; it dials `url`, or its hub."""
        raw = {
            "edge": {"name": "e1", "path": "acme/plant1", "data_dir": self.folder / "e1"},
            "tls": self.section("e1"),
            "uplink": {
                "url": url or f"tls://localhost:{self.leaf_port}", "ca_file": self.authority / "ca.pem",
                "secret": {"file": self.folder / "hub" / "secrets" / "edges" / "e1"}, **uplink,
            },
            "streams": {"integrity": {"max_bytes": "64MiB"}},
            "connectors": [
                {"name": "ramp", "type": "ramp", "config": {"rows": rows, "pause": "20ms"},
                 "tags": [{"name": "n", "address": "n"}]}
            ] if rows else [],
        }  # fmt: skip
        config = EdgeConfig.model_validate(raw)
        entries = tuple(
            entry.model_copy(update={"config": CATALOG["ramp"].Config.model_validate(entry.config)})
            for entry in config.connectors
        )
        async with EdgeNode(config.model_copy(update={"connectors": entries}), connectors=CATALOG) as edge:
            yield edge


@asynccontextmanager
async def tls_site(folder: Path, *, asks: tuple[str, ...] = (), **server: Any) -> AsyncIterator[TlsSite]:
    """A hub that runs while in the scope; its listeners in `asks` want certificates of those who come."""
    site = TlsSite(folder)
    now_s = time.time()
    make_authority(site.authority, "test", now_s)
    issue(site.authority, "hub", ["hub.example"], now_s)
    issue(site.authority, "e1", [], now_s)
    raw = {
        "hub": {"name": "h1", "data_dir": folder / "hub"}, "server": server,
        "tls": {**site.section("hub"), "client_certificates": asks},
        "streams": {"max_bytes": "64MiB"}, "historian": None, "edges": [{"name": "e1", "path": "acme/plant1"}],
    }  # fmt: skip
    async with HubNode(HubConfig.model_validate(raw)) as site.hub:
        task = asyncio.ensure_future(site.hub.run())
        try:
            yield site
        finally:
            task.cancel()
            await asyncio.wait([task])


async def shown_at(port: int) -> bytes:
    """The certificate that a listener shows which begins with TLS."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        tls = writer.get_extra_info("ssl_object")
        found: bytes = tls.getpeercert(binary_form=True)
        return found
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


INFO = {
    "server_id": "X", "server_name": "h1", "version": "2.15.1", "proto": 1, "host": "127.0.0.1", "port": 4222,
    "headers": True, "max_payload": 1048576, "domain": "hub", "nonce": "AAAAAAAAAAAAAAA",
}  # fmt: skip


@dataclass
class InBetween:
    """Somebody at the server's address who speaks in clear: says what INFO to send, keeps what it was told."""

    port: int = 0
    heard: bytearray = field(default_factory=bytearray)
    visits: int = 0


@asynccontextmanager
async def in_clear(**info: Any) -> AsyncIterator[InBetween]:
    """It offers no TLS, and answers each line as a server would that has let somebody in."""
    found = InBetween()
    writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        found.visits += 1
        with contextlib.suppress(OSError):
            writer.write(b"INFO " + json.dumps({**INFO, **info}).encode() + b"\r\n")
            while data := await reader.read(65536):
                found.heard += data
                if data.startswith(b"\x16"):  # who begins with TLS all the same is sent away
                    break
                writer.write(b"PONG\r\n" * data.count(b"PING\r\n"))
        writer.close()
        writers.discard(writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()
        for writer in list(writers):
            writer.close()
        await server.wait_closed()
        await until(lambda: not writers, "all that came have gone")
