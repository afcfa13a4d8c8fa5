"""A controller of our own, built from the specification's bytes, for what no free simulator gives: Logix strings,
booleans packed in words, structures, a tag list, refused connections, and answers that are wrong on purpose.

It proves that the connector and the libraries read what the documents say (CIP volume 1; 1756-PM020), not what a
controller does.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import struct
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from cases.loopback import Loopback, served

SIZES = {0xC1: 1, 0xC2: 1, 0xC3: 2, 0xC4: 4, 0xC5: 8, 0xCA: 4, 0xD3: 4, 0xD0: 1, 0xD2: 2}
LOGIX_STRING = struct.pack("<HH", 0x02A0, 0x0FCE)
RECIPE = struct.pack("<HH", 0x02A0, 0xBEEF)
RECIPE_TEMPLATE = 0x345
READ, WRITE, READ_PART, MODIFY, MULTIPLE, LIST, ATTRIBUTE, ATTRIBUTES, ALL = (
    0x4C, 0x4D, 0x52, 0x4E, 0x0A, 0x55, 0x0E, 0x03, 0x01,
)  # fmt: skip


def text(value: str) -> bytes:
    """A STRING of Logix: length, 82 characters, two bytes to fill a word."""
    raw = value.encode()
    return struct.pack("<I84s", len(raw), raw)


@dataclass
class Item:
    """One tag: how its type goes on the wire, its bytes, the size of one element, its symbol type in the list."""

    wire_type: bytes
    data: bytes
    size: int
    symbol_type: int = 0


def atomic(code: int, layout: str, *values: float) -> Item:
    """Numbers of one type."""
    symbol = code | (0x2000 if len(values) > 1 else 0)
    return Item(struct.pack("<H", code), struct.pack("<" + layout * len(values), *values), SIZES[code], symbol)


@dataclass
class StandIn:
    """What it holds and how it misbehaves. `requests` are the services asked for, in order."""

    tags: dict[str, Item] = field(default_factory=dict)
    forward_open_status: bytes | None = None
    takes_batches: bool = True
    override: Callable[[bytes], bytes | None] | None = None
    closes_after_bytes: int | None = None
    requests: list[int] = field(default_factory=list)
    opened_paths: list[bytes] = field(default_factory=list)
    mutate: Callable[[bytes], bytes] | None = None

    def answer(self, frame: bytes) -> bytes | None:
        """The frame that answers `frame`; None when there is none."""
        command = struct.unpack_from("<H", frame)[0]
        if command == 0x65:
            return self._framed(frame, frame[24:], session=7)
        if command == 0x63:
            return self._framed(frame, bytes.fromhex("0100 0c00 2900 0100") + bytes(16) + identity_attributes() + b"\3")
        if command == 0x6F:
            return self._framed(
                frame, frame[24:36] + struct.pack("<HH", 0xB2, len(r := self._unconnected(frame[40:]))) + r
            )
        if command == 0x70:
            reply = self.serve(frame[46:])
            body = (
                frame[24:32]
                + b"\xa1\0\4\0"
                + bytes(4)
                + struct.pack("<HH", 0xB1, len(reply) + 2)
                + frame[44:46]
                + reply
            )
            return self._framed(frame, body)
        return None

    def _framed(self, request: bytes, body: bytes, session: int | None = None) -> bytes:
        number = struct.unpack_from("<I", request, 4)[0] if session is None else session
        return struct.pack("<HHII8sI", request[0], len(body), number, 0, request[12:20], 0) + body

    def _unconnected(self, request: bytes) -> bytes:
        service = request[0]
        if service in (0x54, 0x5B):
            words_at = 41 if service == 0x54 else 45  # after the connection's parameters
            self.opened_paths.append(request[words_at + 1 :])
            if self.forward_open_status is not None:
                return bytes([service | 0x80, 0]) + self.forward_open_status
            return bytes([service | 0x80, 0, 0, 0]) + bytes(26)
        if service == 0x52:  # unconnected send: priority, ticks, length, then the message itself
            length = struct.unpack_from("<H", request, 8)[0]
            return self.serve(request[10 : 10 + length])
        return self.serve(request)

    def serve(self, request: bytes) -> bytes:
        """The reply to one message."""
        self.requests.append(request[0])
        if self.override is not None and (made := self.override(request)) is not None:
            return made
        service, words = request[0], request[1]
        path, data = request[2 : 2 + 2 * words], request[2 + 2 * words :]
        if service == MULTIPLE:
            return self._many(data)
        if service in (ATTRIBUTE, ATTRIBUTES, ALL, LIST) or path[:2] == b"\x20\x6c":
            return self._object(service, path, data)
        return self._tag(service, path, data)

    def _many(self, data: bytes) -> bytes:
        if not self.takes_batches:
            return bytes([MULTIPLE | 0x80, 0, 8, 0])
        count = struct.unpack_from("<H", data)[0]
        offsets = [*struct.unpack_from(f"<{count}H", data, 2), len(data)]
        replies = [self.serve(data[a:b]) for a, b in itertools.pairwise(offsets)]
        at = 2 + 2 * count
        places = []
        for reply in replies:
            places.append(at)
            at += len(reply)
        return bytes([MULTIPLE | 0x80, 0, 0, 0]) + struct.pack(f"<H{count}H", count, *places) + b"".join(replies)

    def _object(self, service: int, path: bytes, data: bytes) -> bytes:
        head = bytes([service | 0x80, 0, 0, 0])
        if path[:2] == b"\x20\x01":
            return head + (b"\x60\x31" if service == ATTRIBUTE else identity_attributes())
        if path[:2] == b"\x20\x64":
            return head + struct.pack("<H", 5) + b"Mixer"
        if path[:2] == b"\x20\x6c":
            members = recipe_template()
            if service == ATTRIBUTES:
                sizes = ((4, "I", (len(members) + 21 + 3) // 4), (5, "I", 8), (2, "H", 2), (1, "H", 0xBEEF))
                return head + struct.pack("<H", 4) + b"".join(struct.pack("<HH" + f, i, 0, v) for i, f, v in sizes)
            return head + members
        return head + b"".join(self._listed(data))

    def _listed(self, data: bytes) -> list[bytes]:
        count = struct.unpack_from("<H", data)[0]
        wanted = struct.unpack_from(f"<{count}H", data, 2)
        found = []
        for number, (name, item) in enumerate(self.tags.items(), 1):
            elements = len(item.data) // item.size if item.symbol_type & 0x2000 else 0
            values = {
                1: struct.pack("<H", len(name)) + name.encode(), 2: struct.pack("<H", item.symbol_type),
                3: bytes(4), 5: bytes(4), 6: struct.pack("<I", 1 << 26), 10: b"\0",
                8: struct.pack("<III", elements, 0, 0),
            }  # fmt: skip
            found.append(struct.pack("<I", number) + b"".join(values[i] for i in wanted))
        return found

    def _tag(self, service: int, path: bytes, data: bytes) -> bytes:
        name, index = parse_path(path)
        item = self.tags.get(name)
        if item is None:
            return bytes([service | 0x80, 0, 5, 0])
        start = index * item.size
        if service == WRITE:
            data = data[len(item.wire_type) + 2 :]
            item.data = item.data[:start] + data + item.data[start + len(data) :]
            return bytes([service | 0x80, 0, 0, 0])
        if service == MODIFY:
            size = struct.unpack_from("<H", data)[0]
            parts = (item.data[start : start + size], data[2 : 2 + size], data[2 + size :])
            word, on, off = (int.from_bytes(part, "little") for part in parts)
            changed = ((word | on) & off).to_bytes(size, "little")
            item.data = item.data[:start] + changed + item.data[start + size :]
            return bytes([service | 0x80, 0, 0, 0])
        count = struct.unpack_from("<H", data)[0]
        part = item.data[start : start + count * item.size]
        if len(part) < count * item.size:
            return bytes([service | 0x80, 0, 0xFF, 1, 0x05, 0x21])
        return bytes([service | 0x80, 0, 0, 0]) + item.wire_type + part


def identity_attributes() -> bytes:
    """Vendor, type, product, revision 20.11, running, serial, name."""
    return struct.pack("<HHHBBHIB", 1, 14, 54, 20, 11, 0x3160, 0x006C061A, 7) + b"Mixer 4"


def recipe_template() -> bytes:
    """Two members, then the names."""
    return struct.pack("<HHIHHI", 0, 0xC4, 0, 0, 0xCA, 4) + b"Recipe;nEBEC\0Step\0Target\0"


def parse_path(path: bytes) -> tuple[str, int]:
    """Symbolic segments joined by dots, and the last element number."""
    names, index, at = [], 0, 0
    while at < len(path):
        kind = path[at]
        if kind == 0x91:
            length = path[at + 1]
            names.append(path[at + 2 : at + 2 + length].decode())
            at += 2 + length + length % 2
        elif kind == 0x28:
            index, at = path[at + 1], at + 2
        else:
            index, at = struct.unpack_from("<H", path, at + 2)[0], at + 4
    return ".".join(names), index


@dataclass
class Listener(Loopback):
    """The device on a port, the same one again after a break."""

    device: StandIn

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer frames."""
        sent, limit = 0, self.device.closes_after_bytes
        with contextlib.suppress(OSError, EOFError):
            while True:
                header = await reader.readexactly(24)
                frame = header + await reader.readexactly(struct.unpack_from("<H", header, 2)[0])
                reply = self.device.answer(frame) or b""
                if self.device.mutate is not None and reply:
                    reply = self.device.mutate(reply)
                if limit is not None and sent + len(reply) > limit:
                    writer.write(reply[: limit - sent])
                    await writer.drain()
                    writer.close()
                    return
                sent += len(reply)
                writer.write(reply)


def standing_in(device: StandIn) -> AbstractAsyncContextManager[int]:
    """It listens; gives its port."""
    return served(Listener(device).serve)
