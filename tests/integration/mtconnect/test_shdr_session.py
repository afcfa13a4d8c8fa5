"""A session with an adapter: heartbeat, silence, gaps at the source, types and units."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases.loopback import joined
from cases.shdr_peer import ShdrPeer

from millstream.connectors.mtconnect import MTConnectConfig, MTConnectConnector
from millstream.kernel import ConfigError, Unreachable
from millstream.model import BAD_TYPE_MISMATCH
from millstream.sdk import Batch, Browsable, ConnectorTools, SourceCounted, Streamed, Tag

ROOT = Path(__file__).resolve().parents[3]
DEVICES = ROOT / "src" / "millstream" / "sim" / "data" / "mazak01-devices.xml"
T = "2026-01-01T00:00:00Z"
T_NS = 1_767_225_600_000_000_000


def connector(peer: ShdrPeer, **options: Any) -> MTConnectConnector:
    """Configured for the peer."""
    config = {"mode": "shdr", "host": "127.0.0.1", "port": peer.port, **options}
    return MTConnectConnector(MTConnectConfig.model_validate(config), ConnectorTools())


@asynccontextmanager
async def streaming(source: MTConnectConnector, *tags: Tag) -> AsyncIterator[tuple[Any, Any]]:
    """An open session and its stream."""
    async with source.open() as session:
        assert isinstance(session, Streamed)
        async with aclosing(session.stream(tags, None)) as stream:
            yield session, stream


async def next_batch(stream: Any) -> Batch:
    """The next batch, soon."""
    async with asyncio.timeout(60):
        batch: Batch = await anext(stream)
        return batch


@pytest.fixture
async def peer() -> AsyncIterator[ShdrPeer]:
    async with joined(ShdrPeer({}, ())) as running:
        yield running


async def test_an_adapter_that_stops_answering_is_unreachable(peer: ShdrPeer) -> None:
    peer.pong_ms = 150
    async with streaming(connector(peer), Tag("a", "a")) as (_, stream):
        await peer.connected()
        async with asyncio.timeout(60):
            while peer.pings_count == 0:
                await asyncio.sleep(0.01)
        peer.pong_ms = None
        with pytest.raises(Unreachable, match="silent") as caught:
            await next_batch(stream)
    assert caught.value.code == "MS-0210"


async def test_the_heartbeat_follows_the_adapters_pace(peer: ShdrPeer) -> None:
    peer.pong_ms = 100
    async with (
        streaming(connector(peer, heartbeat="100ms"), Tag("a", "a")) as (_, stream),
        asyncio.TaskGroup() as group,
    ):
        waiting = group.create_task(next_batch(stream))
        async with asyncio.timeout(60):
            while peer.pings_count < 5:
                await asyncio.sleep(0.01)
        peer.send(f"{T}|a|1\n".encode())
        assert [s.value for s in (await waiting).samples] == [1.0]


async def test_an_adapter_without_a_heartbeat_may_be_silent(peer: ShdrPeer) -> None:
    peer.pong_ms = None
    async with streaming(connector(peer, heartbeat="50ms"), Tag("a", "a")) as (_, stream), asyncio.TaskGroup() as group:
        waiting = group.create_task(next_batch(stream))
        async with asyncio.timeout(60):
            while peer.pings_count < 6:
                await asyncio.sleep(0.01)
        peer.send(f"{T}|a|1\n".encode())
        assert (await waiting).samples


async def test_a_consumer_that_was_slow_does_not_make_the_adapter_silent(peer: ShdrPeer) -> None:
    peer.pong_ms = 100
    async with streaming(connector(peer, heartbeat="100ms"), Tag("a", "a")) as (_, stream):
        await peer.connected()
        peer.send(f"{T}|a|1\n".encode())
        await next_batch(stream)
        before = peer.pings_count
        async with asyncio.timeout(60):
            while peer.pings_count < before + 6:  # three times the silence that would be allowed
                await asyncio.sleep(0.01)
        peer.send(f"{T}|a|2\n".encode())
        assert [s.value for s in (await next_batch(stream)).samples] == [2.0]


async def test_numbers_that_the_adapter_skips_are_a_gap_at_the_source_even_over_an_outage(peer: ShdrPeer) -> None:
    source = connector(peer, sequence_item="adapter_seq")
    async with streaming(source, Tag("n", "adapter_seq")) as (session, stream):
        await peer.connected()
        peer.send(b"".join(f"{T}|adapter_seq|{n}|a|1\n".encode() for n in (7, 8, 9)))
        await next_batch(stream)
        assert isinstance(session, SourceCounted)
        assert session.take_source_gaps() == 0
        peer.send(f"{T}|adapter_seq|12|a|1\n".encode())
        await next_batch(stream)
        assert session.take_source_gaps() == 2
        assert session.take_source_gaps() == 0
    async with streaming(source, Tag("n", "adapter_seq")) as (session, stream):
        await peer.connected()
        peer.greeting = b""
        async with asyncio.timeout(60):
            while not peer.writers:
                await asyncio.sleep(0.01)
        peer.send(f"{T}|adapter_seq|20|a|1\n".encode())
        await next_batch(stream)
        assert session.take_source_gaps() == 7
        peer.send(f"{T}|adapter_seq|1|a|1\n".encode())
        await next_batch(stream)
        assert session.take_source_gaps() == 0, "an adapter that starts again at 1 has lost nothing that can be counted"


async def test_a_time_series_is_a_block_that_ends_at_its_time(peer: ShdrPeer, tmp_path: Path) -> None:
    devices = tmp_path / "Devices.xml"
    devices.write_text(
        '<MTConnectDevices><Devices><Device name="d"><DataItems><DataItem id="v" name="vib" category="SAMPLE"'
        ' type="ACCELERATION" representation="TIME_SERIES"/></DataItems></Device></Devices></MTConnectDevices>'
    )
    source = connector(peer, devices_file=str(devices))
    async with streaming(source, Tag("vibration", "vib")) as (_, stream):
        await peer.connected()
        peer.send(f"{T}|vib|3|1000|1 2 3\n{T}|vib|4|1000|1 2 3\n{T}|vib|UNAVAILABLE||\n".encode())
        batch = await next_batch(stream)
    (block,) = batch.blocks
    assert block.source_time_ns.tolist() == [T_NS - 2_000_000, T_NS - 1_000_000, T_NS]
    assert np.asarray(block.values).tolist() == [1.0, 2.0, 3.0]
    assert [s.value for s in batch.samples] == [None, None]
    assert batch.samples[0].quality == BAD_TYPE_MISMATCH


async def test_a_tags_data_type_overrules_how_its_text_is_read(peer: ShdrPeer) -> None:
    tags = [Tag(kind, f"k_{kind}", options={"data_type": kind}) for kind in ("text", "int", "float", "auto")]
    async with streaming(connector(peer), *tags) as (_, stream):
        await peer.connected()
        peer.send(f"{T}|k_text|12|k_int|12|k_float|12|k_auto|12\n{T}|k_int|x\n".encode())
        samples = (await next_batch(stream)).samples
    assert [s.value for s in samples] == ["12", 12, 12.0, 12.0, None]
    assert [type(s.value) for s in samples[:4]] == [str, int, float, float]


async def test_the_last_line_without_its_end_is_not_lost(peer: ShdrPeer) -> None:
    async with streaming(connector(peer), Tag("a", "a")) as (_, stream):
        await peer.connected()
        (writer,) = peer.writers
        writer.write(f"{T}|a|1".encode())
        writer.write_eof()
        batches = [await next_batch(stream)]
        assert [s.value for b in batches for s in b.samples] == [1.0]
        with pytest.raises(Unreachable, match="closed"):
            await next_batch(stream)


async def test_browse_shows_the_device_model_with_native_units(peer: ShdrPeer) -> None:
    async with connector(peer, devices_file=str(DEVICES)).open() as session:
        assert isinstance(session, Browsable)
        nodes = {node.address: node async for node in session.browse()}
    assert nodes["Xabs"].unit == "millimeter"
    assert nodes["Xabs"].data_type == "sample"
    assert nodes["execution"].groups


async def test_browse_without_a_model_lists_what_the_adapter_sends_at_first(peer: ShdrPeer) -> None:
    peer.greeting = f"{T}|a|1|b|x\n{T}|servo|Normal||||\n".encode()
    async with connector(peer).open() as session:
        assert isinstance(session, Browsable)
        found = {node.address: node.data_type async for node in session.browse()}
    assert found == {"a": "auto", "b": "auto", "servo": "condition"}


async def test_a_port_where_nobody_listens_is_unreachable_with_its_address() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        config = MTConnectConfig(mode="shdr", host="127.0.0.1", port=port)
        with pytest.raises(Unreachable, match=str(port)):
            async with MTConnectConnector(config, ConnectorTools()).open():
                pass


@pytest.mark.parametrize("content", [None, b"<html/>", b"<!DOCTYPE a><a/>"])
async def test_a_devices_file_that_cannot_be_read_is_a_configuration_error(
    content: bytes | None, peer: ShdrPeer, tmp_path: Path
) -> None:
    path = tmp_path / "Devices.xml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match="devices_file"):
        async with connector(peer, devices_file=str(path)).open():
            pass


@pytest.mark.parametrize("address", ["", " ", "a|b", "two words"])
def test_an_address_that_cannot_be_one_is_refused_offline(address: str) -> None:
    source = MTConnectConnector(MTConnectConfig(mode="shdr", host="h"), ConnectorTools())
    with pytest.raises(ConfigError, match="data item"):
        source.check_tag(Tag("t", address))
    with pytest.raises(ConfigError, match="options"):
        source.check_tag(Tag("t", "a", options={"data_type": "double"}))


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "shdr"},
        {"mode": "agent"},
        {"mode": "agent", "url": "agent:5000"},
        {"mode": "agent", "url": "http://user:secret@agent:5000"},
        {"mode": "shdr", "host": "h", "port": 0},
    ],
)
def test_a_configuration_that_cannot_work_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        MTConnectConfig.model_validate(options)
