"""One connection with a broker: what comes in, what goes out, and what its loss means.

gmqtt is only here, and what it raises is translated here. It keeps packet identifiers to itself and sends PUBACK by
itself, so the one method of its that takes a QoS 1 PUBLISH is replaced: the caller may acknowledge by hand.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from millstream.kernel import AuthError, PlantError, ProtocolViolation, Unreachable, needs_extra
from millstream.mqtt._client import Notes, Outbox, length_bytes, nothing, to_message
from millstream.mqtt._config import BrokerConfig
from millstream.protocols.mqtt_publish import Publish
from millstream.sdk import TlsFiles, client_context, tls_fault

INBOX_MESSAGES_MAX = 2_000  # received, not yet taken; then the socket is not read
INBOX_BYTES_MAX = 4 * 1024 * 1024
SUBSCRIBE_TOPICS = 100  # of one SUBSCRIBE
FRAME_BYTES_MAX = 1 << 16  # of a packet that is no MQTT
CLOSE_TIMEOUT_S = 2.0
NEVER_RECONNECT = -2  # gmqtt: -1 means for ever, and 0 still tries once
CLOSED_BY_TLS = (  # with TLS 1.3 the reason comes after the handshake, and the closing of the socket may overtake it
    "read the broker's log; one that wants or refuses a client certificate closes like this: certificate, key"
)
CONNACK, DISCONNECT = 0x20, 0xE0
PUBACK = b"\x40\x02"  # without a reason code it is success, also in MQTT 5 (3.4.2.1)
REFUSED_SUBSCRIPTION = 0x80  # MQTT 3.1.1, 3.9.3; with MQTT 5 every code from here on
_AUTH_CODES = frozenset({4, 5, 134, 135, 138, 140})  # CONNACK of 3.1.1 (3.2.2.3) and 5.0 (3.2.2.2)


class Incoming(NamedTuple):
    """One message. The topic is bytes when it is no UTF-8."""

    topic: str | bytes
    payload: bytes
    is_retained: bool = False
    mid: int | None = None
    """The broker's packet identifier; None with QoS 0."""
    is_duplicate: bool = False


@dataclass(frozen=True, slots=True)
class Session:
    """What a connection asks for beside the login. `acknowledges`: QoS 1 at once, else by `acknowledge`. Only MQTT 5
    has `expiry_s` (how long a session that is not clean is kept) and `in_flight_max` (unacknowledged messages)."""

    extra: str = "mqtt"
    """The extra of this project that brings the client library."""
    is_clean: bool = True
    acknowledges: bool = True
    will: Publish | None = None
    expiry_s: int | None = None
    in_flight_max: int | None = None


class BrokerLink:
    """Connect once, close once."""

    def __init__(self, config: BrokerConfig, session: Session) -> None:
        self._config = config
        self._session = session
        self._where = f"{config.host}:{config.port}"
        self._inbox: deque[Incoming] = deque()
        self.inbox_bytes = 0
        """Payload of the messages that came and are not taken."""
        self._changed = asyncio.Event()
        self._lost = asyncio.Event()
        self._violation = asyncio.Event()
        self._failure: PlantError | None = None
        self._packet = b""  # the one that gmqtt looks at now
        self._asked: dict[int, Sequence[str]] = {}
        self._refused: list[tuple[str, int]] = []
        self._is_closed = self._is_greeted = False
        self._outbox = Outbox(self._on_taken)
        self.pings_count = 0
        """PINGREQs sent so far, the client library's own signs of life among them."""
        self.pongs_count = 0
        """How many of them are answered: packets are taken in order, so what was sent before is taken too."""
        self.on_pong: Callable[[], None] = nothing
        self.on_taken: Callable[[int], None] = nothing
        """Told the packet identifier of each message with QoS 1 that the broker has acknowledged."""
        self.is_held = False
        """The socket is not read until something is taken: the back-pressure reaches the broker."""
        self.is_session_present = False
        """The broker knew this client's session (MQTT 3.1.1, 3.2.2.2)."""
        self._client = self._make_client()

    def _make_client(self) -> Any:
        session = self._session
        with needs_extra("MQTT", session.extra):
            import gmqtt
        log = logging.Logger("gmqtt", logging.ERROR)
        log.addHandler(Notes(self._violated))
        logging.getLogger("gmqtt.mqtt.protocol").setLevel(logging.CRITICAL)  # warns of each answer to a closed socket
        asked = {"receive_maximum": session.in_flight_max, "session_expiry_interval": session.expiry_s}
        is_new = self._config.version == "5"
        client = gmqtt.Client(
            self._config.client_id,
            clean_session=session.is_clean,
            optimistic_acknowledgement=False,
            will_message=to_message(session.will) if session.will is not None else None,
            persistent_storage=self._outbox,
            logger=log,
            **{name: value for name, value in asked.items() if is_new and value is not None},
        )
        client.set_config({"reconnect_retries": NEVER_RECONNECT})
        client.on_message = self._on_message
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        handler = client._package_handler
        handler._handle_qos_1_publish_packet = self._on_publish
        handler._handle_pingresp_packet = self._on_pong
        handler._handle_packet = self._seen(handler._handle_packet)
        return client

    # -- connection ---------------------------------------------------------------------------------------------------

    async def connect(self) -> None:
        """Connect. Raises Unreachable, AuthError, ConfigError (a secret or certificate file that cannot be read)."""
        config = self._config
        password = await asyncio.to_thread(config.secret.resolve) if config.secret is not None else None
        files = TlsFiles(config.ca_file, config.certificate, config.key, config.crl_file)
        context = await asyncio.to_thread(client_context, files) if config.tls else None
        if config.user is not None:
            self._client.set_auth_credentials(config.user, password)
        await self._connect(context)

    async def _connect(self, context: ssl.SSLContext | None) -> None:
        from gmqtt.mqtt.constants import MQTTv50, MQTTv311

        config = self._config
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
            raise self._no_answer()
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

    def _no_answer(self) -> PlantError:
        """Why there is no CONNACK."""
        if self._failure is not None:
            return self._failure
        reason = self._loss()
        if reason is not None and (fault := tls_fault(reason, self._where)) is not None:
            fault.__cause__ = reason
            return fault
        if self._lost.is_set():
            return Unreachable(
                "broker closed the connection instead of accepting it",
                where=self._where,
                next_step=CLOSED_BY_TLS if self._config.tls else None,
            )
        return Unreachable(
            "broker did not answer in time", where=self._where, expected=f"{self._config.connect_timeout:g}s"
        )

    def _loss(self) -> BaseException | None:
        """Why the socket was closed: gmqtt tells it to its log only, but asyncio's protocol keeps it."""
        connection = self._client._connection
        closed: asyncio.Future[None] | None = connection._protocol._closed if connection is not None else None
        return closed.exception() if closed is not None and closed.done() else None

    async def close(self, farewell: Publish | None = None) -> None:
        """Say farewell, wait until the broker has taken all, DISCONNECT. Whatever happens, the socket is closed."""
        self._is_closed = True
        connection = self._client._connection  # gmqtt has no way to abort
        try:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    if connection is not None:
                        await self._all_taken(farewell)
                    self._client.on_disconnect = nothing
                    await self._client.disconnect()
        finally:
            if connection is not None:
                connection._transport.abort()

    async def _all_taken(self, farewell: Publish | None) -> None:
        """A socket that is closed with unread data resets the link, and the broker forgets the last that we sent."""
        if self.is_held:
            self._client._connection._transport.resume_reading()
        if farewell is not None:
            self.publish(farewell)
        while not self.is_over and (self.pongs_count < self.pings_count or not self._outbox.is_taken):
            self._changed.clear()
            await self._changed.wait()

    def _on_connect(self, client: Any, is_session_present: int, _code: int, _properties: Any) -> None:
        self.is_session_present = bool(is_session_present)
        client._connection._send_ping_request = self.ping  # gmqtt's own signs of life are counted with ours

    def _on_disconnect(self, _client: Any, _packet: Any, _error: Any = None) -> None:
        self._lost.set()
        self._changed.set()

    def _seen(self, handle: Callable[[int, bytes], None]) -> Callable[[int, bytes], None]:
        """Remember each packet, so that the one that breaks the protocol can be kept."""

        def remember(command: int, packet: bytes) -> None:
            self._packet = bytes([command]) + length_bytes(len(packet)) + packet[:FRAME_BYTES_MAX]
            if not self._is_greeted and command & 0xF0 not in (CONNACK, DISCONNECT):  # gmqtt's word for a lost link
                self._violated("the first packet is no CONNACK")  # MQTT 3.1.1, 3.2
                return
            self._is_greeted = True
            handle(command, packet)

        return remember

    def _violated(self, what: str) -> None:
        if self._failure is None:
            self._failure = ProtocolViolation(
                "broker sent what is not MQTT", where=self._where, got=what[:200], frame=self._packet
            )
        self._violation.set()
        self._changed.set()

    @property
    def is_lost(self) -> bool:
        """The socket is closed."""
        return self._lost.is_set()

    @property
    def is_over(self) -> bool:
        """The socket is closed, or the broker sent what is no MQTT: nothing is to be sent any more."""
        return self._lost.is_set() or self._failure is not None

    def check(self) -> None:
        """Raises Unreachable when the link is lost and nothing is left of it, ProtocolViolation for what is no MQTT."""
        if self._failure is not None:
            raise self._failure
        if self._lost.is_set() and not self._inbox:
            raise Unreachable("broker closed the connection, or it broke", where=self._where)

    def ping(self) -> None:
        """PINGREQ; once it is answered, all that was sent before is taken."""
        self.pings_count += 1
        self._client._connection._protocol.send_ping_request()

    def _on_pong(self, _command: int, _packet: bytes) -> None:
        """PINGRESP, in place of gmqtt's method."""
        self.pongs_count += 1
        self._changed.set()
        self.on_pong()

    async def confirm(self) -> bool:
        """True once the broker has taken all that was sent before; False when the link is lost."""
        if self.is_over:
            return False
        self.ping()
        wanted = self.pings_count
        while self.pongs_count < wanted and not self.is_over:
            self._changed.clear()
            await self._changed.wait()
        return self.pongs_count >= wanted

    # -- in -----------------------------------------------------------------------------------------------------------

    def _on_message(self, _client: Any, topic: str | bytes, payload: bytes, _qos: int, notes: dict[str, Any]) -> None:
        """A PUBLISH with QoS 0."""
        self._receive(Incoming(topic, bytes(payload), bool(notes.get("retain"))))

    def _on_publish(self, mid: int, payload: bytes, topic: str | bytes, notes: dict[str, Any]) -> None:
        """A PUBLISH with QoS 1, in place of gmqtt's method."""
        self._receive(Incoming(topic, bytes(payload), bool(notes.get("retain")), mid, bool(notes["dup"])))
        if self._session.acknowledges:
            self.acknowledge(mid)

    def _receive(self, message: Incoming) -> None:
        if self._is_closed:
            return
        self._inbox.append(message)
        self.inbox_bytes += len(message.payload)
        self._changed.set()
        if len(self._inbox) >= INBOX_MESSAGES_MAX or self.inbox_bytes >= INBOX_BYTES_MAX:
            self.is_held = True
            self._client._connection._transport.pause_reading()  # each time: asyncio's reader resumes for itself

    def take(self, count: int) -> list[Incoming]:
        """At most so many of the messages that came, oldest first."""
        found: list[Incoming] = []
        while self._inbox and len(found) < count:
            found.append(self._inbox.popleft())
            self.inbox_bytes -= len(found[-1].payload)
        if self.is_held and len(self._inbox) < INBOX_MESSAGES_MAX // 2 and self.inbox_bytes < INBOX_BYTES_MAX // 2:
            self.is_held = False
            with suppress(RuntimeError):
                self._client._connection._transport.resume_reading()
        return found

    @property
    def inbox_count(self) -> int:
        """Messages that came and are not taken."""
        return len(self._inbox)

    def acknowledge(self, *mids: int) -> None:
        """PUBACK of each, in one write. In the order of receipt, as MQTT 3.1.1, 4.6 wants it."""
        self._client._connection._protocol.write_data(b"".join(PUBACK + mid.to_bytes(2, "big") for mid in mids))

    async def ended(self) -> None:
        """Until nothing is to be sent any more."""
        while not self.is_over:
            self._changed.clear()
            await self._changed.wait()

    async def wait(self, timeout_s: float | None) -> bool:
        """Until something comes, the link changes, or the time is over; then False."""
        if self._inbox or self.is_over:
            return True
        self._changed.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True

    # -- subscriptions ------------------------------------------------------------------------------------------------

    def subscribe(self, filters: Sequence[str], *, qos: int = 1, is_new_only: bool = False) -> None:
        """Ask for topics. `is_new_only` (MQTT 5): retained messages only where the subscription is new."""
        import gmqtt

        # Where MQTT 5 has this option, older versions have reserved bits.
        options = {"retain_handling_options": 1} if is_new_only and self._config.version == "5" else {}
        for first in range(0, len(filters), SUBSCRIBE_TOPICS):
            part = filters[first : first + SUBSCRIBE_TOPICS]
            mid = self._client.subscribe([gmqtt.Subscription(each, qos=qos, **options) for each in part])
            self._asked[mid] = part

    @property
    def is_subscribed(self) -> bool:
        """The broker has answered all that was asked for. Its answers come behind what it has kept for us."""
        return not self._asked

    def _on_subscribe(self, _client: Any, mid: int, granted: Sequence[int], _properties: Any) -> None:
        for each, code in zip(self._asked.pop(mid, ()), granted, strict=False):
            if code >= REFUSED_SUBSCRIPTION:
                self._refused.append((each, code))
        self._changed.set()

    def take_refused(self) -> list[tuple[str, int]]:
        """Filters that the broker did not grant since the last call, with the code of its answer."""
        refused, self._refused = self._refused, []
        return refused

    # -- out ----------------------------------------------------------------------------------------------------------

    def publish(self, message: Publish) -> int | None:
        """Send; nothing happens when the link is lost. The packet identifier of a message with QoS 1."""
        if self.is_over:
            return None
        self._client.publish(to_message(message))
        return self._outbox.newest_mid if message.qos else None

    def _on_taken(self, mid: int) -> None:
        """PUBACK."""
        self._changed.set()
        self.on_taken(mid)
