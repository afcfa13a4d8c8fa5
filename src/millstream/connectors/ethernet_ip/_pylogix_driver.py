"""pylogix: tags by name, without knowing them beforehand.

The library batches what it has read before, guesses what the rest is with one request a tag, and decodes a batch as if
each value were a plain number. So the planning is here: each tag rides in a batch at first, declared as large as a
string, its answer says what it is, and what the library would decode wrongly in a batch is asked for alone.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from pylogix import PLC
from pylogix.lgx_comm import Connection
from pylogix.lgx_response import cip_error_codes

from millstream.connectors.ethernet_ip._config import EtherNetIpConfig
from millstream.connectors.ethernet_ip._driver import Reading
from millstream.connectors.ethernet_ip._faults import (
    BAD_NOT_WRITABLE,
    CONNECTION_FAILURE,
    CONNECTION_LOST,
    EMBEDDED_ERROR,
    PARTIAL,
    SERVICE_UNSUPPORTED,
    MessageRefused,
    fault,
    no_tag_list,
    refused,
)
from millstream.connectors.ethernet_ip._frames import FrameReader, reply_status
from millstream.kernel import Clock, PlantError
from millstream.model import BAD_DECODING_ERROR, BAD_TYPE_MISMATCH, GOOD, Quality, Value
from millstream.protocols.cip_address import TagAddress, writable_value
from millstream.protocols.cip_identity import READ_STATUS
from millstream.sdk import NodeInfo

T = TypeVar("T")
STRUCTURE, BOOLEANS = 0xA0, 0xD3  # the second: 32 booleans of an array in one DWORD
UNSEEN = (STRUCTURE, 88)  # a tag of unknown type, thought as large as a STRING when a batch is filled
TYPES = {
    0xC1: "BOOL", 0xC2: "SINT", 0xC3: "INT", 0xC4: "DINT", 0xC5: "LINT", 0xC6: "USINT", 0xC7: "UINT", 0xC8: "UDINT",
    0xC9: "ULINT", 0xCA: "REAL", 0xCB: "LREAL", 0xD1: "BYTE", BOOLEANS: "BOOL", 0xDF: "LTIME",
}  # fmt: skip
MULTIPLE_SERVICES = 0x0A
BEYOND = 0xFF  # general status, mostly: no such element
SHORT_STRINGS = (0xD0, 0xDA)  # a batch gives their length instead of their text
FRAMES_COUNT_MIN, FRAMES_PER_TAG = 64, 64  # of one call; a list of 10,000 elements of 8 bytes takes 166
FRAMES_PER_UPLOAD = 20_000

_STATUSES: dict[str, int] = {words: status for status, words in cip_error_codes.items()}
_UNKNOWN_STATUS = re.compile(r"Unknown error (\d+)\Z")


class _BatchRefused(Exception):
    """The device does not take this Multiple Service Packet; `status` says why."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class _Senseless(Exception):
    """The library cannot read an answer."""


class CheckedConnection(Connection):  # type: ignore[misc]  # untyped library
    """The library's connection, reading whole frames."""

    def __init__(self, plc: Any, reader: FrameReader) -> None:
        super().__init__(plc)
        self.reader = reader

    def receive_data(self) -> bytes:
        """The next whole frame. Raises Unreachable, ProtocolViolation, where the library's gives None."""
        return self.reader.read(self.Socket)

    def send(self, request: bytes, connected: bool = True, slot: int | None = None) -> tuple[int, bytes]:
        """The reply's status and its frame. Raises Unreachable, ProtocolViolation, _BatchRefused."""
        status, frame = super().send(request, connected, slot)
        if connected and status in (CONNECTION_FAILURE, CONNECTION_LOST):
            raise self.reader.lost(f"device has dropped the connection: status 0x{status:02X}")
        if request[0] == MULTIPLE_SERVICES and status not in (0, EMBEDDED_ERROR):
            raise _BatchRefused(status)
        return status, frame


class PylogixDriver:
    """One connection. See `Driver`."""

    def __init__(self, config: EtherNetIpConfig, address: str, clock: Clock) -> None:
        self._config = config
        self._reader = FrameReader(f"{config.host}:{config.port}", config.timeout, clock)
        self._plc = PLC(address, slot=config.slot, port=config.port, Micro800=config.micro800)
        _close_unused(self._plc.conn)
        self._plc.conn = CheckedConnection(self._plc, self._reader)
        _close_unused(self._plc.conn)
        self._plc.StringEncoding = "latin-1"  # gives each byte as it is; what they mean is decided here
        self._plc.Route = config.hops() if config.route else None
        if config.connection_size:
            self._plc.conn.ConnectionSize = config.connection_size
        self._has_batches = not config.micro800
        self._alone: set[str] = set()
        self._structures: set[str] = set()
        self._is_sound = False
        self._is_over = False

    def open(self) -> None:
        """Connect: TCP, session, and a CIP connection over the route."""
        self._plc.SocketTimeout = self._config.connect_timeout
        try:
            is_open, reason = self._call(self._plc.conn.connect, 1)
        except _Senseless as error:
            raise self._reader.broken(f"answer cannot be read: {error}", self._reader.last_frame) from error
        if isinstance(reason, OSError):
            raise self._reader.lost(f"device cannot be reached: {reason.strerror or reason}") from reason
        if not is_open:
            status, extended = reply_status(self._reader.last_frame)
            route = "/".join(f"{port}/{link}" for port, link in self._config.hops())
            raise refused(self._reader.where, route, status, extended)
        self._plc.SocketTimeout = self._config.timeout
        self._is_sound = True

    def read(self, addresses: Sequence[TagAddress]) -> list[Reading]:
        """Batches first, then one by one what does not fit in any."""
        readings: list[Reading | None] = [None] * len(addresses)
        if self._has_batches:
            batch = [i for i, address in enumerate(addresses) if self._may_batch(address)]
            for index, reading in zip(batch, self._read_batch([addresses[i] for i in batch]), strict=True):
                readings[index] = reading
        return [
            self._read_alone(address) if reading is None else reading
            for address, reading in zip(addresses, readings, strict=True)
        ]

    def _may_batch(self, address: TagAddress) -> bool:
        return address.count is None and address.base not in self._alone and address.base not in self._structures

    def _read_batch(self, addresses: Sequence[TagAddress]) -> list[Reading | None]:
        """None for each that has to be asked for alone."""
        if not addresses:
            return []
        unseen = {address.base for address in addresses if address.base not in self._plc.KnownTags}
        self._plc.KnownTags.update(dict.fromkeys(unseen, UNSEEN))
        names = [address.name for address in addresses]
        if len(names) == 1:
            names *= 2  # a list of one is no batch to the library, and would be decoded as the type that it had once
        try:
            responses = self._call(lambda: self._plc.Read(names), len(names))
        except _BatchRefused as refusal:
            self._has_batches = refusal.status != SERVICE_UNSUPPORTED
            return [None] * len(addresses)
        except _Senseless:
            return [None] * len(addresses)  # one of them spoils the batch; alone it spoils only itself
        if len(responses) != len(names):
            return [None] * len(addresses)
        pairs = zip(addresses, responses[: len(addresses)], strict=True)
        return [self._batched(address, response, address.base in unseen) for address, response in pairs]

    def _batched(self, address: TagAddress, response: Any, is_new: bool) -> Reading | None:
        status = _status(response)
        if status == PARTIAL:
            self._alone.add(address.base)
            return None
        if is_new and max(address.indices, default=0) and (status == BEYOND or self._is_packed(address)):
            return None  # asked for as a number of its own; of packed booleans that is another word, or beyond the end
        if status:
            return None, fault(status)[0]
        code = self._plc.KnownTags[address.base][0]
        if code in SHORT_STRINGS:
            self._alone.add(address.base)
            return None
        return self._reading(address, response.Value)

    def _is_packed(self, address: TagAddress) -> bool:
        return bool(self._plc.KnownTags[address.base][0] == BOOLEANS)

    def _read_alone(self, address: TagAddress) -> Reading:
        if address.base in self._structures:
            return None, BAD_TYPE_MISMATCH
        if self._plc.KnownTags.get(address.base) == UNSEEN:
            del self._plc.KnownTags[address.base]
        try:
            response = self._call(lambda: self._plc.Read(address.name, address.count or 1), 1)
            if self._is_stale(address, _status(response)):
                self._plc.KnownTags.pop(address.base, None)
                response = self._call(lambda: self._plc.Read(address.name, address.count or 1), 1)
        except _Senseless:
            self._plc.KnownTags.pop(address.base, None)
            return None, BAD_DECODING_ERROR
        status = _status(response)
        if status:
            return None, fault(status)[0]
        return self._reading(address, response.Value)

    def _is_stale(self, address: TagAddress, status: int) -> bool:
        """The tag has another type than when it was read first: the library has decoded it as what it was."""
        frame, known = self._reader.last_frame, self._plc.KnownTags.get(address.base)
        is_read = status == 0 and len(frame) > 50 and frame[46] in (0xCC, 0xD2)
        return is_read and known is not None and known[0] != frame[50]

    def _reading(self, address: TagAddress, value: Any) -> Reading:
        if isinstance(value, bytes) or (isinstance(value, list) and any(isinstance(item, bytes) for item in value)):
            self._structures.add(address.base)
            return None, BAD_TYPE_MISMATCH
        if address.count is not None:
            value = value if isinstance(value, list) else [value]
            if len(value) != address.count:
                return None, BAD_DECODING_ERROR
        if value is None or isinstance(value, list) != (address.count is not None):
            return None, BAD_DECODING_ERROR
        try:
            return _texts(value), GOOD
        except UnicodeDecodeError:
            return None, BAD_DECODING_ERROR

    def write(self, address: TagAddress, value: Value) -> tuple[Quality, str | None]:
        """Read first: the answer says what type the tag has."""
        reading, quality = self._read_alone(address)
        known = self._plc.KnownTags.get(address.base)
        if quality.is_bad and address.base not in self._structures:
            return quality, "the tag cannot be read, so its type is not known"
        data_type = "STRING" if _is_string(known, reading) else TYPES.get(known[0] if known else -1, "structure")
        if known and known[0] in SHORT_STRINGS:
            return BAD_NOT_WRITABLE, "short strings are not written"
        checked = _latin(writable_value(address, data_type, value))
        try:
            response = self._call(lambda: self._plc.Write(address.name, checked), 1)
        except _Senseless as error:
            return BAD_DECODING_ERROR, f"the answer to the write is none: {error}"
        status = _status(response)
        return fault(status, is_write=True) if status else (GOOD, None)

    def browse(self) -> list[NodeInfo]:
        """Controller and program tags, structures without their members."""
        try:
            response = self._call(self._plc.GetTagList, FRAMES_PER_UPLOAD // FRAMES_PER_TAG)
        except (_Senseless, MessageRefused) as error:
            raise no_tag_list(self._reader.where, str(error)) from error
        status = _status(response)
        if status or response.Value is None:
            raise no_tag_list(self._reader.where, fault(status)[1])
        return [
            NodeInfo(
                address=f"{tag.TagName}[0]{{{tag.Size}}}" if tag.Array == 1 and tag.Size else tag.TagName,
                name=tag.TagName,
                groups=tuple(tag.TagName.split(".")[:1]) if tag.TagName.startswith("Program:") else (),
                data_type=tag.DataType or None,
            )
            for tag in response.Value
        ]

    def status(self) -> int | None:
        """Attribute 5 of the Identity object."""
        try:
            code, frame = self._call(lambda: self._plc.conn.send(READ_STATUS), 1)
        except _Senseless:
            return None
        if code or len(frame) < 52:
            return None
        return int.from_bytes(frame[50:52], "little")

    def close(self) -> None:
        """With a word to the device when the link is sound; a broken one is dropped."""
        if self._is_sound and not self._is_over:
            with contextlib.suppress(PlantError, _Senseless):
                self._call(self._plc.Close, 1)
        self._plc.conn.Socket.close()

    def abort(self) -> None:
        """The socket goes down under the call that waits."""
        self._end()
        self._reader.abort(self._plc.conn.Socket)

    def _call(self, call: Callable[[], T], tags_count: int) -> T:
        """One call of the library: the choke point for what the link does."""
        if self._is_over:
            raise self._reader.lost("connection has ended")  # the library would open another one by itself
        self._reader.frames_left = FRAMES_COUNT_MIN + FRAMES_PER_TAG * tags_count
        self._reader.last_frame = b""
        try:
            return call()
        except PlantError:
            self._end()
            raise
        except OSError as error:
            self._end()
            raise self._reader.lost(f"link is lost: {error.strerror or error}") from error
        except _BatchRefused:
            raise
        except Exception as error:  # its decoders raise what happens to come; a StopIteration would hang the future
            raise _Senseless(f"{error!r:.200}") from error

    def _end(self) -> None:
        self._is_sound, self._is_over = False, True


def _close_unused(connection: Connection) -> None:
    """The library opens two sockets with each connection object, and never closes the second."""
    connection.Socket.close()
    connection.msg_socket.close()


def _status(response: Any) -> int:
    """The library gives a status in words only."""
    words = str(response.Status)
    if words in _STATUSES:
        return _STATUSES[words]
    match = _UNKNOWN_STATUS.match(words)
    return 0xFF if match is None else int(match[1])


def _is_string(known: tuple[int, int] | None, reading: Value | None) -> bool:
    first = reading[0] if isinstance(reading, list) and reading else reading
    return known is not None and known[0] == STRUCTURE and isinstance(first, str)


def _texts(value: Any) -> Value:
    """Text came as one character a byte; what Logix keeps is bytes, which are UTF-8 or plain ASCII here."""
    if isinstance(value, str):
        return value.encode("latin-1").decode("utf-8")
    if isinstance(value, list):
        return [_texts(item) for item in value]
    plain: Value = value
    return plain


def _latin(value: Value) -> Value:
    if isinstance(value, str):
        return value.encode("utf-8").decode("latin-1")
    return [_latin(item) for item in value] if isinstance(value, list) else value
