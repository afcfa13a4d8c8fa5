"""A hub or an edge site of three boxes on loopback: three processes, each with a nats-server of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import psutil

import warm
from millstream.bus import Credentials, RawConnection, shared_secret
from millstream.kernel import PlantError
from millstream.rig import Child, write_document, write_private

MEMBERS = ("a", "b", "c")
SECRET = "a secret that all members share"
DEADLINE_S = 60.0


PORTS = range(10_240, 16_384)  # where neither the system nor a node that takes any free port looks for one


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, all different, and stay so while their server is down."""
    draw = random.Random()
    found: list[int] = []
    with ExitStack() as stack:
        while len(found) < count:
            port = draw.choice(PORTS)
            with contextlib.suppress(OSError):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
                found.append(port)
    return found


class Boxes:
    """Three processes of a role, started, killed and asked member by member."""

    role: ClassVar[str]
    node: ClassVar[str]

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._routes = dict(zip(MEMBERS, (f"127.0.0.1:{port}" for port in free_ports(3)), strict=True))
        self._secret = write_private(folder / f"{self.role}.secret", SECRET)
        self.running: dict[str, Child] = {}

    def document(self, member: str) -> dict[str, Any]:
        """What each file of a member has."""
        return {
            self.role: {"name": self.node, "data_dir": str(self.folder / member)},
            "cluster": {
                "member": member, "members": self._routes, "secret": {"file": str(self._secret)}, "host": "127.0.0.1",
            },
        }  # fmt: skip

    async def start(self, *members: str) -> None:
        """Start these; returns once their servers run, which is before they have a majority."""
        for member in members:
            path = self.folder / f"{member}.yaml"
            write_document(path, self.document(member))
            (self.folder / member / "node.json").unlink(missing_ok=True)
            arguments = [self.role, "-c", str(path)]
            self.running[member] = await Child.start(member, arguments, self.folder, by=warm.command())
        for member in members:
            await self.running[member].wait_file(self.folder / member / "node.json")

    async def kill(self, *members: str) -> None:
        """SIGKILL to their processes at once; returns when their servers, which end with them, are gone too."""
        servers = [self._server(member) for member in members]
        await asyncio.gather(*(self.running.pop(member).kill() for member in members))
        for server in servers:
            if server is not None:
                await asyncio.to_thread(server.wait, DEADLINE_S)

    def _server(self, member: str) -> psutil.Process | None:
        noted = json.loads((self.folder / member / "server" / "pid.json").read_text(encoding="utf-8"))
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(int(noted["pid"]))
        return None

    async def stop(self, member: str) -> None:
        """As a service is stopped."""
        assert await self.running.pop(member).stop() == 0

    async def stop_all(self) -> None:
        """Whatever runs."""
        await asyncio.gather(*(child.stop() for child in self.running.values()))
        self.running.clear()

    @contextlib.asynccontextmanager
    async def connection(self, member: str) -> AsyncIterator[RawConnection]:
        """A client of one member."""
        node = json.loads((self.folder / member / "node.json").read_text(encoding="utf-8"))
        login = Credentials(node["user"], node["password"])
        async with RawConnection(node["nats_url"], credentials=login, replicas=3) as connection:
            yield connection

    async def status(self, member: str) -> Mapping[str, Any]:
        """How one member is; empty while it does not answer."""
        with contextlib.suppress(PlantError, OSError):
            async with self.connection(member) as connection:
                answer = await connection.request(f"millstream.node.{self.node}.member.{member}", timeout_s=2.0)
                return msgspec.json.decode(answer[4], type=dict[str, Any])
        return {}

    async def wait_current(self, member: str) -> None:
        """Wait until a member has caught up with the others: then the next one may go."""
        async with asyncio.timeout(DEADLINE_S):
            while not (await self.status(member)).get("is_current"):
                await asyncio.sleep(0.1)


class Cluster(Boxes):
    """A hub. What is asked is asked at any member that answers."""

    role = "hub"
    node = "h1"

    def __init__(self, folder: Path, **more: Any) -> None:
        super().__init__(folder)
        self.leaf_ports = dict(zip(MEMBERS, free_ports(3), strict=True))
        self._more = more

    @property
    def edge_secret(self) -> str:
        """What the edge logs in with, at any member."""
        return shared_secret(SECRET, "edge e1")

    def document(self, member: str) -> dict[str, Any]:
        """The file of one member."""
        return {
            **super().document(member),
            "server": {"leaf_port": self.leaf_ports[member]},
            "streams": {"max_bytes": "64MiB"},
            "edges": [{"name": "e1", "path": "acme/e1"}],
            **self._more,
        }  # fmt: skip

    async def ask(self, what: str = "status") -> Mapping[str, Any] | None:
        """What the member that leads answers, asked at any; None while none does."""
        for member in self.running:
            with contextlib.suppress(PlantError, OSError):
                async with self.connection(member) as connection:
                    answer = await connection.request(f"millstream.node.h1.{what}", timeout_s=2.0)
                    return msgspec.json.decode(answer[4], type=dict[str, Any])
        return None

    async def wait_leader(self, *, other_than: str = "") -> str:
        """Wait until a member leads; its name."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                status = await self.ask()
                if status is not None and status["member"] != other_than:
                    return str(status["member"])
                await asyncio.sleep(0.1)

    async def wait_all(self, sent: int) -> None:
        """Wait until the ledger has counted all that the edge sent; it must be clean."""
        ledger: Mapping[str, Any] | None = None
        try:
            async with asyncio.timeout(2 * DEADLINE_S):
                while True:
                    ledger = await self.ask("ledger")
                    if ledger is not None and ledger.get("E_e1_I", {}).get("messages", 0) >= sent:
                        break
                    await asyncio.sleep(0.2)
        except TimeoutError as error:
            raise AssertionError(f"not in time: {sent} messages at the hub: {ledger}") from error
        assert ledger is not None
        assert all(account["is_clean"] for account in ledger.values()), ledger


@contextlib.asynccontextmanager
async def running_cluster(folder: Path, **more: Any) -> AsyncIterator[Cluster]:
    """Three members, while in the scope."""
    cluster = Cluster(folder, **more)
    try:
        await cluster.start(*MEMBERS)
        yield cluster
    finally:
        await cluster.stop_all()
