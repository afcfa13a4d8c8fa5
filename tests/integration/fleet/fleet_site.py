"""A hub and some edges in this process, each with its own server, and an edge that somebody else controls."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from millstream.bus import Credentials, LeafRemote, NatsServer, RawConnection, ServerSettings
from millstream.client import Plant, connect
from millstream.config import ConnectorEntry, EdgeConfig, HubConfig
from millstream.connectors.opcua import OpcUaConnector
from millstream.connectors.replay import ReplayConnector
from millstream.edge import EdgeNode
from millstream.hub import HubNode
from millstream.model import GOOD, Sample
from millstream.sdk import Batch, ConnectorConfig, ConnectorInfo, ConnectorTools, Position, Tag, Write, WriteResult

DEADLINE_S = 60.0


async def until(check: Callable[[], Awaitable[bool]] | Callable[[], bool], what: str) -> None:
    """Poll until true."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            while True:
                found = check()
                if (await found) if not isinstance(found, bool) else found:
                    return
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"not in time: {what}") from None


class BenchConfig(ConnectorConfig):
    rows: int = 10


class BenchSession:
    """Says its rows, then nothing more; takes writes."""

    written: ClassVar[list[tuple[str, Any]]] = []

    def __init__(self, config: BenchConfig) -> None:
        self._config = config

    async def stream(self, tags: Sequence[Tag], resume: Position | None) -> AsyncGenerator[Batch, None]:
        begin = int(resume) if resume is not None else 0
        for row in range(begin, self._config.rows):
            yield Batch([Sample(tag.key, row) for tag in tags], position=Position(str(row + 1).encode()))
        await asyncio.Event().wait()

    async def ack(self, up_to: Position) -> None:
        """Nothing to release."""

    async def write(self, writes: Sequence[Write]) -> Sequence[WriteResult]:
        self.written.extend((write.tag.key, write.value) for write in writes)
        return [WriteResult(GOOD) for _ in writes]


class BenchConnector:
    info: ClassVar[ConnectorInfo] = ConnectorInfo("bench", "numbers", "none")
    Config: ClassVar[type[ConnectorConfig]] = BenchConfig

    def __init__(self, config: BenchConfig, tools: ConnectorTools) -> None:
        self._config = config

    def check_tag(self, tag: Tag) -> None:
        """Every address is right."""

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[BenchSession]:
        yield BenchSession(self._config)


CATALOG: Any = {"bench": BenchConnector, "replay": ReplayConnector, "opcua": OpcUaConnector}


@dataclass
class Site:
    """A running hub and its edges by name."""

    folder: Path
    hub: HubNode
    edges: dict[str, EdgeNode] = field(default_factory=dict)

    @property
    def leaf_port(self) -> int:
        listener = self.hub.server.settings.leaf_listener
        assert listener is not None
        return listener.port

    def secret(self, name: str) -> Path:
        return self.folder / "hub" / "secrets" / "edges" / name

    def edge_config(
        self, name: str, *, rows: int = 10, historian: Any = None, connectors: Sequence[Any] = (), **identity: Any
    ) -> EdgeConfig:
        """`connectors` come beside the one that counts to `rows`."""
        tags = [{"name": "n", "address": "n", "write": {"interval": "50ms"}}, {"name": "fixed", "address": "m"}]
        return EdgeConfig.model_validate(
            {
                "edge": {"name": name, "path": f"acme/{name}", "data_dir": self.folder / name, **identity},
                "uplink": {
                    "url": f"nats://127.0.0.1:{self.leaf_port}", "secret": {"file": self.secret(name)},
                },
                "streams": {"integrity": {"max_bytes": "64MiB"}},
                "historian": historian,
                "connectors": [
                    ConnectorEntry.model_validate(
                        {"name": "bench", "type": "bench", "path": "line", "config": {"rows": rows}, "tags": tags}
                    ),
                    *(ConnectorEntry.model_validate(entry) for entry in connectors),
                ],
            }
        )  # fmt: skip

    @contextlib.asynccontextmanager
    async def edge(self, name: str, **more: Any) -> AsyncIterator[EdgeNode]:
        """One edge, up and reached by the hub."""
        commands = more.pop("commands", {})
        async with EdgeNode(self.edge_config(name, **more), connectors=CATALOG, commands=commands) as edge:
            self.edges[name] = edge
            await until(lambda: name in self.hub.sources.reached(), f"{name} reached")
            yield edge

    @contextlib.asynccontextmanager
    async def rogue(self, name: str) -> AsyncIterator[RawConnection]:
        """A server of somebody who has the credentials of edge `name`, and a client of it that may do anything."""
        remote = LeafRemote(f"nats://127.0.0.1:{self.leaf_port}", name, self.secret(name).read_text().strip())
        settings = ServerSettings(name, leaf_remote=remote, leaf_reconnect_s=0.2)
        async with (
            NatsServer(settings, self.folder / f"rogue-{name}") as server,
            RawConnection(server.url, credentials=Credentials(server.user, server.password)) as connection,
        ):
            yield connection

    def plant(self, node: str = "hub") -> contextlib.AbstractAsyncContextManager[Plant]:
        """The plant as seen from a node's folder."""
        return connect(self.folder / node)


@contextlib.asynccontextmanager
async def site(folder: Path, names: Sequence[str], **more: Mapping[str, Any]) -> AsyncIterator[Site]:
    """A hub that knows `names` as edges; none runs yet."""
    config = HubConfig.model_validate(
        {
            "hub": {"name": "h1", "data_dir": folder / "hub"},
            "streams": {"max_bytes": "64MiB"},
            "edges": [{"name": name, "path": f"acme/{name}"} for name in names],
            "historian": None,
            **more,
        }
    )
    async with HubNode(config) as hub:
        task = asyncio.ensure_future(hub.run())
        try:
            yield Site(folder, hub)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
