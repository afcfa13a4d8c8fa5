"""Reading the edge's own stream of MQTT messages: exactly once, from the stored position on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from millstream.connectors.mqtt._config import MqttConfig
from millstream.connectors.mqtt._router import Router
from millstream.kernel import NotFoundError, Unreachable
from millstream.protocols.mqtt_mapping import topic_of_subject
from millstream.sdk import Batch, ConnectorTools, Position, Reader, Received, Tag

READ_MESSAGES = 500
WAIT_S = 1.0
LOOK_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class StreamPosition:
    """A stored message: its stream, sequence, and the time at which it was stored.

    The time tells a stream that was made anew, whose sequences begin at 1 again, from the one that was read before.
    """

    stream: str
    seq: int
    time_ns: int

    def encode(self) -> Position:
        """As the runtime keeps it."""
        return Position(f"{self.seq} {self.time_ns} {self.stream}".encode())

    @classmethod
    def decode(cls, raw: bytes) -> StreamPosition | None:
        """None when it is not one of ours (the connector read a broker before)."""
        parts = raw.decode("utf-8", "replace").split(" ", 2)
        if len(parts) != 3 or not parts[0].isdigit() or not parts[1].isdigit():
            return None
        return cls(parts[2], int(parts[0]), int(parts[1]))


class StreamSession:
    """Streamed, with positions. Nothing is acknowledged: the stream keeps what its bounds allow."""

    def __init__(self, config: MqttConfig, tools: ConnectorTools, reader: Reader, stream: str) -> None:
        self._config = config
        self._tools = tools
        self._reader = reader
        self._stream = stream

    async def stream(self, tags: Sequence[Tag], resume: Position | None) -> AsyncGenerator[Batch, None]:
        """Batches as devices publish; right behind `resume`. Raises Unreachable when the stream is not there."""
        router = Router(self._config, tags)
        try:
            start_seq = await self._start_seq(resume)
            async with aclosing(
                self._reader.read(self._stream, start_seq=start_seq, batch_max=READ_MESSAGES, wait_s=WAIT_S)
            ) as lists:
                async for received in lists:
                    for batch in router.batches([self._message(item) for item in received]):
                        yield batch
        except NotFoundError as error:
            raise Unreachable("the listener's stream does not exist", where=self._stream) from error

    def _message(self, item: Received) -> tuple[str, bytes, Position]:
        position = StreamPosition(self._stream, item.seq, item.stored_time_ns)
        return topic_of_subject(item.subject), item.payload, position.encode()

    async def _start_seq(self, resume: Position | None) -> int:
        """Behind the stored position; from the beginning when the stream is another one than then."""
        known = StreamPosition.decode(resume) if resume is not None else None
        if known is None or known.stream != self._stream:
            return 1
        found = await self._look(known.seq)
        if found is None or found.seq > known.seq:  # gone from the stream: is what is left older or newer?
            oldest = await self._look(1)
            is_other = oldest is not None and oldest.seq <= known.seq and oldest.stored_time_ns > known.time_ns
        else:
            is_other = found.stored_time_ns != known.time_ns
        if is_other:
            self._tools.log.warning("the listener's stream was made anew, reading from its beginning")
            return 1
        return known.seq + 1

    async def _look(self, seq: int) -> Received | None:
        """The first message from `seq` on; None when there is none now."""
        lists = self._reader.read(self._stream, start_seq=seq, batch_max=1, wait_s=WAIT_S)
        try:
            async with asyncio.timeout(LOOK_TIMEOUT_S), aclosing(lists):
                async for received in lists:
                    return received[0] if received else None
        except TimeoutError as error:
            raise Unreachable("the listener's stream does not answer", where=self._stream) from error
        return None


@asynccontextmanager
async def open_stream(config: MqttConfig, tools: ConnectorTools) -> AsyncIterator[StreamSession]:
    """The node's own stream. Raises Unreachable where there is no listener."""
    if tools.reader is None:
        raise Unreachable(
            "the edge's own listener can be read inside the running edge only",
            where=tools.name,
            next_step="start the edge; `millstream status` shows whether this connector is connected",
        )
    if tools.mqtt_stream is None:
        raise Unreachable(
            "this node has no MQTT listener",
            where=tools.name,
            next_step="set 'server: {mqtt_port: 1883}' in edge.yaml",
        )
    yield StreamSession(config, tools, tools.reader, tools.mqtt_stream)
