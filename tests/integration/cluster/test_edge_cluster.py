"""An edge site of three boxes: any of them may go, none of the data does, and one of them reads the machines."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import httpx
import msgspec
import pytest
from cluster_site import MEMBERS, free_ports
from forward_site import client_of, running_hub, until, values_at_hub
from ramp import CATALOG, RampConnector, RampSession

from millstream.api import create_app, serve_api
from millstream.bus import Credentials, RawConnection
from millstream.client import connect
from millstream.config import EdgeConfig
from millstream.edge import EdgeNode
from millstream.historian import Last, Range
from millstream.hub import HubNode
from millstream.kernel import PlantError, Unreachable
from millstream.protocols.site_config import encode_revision, make_revision
from millstream.rig import write_private
from millstream.sdk import Batch, Position, Tag

SECRET = "a secret that all boxes of the site share"
BACKLOG = 2000
ODD = Path(__file__).resolve().parents[2] / "data" / "wasm" / "odd.wasm"
ROWS = 10**6  # more than are read: there is always a next one
RAMP: dict[str, Any] = {
    "name": "ramp", "type": "ramp", "config": {"rows": ROWS, "batch_rows": 40, "pause": "50ms"},
    "tags": [{"name": "n", "address": "n"}],
}  # fmt: skip
NEAR: dict[str, Any] = {
    "name": "near", "type": "ramp", "path": "near", "durability": "site",
    "config": {"rows": ROWS, "batch_rows": 5, "pause": "1s"}, "tags": [{"name": "n", "address": "n"}],
}  # fmt: skip


class QuietSession(RampSession):
    async def stream(self, tags: Sequence[Tag], resume: Position | None) -> AsyncGenerator[Batch, None]:
        await asyncio.Event().wait()
        yield Batch([])


class AwayConnector(RampConnector):
    """Its device does not answer, until it is there; then it has nothing to say."""

    is_there: ClassVar[bool] = False

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[RampSession]:
        if not AwayConnector.is_there:
            raise Unreachable("nobody is there")
        yield QuietSession(self._config)


class Site:
    """Three boxes, each a node with a server of its own; they share this process, and so nothing but the machine."""

    def __init__(self, folder: Path, leaf_port: int, uplink: Path) -> None:
        routes = [f"127.0.0.1:{port}" for port in free_ports(3)]
        (folder / "site.secret").write_text(SECRET, encoding="utf-8")
        self._folder = folder
        self._document: dict[str, Any] = {
            "uplink": {"url": f"nats://127.0.0.1:{leaf_port}", "secret": {"file": str(uplink)}},
            "streams": {"integrity": {"max_bytes": "64MiB"}},
            "connectors": [RAMP, NEAR], "historian": {"max_memory": "64MiB"}, "api": {},
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
            node = EdgeNode(config, connectors={**CATALOG, "away": AwayConnector})
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

    def configuration(self) -> dict[str, Any]:
        """Of the member that works; empty while none does."""
        for member in self.working():
            found = self.nodes[member].status()["configuration"]
            assert isinstance(found, dict)
            return found
        return {}

    def is_settled(self, revision: int, seen: int) -> bool:
        """Whether this revision runs for good, after that one was looked at."""
        found = self.configuration()
        return (found.get("phase"), found.get("revision"), found.get("seen")) == ("settled", revision, seen)

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


def line(place: str) -> dict[str, Any]:
    """The section of a device that may not be there."""
    return {"name": "line", "type": "away", "path": place, "tags": [{"name": "n", "address": "n"}]}


async def has_last(node: EdgeNode, value: int) -> bool:
    """Whether the history of a box has got so far; not while it has none."""
    if node.historian is not None:
        with contextlib.suppress(PlantError):  # it begins anew just now
            found = (await node.historian.query(Last(tags=("acme/e1:n",)))).column("value").to_pylist()
            return bool(found) and int(found[0]) >= value
    return False


async def wait_held(site: Site, count: int) -> None:
    """Each box has so many values in a history of its own, each once and none missing."""
    for member, node in site.nodes.items():
        await until(lambda node=node: has_last(node, count - 1), f"{count} values in the history of {member}")  # type: ignore[misc]
        assert node.historian is not None
        found = await node.historian.query(Range(tags=("acme/e1:n",), limit=count))
        assert found.column("value").to_pylist() == list(range(count)), member
        values: list[int] = []

        async def has_near(node: EdgeNode = node, values: list[int] = values) -> bool:
            assert node.historian is not None
            near = await node.historian.query(Range(tags=("acme/e1/near:n",), limit=count))
            values[:] = near.column("value").to_pylist()
            return bool(values)

        await until(has_near, f"what stays at the site in the history of {member}, too")
        assert values == list(range(len(values))), member


async def wait_served(site: Site, member: str) -> None:
    """One box serves the site by HTTP: values from its own history, and how the site is, whoever works."""
    node, token = site.nodes[member], "the token of this test"
    headers = {"Authorization": f"Bearer {token}"}
    app = create_app(lambda: node.historian, token=token, status=node.site_status, role="viewer", site="e1")
    async with serve_api(app) as address, httpx.AsyncClient(base_url=address.url, headers=headers) as client:

        async def is_answered() -> bool:
            told = await client.get("/api/v1/status")
            found = await client.get("/api/v1/last", params={"tag": "acme/e1:n"})
            is_whole = told.status_code == 200 and bool(told.json()["node"].get("connectors"))
            return is_whole and found.status_code == 200 and bool(found.json()["data"])

        await until(is_answered, f"the site as {member} shows it")


async def push(folder: Path) -> dict[str, Any]:
    """Store a module at the hub; a flow of it that has nothing to do."""
    async with connect(folder / "hub") as plant:
        pushed = await plant.configs.code.push(ODD.read_bytes(), "odd.wasm", author="test")
    return {"name": "rows", "type": "wasm", "module": pushed.digest, "inputs": ["acme/e1/line:n"]}


async def put(
    hub: HubNode, revision: int, *connectors: dict[str, Any], within_s: int = 600, flows: Sequence[dict[str, Any]] = ()
) -> None:  # fmt: skip
    """A configuration for the site, as `millstream config put` stores it."""
    parts = {"streams": {"integrity": {"max_bytes": "64MiB"}}, "connectors": [*connectors, NEAR], "flows": flows}
    text = json.dumps(parts)
    made = make_revision(
        "e1", text, revision=revision, based_on=revision - 1, author="test", comment="", time_ns=revision,
        healthy_within_ms=1000 * within_s,
    )  # fmt: skip
    async with client_of(hub.server) as client:
        answer = await client.request("$KV.config.e1", encode_revision(made))
        assert b'"seq"' in bytes(answer[4]), answer[4]


def rows_at(hub: HubNode) -> int:
    account = hub.ledger().get("E_e1_I")
    return int(account["samples"]) if account is not None else 0


async def test_a_site_of_three_boxes_loses_and_doubles_nothing_while_they_go_and_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_ports(1)[0]
    (tmp_path / "hub/secrets/edges").mkdir(parents=True)
    uplink = write_private(tmp_path / "hub/secrets/edges/e1", "the password of the site at its hub")
    async with running_site(tmp_path, port, uplink) as site:
        async with running_hub(tmp_path, leaf_port=port) as hub:
            await until(lambda: len(site.working()) == 1, "one member works")
            (worker,) = site.working()
            await until(lambda: rows_at(hub) > 500, "the first values at the hub")
            monkeypatch.setattr(AwayConnector, "is_there", True)
            await put(hub, 1, {**RAMP, "config": {**RAMP["config"], "batch_rows": 60}}, line("first"))
            await until(lambda: site.is_settled(1, 1), "the configuration from the hub is healthy")

            # A rolling restart, the one that works first; what came from the hub is with whoever works.
            for member in (worker, *(m for m in MEMBERS if m != worker)):
                await site.stop(member)
                await site.wait_worker()
                await site.start(member)
                await site.wait_current(member)
            before = rows_at(hub)
            await until(lambda: rows_at(hub) > before + 100, "values after the rolling restart")
            await until(lambda: site.is_settled(1, 1), "the configuration from the hub runs")
            await wait_held(site, before)
            await wait_served(site, next(member for member in MEMBERS if member not in site.working()))
            asked = [name for name, node in site.nodes.items() if node._history is not None and node._history._is_asked]
            assert asked == site.working(), "one box answers for the site"

        # Without its hub the site keeps what it reads; who works is killed while that flows off, and while it tries a
        # configuration: the next one tries it anew.
        monkeypatch.setattr(AwayConnector, "is_there", False)
        await until(lambda: site.behind() > BACKLOG, "a backlog")
        async with running_hub(tmp_path, leaf_port=port) as hub:
            held = rows_at(hub)
            rows = await push(tmp_path)
            await put(hub, 2, RAMP, line("second"), flows=[rows])
            await until(lambda: rows_at(hub) > held, "the backlog flows off")
            await until(lambda: site.configuration().get("phase") == "watching", "the next configuration is tried")
            worker = await site.wait_worker()
            await site.kill(worker)
            await site.wait_worker()
            await until(lambda: site.configuration().get("candidate") == 2, "it is tried anew")
            monkeypatch.setattr(AwayConnector, "is_there", True)
            await until(lambda: site.is_settled(2, 2), "it is healthy, with the module that the killed box has fetched")
            monkeypatch.setattr(AwayConnector, "is_there", False)
            await put(hub, 3, RAMP, line("third"), within_s=1, flows=[rows])
            await until(lambda: site.is_settled(2, 3), "one that is not healthy is rolled back")
            stored = rows_at(hub)
            await until(lambda: rows_at(hub) > stored + BACKLOG, "values after the kill")
            await site.start(worker)
            await site.wait_current(worker)
            await until(lambda: len(site.working()) == 1, "one member works")
            values = await values_at_hub(hub)
            assert values == list(range(len(values)))
            assert all(account["is_clean"] for account in hub.ledger().values()), hub.ledger()
            await wait_held(site, len(values))
