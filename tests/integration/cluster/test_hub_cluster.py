"""A hub of three boxes: any of them may go, none of the data does."""

from __future__ import annotations

import asyncio
from pathlib import Path

from cluster_site import MEMBERS, running_cluster
from forward_site import running_edge, until

BACKLOG = 20_000


async def test_a_hub_of_three_loses_and_doubles_nothing_while_its_members_go_and_come(tmp_path: Path) -> None:
    async with running_cluster(tmp_path, historian=None) as cluster:
        first, *others = cluster.leaf_ports.values()
        async with running_edge(tmp_path, first, cluster.edge_secret, more_ports=others, hang_s=60.0) as edge:
            leader = await cluster.wait_leader()
            await edge.send(1000)
            await cluster.wait_all(edge.sent)

            # A rolling restart, the leader first, while data comes in.
            for member in (leader, *(m for m in MEMBERS if m != leader)):
                await cluster.stop(member)
                await edge.send(1000)
                await cluster.wait_leader(other_than=member)
                await cluster.start(member)
                await cluster.wait_current(member)
            await cluster.wait_all(edge.sent)

            # Without a majority nothing is taken: the edge keeps it and says so.
            await cluster.kill("a", "b")
            await edge.send(BACKLOG)
            await until(lambda: edge.forward.uplink.behind_messages >= BACKLOG, "the edge keeps it")
            await until(lambda: edge.forward.uplink.state in ("cut", "behind"), "the edge says so")

            # It goes on when the majority is back; and who leads is killed while the backlog comes in.
            await cluster.start("a", "b")
            leader = await cluster.wait_leader()
            await until(lambda: edge.forward.uplink.behind_messages < BACKLOG - 500, "the backlog comes in")
            await cluster.kill(leader)
            assert await cluster.wait_leader(other_than=leader) != leader
            await cluster.wait_all(edge.sent)
            await asyncio.sleep(0)
