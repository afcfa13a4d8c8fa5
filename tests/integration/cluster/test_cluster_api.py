"""Each member of a clustered hub serves the HTTP API from a history of its own, whoever leads."""

from __future__ import annotations

import asyncio
import contextlib
import json
import urllib.request
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from cluster_site import MEMBERS, SECRET, free_ports
from forward_site import client_of, until

from millstream.api import create_app, serve_api
from millstream.config import HubConfig
from millstream.hub import HubNode
from millstream.kernel import PlantError

TOKEN = "the same token at each member of the hub"


class Hub:
    """Three members in this process, each with a server and an API of its own."""

    def __init__(self, folder: Path) -> None:
        (folder / "cluster.secret").write_text(SECRET, encoding="utf-8")
        routes = [f"127.0.0.1:{port}" for port in free_ports(3)]
        self._folder = folder
        self._cluster = {
            "members": dict(zip(MEMBERS, routes, strict=True)), "secret": {"file": str(folder / "cluster.secret")},
            "host": "127.0.0.1",
        }  # fmt: skip
        self._stacks: dict[str, AsyncExitStack] = {}
        self.nodes: dict[str, HubNode] = {}
        self.urls: dict[str, str] = {}

    async def start(self, member: str) -> None:
        config = HubConfig.model_validate(
            {
                "hub": {"name": "h1", "data_dir": str(self._folder / member)}, "streams": {"max_bytes": "64MiB"},
                "edges": [{"name": "e1", "path": "acme/e1"}], "api": {},
                "cluster": {"member": member, **self._cluster},
            }
        )  # fmt: skip
        stack = AsyncExitStack()
        self._stacks[member] = stack
        node = await stack.enter_async_context(HubNode(config))
        self.nodes[member] = node
        task = asyncio.ensure_future(node.run())

        async def end() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        stack.push_async_callback(end)
        app = create_app(lambda: node.historian, token=TOKEN, status=node.status)
        self.urls[member] = (await stack.enter_async_context(serve_api(app))).url

    async def stop(self, member: str) -> None:
        self.nodes.pop(member)
        self.urls.pop(member)
        await self._stacks.pop(member).aclose()

    def leaders(self) -> list[str]:
        return [name for name, node in self.nodes.items() if node.member is not None and node.member.state == "leads"]

    async def get(self, member: str, path: str) -> Any:
        """The answer as JSON; None while the member says that it cannot."""
        request = urllib.request.Request(f"{self.urls[member]}{path}", headers={"Authorization": f"Bearer {TOKEN}"})

        def fetch() -> Any:
            with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
            return None

        return await asyncio.to_thread(fetch)


async def test_every_member_answers_from_its_own_history_also_after_the_leader_has_gone(tmp_path: Path) -> None:
    hub = Hub(tmp_path)
    try:
        for member in MEMBERS:
            await hub.start(member)

        async def is_stored(value: int) -> bool:
            """Publish at the hub itself, at any member."""
            with contextlib.suppress(PlantError):
                async with client_of(next(iter(hub.nodes.values())).server) as client:
                    payload = json.dumps({"timestamp_ms": 1_700_000_000_000 + value, "value": value}).encode()
                    answer = await client.request("uns.v1.acme.hub._tag.n", payload, timeout_s=2.0)
                    return b'"seq"' in bytes(answer[4])
            return False

        async def has_value(member: str, value: int) -> bool:
            answer = await hub.get(member, "/api/v1/last?tag=acme/hub:n")
            return any(row["value"] == value for row in (answer or {}).get("data", []))

        async def names_hub(member: str) -> bool:
            answer = await hub.get(member, "/api/v1/status")
            return answer is not None and (answer["node"] or {}).get("edges") is not None

        await until(lambda: len(hub.leaders()) == 1, "a member leads")
        await until(lambda: is_stored(1), "a value stored at the hub")
        for member in MEMBERS:
            await until(lambda member=member: has_value(member, 1), f"the value at {member}")  # type: ignore[misc]
            await until(lambda member=member: names_hub(member), f"the leader's status at {member}")  # type: ignore[misc]

        await until(lambda: len(hub.leaders()) == 1, "a member leads still")
        await hub.stop(hub.leaders()[0])
        await until(lambda: len(hub.leaders()) == 1, "another member leads")
        await until(lambda: is_stored(2), "a value stored at the rest")
        for member in list(hub.nodes):
            await until(lambda member=member: has_value(member, 2), f"the value at {member}")  # type: ignore[misc]
    finally:
        for member in list(hub.nodes):
            await hub.stop(member)
