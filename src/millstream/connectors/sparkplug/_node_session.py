"""This edge as a Sparkplug edge node: what the edge has stored goes out, in the order of its streams.

The streams are the store. While the broker or the primary host is away, reading stops once enough is held; the position
that is kept is that of what the broker has taken. After a crash or a lost link the rest is read and sent again, as
historical where something newer was told already; a host may get a value twice, never not at all.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager

from millstream.connectors.sparkplug._commands import Commands
from millstream.connectors.sparkplug._config import SparkplugConfig
from millstream.connectors.sparkplug._stored_tags import StoredTags
from millstream.connectors.sparkplug._streams import READ_MESSAGES, decode_position, encode_position, read_all
from millstream.kernel import NotFoundError, Unreachable
from millstream.model import AssetPath
from millstream.mqtt import BrokerLink, Session
from millstream.protocols.mqtt_publish import Publish
from millstream.protocols.sparkplug_node import (
    Command,
    Disconnect,
    EdgeNode,
    NodeOptions,
    Output,
    Refused,
    Stage,
    Subscribe,
)
from millstream.sdk import Batch, ConnectorTools, Position, Received, Tag

WAIT_S = 0.2  # so long a command may lie
RETRY_S = 1.0  # after the primary host has gone
REFUSED_COUNT_MAX = 100  # of one look; what a host may say is not bounded


def make_node(config: SparkplugConfig) -> EdgeNode:
    """The node's session; it outlives connections, since bdSeq counts them."""
    return EdgeNode(
        NodeOptions(config.group or "", config.node or "", config.primary_host, is_writable=config.commands)
    )


class NodeSession:
    """Streamed: no samples, only the position in the edge's stream that the broker has taken."""

    def __init__(self, config: SparkplugConfig, tools: ConnectorTools, node: EdgeNode) -> None:
        self._config = config
        self._tools = tools
        self._node = node
        node.disconnected()
        node.forget_backlog()
        self._link = BrokerLink(config, Session("sparkplug", will=node.connecting(self._now_ms())))
        self._stored = StoredTags(AssetPath.parse(config.base or ""), tools.facts, is_commanded=config.commands)
        self._commands = Commands(tools, f"sparkplug {config.group}/{config.node} at {config.host}:{config.port}")
        self._refused: list[tuple[bytes, str]] = []
        self._taken: dict[str, int] = {}
        self._is_news = False

    def _now_ms(self) -> int:
        return self._tools.clock.now_ns() // 1_000_000

    async def connect(self) -> None:
        """Raises Unreachable, AuthError, ConfigError."""
        await self._link.connect()

    async def close(self) -> None:
        """Take leave: NDEATH, then DISCONNECT."""
        death = next((each for each in self._node.leave(self._now_ms()) if isinstance(each, Publish)), None)
        await self._link.close(death)
        await self._commands.close()

    async def stream(self, tags: Sequence[Tag], resume: Position | None) -> AsyncGenerator[Batch, None]:
        """Positions as the broker takes what is published. Raises Unreachable when the link or the primary host goes,
        or where there is no stream (outside a running edge)."""
        if self._tools.reader is None or not self._tools.streams:
            raise Unreachable("an edge node publishes what the running edge stores", where=self._tools.name)
        known = decode_position(resume)
        self._taken = {name: known[name] for name in self._tools.streams if name in known}
        starts = {name: self._taken.get(name, 0) + 1 for name in self._tools.streams}
        self._send(self._node.connected(self._now_ms()))
        try:
            async with aclosing(read_all(self._tools.reader, starts, WAIT_S)) as lists:
                async for stream, received in lists:
                    async for batch in self._forward(received, stream):
                        yield batch
        except NotFoundError as error:
            raise Unreachable("the edge's stream does not exist", where=", ".join(starts)) from error

    async def _forward(self, received: Sequence[Received], stream: str) -> AsyncGenerator[Batch, None]:
        updates = [update for item in received for update in self._stored.updates(item)]
        self._send(self._node.update(updates, self._now_ms()))
        self._listen()
        while self._node.is_full and self._node.stage is not Stage.LIVE:
            await self._link.wait(WAIT_S)
            self._listen()
        if updates:
            self._taken[stream] = received[-1].seq
            self._is_news = True
        if self._is_news and self._is_all_told and await self._link.confirm():
            self._is_news = False
            yield Batch(position=encode_position(self._taken))
        self._link.check()
        if self._refused:
            frames, self._refused = self._refused, []
            yield Batch(frames_bad=tuple(frames))

    @property
    def _is_all_told(self) -> bool:
        """Nothing waits in the node alone, such as an old value of a device that is away."""
        return self._node.stage is Stage.LIVE and not self._node.kept_count

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
            else:
                self._command(each)

    def _command(self, command: Command) -> None:
        if not self._config.commands:
            reason: str | None = "commands are off, see 'commands'"
        else:
            reason = self._commands.take(self._stored.tag_of(command.device, command.name), command)
        if reason is not None and len(self._refused) < REFUSED_COUNT_MAX:
            self._refused.append((b"", f"command for {command.name}: {reason}"))


@asynccontextmanager
async def open_node(config: SparkplugConfig, tools: ConnectorTools, node: EdgeNode) -> AsyncIterator[NodeSession]:
    """Connect to the broker. Raises Unreachable, AuthError, ConfigError."""
    session = NodeSession(config, tools, node)
    try:
        await session.connect()
        yield session
    finally:
        await session.close()
