"""One MQTT connection of a host application or an edge node: a will, subscriptions, what comes in, what goes out.

The session is always clean (Sparkplug 3.0, 2.3, 5.8), so each CONNECT is a new client with a will of its own. gmqtt
is only here, and what it raises is translated here.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from millstream.connectors.sparkplug._config import SparkplugConfig
from millstream.kernel import AuthError, ConfigError, PlantError, ProtocolViolation, Unreachable
from millstream.protocols.sparkplug_node import Publish
from millstream.protocols.sparkplug_state import StateMessage
from millstream.sdk import tls_fault

INBOX_MESSAGES_MAX = 2_000  # received, not yet taken; then the socket is not read
INBOX_BYTES_MAX = 4 * 1024 * 1024
FRAME_BYTES_MAX = 1 << 16  # of a packet that is no MQTT
CLOSE_TIMEOUT_S = 2.0
NEVER_RECONNECT = -2  # gmqtt: -1 means for ever, and 0 still tries once
REFUSED_SUBSCRIPTION = 0x80  # MQTT 3.1.1, 3.9.3; with MQTT 5 every code from here on
_AUTH_CODES = frozenset({4, 5, 134, 135, 138, 140})  # CONNACK of 3.1.1 (3.2.2.3) and 5.0 (3.2.2.2)


class _Notes(logging.Handler):
    """gmqtt tells of a malformed packet only in its log, and goes on."""

    def __init__(self, on_violation: Callable[[str], None]) -> None:
        super().__init__(logging.ERROR)
        self._on_violation = on_violation

    def emit(self, record: logging.LogRecord) -> None:
        """A packet that could not be handled, or whose properties could not be read."""
        if record.levelno >= logging.CRITICAL:
            self._on_violation(record.getMessage())
        elif record.exc_info and "error handling package" in str(record.msg):
            self._on_violation(f"malformed packet: {record.exc_info[1]!r}")


class Received(NamedTuple):
    """One message. The topic is bytes when it is no UTF-8."""

    topic: str | bytes
    payload: bytes
    is_retained: bool


class Link:
    """Connect once, close once."""

    def __init__(self, config: SparkplugConfig, will: StateMessage | Publish) -> None:
        self._config = config
        self._where = f"{config.host}:{config.port}"
        self._inbox: deque[Received] = deque()
        self._inbox_bytes = 0
        self._changed = asyncio.Event()
        self._lost = asyncio.Event()
        self._violation = asyncio.Event()
        self._failure: PlantError | None = None
        self._packet = b""  # the one that gmqtt looks at now
        self._asked: dict[int, Sequence[str]] = {}
        self.refused: list[str] = []
        """Filters that the broker did not grant."""
        self._is_held = self._is_closed = False
        self._pings_count = self._pongs_count = 0
        self._client = self._make_client(will)

    def _make_client(self, will: StateMessage | Publish) -> Any:
        try:
            import gmqtt
        except ImportError as error:
            raise ConfigError(
                "the client library gmqtt is missing", next_step="pip install millstream[sparkplug]", code="MS-0106"
            ) from error
        log = logging.Logger("gmqtt", logging.ERROR)
        log.addHandler(_Notes(self._violated))
        logging.getLogger("gmqtt.mqtt.protocol").setLevel(logging.CRITICAL)  # warns of each answer to a closed socket
        client = gmqtt.Client(
            self._config.client_id,
            clean_session=True,
            optimistic_acknowledgement=False,
            will_message=gmqtt.Message(will.topic, will.payload, qos=will.qos, retain=will.is_retained),
            logger=log,
        )
        client.set_config({"reconnect_retries": NEVER_RECONNECT})
        client.on_message = self._on_message
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_connect = self._on_connect
        client._package_handler._handle_pingresp_packet = self._on_pong
        client._package_handler._handle_packet = self._seen(client._package_handler._handle_packet)
        return client

    # -- connection ---------------------------------------------------------------------------------------------------

    async def connect(self, secret: str | None, context: ssl.SSLContext | None) -> None:
        """Connect. Raises Unreachable, AuthError."""
        from gmqtt.mqtt.constants import MQTTv50, MQTTv311

        config = self._config
        if config.user is not None:
            self._client.set_auth_credentials(config.user, secret)
        version = MQTTv50 if config.version == "5" else MQTTv311
        connecting = asyncio.ensure_future(
            self._client.connect(
                config.host, config.port, ssl=context or False, keepalive=int(config.keepalive), version=version
            )
        )
        lost = asyncio.ensure_future(self._lost.wait())
        broken = asyncio.ensure_future(self._violation.wait())
        try:
            await asyncio.wait(
                {connecting, lost, broken}, timeout=config.connect_timeout, return_when=asyncio.FIRST_COMPLETED
            )
            self._check_connected(connecting)
        finally:
            lost.cancel()
            broken.cancel()
            if not connecting.done():
                connecting.cancel()
                await asyncio.wait({connecting}, timeout=CLOSE_TIMEOUT_S)

    def _check_connected(self, connecting: asyncio.Future[None]) -> None:
        from gmqtt.mqtt.handler import MQTTConnectError

        if not connecting.done():
            if self._failure is not None:
                raise self._failure
            reason = self._loss()
            if reason is not None and (fault := tls_fault(reason, self._where)) is not None:
                raise fault from reason
            if self._lost.is_set():
                raise Unreachable("broker closed the connection instead of accepting it", where=self._where)
            raise Unreachable(
                "broker did not answer in time", where=self._where, expected=f"{self._config.connect_timeout:g}s"
            )
        error = connecting.exception()
        if error is None:
            return
        if isinstance(error, MQTTConnectError):
            if error._code in _AUTH_CODES:
                raise AuthError("broker refuses user or password", where=self._where, got=str(error)) from error
            raise Unreachable("broker refuses the connection", where=self._where, got=str(error)) from error
        if (fault := tls_fault(error, self._where)) is not None:
            raise fault from error
        if isinstance(error, OSError):
            raise Unreachable(f"broker cannot be reached: {error}", where=self._where) from error
        raise error

    def _loss(self) -> BaseException | None:
        """Why the socket was closed: gmqtt tells it to its log only, but asyncio's protocol keeps it."""
        connection = self._client._connection
        closed: asyncio.Future[None] | None = connection._protocol._closed if connection is not None else None
        return closed.exception() if closed is not None and closed.done() else None

    async def close(self, farewell: StateMessage | Publish | None) -> None:
        """Say farewell, wait until the broker has it, DISCONNECT. Whatever happens, the socket is closed."""
        self._is_closed = True
        connection = self._client._connection  # gmqtt has no way to abort
        try:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    if farewell is not None and connection is not None and not self._lost.is_set():
                        await self._say(farewell)
                    self._client.on_disconnect = _nothing
                    await self._client.disconnect()
        finally:
            if connection is not None:
                connection._transport.abort()

    async def _say(self, farewell: StateMessage | Publish) -> None:
        """A socket that is closed with unread data resets the link, and the broker may forget our last words."""
        if self._is_held:
            self._client._connection._transport.resume_reading()
        self.publish(farewell.topic, farewell.payload, qos=farewell.qos, is_retained=farewell.is_retained)
        empty = asyncio.ensure_future(self._client._persistent_storage.wait_empty())
        lost = asyncio.ensure_future(self._lost.wait())
        try:
            await asyncio.wait({empty, lost}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            empty.cancel()
            lost.cancel()

    def _on_disconnect(self, _client: Any, _packet: Any, _error: Any = None) -> None:
        self._lost.set()
        self._changed.set()

    def _seen(self, handle: Callable[[int, bytes], None]) -> Callable[[int, bytes], None]:
        """Remember each packet, so that the one that breaks the protocol can be kept."""

        def remember(command: int, packet: bytes) -> None:
            self._packet = bytes([command]) + packet[:FRAME_BYTES_MAX]
            handle(command, packet)

        return remember

    def _violated(self, what: str) -> None:
        if self._failure is None:
            self._failure = ProtocolViolation(
                "broker sent what is not MQTT", where=self._where, got=what[:200], frame=self._packet
            )
        self._violation.set()
        self._changed.set()

    def _on_connect(self, client: Any, *_rest: Any) -> None:
        client._connection._send_ping_request = self._ping  # gmqtt's own signs of life are counted with ours

    def _ping(self) -> None:
        self._pings_count += 1
        self._client._connection._protocol.send_ping_request()

    def _on_pong(self, _command: int, _packet: bytes) -> None:
        self._pongs_count += 1
        self._changed.set()

    async def confirm(self) -> bool:
        """True once the broker has taken all that was sent before: packets are taken in order, and it answers a
        PINGREQ; False when the link is lost."""
        if self.is_lost:
            return False
        self._ping()
        wanted = self._pings_count
        while self._pongs_count < wanted and not self.is_lost:
            self._changed.clear()
            await self._changed.wait()
        return self._pongs_count >= wanted

    # -- in -----------------------------------------------------------------------------------------------------------

    def _on_message(
        self, _client: Any, topic: str | bytes, payload: bytes, _qos: int, properties: dict[str, Any]
    ) -> int:
        """Keep it; 0 is what gmqtt acknowledges with (QoS 1)."""
        if self._is_closed:
            return 0
        self._inbox.append(Received(topic, bytes(payload), bool(properties.get("retain"))))
        self._inbox_bytes += len(payload)
        self._changed.set()
        if len(self._inbox) >= INBOX_MESSAGES_MAX or self._inbox_bytes >= INBOX_BYTES_MAX:
            self._is_held = True
            self._client._connection._transport.pause_reading()  # each time: asyncio's reader resumes for itself
        return 0

    def take(self, count: int) -> list[Received]:
        """At most so many of the messages that came."""
        found: list[Received] = []
        while self._inbox and len(found) < count:
            found.append(self._inbox.popleft())
            self._inbox_bytes -= len(found[-1].payload)
        if self._is_held and len(self._inbox) < INBOX_MESSAGES_MAX // 2 and self._inbox_bytes < INBOX_BYTES_MAX // 2:
            self._is_held = False
            with suppress(RuntimeError):
                self._client._connection._transport.resume_reading()
        return found

    async def wait(self, timeout_s: float | None) -> None:
        """Until something comes, the link changes, or the time is over."""
        if self._inbox or self._lost.is_set() or self._failure is not None:
            return
        self._changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()

    def check(self) -> None:
        """Raises Unreachable when the link is lost and nothing is left of it, ProtocolViolation for what is no MQTT."""
        if self._failure is not None:
            raise self._failure
        if self._lost.is_set() and not self._inbox:
            raise Unreachable("broker closed the connection, or it broke", where=self._where)

    @property
    def is_lost(self) -> bool:
        """Nothing can be sent any more."""
        return self._lost.is_set() or self._failure is not None

    # -- out ----------------------------------------------------------------------------------------------------------

    def subscribe(self, filters: Sequence[str]) -> None:
        """Ask for topics with QoS 1."""
        import gmqtt

        mid = self._client.subscribe([gmqtt.Subscription(each, qos=1) for each in filters])
        self._asked[mid] = filters

    @property
    def is_subscribed(self) -> bool:
        """The broker has answered all that was asked for."""
        return not self._asked

    def _on_subscribe(self, _client: Any, mid: int, granted: Sequence[int], _properties: Any) -> None:
        for each, code in zip(self._asked.pop(mid, ()), granted, strict=False):
            if code >= REFUSED_SUBSCRIPTION:
                self.refused.append(each)
        self._changed.set()

    def publish(self, topic: str, payload: bytes, *, qos: int = 0, is_retained: bool = False) -> None:
        """Send; nothing happens when the link is lost."""
        if not self.is_lost:
            self._client.publish(topic, payload, qos=qos, retain=is_retained)


def _nothing(*_arguments: object) -> None:
    """Nobody listens any more."""
