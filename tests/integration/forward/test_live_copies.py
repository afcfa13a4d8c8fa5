"""Live copies of two edges at one hub: they arrive while somebody listens, and nobody can speak for another site."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
from forward_site import Edge, leaf_of, running_edge, running_hub, until
from nats.aio.client import Client
from nats.aio.msg import Msg

from millstream.bus import NatsServer, connect_nats
from millstream.hub import HubNode

FORGED = 666_666


@asynccontextmanager
async def nats_client(server: NatsServer) -> AsyncIterator[Client]:
    """A foreign client with the node's own rights."""
    client = await connect_nats(server.url, server.credentials)
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def listening(hub: HubNode) -> AsyncIterator[dict[str, list[int]]]:
    """Numbers that arrive live at the hub, by edge."""
    seen: dict[str, list[int]] = {}

    async def note(message: Msg) -> None:
        seen.setdefault(message.subject.split(".")[4], []).append(msgspec.json.decode(message.data)["value"])

    async with nats_client(hub.server) as client:
        await client.subscribe("live.uns.v1.*.*._tag.n", cb=note)
        await client.flush()
        yield seen


async def check_live(hub: HubNode, edges: list[Edge]) -> None:
    """Each edge is heard in order, and a forged copy for another is not."""
    async with listening(hub) as seen:

        async def heard(edge: Edge) -> bool:
            await edge.send(1)  # interest takes a moment to cross the link, so what was sent before may be missed
            return edge.sent in seen.get(edge.name, [])

        for edge in edges:
            await until(lambda edge=edge: heard(edge), f"live values of {edge.name}")  # type: ignore[misc]
        payload = msgspec.json.encode({"timestamp_ms": 1, "value": FORGED})
        async with nats_client(edges[1].server) as forger:
            await forger.publish("live.uns.v1.acme.e2._tag.n", payload)  # its own site: the way is open
            await until(lambda: FORGED in seen["e2"], "a copy for its own site")
            await forger.publish("live.uns.v1.acme.e1._tag.n", payload)
            await forger.publish("live.uns.v1.acme.e2._tag.n", msgspec.json.encode({"timestamp_ms": 1, "value": -1}))
            await until(lambda: -1 in seen["e2"], "what was published behind the forged copies")
        assert FORGED not in seen["e1"]
        assert seen["e1"] == sorted(seen["e1"])
        assert set(seen) == {"e1", "e2"}


async def test_two_edges_are_heard_live_and_neither_speaks_for_the_other_also_after_a_restart(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        async with running_hub(tmp_path, ("e1", "e2")) as hub:
            edges = [
                await stack.enter_async_context(running_edge(tmp_path, *leaf_of(hub, name), name=name))
                for name in ("e1", "e2")
            ]
            await check_live(hub, edges)
        async with running_hub(tmp_path, ("e1", "e2")) as hub:
            await check_live(hub, edges)
