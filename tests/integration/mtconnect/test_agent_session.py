"""A session with an agent: rewinding, overrun, restart, refusals, broken answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import numpy as np
import pytest
from cases.agent_peer import AgentPeer, Item
from cases.loopback import joined

from millstream.connectors.mtconnect import AgentPosition, MTConnectConfig, MTConnectConnector
from millstream.kernel import AuthError, DecodeError, PlantError, ProtocolViolation, Unreachable
from millstream.model import Event
from millstream.sdk import Batch, Browsable, ConnectorTools, Position, SourceCounted, Streamed, Tag

X = Item("x1", "Xabs")
VIBRATION = Item("v1", "vib", "SAMPLE", "ACCELERATION", None, "TIME_SERIES")
TAGS = (Tag("x", "Xabs"),)


@pytest.fixture
async def peer() -> AsyncIterator[AgentPeer]:
    async with joined(AgentPeer({}, TAGS, items=(X, VIBRATION))) as running:
        yield running


def connector(peer: AgentPeer, **options: Any) -> MTConnectConnector:
    """Configured for the peer."""
    config = {"mode": "agent", "url": f"http://127.0.0.1:{peer.port}", "poll_interval": "10ms", **options}
    return MTConnectConnector(MTConnectConfig.model_validate(config), ConnectorTools())


async def take(
    source: MTConnectConnector, count: int, resume: Position | None = None, tags: tuple[Tag, ...] = TAGS
) -> tuple[list[Any], Position | None, int]:
    """Values, the last position, and the gaps at the source."""
    values: list[Any] = []
    position = None
    async with asyncio.timeout(60), source.open() as session:
        assert isinstance(session, Streamed)
        assert isinstance(session, SourceCounted)
        async with aclosing(session.stream(tags, resume)) as stream:
            async for batch in stream:
                values += [sample.value for sample in batch.samples]
                position = batch.position
                if len(values) >= count:
                    break
        return values, position, session.take_source_gaps()


def observe(peer: AgentPeer, *values: float) -> None:
    """Positions of the x axis."""
    for value in values:
        peer.observe(X, str(value))


async def test_the_first_start_takes_what_is_now_and_goes_on(peer: AgentPeer) -> None:
    observe(peer, 1, 2, 3)
    async with connector(peer).open() as session:
        assert isinstance(session, Streamed)
        async with aclosing(session.stream(TAGS, None)) as stream:
            first: Batch = await anext(stream)
            observe(peer, 4)
            second: Batch = await anext(stream)
    assert [[s.value for s in batch.samples] for batch in (first, second)] == [[3.0], [4.0]]


async def test_the_buffer_can_be_read_from_its_oldest(peer: AgentPeer) -> None:
    observe(peer, 1, 2, 3)
    assert (await take(connector(peer, start="buffer"), 3))[0] == [1.0, 2.0, 3.0]


async def test_what_happened_during_an_outage_is_read_afterwards(peer: AgentPeer) -> None:
    observe(peer, 1)
    source = connector(peer)
    _, position, _ = await take(source, 1)
    observe(peer, 2, 3, 4)
    assert await take(source, 3, position) == ([2.0, 3.0, 4.0], AgentPosition(1234, 5).encode(), 0)


async def test_a_buffer_that_has_overrun_is_a_counted_gap(peer: AgentPeer) -> None:
    observe(peer, 1)
    source = connector(peer)
    _, position, _ = await take(source, 1)
    peer.buffer_size = 3
    observe(peer, *range(2, 12))
    values, _, gaps = await take(source, 3, position)
    assert (values, gaps) == ([9.0, 10.0, 11.0], 7)


async def test_an_agent_that_was_started_anew_is_read_from_its_first(peer: AgentPeer) -> None:
    observe(peer, 1, 2, 3)
    source = connector(peer)
    _, position, _ = await take(source, 1)
    peer.restart()
    observe(peer, 7, 8, 9, 10, 11)
    values, after, gaps = await take(source, 5, position)
    assert (values, gaps) == ([7.0, 8.0, 9.0, 10.0, 11.0], 1)
    assert after == AgentPosition(1235, 6).encode()


async def test_an_agent_with_a_shorter_past_is_read_from_its_first(peer: AgentPeer) -> None:
    observe(peer, 1, 2)
    values, _, gaps = await take(connector(peer), 2, AgentPosition(1234, 900).encode())
    assert (values, gaps) == ([1.0, 2.0], 1)


async def test_a_time_series_is_a_block(peer: AgentPeer) -> None:
    peer.observe(VIBRATION, "1 2 3", ' sampleCount="3" sampleRate="100"')
    async with connector(peer).open() as session:
        assert isinstance(session, Streamed)
        async with aclosing(session.stream([Tag("v", "vib")], None)) as stream:
            batch: Batch = await anext(stream)
    (block,) = batch.blocks
    assert np.asarray(block.values).tolist() == [1.0, 2.0, 3.0]
    assert np.diff(block.source_time_ns).tolist() == [10_000_000, 10_000_000]


async def test_browse_gives_ids_kinds_and_units(peer: AgentPeer) -> None:
    async with connector(peer).open() as session:
        assert isinstance(session, Browsable)
        nodes = {node.address: node async for node in session.browse()}
        assert [n.address async for n in session.browse("v")] == ["v1"]
    assert nodes["x1"].unit == "millimeter"
    assert nodes["x1"].name == "Xabs"


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [(401, AuthError, "MS-0201"), (403, AuthError, "MS-0201"), (503, Unreachable, "MS-0200")],
)
async def test_a_status_says_what_to_do(status: int, error: type[PlantError], code: str, peer: AgentPeer) -> None:
    peer.status = status
    with pytest.raises(error, match=str(status)) as caught:
        await take(connector(peer), 1)
    assert caught.value.code == code


async def test_an_answer_that_is_no_document_keeps_its_bytes(peer: AgentPeer) -> None:
    await peer.poison()
    with pytest.raises(ProtocolViolation) as caught:
        await take(connector(peer), 1)
    assert caught.value.frame.startswith(b"<html>")


async def serve_raw(answer: bytes) -> tuple[asyncio.Server, int]:
    """A server that sends `answer` to everyone."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", Unreachable),
        (b"SSH-2.0-OpenSSH\r\n\r\n", ProtocolViolation),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n<half>", Unreachable),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Unreachable),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", ProtocolViolation),
    ],
)
async def test_a_server_that_is_no_agent_is_one_clear_error(answer: bytes, error: type[Exception]) -> None:
    server, port = await serve_raw(answer)
    config = MTConnectConfig.model_validate({"mode": "agent", "url": f"http://127.0.0.1:{port}"})
    try:
        with pytest.raises(error):
            await take(MTConnectConnector(config, ConnectorTools()), 1)
    finally:
        server.close()
        await server.wait_closed()


async def test_an_answer_without_end_is_cut_at_its_bound(monkeypatch: pytest.MonkeyPatch, peer: AgentPeer) -> None:
    from millstream.connectors.mtconnect import _agent_session

    monkeypatch.setattr(_agent_session, "DOCUMENT_BYTES_MAX", 100)
    with pytest.raises(ProtocolViolation, match="too large"):
        await take(connector(peer), 1)


async def test_an_agent_that_does_not_answer_is_unreachable() -> None:
    gone = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1000):
            pass
        writer.close()
        await writer.wait_closed()
        gone.set()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    config = MTConnectConfig.model_validate({"mode": "agent", "url": url, "connect_timeout": "200ms"})
    try:
        with pytest.raises(Unreachable, match="does not answer within"):
            await take(MTConnectConnector(config, ConnectorTools()), 1)
        async with asyncio.timeout(60):
            await gone.wait()
    finally:
        server.close()
        await server.wait_closed()


async def test_a_position_of_something_else_is_refused(peer: AgentPeer) -> None:
    with pytest.raises(DecodeError, match="position"):
        await take(connector(peer), 1, Position(b"nonsense"))


CONDITION = Item("c1", "system", "CONDITION", "SYSTEM", None)
ALARM_TAGS = (Tag("system", "system"), Tag("x", "Xabs"))


@pytest.fixture
async def alarmed() -> AsyncIterator[AgentPeer]:
    async with joined(AgentPeer({}, ALARM_TAGS, items=(X, CONDITION))) as running:
        yield running


def report(peer: AgentPeer, level: str, code: str = "") -> None:
    """One condition."""
    peer.observe(CONDITION, level, f' nativeCode="{code}"' if code else "")


async def alarms_until(
    source: MTConnectConnector, value: float, resume: Position | None = None
) -> tuple[list[tuple[str, str, bool]], set[str], Position | None]:
    """Code, level and state of each alarm until the axis has `value`; their ids, and the position."""
    events: list[Event] = []
    position = resume
    async with asyncio.timeout(60), source.open() as session:
        assert isinstance(session, Streamed)
        async with aclosing(session.stream(ALARM_TAGS, resume)) as stream:
            async for batch in stream:
                events += batch.events
                position = batch.position or position
                if any(sample.value == value for sample in batch.samples):
                    break
    assert all((event.tag, event.kind, event.type) == ("system", "alarm", "mtconnect.condition") for event in events)
    told = [(str(e.data["native_code"]), str(e.data["level"]), bool(e.data["active"])) for e in events]
    return told, {event.id for event in events}, position


async def test_every_condition_of_a_data_item_is_an_alarm_that_begins_and_ends(alarmed: AgentPeer) -> None:
    report(alarmed, "Fault", "E1")
    report(alarmed, "Warning", "W1")
    observe(alarmed, 1)
    source = connector(alarmed)
    told, ids, position = await alarms_until(source, 1.0)
    assert told == [("E1", "FAULT", True), ("W1", "WARNING", True)]
    report(alarmed, "Fault", "E1")
    report(alarmed, "Normal", "E1")
    observe(alarmed, 2)
    told, more, position = await alarms_until(source, 2.0, position)
    assert told == [("E1", "NORMAL", False)]
    assert len(ids | more) == 3
    report(alarmed, "Normal")
    observe(alarmed, 3)
    # A process that starts anew asks what held at its position.
    assert (await alarms_until(connector(alarmed), 3.0, position))[0] == [("W1", "NORMAL", False)]


async def test_alarms_that_began_or_ended_in_a_gap_are_told_from_what_holds_after_it(alarmed: AgentPeer) -> None:
    report(alarmed, "Fault", "E1")
    observe(alarmed, 1)
    source = connector(alarmed)
    _, _, position = await alarms_until(source, 1.0)
    alarmed.buffer_size = 2
    report(alarmed, "Normal", "E1")
    report(alarmed, "Fault", "E2")
    observe(alarmed, *range(2, 8))
    told, _, position = await alarms_until(source, 7.0, position)
    assert sorted(told) == [("E1", "NORMAL", False), ("E2", "FAULT", True)]
    alarmed.restart()
    observe(alarmed, 8)
    assert (await alarms_until(source, 8.0, position))[0] == [("E2", "NORMAL", False)]


async def test_an_agent_that_begins_with_its_oldest_instead_of_refusing_is_a_counted_gap(peer: AgentPeer) -> None:
    observe(peer, 1)
    source = connector(peer)
    _, position, _ = await take(source, 1)
    peer.buffer_size, peer.refuses = 3, False
    observe(peer, *range(2, 12))
    values, _, gaps = await take(source, 3, position)
    assert (values, gaps) == ([9.0, 10.0, 11.0], 7)


CHANGED = Item("ac", "asset_chg", "EVENT", "ASSET_CHANGED", None)
REMOVED = Item("ar", "asset_rem", "EVENT", "ASSET_REMOVED", None)


def tool(asset_id: str, life: int) -> str:
    """A cutting tool."""
    return f'<CuttingTool assetId="{asset_id}" timestamp="2026-01-01T00:00:00Z"><Life>{life}</Life></CuttingTool>'


async def test_assets_are_read_at_the_start_and_whenever_the_agent_says_that_one_has_changed() -> None:
    tags = (Tag("assets", "@ASSET@"), Tag("x", "Xabs"))
    async with joined(AgentPeer({}, tags, items=(X, CHANGED, REMOVED))) as peer:
        peer.assets = {"T 1": tool("T 1", 10), "T2": tool("T2", 20)}
        observe(peer, 1)
        events: list[Event] = []
        samples: list[Any] = []
        async with asyncio.timeout(60), connector(peer).open() as session:
            assert isinstance(session, Streamed)
            async with aclosing(session.stream(tags, None)) as stream:
                async for batch in stream:
                    events += batch.events
                    samples += [(sample.tag, sample.value) for sample in batch.samples]
                    if len(events) == 2 and len(samples) == 1:
                        peer.assets["T 1"] = tool("T 1", 9)
                        peer.observe(CHANGED, "T 1")
                        del peer.assets["T2"]
                        peer.observe(REMOVED, "T2")
                        peer.observe(CHANGED, "gone again")
                    if len(events) == 5:
                        break
    kinds = [event.type.removeprefix("mtconnect.asset.") for event in events]
    assert kinds == ["present", "present", "changed", "removed", "changed"]
    assert [event.data["asset_id"] for event in events] == ["T 1", "T2", "T 1", "T2", "gone again"]
    assert [event.data.get("asset") for event in events[1:3]] == [
        {"assetId": "T2", "timestamp": "2026-01-01T00:00:00Z", "Life": 20.0},
        {"assetId": "T 1", "timestamp": "2026-01-01T00:00:00Z", "Life": 9.0},
    ]
    assert [event.data["removed"] for event in events] == [False, False, False, True, False]
    assert len({event.id for event in events}) == 5
    assert samples == [("x", 1.0), ("assets", "T 1"), ("assets", "T2"), ("assets", "gone again")]
