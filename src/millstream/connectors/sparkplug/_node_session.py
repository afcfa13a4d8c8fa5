"""This edge as a Sparkplug edge node: what the edge has stored goes out, in the order of its stream.

The stream is the store. While the broker or the primary host is away, reading stops once enough is held; the position
that is kept is that of what the broker has taken. After a crash or a lost link the rest is read and sent again, as
historical where something newer was told already; a host may get a value twice, never not at all.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

from millstream.connectors.sparkplug._config import SparkplugConfig
from millstream.kernel import DecodeError, NotFoundError, Unreachable
from millstream.model import AssetPath, Quality, TagPath
from millstream.mqtt import BrokerLink, Session
from millstream.protocols.mqtt_publish import Publish
from millstream.protocols.sparkplug_node import (
    Disconnect,
    EdgeNode,
    NodeOptions,
    NodeUpdate,
    Output,
    Refused,
    Stage,
    Subscribe,
)
from millstream.protocols.uns_payload import ARROW_TYPE, decode_block, decode_sample
from millstream.protocols.uns_subject import decode_subject
from millstream.sdk import Batch, ConnectorTools, Position, Received, Tag

READ_MESSAGES = 500
WAIT_S = 0.2  # so long a command may lie
RETRY_S = 1.0  # after the primary host has gone
_ARROW = ARROW_TYPE.encode()


def make_node(config: SparkplugConfig) -> EdgeNode:
    """The node's session; it outlives connections, since bdSeq counts them."""
    return EdgeNode(NodeOptions(config.group or "", config.node or "", config.primary_host))


class NodeSession:
    """Streamed: no samples, only the position in the edge's stream that the broker has taken."""

    def __init__(self, config: SparkplugConfig, tools: ConnectorTools, node: EdgeNode) -> None:
        self._config = config
        self._tools = tools
        self._node = node
        self._base = AssetPath.parse(config.base or "")
        node.disconnected()
        node.forget_backlog()
        self._link = BrokerLink(config, Session("sparkplug", will=node.connecting(self._now_ms())))
        self._refused: list[tuple[bytes, str]] = []
        self._pending: Position | None = None

    def _now_ms(self) -> int:
        return self._tools.clock.now_ns() // 1_000_000

    async def connect(self) -> None:
        """Raises Unreachable, AuthError, ConfigError."""
        await self._link.connect()

    async def close(self) -> None:
        """Take leave: NDEATH, then DISCONNECT."""
        death = next((each for each in self._node.leave(self._now_ms()) if isinstance(each, Publish)), None)
        await self._link.close(death)

    async def stream(self, tags: Sequence[Tag], resume: Position | None) -> AsyncGenerator[Batch, None]:
        """Positions as the broker takes what is published. Raises Unreachable when the link or the primary host goes,
        or where there is no stream (outside a running edge)."""
        if self._tools.reader is None or not self._tools.streams:
            raise Unreachable("an edge node publishes what the running edge stores", where=self._tools.name)
        stream = self._tools.streams[0]
        self._send(self._node.connected(self._now_ms()))
        try:
            async with aclosing(
                self._tools.reader.read(
                    stream, start_seq=_start_seq(resume, stream), batch_max=READ_MESSAGES, wait_s=WAIT_S
                )
            ) as lists:
                async for received in lists:
                    async for batch in self._forward(received, stream):
                        yield batch
        except NotFoundError as error:
            raise Unreachable("the edge's stream does not exist", where=stream) from error

    async def _forward(self, received: Sequence[Received], stream: str) -> AsyncGenerator[Batch, None]:
        updates = [update for item in received for update in self._updates(item)]
        self._send(self._node.update(updates, self._now_ms()))
        self._listen()
        while self._node.is_full and self._node.stage is not Stage.LIVE:
            await self._link.wait(WAIT_S)
            self._listen()
        if updates:
            self._pending = Position(f"{received[-1].seq} {stream}".encode())
        if self._node.stage is Stage.LIVE and self._pending is not None and await self._link.confirm():
            position, self._pending = self._pending, None
            yield Batch(position=position)
        self._link.check()
        if self._refused:
            frames, self._refused = self._refused, []
            yield Batch(frames_bad=tuple(frames))

    def _listen(self) -> None:
        """Commands and STATE."""
        self._link.check()
        for message in self._link.take(READ_MESSAGES):
            if isinstance(message.topic, str):
                self._send(self._node.received(message.topic, message.payload, self._now_ms()))

    def _send(self, outputs: Iterable[Output]) -> None:
        for each in outputs:
            if isinstance(each, Publish):
                self._link.publish(each)
            elif isinstance(each, Subscribe):
                self._link.subscribe([each.filter])
            elif isinstance(each, Disconnect):
                raise Unreachable(each.reason, where=self._config.primary_host, retry_after_s=RETRY_S)
            elif isinstance(each, Refused):
                self._refused.append((b"", f"{each.topic}: {each.reason}"))

    # -- samples ------------------------------------------------------------------------------------------------------

    def _updates(self, item: Received) -> list[NodeUpdate]:
        """The values of one stored message; none when it is no sample below the base."""
        try:
            address = decode_subject(item.subject)
            place = self._place(address.tag) if address.contract == "_tag" else None
            if place is None:
                return []
            device, name = place
            if item.headers is not None and _ARROW in item.headers:
                return _of_block(device, name, item.payload)
            record = decode_sample(item.payload)
        except DecodeError:
            return []  # it is in the stream as it is; whoever reads it there has the same trouble
        return [NodeUpdate(device, name, record.value, record.time_ns // 1_000_000, Quality(record.quality))]

    def _place(self, tag: TagPath) -> tuple[str | None, str] | None:
        """Device and metric name of a tag: the level below the base is the device."""
        if not self._base.contains(tag.asset):
            return None
        below = tag.asset.levels[len(self._base.levels) :]
        device = "".join("_" if c in "+/#" else c for c in below[0]) if below else None
        return device, "/".join((*below[1:], *tag.names))


def _of_block(device: str | None, name: str, payload: bytes) -> list[NodeUpdate]:
    block = decode_block(payload)
    found = []
    for i, time_ns in enumerate(block.time_ns.tolist()):
        value: Any = block.values[i]
        plain = value.item() if hasattr(value, "item") else value
        quality = Quality(0 if block.quality is None else int(block.quality[i]))
        found.append(NodeUpdate(device, name, plain, time_ns // 1_000_000, quality))
    return found


def _start_seq(resume: Position | None, stream: str) -> int:
    """Behind the stored position; from the beginning of another stream."""
    seq, _, name = (resume or b"").decode("utf-8", "replace").partition(" ")
    return int(seq) + 1 if name == stream and seq.isdigit() else 1


@asynccontextmanager
async def open_node(config: SparkplugConfig, tools: ConnectorTools, node: EdgeNode) -> AsyncIterator[NodeSession]:
    """Connect to the broker. Raises Unreachable, AuthError, ConfigError."""
    session = NodeSession(config, tools, node)
    try:
        await session.connect()
        yield session
    finally:
        await session.close()
