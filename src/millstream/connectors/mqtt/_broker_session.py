"""A session with an outside broker. A message with QoS 1 is acknowledged to the broker once the runtime has stored it.

gmqtt sends PUBACK by itself and keeps the packet identifier to itself, so the one method of its that takes a QoS 1
PUBLISH is replaced here: the session sends PUBACK, in order. After a lost link or a crash the broker sends again what
it has no PUBACK for; what of that is stored already is known from the position (`mqtt_window`) and not counted twice.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, NamedTuple

from millstream.connectors.mqtt._config import MqttConfig
from millstream.connectors.mqtt._router import Router
from millstream.kernel import AuthError, ConfigError, PlantError, ProtocolViolation, Unreachable
from millstream.model import BAD_NOT_READABLE, Sample
from millstream.protocols.mqtt_window import ENTRIES_MAX, StoredPosition, Window, digest
from millstream.sdk import Batch, ConnectorTools, Position, Tag, TlsFiles, client_context, tls_fault

INBOX_MESSAGES_MAX = 2_000  # received, not yet taken by the runtime; then the socket is not read
INBOX_BYTES_MAX = 4 * 1024 * 1024
BATCH_MESSAGES_MAX = 500
SUBSCRIBE_TOPICS = 100  # of one SUBSCRIBE
FRAME_BYTES_MAX = 1 << 16  # of a packet that is no MQTT
CLOSE_TIMEOUT_S = 2.0
NEVER_RECONNECT = -2  # gmqtt: -1 means for ever, and 0 still tries once
CLOSED_BY_TLS = (  # with TLS 1.3 the reason comes after the handshake, and the closing of the socket may overtake it
    "read the broker's log; one that wants or refuses a client certificate closes like this: certificate, key"
)
REFUSED_SUBSCRIPTION = 0x80  # MQTT 3.1.1, 3.9.3; with MQTT 5 every code from here on
_AUTH_CODES = frozenset({4, 5, 134, 135, 138, 140})  # CONNACK of 3.1.1 (3.2.2.3) and 5.0 (3.2.2.2)


class Numbers:
    """Numbers of the messages that a connector took, over all its sessions."""

    def __init__(self) -> None:
        self._last = 0

    def next(self) -> int:
        """One more."""
        self._last += 1
        return self._last


class _Message(NamedTuple):
    number: int
    topic: str | bytes
    payload: bytes
    mid: int | None
    """The broker's packet identifier; None with QoS 0."""
    is_duplicate: bool


class _Taken(NamedTuple):
    """A QoS 1 message that is not acknowledged yet. `is_stored`: by an earlier session."""

    number: int
    mid: int
    is_stored: bool


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


class BrokerSession:
    """Streamed and Acknowledged; the position is the message's running number and the window of what is under way."""

    def __init__(self, config: MqttConfig, tools: ConnectorTools, numbers: Numbers) -> None:
        self._config = config
        self._tools = tools
        self._numbers = numbers
        self._where = f"{config.host}:{config.port}"
        self._inbox: deque[_Message] = deque()
        self._inbox_bytes = 0
        self._window = Window(config.in_flight_max if config.version == "5" else ENTRIES_MAX)
        self._unacknowledged: deque[_Taken] = deque()
        self._acknowledged = 0
        self._pings: deque[int] = deque()
        self._is_session_present = False
        self._changed = asyncio.Event()
        self._lost = asyncio.Event()
        self._violation = asyncio.Event()
        self._failure: PlantError | None = None
        self._packet = b""  # the one that gmqtt looks at now
        self._granted: dict[int, Sequence[int]] = {}
        self._is_held = self._is_closed = False
        self._client = self._make_client()

    def _make_client(self) -> Any:
        try:
            import gmqtt
        except ImportError as error:
            raise ConfigError(
                "the client library gmqtt is missing", next_step="pip install millstream[mqtt]", code="MS-0106"
            ) from error
        config = self._config
        log = logging.Logger("gmqtt", logging.ERROR)
        log.addHandler(_Notes(self._violated))
        logging.getLogger("gmqtt.mqtt.protocol").setLevel(logging.CRITICAL)  # warns of each answer to a closed socket
        properties: dict[str, Any] = {}
        if config.version == "5":
            properties = {"receive_maximum": config.in_flight_max}
            if config.persistent:
                properties["session_expiry_interval"] = min(int(config.session_expiry), 0xFFFFFFFF)
        client = gmqtt.Client(
            config.client_id,
            clean_session=not config.persistent,
            optimistic_acknowledgement=False,
            logger=log,
            **properties,
        )
        client.set_config({"reconnect_retries": NEVER_RECONNECT})
        client.on_message = self._on_message
        client.on_connect = self._on_connect
        client._package_handler._handle_qos_1_publish_packet = self._on_publish
        client._package_handler._handle_pingresp_packet = self._on_pong
        client._package_handler._handle_packet = self._seen(client._package_handler._handle_packet)
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        return client

    # -- link ---------------------------------------------------------------------------------------------------------

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
                raise Unreachable(
                    "broker closed the connection instead of accepting it",
                    where=self._where,
                    next_step=CLOSED_BY_TLS if self._config.tls else None,
                )
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

    async def close(self) -> None:
        """Take leave; what is not stored stays unacknowledged. Whatever happens, the socket is closed."""
        connection = self._client._connection  # gmqtt has no way to abort
        try:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await self._acknowledgements_taken()
                    self._client.on_disconnect = _nothing
                    await self._client.disconnect()
        finally:
            if connection is not None:
                connection._transport.abort()
            self._settle_all()

    async def _acknowledgements_taken(self) -> None:
        """A socket that is closed with unread data resets the link, and the broker then forgets our last PUBACKs."""
        self._is_closed = True
        if self._is_held:
            self._client._connection._transport.resume_reading()
        while self._pings and not self._lost.is_set():
            self._changed.clear()
            await self._changed.wait()

    def _settle_all(self) -> None:
        """Take nothing any more; the broker keeps what it has no answer for."""
        self._is_closed = True
        self._unacknowledged.clear()

    def _on_disconnect(self, _client: Any, _packet: Any, _error: Any = None) -> None:
        self._lost.set()
        self._changed.set()

    def _seen(self, handle: Callable[[int, bytes], None]) -> Callable[[int, bytes], None]:
        """Remember each packet, so that the one that breaks the protocol can be kept."""

        def remember(command: int, packet: bytes) -> None:
            self._packet = bytes([command]) + length_bytes(len(packet)) + packet[:FRAME_BYTES_MAX]
            handle(command, packet)

        return remember

    def _violated(self, what: str) -> None:
        if self._failure is None:
            self._failure = ProtocolViolation(
                "broker sent what is not MQTT", where=self._where, got=what[:200], frame=self._packet
            )
        self._violation.set()
        self._changed.set()

    # -- data ---------------------------------------------------------------------------------------------------------

    def _on_connect(self, client: Any, is_session_present: int, _code: int, _properties: Any) -> None:
        self._is_session_present = bool(is_session_present)
        client._connection._send_ping_request = (
            self._ping
        )  # gmqtt's own signs of life are answered in one line with ours

    def _on_message(self, _client: Any, topic: str | bytes, payload: bytes, _qos: int, _properties: Any) -> None:
        """A PUBLISH with QoS 0."""
        self._receive(_Message(self._numbers.next(), topic, bytes(payload), None, False))

    def _on_publish(self, mid: int, payload: bytes, topic: str | bytes, properties: dict[str, Any]) -> None:
        """A PUBLISH with QoS 1, in place of gmqtt's method."""
        self._receive(_Message(self._numbers.next(), topic, bytes(payload), mid, bool(properties["dup"])))

    def _receive(self, message: _Message) -> None:
        if self._is_closed:
            return
        self._inbox.append(message)
        self._inbox_bytes += len(message.payload)
        self._changed.set()
        if len(self._inbox) >= INBOX_MESSAGES_MAX or self._inbox_bytes >= INBOX_BYTES_MAX:
            self._hold()

    def _hold(self) -> None:
        """Do not read the socket: the back-pressure reaches the broker."""
        self._is_held = True
        self._client._connection._transport.pause_reading()

    def _release(self) -> None:
        if self._is_held and len(self._inbox) < INBOX_MESSAGES_MAX // 2 and self._inbox_bytes < INBOX_BYTES_MAX // 2:
            self._is_held = False
            with suppress(RuntimeError):
                self._client._connection._transport.resume_reading()

    async def stream(self, tags: Sequence[Tag], resume: Position | None) -> AsyncGenerator[Batch, None]:
        """Batches as messages come. The broker knows what it has no PUBACK for, `resume` what of that is stored.

        Raises Unreachable when the link is lost, ProtocolViolation for what is not MQTT.
        """
        router = Router(self._config, tags)
        self._window.resume(resume, is_session_present=self._is_session_present)
        asked = self._subscribe(router)
        while True:
            if not self._inbox and not self._lost.is_set() and self._failure is None:
                await self._change(is_answer_due=bool(asked))
            refused = self._answers(asked, router)
            if refused:
                yield Batch([Sample(key, None, BAD_NOT_READABLE) for key in refused])
            for batch in router.batches(self._take()):
                yield self._with_window(batch)
            if self._failure is not None:
                raise self._failure
            if self._lost.is_set() and not self._inbox:
                raise Unreachable("broker closed the connection, or it broke", where=self._where)

    def _take(self) -> list[tuple[str | bytes, bytes, Position]]:
        """Some of what was received. After a loss only what the broker will not send again."""
        taken: list[tuple[str | bytes, bytes, Position]] = []
        while self._inbox and len(taken) < BATCH_MESSAGES_MAX:
            message = self._inbox.popleft()
            self._inbox_bytes -= len(message.payload)
            if message.mid is None or (not self._lost.is_set() and not self._is_stored(message, message.mid)):
                taken.append((message.topic, message.payload, Position(str(message.number).encode())))
        self._release()
        return taken

    def _is_stored(self, message: _Message, mid: int) -> bool:
        mark = digest(message.topic, message.payload)
        is_stored = self._window.is_repeat(message.number, mid, mark, is_duplicate=message.is_duplicate)
        self._unacknowledged.append(_Taken(message.number, mid, is_stored))
        self._acknowledge(self._acknowledged)
        return is_stored

    def _with_window(self, batch: Batch) -> Batch:
        """The router knows running numbers only."""
        if batch.position is None:
            return batch
        return replace(batch, position=Position(self._window.position(int(batch.position))))

    async def ack(self, up_to: Position) -> None:
        """Everything up to here is stored: PUBACK, and a PINGREQ whose answer shows that it was taken."""
        position = StoredPosition.decode(up_to)
        if position is not None:
            self._acknowledge(position.number)

    def _acknowledge(self, number: int) -> None:
        """PUBACK in the order of receipt (MQTT 3.1.1, 4.6): up to `number`, and repeats that follow at once."""
        is_sent = False
        while self._unacknowledged and not self._lost.is_set():
            first = self._unacknowledged[0]
            if first.number > number and not first.is_stored:
                break
            self._unacknowledged.popleft()
            self._client._package_handler._send_puback(first.mid)
            self._acknowledged = first.number
            is_sent = True
        if is_sent and not self._pings:
            self._ping()

    def _ping(self) -> None:
        """PINGREQ; what is acknowledged by now is taken when it is answered."""
        self._pings.append(self._acknowledged)
        self._client._connection._protocol.send_ping_request()

    def _on_pong(self, _command: int, _packet: bytes) -> None:
        """PINGRESP, in place of gmqtt's method. One more when something was acknowledged since."""
        if not self._pings:
            return
        confirmed = self._pings.popleft()
        self._window.confirm(confirmed)
        self._changed.set()
        if self._acknowledged > confirmed and not self._pings and not self._lost.is_set():
            self._ping()

    # -- subscriptions ------------------------------------------------------------------------------------------------

    def _subscribe(self, router: Router) -> dict[int, list[str]]:
        """Ask for all; what was asked for, by packet number. The answers come behind what the broker has kept for us,
        so they cannot be waited for while nobody takes that."""
        import gmqtt

        filters = router.filters()
        asked: dict[int, list[str]] = {}
        for first in range(0, len(filters), SUBSCRIBE_TOPICS):
            part = filters[first : first + SUBSCRIBE_TOPICS]
            options = {"retain_handling_options": 1} if self._config.version == "5" else {}  # reserved bits before 5
            subscriptions = [gmqtt.Subscription(pattern, qos=self._config.qos, **options) for pattern in part]
            asked[self._client.subscribe(subscriptions)] = part
        return asked

    async def _change(self, *, is_answer_due: bool) -> None:
        """Something was received, or the link is lost. Raises Unreachable when a due answer does not come."""
        self._changed.clear()
        try:
            async with asyncio.timeout(self._config.connect_timeout if is_answer_due else None):
                await self._changed.wait()
        except TimeoutError as error:
            raise Unreachable("broker did not answer a subscription in time", where=self._where) from error

    def _answers(self, asked: dict[int, list[str]], router: Router) -> list[str]:
        """Strike out what was answered; the keys of tags that the broker does not let us read."""
        refused: list[str] = []
        for mid in [mid for mid in asked if mid in self._granted]:
            for pattern, granted in zip(asked.pop(mid), self._granted.pop(mid), strict=False):
                if granted >= REFUSED_SUBSCRIPTION:
                    self._tools.log.warning("broker refuses a subscription", filter=pattern, code=granted)
                    refused += router.keys(pattern)
        return refused

    def _on_subscribe(self, _client: Any, mid: int, granted: Sequence[int], _properties: Any) -> None:
        self._granted[mid] = granted
        self._changed.set()


def length_bytes(count: int) -> bytes:
    """The remaining length of a packet as it goes over the wire (MQTT 3.1.1, 2.2.3)."""
    found = bytearray()
    while True:
        count, digit = divmod(count, 128)
        found.append(digit | (0x80 if count else 0))
        if not count:
            return bytes(found)


def _nothing(*_arguments: object) -> None:
    """Nobody listens any more."""


@asynccontextmanager
async def open_broker(config: MqttConfig, tools: ConnectorTools, numbers: Numbers) -> AsyncIterator[BrokerSession]:
    """Connect to the broker. Raises Unreachable, AuthError, ConfigError."""
    secret = await asyncio.to_thread(config.secret.resolve) if config.secret is not None else None
    files = TlsFiles(config.ca_file, config.certificate, config.key, config.crl_file)
    context = await asyncio.to_thread(client_context, files) if config.tls else None
    session = BrokerSession(config, tools, numbers)
    try:
        await session.connect(secret, context)
        yield session
    finally:
        await session.close()
