"""A session with an outside broker. A message with QoS 1 is acknowledged to the broker once the runtime has stored it.

PUBACK goes out in order. After a lost link or a crash the broker sends again what it has no PUBACK for; what of that is
stored already is known from the position (`mqtt_window`) and not counted twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import NamedTuple

from millstream.connectors.mqtt._config import MqttConfig
from millstream.connectors.mqtt._listening import list_topics
from millstream.connectors.mqtt._router import Router
from millstream.kernel import Unreachable
from millstream.model import BAD_NOT_READABLE, Sample
from millstream.mqtt import BrokerLink, Session
from millstream.protocols.mqtt_window import ENTRIES_MAX, StoredPosition, Window, digest
from millstream.sdk import Batch, ConnectorTools, NodeInfo, Position, Tag

BATCH_MESSAGES_MAX = 500


class Numbers:
    """Numbers of the messages that a connector took, over all its sessions."""

    def __init__(self) -> None:
        self._last = 0

    def next(self) -> int:
        """One more."""
        self._last += 1
        return self._last


class _Taken(NamedTuple):
    """A QoS 1 message that is not acknowledged yet. `is_stored`: by an earlier session."""

    number: int
    mid: int
    is_stored: bool


class BrokerSession:
    """Streamed, Acknowledged, Browsable; positions are running numbers and the window of what is under way."""

    def __init__(self, config: MqttConfig, tools: ConnectorTools, numbers: Numbers) -> None:
        self._config = config
        self._tools = tools
        self._numbers = numbers
        self._where = f"{config.host}:{config.port}"
        self._window = Window(config.in_flight_max if config.version == "5" else ENTRIES_MAX)
        self._unacknowledged: deque[_Taken] = deque()
        self._acknowledged = 0
        self._asked: deque[tuple[int, int]] = deque()  # number of a PINGREQ, what was acknowledged before it
        self.link = BrokerLink(
            config,
            Session(
                is_clean=not config.persistent,
                acknowledges=False,
                expiry_s=min(int(config.session_expiry), 0xFFFFFFFF) if config.persistent else None,
                in_flight_max=config.in_flight_max,
            ),
        )
        self.link.on_pong = self._on_pong

    async def close(self) -> None:
        """Take leave; what is not stored stays unacknowledged."""
        await self.link.close()
        self._unacknowledged.clear()

    # -- data ---------------------------------------------------------------------------------------------------------

    async def stream(self, tags: Sequence[Tag], resume: Position | None) -> AsyncGenerator[Batch, None]:
        """Batches as messages come. The broker knows what it has no PUBACK for, `resume` what of that is stored.

        Raises Unreachable when the link is lost, ProtocolViolation for what is not MQTT.
        """
        link, router = self.link, Router(self._config, tags)
        self._window.resume(resume, is_session_present=link.is_session_present)
        # The answers come behind what the broker has kept for us, so they cannot be waited for while nobody takes that.
        link.subscribe(router.filters(), qos=self._config.qos, is_new_only=True)
        while True:
            if not await link.wait(None if link.is_subscribed else self._config.connect_timeout):
                raise Unreachable("broker did not answer a subscription in time", where=self._where)
            if refused := self._refused(router):
                yield Batch([Sample(key, None, BAD_NOT_READABLE) for key in refused])
            for batch in router.batches(self._take()):
                yield self._with_window(batch)
            link.check()

    def _refused(self, router: Router) -> list[str]:
        """The keys of tags that the broker does not let us read."""
        keys: list[str] = []
        for pattern, code in self.link.take_refused():
            self._tools.log.warning("broker refuses a subscription", filter=pattern, code=code)
            keys += router.keys(pattern)
        return keys

    def _take(self) -> list[tuple[str | bytes, bytes, Position]]:
        """Some of what was received. After a loss only what the broker will not send again."""
        taken: list[tuple[str | bytes, bytes, Position]] = []
        for message in self.link.take(BATCH_MESSAGES_MAX):
            number = self._numbers.next()
            if message.mid is not None:
                if self.link.is_lost:
                    continue
                mark = digest(message.topic, message.payload)
                is_stored = self._window.is_repeat(number, message.mid, mark, is_duplicate=message.is_duplicate)
                self._unacknowledged.append(_Taken(number, message.mid, is_stored))
                self._acknowledge(self._acknowledged)
                if is_stored:
                    continue
            taken.append((message.topic, message.payload, Position(str(number).encode())))
        return taken

    def _with_window(self, batch: Batch) -> Batch:
        """The router knows running numbers only."""
        if batch.position is None:
            return batch
        return replace(batch, position=Position(self._window.position(int(batch.position))))

    async def browse(self, root: str | None = None) -> AsyncGenerator[NodeInfo, None]:
        """What is published for some seconds, below the topic filter `root`. Raises Unreachable, AuthError."""
        async with aclosing(list_topics(self._config, root)) as nodes:
            async for node in nodes:
                yield node

    async def ack(self, up_to: Position) -> None:
        """Everything up to here is stored: PUBACK, and a PINGREQ whose answer shows that it was taken."""
        position = StoredPosition.decode(up_to)
        if position is not None:
            self._acknowledge(position.number)

    def _acknowledge(self, number: int) -> None:
        """PUBACK in the order of receipt (MQTT 3.1.1, 4.6): up to `number`, and repeats that follow at once."""
        taken: list[int] = []
        while self._unacknowledged and not self.link.is_lost:
            first = self._unacknowledged[0]
            if first.number > number and not first.is_stored:
                break
            self._unacknowledged.popleft()
            taken.append(first.mid)
            self._acknowledged = first.number
        if taken:
            self.link.acknowledge(*taken)
            if not self._asked:
                self._ask()

    def _ask(self) -> None:
        """PINGREQ; what is acknowledged by now is taken when it is answered."""
        self.link.ping()
        self._asked.append((self.link.pings_count, self._acknowledged))

    def _on_pong(self) -> None:
        """PINGRESP. One more PINGREQ when something was acknowledged since."""
        while self._asked and self._asked[0][0] <= self.link.pongs_count:
            _, confirmed = self._asked.popleft()
            self._window.confirm(confirmed)
            if self._acknowledged > confirmed and not self._asked and not self.link.is_lost:
                self._ask()


@asynccontextmanager
async def open_broker(config: MqttConfig, tools: ConnectorTools, numbers: Numbers) -> AsyncIterator[BrokerSession]:
    """Connect to the broker. Raises Unreachable, AuthError, ConfigError."""
    session = BrokerSession(config, tools, numbers)
    try:
        await session.link.connect()
        yield session
    finally:
        await session.close()
