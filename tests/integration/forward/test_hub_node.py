"""The hub as one program: what it writes, answers and keeps."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import msgspec
from forward_site import client_of, hub_config, leaf_of, running_edge, running_hub, until, wait_all_at_hub

from millstream.bus import StreamApi, StreamBounds, find_stream
from millstream.config import HubConfig
from millstream.hub import HubNode


async def test_a_running_hub_is_found_and_answers_status_and_ledger(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub:
        path = tmp_path / "hub" / "node.json"
        node = json.loads(path.read_text())
        assert path.stat().st_mode & 0o777 == 0o600
        assert (node["role"], node["name"], node["pid"], node["domain"]) == ("hub", "h1", os.getpid(), "hub")
        async with running_edge(tmp_path, node["leaf_port"], leaf_of(hub)[1]) as edge, client_of(hub.server) as client:
            await edge.send(100)
            await wait_all_at_hub(hub, edge)
            status = msgspec.json.decode((await client.request("millstream.node.h1.status"))[4])
            assert {s["name"] for s in status["streams"]} == {"H_INTEGRITY", "H_THROUGHPUT", "H_LOCAL", "H_DLQ"}
            assert status["ledger"]["E_e1_I"]["messages"] == 100
            assert status["alarms"] == []
            assert status["rss_mb"] > 0
            assert [e["name"] for e in status["edges"] if e["reached_ns"]] == ["e1"]
            ledger = msgspec.json.decode((await client.request("millstream.node.h1.ledger"))[4])
            assert ledger["E_e1_I"]["is_clean"] is True
            services = msgspec.json.decode((await client.request("$SRV.INFO"))[4])
            assert services["name"] == "millstream-hub"
    assert not path.exists()


async def test_what_is_published_at_the_hub_is_stored_synced_and_joins_the_edges(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub, client_of(hub.server) as client:
        answer = await client.request("uns.v1.acme.hub._tag.n", b'{"timestamp_ms":1,"value":1}')
        assert msgspec.json.decode(answer[4])["stream"] == "H_LOCAL"

        async def has_joined() -> bool:
            return (await StreamApi(client).state("H_INTEGRITY")).messages == 1

        await until(has_joined, "in H_INTEGRITY")
        local = await find_stream(StreamApi(client), "H_LOCAL")
        assert local is not None
        assert not local.config.get("persist_mode")


async def test_the_ledger_counts_again_after_the_hub_started_anew(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub:
        port, secret = leaf_of(hub)
        async with running_edge(tmp_path, port, secret) as edge:
            await edge.send(250)
            await wait_all_at_hub(hub, edge)
    async with running_hub(tmp_path) as hub:
        await until(lambda: hub.ledger().get("E_e1_I", {}).get("messages") == 250, "recounted")
        assert hub.ledger()["E_e1_I"]["is_clean"]


async def test_a_hub_with_a_historian_answers_from_its_ledger_and_keeps_bad_payloads(tmp_path: Path) -> None:
    raw = hub_config(tmp_path).model_dump(exclude_unset=True)
    config = HubConfig.model_validate({**raw, "historian": {}})
    async with HubNode(config) as hub:
        keeping = asyncio.ensure_future(hub.run())
        try:
            async with running_edge(tmp_path, *leaf_of(hub)) as edge, client_of(hub.server) as client:
                await edge.send(100)
                await edge.connection.request("uns.v1.acme.e1._tag.n", b"not json")
                await until(lambda: hub.ledger().get("E_e1_I", {}).get("messages", 0) >= 100, "in the historian")

                async def is_kept() -> bool:
                    return (await StreamApi(client).state("H_DLQ")).messages == 1

                await until(is_kept, "the bad payload in the dead-letter stream")
                letter = await StreamApi(client).get("H_DLQ", 1)
                assert letter is not None
                assert letter.payload == b"not json"
                assert b"Ms-Reason" in (letter.headers or b"")
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)


async def test_a_nearly_full_buffer_is_trimmed_to_what_the_hub_lacks(tmp_path: Path) -> None:
    """`block` holds sources back only when the hub is behind, not because data that it has still lies here."""
    async with (
        running_hub(tmp_path) as hub,
        running_edge(tmp_path, *leaf_of(hub), integrity=StreamBounds(200_000)) as edge,
    ):
        for _ in range(30):
            await edge.send(100)
        await wait_all_at_hub(hub, edge)
        assert (await edge.api.state("E_e1_I")).first_seq > 1


async def test_a_hub_that_is_away_lets_a_full_block_stream_hold_the_source_back(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub:
        port, secret = leaf_of(hub)
    async with running_edge(tmp_path, port, secret, integrity=StreamBounds(200_000), boot_wait_s=0.2) as edge:

        async def send_all() -> None:
            for _ in range(30):
                await edge.send(100)

        sending = asyncio.ensure_future(send_all())
        await until(lambda: edge.publisher.stats().is_full, "full")
        await until(lambda: edge.alarm("MS-0616") is not None, "the alarm")
        assert not sending.done()
        async with running_hub(tmp_path, leaf_port=port) as hub:
            await sending
            await wait_all_at_hub(hub, edge)


async def test_a_full_stream_is_trimmed_also_when_a_position_stands_at_its_very_beginning(tmp_path: Path) -> None:
    """The position has to be written again before the stream forgets it, and a full stream takes nothing."""
    async with running_hub(tmp_path) as hub:
        port, secret = leaf_of(hub)
    position = "uns.v1.acme.e1._ledger.e1.main.quiet"
    async with running_edge(tmp_path, port, secret, integrity=StreamBounds(200_000), boot_wait_s=0.2) as edge:
        await edge.connection.request(position, b'{"position":"MQ=="}')

        async def send_all() -> None:
            for _ in range(30):
                await edge.send(100)

        sending = asyncio.ensure_future(send_all())
        await until(lambda: edge.publisher.stats().is_full, "full")
        guest = b"Ms-Writer: test\r\n"
        for size in (2000, 200, 20):  # to the last byte
            answer = b""
            while b"error" not in answer:
                filler = edge.connection.request("uns.v1.acme.e1._state.filler", b"x" * size, header_lines=guest)
                answer = (await filler)[4]
        async with running_hub(tmp_path, leaf_port=port) as hub:
            await asyncio.wait_for(sending, 60)
            await wait_all_at_hub(hub, edge)
        info = await find_stream(edge.api, "E_e1_I")
        found = await edge.api.last("E_e1_I", position)
        assert info is not None
        assert found is not None
        assert info.first_seq > 1
        assert found.payload == b'{"position":"MQ=="}'
        assert info.config["max_bytes"] == 200_000
