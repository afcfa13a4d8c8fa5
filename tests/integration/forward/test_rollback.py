"""Stores that are set back: power loss on a dishonest disk, restored images, replaced disks.

A power loss is played by stopping the node and putting back an earlier copy of its store.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from forward_site import leaf_of, running_edge, running_hub, until, values_at_hub, wait_all_at_hub

from millstream.bus import StreamApi, StreamBounds, delete_stream
from millstream.model import AssetPath
from millstream.protocols.ledger import position_subject
from millstream.sdk import Control, Message


async def test_an_edge_set_back_behind_the_hub_begins_a_new_generation(tmp_path: Path) -> None:
    """Without the boot check the next messages get numbers that the hub has seen and are never forwarded, silently."""
    store = tmp_path / "e1" / "jetstream"
    async with running_hub(tmp_path) as hub:
        port, secret = leaf_of(hub)
        async with running_edge(tmp_path, port, secret) as edge:
            await edge.send(300)
            await wait_all_at_hub(hub, edge)
        shutil.copytree(store, tmp_path / "copy")
        async with running_edge(tmp_path, port, secret, is_clean_stop=False) as edge:
            edge.sent = 300
            await edge.send(200)
            await wait_all_at_hub(hub, edge)
        shutil.rmtree(store)
        shutil.copytree(tmp_path / "copy", store)
        async with running_edge(tmp_path, port, secret) as edge:
            assert edge.streams.integrity == "E_e1_I_g2"
            assert edge.alarm("MS-0612") is not None
            edge.sent = 500
            await edge.send(100)
            await wait_all_at_hub(hub, edge)
        assert await values_at_hub(hub) == list(range(1, 601))


async def test_an_edge_set_back_while_the_hub_is_away_is_found_by_its_note(tmp_path: Path) -> None:
    store = tmp_path / "e1" / "jetstream"
    async with running_hub(tmp_path) as hub:
        port, secret = leaf_of(hub)
        async with running_edge(tmp_path, port, secret) as edge:
            await edge.send(300)
            await wait_all_at_hub(hub, edge)
        shutil.copytree(store, tmp_path / "copy")
        async with running_edge(tmp_path, port, secret) as edge:
            edge.sent = 300
            await edge.send(200)
            await wait_all_at_hub(hub, edge)
    shutil.rmtree(store)
    shutil.copytree(tmp_path / "copy", store)
    async with running_edge(tmp_path, port, secret, boot_wait_s=0.2) as edge:
        assert edge.streams.integrity == "E_e1_I_g2"
        edge.sent = 500
        await edge.send(100)
        async with running_hub(tmp_path, leaf_port=port) as hub:
            await wait_all_at_hub(hub, edge)
            assert await values_at_hub(hub) == list(range(1, 601))


async def test_store_and_note_set_back_together_while_the_hub_is_away_are_told_when_it_is_back(tmp_path: Path) -> None:
    """The boot cannot know. The first look at the hub's cursor does, while the store is still behind it."""
    async with running_hub(tmp_path) as hub:
        port, secret = leaf_of(hub)
        async with running_edge(tmp_path, port, secret) as edge:
            await edge.send(300)
            await wait_all_at_hub(hub, edge)
        shutil.copytree(tmp_path / "e1", tmp_path / "copy")
        async with running_edge(tmp_path, port, secret) as edge:
            edge.sent = 300
            await edge.send(200)
            await wait_all_at_hub(hub, edge)
    shutil.rmtree(tmp_path / "e1")
    shutil.copytree(tmp_path / "copy", tmp_path / "e1")
    async with running_edge(tmp_path, port, secret, boot_wait_s=0.2) as edge:
        assert edge.streams.integrity == "E_e1_I"
        async with running_hub(tmp_path, leaf_port=port):
            await until(lambda: edge.alarm("MS-0612") is not None, "the rollback is told")
            assert "restart this edge" in str(edge.alarm("MS-0612"))
    async with running_hub(tmp_path, leaf_port=port) as hub, running_edge(tmp_path, port, secret) as edge:
        assert edge.streams.integrity == "E_e1_I_g2"
        edge.sent = 500
        await edge.send(100)
        await wait_all_at_hub(hub, edge)
        assert await values_at_hub(hub) == list(range(1, 601))


async def test_an_edge_that_boots_without_its_hub_goes_on_when_its_note_fits(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub:
        port, secret = leaf_of(hub)
        async with running_edge(tmp_path, port, secret) as edge:
            await edge.send(100)
            await wait_all_at_hub(hub, edge)
    async with running_edge(tmp_path, port, secret, boot_wait_s=0.2) as edge:
        assert edge.streams.integrity == "E_e1_I"
        edge.sent = 100
        await edge.send(100)
        async with running_hub(tmp_path, leaf_port=port) as hub:
            await wait_all_at_hub(hub, edge)
            assert await values_at_hub(hub) == list(range(1, 201))


async def test_a_replaced_disk_begins_a_new_generation_and_rewindable_sources_go_on(tmp_path: Path) -> None:
    """The stream is made again under a name that the hub knows; positions come back from the hub."""
    subject = position_subject(AssetPath.parse("acme/e1"), "e1", "main", "file1")
    async with running_hub(tmp_path) as hub:
        port, secret = leaf_of(hub)
        async with running_edge(tmp_path, port, secret) as edge:
            await edge.send(200)
            tail = Message("uns.v1.acme.e1._tag.other", b'{"timestamp_ms":1,"value":1}')
            await (await edge.publisher.submit([tail], Control(subject, b"line 201")))
            edge.sent += 1
            await wait_all_at_hub(hub, edge)
        shutil.rmtree(tmp_path / "e1")
        async with running_edge(tmp_path, port, secret) as edge:
            assert edge.streams.integrity == "E_e1_I_g2"
            assert await edge.publisher.last_control(subject) == b"line 201"
            edge.sent = 201
            await edge.send(100)
            await wait_all_at_hub(hub, edge)


async def test_a_hub_set_back_takes_again_what_it_lost(tmp_path: Path) -> None:
    """The edge's limits stream still has it; a work queue would have deleted it."""
    store = tmp_path / "hub" / "jetstream"
    async with running_hub(tmp_path) as hub:
        port, secret = leaf_of(hub)
        async with running_edge(tmp_path, port, secret) as edge:
            await edge.send(300)
            await wait_all_at_hub(hub, edge)
    shutil.copytree(store, tmp_path / "copy")
    async with running_hub(tmp_path, leaf_port=port) as hub, running_edge(tmp_path, port, secret) as edge:
        edge.sent = 300
        await edge.send(200)
        await wait_all_at_hub(hub, edge)
    shutil.rmtree(store)
    shutil.copytree(tmp_path / "copy", store)
    async with running_edge(tmp_path, port, secret, boot_wait_s=0.2) as edge:
        edge.sent = 500
        await edge.send(100)
        async with running_hub(tmp_path, leaf_port=port) as hub:
            await wait_all_at_hub(hub, edge)
            assert await values_at_hub(hub) == list(range(1, 601))


async def test_a_stream_made_again_behind_our_back_is_sourced_from_its_start(tmp_path: Path) -> None:
    """Same name, another identity (nats-server 8346): the hub starts over, and the ledger keeps the two apart."""
    async with running_hub(tmp_path) as hub:
        port, secret = leaf_of(hub)
        async with running_edge(tmp_path, port, secret) as edge:
            await edge.send(300)
            await wait_all_at_hub(hub, edge)
            config = dict((await edge.api.request("STREAM.INFO.E_e1_I"))["config"])
            await delete_stream(edge.api, "E_e1_I")
            await edge.api.request("STREAM.CREATE.E_e1_I", config)
            for number in range(301, 351):
                payload = b'{"timestamp_ms":1,"value":%d}' % number
                await edge.connection.request("uns.v1.acme.e1._tag.n", payload)

            async def has_all() -> bool:
                return (await values_at_hub(hub))[-1] == 350

            await until(has_all, "the new stream's messages")
            assert await values_at_hub(hub) == list(range(1, 351))
            assert any("@" in origin for origin in hub.ledger())
            state = await StreamApi(edge.connection).state("E_e1_I")
            assert state.last_seq == 50


async def test_the_position_of_a_quiet_source_outlives_the_data_around_it(tmp_path: Path) -> None:
    """Trimming would take the newest position record along when its source has been quiet for long."""
    subject = position_subject(AssetPath.parse("acme/e1"), "e1", "main", "file1")
    async with running_hub(tmp_path) as hub:
        bounds = StreamBounds(200_000)
        async with running_edge(tmp_path, *leaf_of(hub), integrity=bounds) as edge:
            first = Message("uns.v1.acme.e1._tag.other", b'{"timestamp_ms":1,"value":1}')
            await (await edge.publisher.submit([first], Control(subject, b"line 1")))
            edge.sent += 1
            for _ in range(30):
                await edge.send(100)
            await wait_all_at_hub(hub, edge)
            assert (await edge.api.state("E_e1_I")).first_seq > 10
            assert await edge.publisher.last_control(subject) == b"line 1"
            await (await edge.publisher.submit([first], Control(subject, b"line 2")))
            edge.sent += 1
            await wait_all_at_hub(hub, edge)
            assert await edge.publisher.last_control(subject) == b"line 2"
