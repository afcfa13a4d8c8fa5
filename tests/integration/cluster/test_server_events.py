"""What a real server announces is an event of the hub, live and in its stream."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from cluster_site import MEMBERS, running_cluster
from forward_site import client_of, leaf_of, running_edge, running_hub, until

import warm
from millstream.bus import StreamApi, get_batch
from millstream.protocols.cloudevents import decode_event
from millstream.protocols.nats_wire import parse_headers


async def test_links_and_streams_that_come_and_go_are_events_of_the_hub(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub, client_of(hub.server) as client:
        follower = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "millstream", "events", "--follow", "--json", "--node", str(tmp_path / "hub"),
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            found: list[str] = []

            async def stored() -> list[str]:
                messages, _ = await get_batch(client, "H_LOCAL", "uns.v1.acme._event.millstream.server.>", seq=1)
                events = [decode_event(dict(parse_headers(m.headers).values), m.payload) for m in messages]
                found[:] = [event.type.removeprefix("millstream.server.") for event in events]
                return found

            async def has(*kinds: str) -> bool:
                return set(kinds) <= set(await stored())

            async with running_edge(tmp_path, *leaf_of(hub)):
                await until(lambda: has("leaf_connected"), "the edge's link is told")
            await until(lambda: has("leaf_lost"), "and that it is gone")
            api = StreamApi(client)
            await api.request("STREAM.CREATE.S", {"name": "S", "subjects": ["s.>"], "storage": "memory"})
            await api.request("STREAM.DELETE.S")
            await until(lambda: has("stream_deleted"), "a stream that somebody deleted")
            assert "stream_created" not in found

            # Who follows hears from the moment when the command line is connected: delete until it does.
            async def hears() -> dict[str, Any]:
                assert follower.stdout is not None
                async for line in follower.stdout:
                    event: dict[str, Any] = json.loads(line)
                    if event["type"] == "millstream.server.stream_deleted":
                        return event
                raise AssertionError("the command ended before it told of a deleted stream")

            heard = asyncio.ensure_future(hears())
            async with asyncio.timeout(60):
                while not heard.done():
                    await api.request("STREAM.CREATE.S", {"name": "S", "subjects": ["s.>"], "storage": "memory"})
                    await api.request("STREAM.DELETE.S")
                    await asyncio.wait([heard], timeout=0.5)
            assert heard.result()["data"]["code"] == "MS-2617"
            assert all(account["is_clean"] for account in hub.ledger().values()), hub.ledger()
        finally:
            with suppress(ProcessLookupError):
                follower.kill()
            await follower.communicate()


async def test_a_majority_that_was_lost_is_told_once_it_is_back(tmp_path: Path) -> None:
    async with running_cluster(tmp_path, historian={}) as cluster:
        leader = await cluster.wait_leader()
        for member in MEMBERS:
            await cluster.wait_current(member)
        others = [member for member in MEMBERS if member != leader]
        lost: list[str] = []
        async with cluster.connection(leader) as connection:
            connection.subscribe(
                "$JS.EVENT.ADVISORY.STREAM.QUORUM_LOST.>",
                lambda messages: lost.extend(json.loads(message[4])["stream"] for message in messages),
            )
            await connection.request("$SYS.REQ.USER.INFO")
            await cluster.kill(*others)
            await until(lambda: len(set(lost)) > 1, "the server that is left has no majority, of several streams")
        await cluster.start(*others)
        await cluster.wait_leader()

        async def told(what: str) -> list[dict[str, Any]]:
            words = warm.command("events", "--json", "--start", "-1h", "--node", str(tmp_path / leader))
            asked = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
            out, _ = await asked.communicate()
            found = [json.loads(line) for line in out.decode().splitlines()]
            return [event for event in found if event["type"] == f"millstream.server.{what}"]

        async def is_told() -> bool:
            return bool(await told("quorum_back"))

        await until(is_told, "what nobody could store when it happened, and that it is over")
        found = await told("quorum_lost")
        assert {event["data"]["code"] for event in found} == {"MS-2610"}
        assert {stream for stream in lost if stream} <= {one for event in found for one in event["data"]["streams"]}
        assert len(found) == 1 < found[0]["data"]["count"], "all of them at once"
        (back,) = await told("quorum_back")
        assert back["data"]["lost"] == found[0]["id"]
