"""A hub and edges for the tests of store and forward: real servers, the real parts, no connectors."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from millstream.bus import (
    Credentials,
    GroupCommitPublisher,
    LeafRemote,
    NatsServer,
    RawConnection,
    ServerSettings,
    StreamApi,
    StreamBounds,
    StreamReader,
)
from millstream.bus._server_program import find_program
from millstream.config import HubConfig
from millstream.edge._forward import EdgeForward
from millstream.edge._forward_settings import EdgeStreams, ForwardSettings
from millstream.hub import HubNode
from millstream.model import AssetPath
from millstream.sdk import Message

DEADLINE_S = 60.0  # of a whole condition; the tests take a fraction of it unless the machine is overloaded


async def until(
    check: Callable[[], Awaitable[bool]] | Callable[[], bool], what: str, deadline_s: float = DEADLINE_S
) -> None:
    """Poll until true."""
    end = time.monotonic() + deadline_s
    while True:
        found = check()
        if (await found) if not isinstance(found, bool) else found:
            return
        assert time.monotonic() < end, f"not in time: {what}"
        await asyncio.sleep(0.05)


def hub_config(folder: Path, edges: tuple[str, ...] = ("e1",), **server: object) -> HubConfig:
    """A hub without a historian, so that its own ledger is under test."""
    return HubConfig.model_validate(
        {
            "hub": {"name": "h1", "data_dir": folder / "hub"},
            "server": server,
            "streams": {"max_bytes": "64MiB"},
            "edges": [{"name": name, "path": f"acme/{name}"} for name in edges],
            "historian": None,
        }
    )


@contextlib.asynccontextmanager
async def running_hub(folder: Path, edges: tuple[str, ...] = ("e1",), **server: object) -> AsyncIterator[HubNode]:
    """A hub that runs while in the scope."""
    async with HubNode(hub_config(folder, edges, **server)) as hub:
        task = asyncio.ensure_future(hub.run())
        try:
            yield hub
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@dataclass
class Edge:
    """The running half of an edge: server, forwarder, one publisher."""

    name: str
    server: NatsServer
    connection: RawConnection
    forward: EdgeForward
    streams: EdgeStreams
    publisher: GroupCommitPublisher
    log: list[str] = field(default_factory=list)
    prefix: str = "uns.v1.acme.e1"
    sent: int = 0

    @property
    def api(self) -> StreamApi:
        return StreamApi(self.connection)

    async def send(self, count: int) -> None:
        """Store `count` numbered one-sample messages."""
        last = None
        for start in range(0, count, 100):
            unit = [self._message() for _ in range(min(100, count - start))]
            last = await self.publisher.submit(unit)
        if last is not None:
            await last

    def _message(self) -> Message:
        self.sent += 1
        payload = msgspec.json.encode({"timestamp_ms": 1_700_000_000_000 + self.sent, "value": self.sent})
        return Message(f"{self.prefix}._tag.n", payload)

    def alarm(self, code: str) -> str | None:
        return next((a.message for a in self.forward.alarms if a.code == code), None)


@contextlib.asynccontextmanager
async def running_edge(
    folder: Path,
    leaf_port: int | None,
    secret: str = "",
    *,
    name: str = "e1",
    hang_s: float = 15.0,
    boot_wait_s: float = 5.0,
    is_clean_stop: bool = True,
    has_mqtt: bool = False,
    integrity: StreamBounds | None = None,
    throughput: StreamBounds | None = None,
    more_ports: Sequence[int] = (),
    tenant: str = "",
) -> AsyncIterator[Edge]:
    """An edge that runs while in the scope; with `is_clean_stop` false it leaves no note, as after a power loss. Of a
    `tenant`, it has joined in `folder`, and lies below the tenant's place."""
    remote = None
    if leaf_port is not None:
        more_urls = tuple(f"nats://127.0.0.1:{port}" for port in more_ports)
        creds = str(folder / name / "secrets" / "uplink.creds") if tenant else None
        url = f"nats://127.0.0.1:{leaf_port}"
        remote = LeafRemote(url, name, secret, more_urls=more_urls, creds_file=creds)
    pace_s = None if more_ports else 0.2  # in front of several boxes as the product does it
    settings = ServerSettings(name, leaf_remote=remote, leaf_reconnect_s=pace_s, mqtt_port=0 if has_mqtt else None)
    log: list[str] = []
    data_dir, place = folder / name, f"{tenant or 'acme'}/{name}"
    async with (
        NatsServer(settings, data_dir, on_log=log.append) as server,
        RawConnection(server.url, credentials=Credentials(server.user, server.password)) as connection,
    ):
        forward = EdgeForward(
            server,
            connection,
            ForwardSettings(
                name,
                AssetPath.parse(place),
                data_dir,
                integrity or StreamBounds(64 << 20),
                throughput,
                has_mqtt=has_mqtt,
                has_uplink=remote is not None,
                boot_wait_s=boot_wait_s,
                hang_s=hang_s,
                check_interval_s=0.2,
            ),
            on_log=log.append,
        )
        streams = await forward.prepare()
        prefix = f"uns.v1.{place.replace('/', '.')}"
        subject = f"{prefix}._ledger.{name}.main"
        async with GroupCommitPublisher(connection, streams.integrity, ledger_subject=subject) as publisher:
            task = asyncio.ensure_future(forward.run())
            try:
                yield Edge(name, server, connection, forward, streams, publisher, log, prefix)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if is_clean_stop:
            await forward.close()


def spawn_server(config: Path) -> subprocess.Popen[bytes]:
    """A nats-server outside of any node."""
    return subprocess.Popen([find_program(), "-c", str(config)], stderr=subprocess.DEVNULL, cwd=config.parent)


def leaf_of(hub: HubNode, name: str = "e1") -> tuple[int, str]:
    """The hub's leaf port and the edge's secret there."""
    listener = hub.server.settings.leaf_listener
    assert listener is not None
    return listener.port, next(u.secret for u in listener.users if u.name == name)


@contextlib.asynccontextmanager
async def client_of(server: NatsServer) -> AsyncIterator[RawConnection]:
    """A plain connection to a server."""
    async with RawConnection(server.url, credentials=Credentials(server.user, server.password)) as connection:
        yield connection


async def values_at_hub(hub: HubNode, name: str = "e1", stream: str = "H_INTEGRITY") -> list[int]:
    """All values of an edge's tag in the hub's stream, in its order."""
    async with client_of(hub.server) as connection:
        last_seq = (await StreamApi(connection).state(stream)).last_seq
        values: list[int] = []
        async with aclosing(StreamReader(connection).read(stream)) as batches:
            async for messages in batches:
                mine = [m for m in messages if m.subject == f"uns.v1.acme.{name}._tag.n"]
                values += [int(msgspec.json.decode(m.payload)["value"]) for m in mine]
                if messages and messages[-1].seq >= last_seq:
                    break
        return values


async def wait_all_at_hub(hub: HubNode, edge: Edge, deadline_s: float = DEADLINE_S) -> None:
    """Wait until the hub's ledger has counted all that the edge sent, and check that it is clean and in order."""

    def has_all() -> bool:
        counted = [a for origin, a in hub.ledger().items() if origin.startswith(f"E_{edge.name}_I")]
        return sum(a["messages"] for a in counted) >= edge.sent

    try:
        await until(has_all, f"{edge.sent} messages of {edge.name} at the hub", deadline_s)
    except AssertionError as error:
        raise AssertionError(f"{error}: {hub.ledger()}, {edge.forward.uplink}, {edge.log}") from error
    assert all(a["is_clean"] for a in hub.ledger().values()), hub.ledger()
