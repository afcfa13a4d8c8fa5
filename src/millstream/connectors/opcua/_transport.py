"""asyncua's socket protocol with bounds, a reason for each closing, and publish requests without a task."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from asyncua import ua
from asyncua.client.ua_client import UaClient, UASocketProtocol
from asyncua.common.connection import TransportLimits
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import header_from_binary, nodeid_from_binary, struct_from_binary

from millstream.kernel import ProtocolViolation

CHUNK_BYTES_MAX = 1024 * 1024  # servers use 8 to 64 KiB; a header that says more is no OPC UA
_HEADER_BYTES = 8
_MESSAGE_TYPES = {b"ACK", b"ERR", b"OPN", b"MSG", b"CLO"}
_FRAME_BYTES_MAX = 65_536  # of garbage, kept for the dead-letter stream


class GuardedProtocol(UASocketProtocol):
    """Refuses what is no OPC UA at the first bytes, instead of waiting for a length that garbage spells.

    `received_bytes` grows with what arrives: a sign of life that costs nothing. `violation` says why we hung up.
    """

    def __init__(self, timeout: float, security_policy: Any, message_bytes_max: int) -> None:
        limits = TransportLimits(CHUNK_BYTES_MAX, CHUNK_BYTES_MAX, 0, message_bytes_max)
        super().__init__(timeout, security_policy=security_policy, limits=limits)
        self.received_bytes = 0
        self.violation: list[ProtocolViolation] = []
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._unread = bytearray()
        self._message_bytes_max = message_bytes_max

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what waits for an answer."""
        super().connection_lost(exc)
        if not self.closed.done():
            self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Cut the stream into chunks and hand on the whole ones."""
        self.received_bytes += len(data)
        unread = self._unread
        unread += data
        at = 0
        while len(unread) - at >= _HEADER_BYTES and not self.violation:
            size = int.from_bytes(unread[at + 4 : at + 8], "little")
            if bytes(unread[at : at + 3]) not in _MESSAGE_TYPES or not _HEADER_BYTES <= size <= CHUNK_BYTES_MAX:
                self._hang_up("not an OPC UA message", bytes(unread[at : at + _FRAME_BYTES_MAX]))
                return
            if len(unread) - at < size:
                break
            self._chunk(bytes(unread[at : at + size]))
            at += size
        del unread[:at]

    def _chunk(self, data: bytes) -> None:
        try:
            buffer = Buffer(data)
            header = header_from_binary(buffer)
            message = self._connection.receive_from_header_and_body(header, buffer)
            if isinstance(message, ua.Acknowledge):
                self._acknowledged(message)
            if header.MessageType == ua.MessageType.SecureOpen:
                self._channel_opened(message)
            self._process_received_message(message)
        except ua.UaStatusCodeError as error:
            self._fail_all_pending(error)
            self._abort()
        except Exception as error:  # noqa: BLE001 (whatever a parser raises on foreign bytes, it is the peer's fault)
            self._hang_up(f"message cannot be read: {type(error).__name__}: {error}"[:300], data[:_FRAME_BYTES_MAX])

    def _acknowledged(self, message: ua.Acknowledge) -> None:
        # asyncua takes the server's limits on requests for limits on responses, and then refuses long values.
        limits = self._connection._limits
        limits.max_recv_buffer = CHUNK_BYTES_MAX
        limits.max_message_size = self._message_bytes_max
        limits.max_chunk_count = 0
        limits.max_send_buffer = min(message.ReceiveBufferSize or CHUNK_BYTES_MAX, 65_535)

    def _channel_opened(self, message: Any) -> None:
        params: Any = self._open_secure_channel_exchange  # type: ignore[has-type]
        refusal = message.body()
        nodeid_from_binary(refusal)
        struct_from_binary(ua.ResponseHeader, refusal).ServiceResult.check()
        response = struct_from_binary(ua.OpenSecureChannelResponse, message.body())
        self._open_secure_channel_exchange = response
        self._connection.set_channel(response.Parameters, params.RequestType, params.ClientNonce)

    def _hang_up(self, reason: str, frame: bytes) -> None:
        violation = ProtocolViolation(
            f"the OPC UA peer broke its protocol: {reason}",
            expected="OPC UA Binary over TCP",
            got=repr(frame[:24]),
            next_step="check that the endpoint's port belongs to an OPC UA server",
            frame=frame,
        )
        self.violation.append(violation)
        self._fail_all_pending(violation)
        self._abort()

    def _abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def abort(self) -> None:
        """Close at once; nothing more is sent."""
        self._abort()

    def publish(self, acknowledgements: list[ua.SubscriptionAcknowledgement]) -> asyncio.Future[Buffer]:
        """Send one Publish request without a time-out (the server answers when it has something)."""
        request = ua.PublishRequest()
        request.Parameters.SubscriptionAcknowledgements = acknowledgements
        return cast("asyncio.Future[Buffer]", self._send_request(request, 0))


class GuardedClient(UaClient):
    """asyncua's client on the guarded protocol."""

    def __init__(self, timeout: float, message_bytes_max: int) -> None:
        super().__init__(timeout)
        self._message_bytes_max = message_bytes_max

    def _make_protocol(self) -> UASocketProtocol:
        self.protocol = GuardedProtocol(self._timeout, self.security_policy, self._message_bytes_max)
        self.protocol.on_connection_lost = self._on_transport_lost
        self.protocol.is_session_closing = self._is_session_closing
        return self.protocol
