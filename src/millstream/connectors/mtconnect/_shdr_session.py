"""A session with an SHDR adapter: read its lines as they come, keep the heartbeat."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager

from millstream import model
from millstream.connectors.mtconnect._alarms import alarms
from millstream.connectors.mtconnect._config import MTConnectConfig, MTConnectTagOptions
from millstream.connectors.mtconnect._mapping import TagMap, device_nodes, series_block
from millstream.kernel import Unreachable
from millstream.model import BAD_TYPE_MISMATCH, Sample
from millstream.protocols.mtconnect_condition import ConditionBook
from millstream.protocols.mtconnect_xml import Devices
from millstream.protocols.shdr import (
    PING,
    Asset,
    BadLine,
    Command,
    Event,
    Heartbeat,
    Kind,
    Observation,
    ShdrParser,
    decode_event,
)
from millstream.sdk import Batch, ConnectorTools, NodeInfo, Position, Tag

READ_BYTES = 1 << 16  # of one read, and the stream's own buffer; beyond it TCP holds the adapter back
CLOSE_TIMEOUT_S = 1.0
BROWSE_QUIET_S = 1.0  # an adapter sends all present values at once; a second of quiet ends them
BROWSE_MAX_S = 5.0
_KIND_BY_TYPE = {"float": Kind.SAMPLE, "int": Kind.INTEGER, "text": Kind.EVENT}


class GapCounter:
    """Lines that an adapter's own numbers show as missing. Outlives sessions, so that an outage counts too."""

    def __init__(self) -> None:
        self._last: int | None = None
        self._gaps = 0

    def see(self, number: int) -> None:
        """The next number; one that is not higher means that the adapter has started again."""
        if self._last is not None and number > self._last + 1:
            self._gaps += number - self._last - 1
        self._last = number

    def add(self, count: int) -> None:
        """Something else was found missing."""
        self._gaps += count

    def take(self) -> int:
        """The count since the last call."""
        gaps, self._gaps = self._gaps, 0
        return gaps


class ShdrSession:
    """Streamed, browsable, counted. An adapter keeps nothing, so there is no position."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        config: MTConnectConfig,
        tools: ConnectorTools,
        *,
        devices: Devices | None,
        gaps: GapCounter,
        conditions: ConditionBook,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._config = config
        self._tools = tools
        self._devices = devices
        self._gaps = gaps
        self._conditions = conditions
        self._seen_count = 0  # of conditions; with the time of opening it names them
        self._opened_ns = tools.clock.now_ns()
        self._heartbeat = Heartbeat(config.heartbeat or 10.0)
        self._timer: asyncio.TimerHandle | None = None
        self._where = f"{config.host}:{config.port}"

    def start(self) -> None:
        """Send the first PING and keep on; a timer, not a task, so that it also runs while nobody consumes."""
        if self._writer.transport.is_closing():
            return
        if self._writer.transport.get_write_buffer_size() == 0:
            self._writer.write(PING)
        self._timer = asyncio.get_running_loop().call_later(self._heartbeat.interval_s, self.start)

    async def close(self) -> None:
        """Stop the heartbeat and release the socket, within CLOSE_TIMEOUT_S."""
        if self._timer is not None:
            self._timer.cancel()
        self._writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._writer.wait_closed()

    def take_source_gaps(self) -> int:
        """Lines that the adapter's own numbers showed as missing (needs `sequence_item`)."""
        return self._gaps.take()

    async def stream(self, tags: Sequence[Tag], resume: Position | None) -> AsyncGenerator[Batch, None]:
        """Batches as lines come. `resume` has no meaning here. Raises Unreachable when the adapter is gone."""
        tag_map = TagMap(tags, self._devices, unmodelled=self._config.sequence_item)
        unknown = tag_map.unknown(self._tools.clock.now_ns())
        if unknown:
            yield Batch(unknown)
        parser = ShdrParser(self._kinds(tags, tag_map))
        while True:
            data = await self._receive()
            events = parser.feed(data, self._tools.clock.now_ns()) if data else parser.finish()
            batch = self._batch(events, tag_map)
            if batch.samples or batch.blocks or batch.frames_bad:
                yield batch
            if not data:
                raise Unreachable("adapter closed the connection", where=self._where)

    async def browse(self, root: str | None = None) -> AsyncGenerator[NodeInfo, None]:
        """The device model, or what the adapter sends in its first seconds when there is none."""
        if self._devices is not None:
            for node in device_nodes(self._devices, is_native=True):
                if root is None or node.address.startswith(root):
                    yield node
            return
        parser = ShdrParser()
        seen: set[str] = set()
        deadline = asyncio.get_running_loop().time() + BROWSE_MAX_S
        with contextlib.suppress(TimeoutError):
            while asyncio.get_running_loop().time() < deadline:
                async with asyncio.timeout(BROWSE_QUIET_S):
                    data = await self._receive()
                for event in parser.feed(data, 0):
                    if isinstance(event, Observation) and event.key not in seen and event.key.startswith(root or ""):
                        seen.add(event.key)
                        yield NodeInfo(event.key, event.key, data_type=event.kind.value)
                if not data:
                    return

    async def _receive(self) -> bytes:
        """The next bytes, empty at the end. The silence is measured from here: a slow consumer is no silent adapter."""
        silence_max_s = self._heartbeat.silence_max_s
        try:
            async with asyncio.timeout(silence_max_s):
                return await self._reader.read(READ_BYTES)
        except TimeoutError as error:
            raise Unreachable(
                f"adapter is silent, no PONG within {silence_max_s:g} s", where=self._where, code="MS-0210"
            ) from error
        except OSError as error:
            raise Unreachable(f"connection lost: {error.strerror or error}", where=self._where) from error

    def _kinds(self, tags: Sequence[Tag], tag_map: TagMap) -> Mapping[str, Kind]:
        kinds = dict(self._devices.kinds()) if self._devices is not None else {}
        for tag in tags:
            kind = _KIND_BY_TYPE.get(MTConnectTagOptions.model_validate(dict(tag.options)).data_type)
            if kind is not None:
                kinds.update(dict.fromkeys(tag_map.spellings(tag.address), kind))
        return kinds

    def _batch(self, events: Sequence[Event], tag_map: TagMap) -> Batch:
        samples: list[Sample] = []
        blocks = []
        frames_bad: list[tuple[bytes, str]] = []
        found: list[model.Event] = []
        for event in events:
            if isinstance(event, BadLine):
                frames_bad.append((event.raw, event.reason))
            elif isinstance(event, Command):
                self._command(event)
            elif isinstance(event, Observation) and event.kind is Kind.TIME_SERIES:
                for key in tag_map.keys(event.key):
                    block = series_block(key, event)
                    if block is not None:
                        blocks.append(block)
                    else:
                        samples.append(_sample(key, event))
            else:
                self._count(event)
                if isinstance(event, Observation) and event.kind is Kind.CONDITION:
                    found += self._alarms(event, tag_map)
                key_text = event.command if isinstance(event, Asset) else event.key
                samples.extend(_sample(key, event) for key in tag_map.keys(key_text))
        return Batch(samples, blocks, None, frames_bad, found)

    def _alarms(self, event: Observation, tag_map: TagMap) -> Iterator[model.Event]:
        _, value, quality = decode_event(event)
        if quality == BAD_TYPE_MISMATCH:
            return iter(())
        self._seen_count += 1
        changes = self._conditions.take(event.key, value if isinstance(value, dict) else None)
        mark = f"{self._opened_ns}-{self._seen_count}"
        return alarms(changes, tag_map, source=f"shdr://{self._where}", mark=mark, time_ns=event.time_ns)

    def _command(self, command: Command) -> None:
        period_ms = command.heartbeat_ms
        if period_ms is not None:
            self._heartbeat.heard_pong(period_ms)

    def _count(self, event: Observation | Asset) -> None:
        if isinstance(event, Observation) and event.key == self._config.sequence_item:
            text = event.fields[-1]
            if text.isascii() and text.isdigit():
                self._gaps.see(int(text[:18]))


def _sample(key: str, event: Observation | Asset) -> Sample:
    _, value, quality = decode_event(event)
    if isinstance(event, Observation) and event.kind is Kind.TIME_SERIES and quality.is_good:
        value, quality = None, BAD_TYPE_MISMATCH  # a series without a count, rate or time that fits
    return Sample(key, value, quality, event.time_ns)


@asynccontextmanager
async def open_shdr(
    config: MTConnectConfig,
    tools: ConnectorTools,
    *,
    devices: Devices | None,
    gaps: GapCounter,
    conditions: ConditionBook,
) -> AsyncIterator[ShdrSession]:
    """Connect to an adapter; release on exit. Raises Unreachable."""
    where = f"{config.host}:{config.port}"
    try:
        async with asyncio.timeout(config.connect_timeout or None):
            reader, writer = await asyncio.open_connection(config.host, config.port, limit=READ_BYTES)
    except TimeoutError as error:
        raise Unreachable(f"adapter does not answer within {config.connect_timeout:g} s", where=where) from error
    except OSError as error:
        raise Unreachable(f"adapter cannot be reached: {error.strerror or error}", where=where) from error
    session = ShdrSession(reader, writer, config, tools, devices=devices, gaps=gaps, conditions=conditions)
    try:
        _keep_alive(writer)
        session.start()
        yield session
    finally:
        await session.close()


def _keep_alive(writer: asyncio.StreamWriter) -> None:
    """Adapters without a heartbeat: let TCP find out that the machine was switched off, within a minute."""
    raw = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, name):
                raw.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
