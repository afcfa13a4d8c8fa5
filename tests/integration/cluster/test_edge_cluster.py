"""An edge site of three boxes: any of them may go, none of the data does, and one of them reads the machines."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
from cluster_site import MEMBERS, free_ports
from forward_site import running_hub, until, values_at_hub
from ramp import CATALOG

from millstream.bus import Credentials, RawConnection
from millstream.config import EdgeConfig
from millstream.edge import EdgeNode
from millstream.hub import HubNode
from millstream.kernel import PlantError
from millstream.rig import write_private

SECRET = "a secret that all boxes of the site share"
BACKLOG = 2000
ROWS = 10**6  # more than are read: there is always a next one


class Site:
    """Three boxes, each a node with a server of its own; they share this process, and so nothing but the machine."""

    def __init__(self, folder: Path, leaf_port: int, uplink: Path) -> None:
        routes = [f"127.0.0.1:{port}" for port in free_ports(3)]
        (folder / "site.secret").write_text(SECRET, encoding="utf-8")
        self._folder = folder
        self._document: dict[str, Any] = {
            "uplink": {"url": f"nats://127.0.0.1:{leaf_port}", "secret": {"file": str(uplink)}},
            "managed": {"accept": False},
            "streams": {"integrity": {"max_bytes": "64MiB"}},
            "connectors": [
                {
                    "name": "ramp", "type": "ramp", "config": {"rows": ROWS, "batch_rows": 20, "pause": "20ms"},
                    "tags": [{"name": "n", "address": "n"}],
                }
            ],
        }  # fmt: skip
        self._cluster = {
            "members": dict(zip(MEMBERS, routes, strict=True)), "secret": {"file": str(folder / "site.secret")},
            "host": "127.0.0.1",
        }  # fmt: skip
        self.nodes: dict[str, EdgeNode] = {}

    async def start(self, *members: str) -> None:
        for member in members:
            config = EdgeConfig.model_validate(
                {
                    "edge": {"name": "e1", "path": "acme/e1", "data_dir": str(self._folder / member)},
                    "cluster": {"member": member, **self._cluster}, **self._document,
                }
            )  # fmt: skip
            node = EdgeNode(config, connectors=CATALOG)
            await node.__aenter__()
            self.nodes[member] = node

    async def stop(self, *members: str) -> None:
        for member in members:
            await self.nodes.pop(member).__aexit__(None, None, None)

    async def kill(self, member: str) -> None:
        """The box is gone at once: its server is killed, and its node can tell nobody any more."""
        node = self.nodes.pop(member)
        assert node._task is not None
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(node.server.pid or 0), signal.SIGKILL)
        node._task.cancel()
        await asyncio.wait([node._task])

    def working(self) -> list[str]:
        return [name for name, node in self.nodes.items() if node.turns is not None and node.turns.state == "works"]

    def behind(self) -> int:
        """What the member that works holds and the hub does not; 0 while none does."""
        for member in self.working():
            uplink = self.nodes[member].status()["uplink"]
            assert isinstance(uplink, dict)
            return int(uplink.get("behind_messages", 0))
        return 0

    async def wait_worker(self) -> str:
        found: list[str] = []

        def does_any() -> bool:
            found[:] = self.working()
            return bool(found)

        await until(does_any, "a member works")
        return found[0]

    async def wait_current(self, member: str) -> None:
        """Until it has all that the others have: then the next one may go."""

        async def is_current() -> bool:
            with contextlib.suppress(PlantError):
                server = self.nodes[member].server
                async with RawConnection(
                    server.url, credentials=Credentials(server.user, server.password)
                ) as connection:
                    answer = await connection.request(f"millstream.node.e1.member.{member}", timeout_s=2.0)
                    return bool(msgspec.json.decode(answer[4])["is_current"])
            return False

        await until(is_current, f"{member} is current")


@contextlib.asynccontextmanager
async def running_site(folder: Path, leaf_port: int, uplink: Path) -> AsyncIterator[Site]:
    site = Site(folder, leaf_port, uplink)
    try:
        await site.start(*MEMBERS)
        yield site
    finally:
        await site.stop(*list(site.nodes))


def rows_at(hub: HubNode) -> int:
    account = hub.ledger().get("E_e1_I")
    return int(account["samples"]) if account is not None else 0


async def test_a_site_of_three_boxes_loses_and_doubles_nothing_while_they_go_and_come(tmp_path: Path) -> None:
    port = free_ports(1)[0]
    (tmp_path / "hub/secrets/edges").mkdir(parents=True)
    uplink = write_private(tmp_path / "hub/secrets/edges/e1", "the password of the site at its hub")
    async with running_site(tmp_path, port, uplink) as site:
        async with running_hub(tmp_path, leaf_port=port) as hub:
            await until(lambda: len(site.working()) == 1, "one member works")
            (worker,) = site.working()
            await until(lambda: rows_at(hub) > 500, "the first values at the hub")

            # A rolling restart, the one that works first.
            for member in (worker, *(m for m in MEMBERS if m != worker)):
                await site.stop(member)
                await site.wait_worker()
                await site.start(member)
                await site.wait_current(member)
            before = rows_at(hub)
            await until(lambda: rows_at(hub) > before + 100, "values after the rolling restart")

        # Without its hub the site keeps what it reads; who works is killed while that flows off.
        await until(lambda: site.behind() > BACKLOG, "a backlog")
        async with running_hub(tmp_path, leaf_port=port) as hub:
            await until(lambda: 0 < site.behind() < BACKLOG, "the backlog flows off")
            worker = await site.wait_worker()
            await site.kill(worker)
            await site.wait_worker()
            stored = rows_at(hub)
            await until(lambda: rows_at(hub) > stored + BACKLOG, "values after the kill")
            await site.start(worker)
            await site.wait_current(worker)
            await until(lambda: len(site.working()) == 1, "one member works")
            rows = await values_at_hub(hub)
            assert rows == list(range(len(rows)))
            assert all(account["is_clean"] for account in hub.ledger().values()), hub.ledger()
