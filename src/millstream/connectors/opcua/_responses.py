"""The three responses that carry data: Publish, Read, HistoryRead (OPC 10000-4, 5.13.5, 5.10.2, 5.10.3)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from millstream.connectors.opcua._binary import BinaryReader, DataValue, ExtensionReader
from millstream.kernel import DecodeError, ProtocolViolation
from millstream.model import Value

FRAME_BYTES_MAX = 65_536  # of a broken response, kept for the dead-letter stream
_SERVICE_FAULT = 397
_PUBLISH_RESPONSE = 829
_READ_RESPONSE = 634
_HISTORY_READ_RESPONSE = 667
_DATA_CHANGE = 811
_STATUS_CHANGE = 820
_HISTORY_DATA = 658
_HISTORY_EVENT = 661
_EVENTS = 916
T = TypeVar("T")


@dataclass(slots=True)
class Notifications:
    """One Publish response. `values` are (client handle, value) in the server's order, `events` (handle, fields).

    `sequence` numbers the message; one without values is a keep-alive, which announces the next message's number.
    """

    subscription_id: int
    sequence: int
    is_keep_alive: bool
    values: list[tuple[int, DataValue]]
    events: list[tuple[int, list[Value | None]]] = field(default_factory=list)
    status_change: int | None = None
    flawed: list[tuple[bytes, str]] = field(default_factory=list)


@dataclass(slots=True)
class HistoryPage:
    """The history of one node: values, or the fields of events, and where to go on (b"" at the end)."""

    status: int
    values: list[DataValue]
    continuation: bytes
    events: list[list[Value | None]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ServiceFault:
    """The server refused the whole request."""

    status: int


@dataclass(frozen=True, slots=True)
class ResponseReader:
    """Knows the server's namespaces and structures."""

    namespaces: Sequence[str] = ()
    extension: ExtensionReader | None = None

    def publish(self, data: bytes) -> Notifications | ServiceFault:
        """A Publish response. Raises ProtocolViolation with the frame."""
        return self._read(data, _PUBLISH_RESPONSE, _notifications)

    def values(self, data: bytes) -> list[DataValue] | ServiceFault:
        """A Read response: one value a node asked for."""
        return self._read(data, _READ_RESPONSE, _values)

    def history(self, data: bytes) -> list[HistoryPage] | ServiceFault:
        """A HistoryRead response: one page a node asked for."""
        return self._read(data, _HISTORY_READ_RESPONSE, _pages)

    def _read(self, data: bytes, expected: int, read: Callable[[BinaryReader], T]) -> T | ServiceFault:
        reader = BinaryReader(data, self.namespaces, self.extension)
        try:
            kind = reader.node_id()[1]
            status = _header(reader)
            if kind == _SERVICE_FAULT or status >> 31:
                return ServiceFault(status)
            if kind != expected:
                raise DecodeError("not the response to the request", expected=str(expected), got=str(kind))
            return read(reader)
        except (DecodeError, struct.error, IndexError, ValueError, RecursionError) as error:
            reason = str(error) if isinstance(error, DecodeError) else "the message ends too early"
            raise ProtocolViolation(
                f"response cannot be read: {reason}",
                where=f"byte {reader.at} of {len(data)}",
                frame=data[:FRAME_BYTES_MAX],
            ) from error


def _header(reader: BinaryReader) -> int:
    reader.at += 12  # timestamp and request handle
    status = reader.u32()
    reader.diagnostics()
    for _ in range(reader.length()):
        reader.raw()
    reader.extension()
    return status


def _notifications(reader: BinaryReader) -> Notifications:
    subscription_id = reader.u32()
    held = reader.length()
    reader.at += 4 * held + 1  # the sequence numbers that the server still holds; more notifications
    sequence = reader.u32()
    reader.at += 8
    parts = reader.length()
    found = Notifications(subscription_id, sequence, parts == 0, [])
    for _ in range(parts):
        kind, end = reader.skip_extension()
        if kind == _DATA_CHANGE:
            found.values += [(reader.u32(), reader.data_value()) for _ in range(reader.length())]
        elif kind == _EVENTS:
            found.events += [(reader.u32(), reader.fields()) for _ in range(reader.length())]
        elif kind == _STATUS_CHANGE:
            found.status_change = reader.u32()
        reader.at = end
    found.flawed = reader.flawed
    return found


def _values(reader: BinaryReader) -> list[DataValue]:
    return [reader.data_value() for _ in range(reader.length())]


def _pages(reader: BinaryReader) -> list[HistoryPage]:
    pages = []
    for _ in range(reader.length()):
        status, continuation = reader.u32(), reader.raw()
        kind, end = reader.skip_extension()
        page = HistoryPage(status, [], continuation)
        if kind == _HISTORY_DATA and end > reader.at:
            page.values = _values(reader)
        elif kind == _HISTORY_EVENT and end > reader.at:
            page.events = [reader.fields() for _ in range(reader.length())]
        reader.at = end
        pages.append(page)
    return pages
