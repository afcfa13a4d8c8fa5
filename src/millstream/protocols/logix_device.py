"""A Logix controller as its clients see it, sans I/O: bytes of a connection in, bytes out (1756-PM020; CIP volume 1).

Register Session, List Identity, unconnected and connected messages, Forward Open and Close, Multiple Service Packet;
reading and writing of tags whole or in parts; the lists of tags and templates; identity, name and clock. Whatever comes
is answered or refused with a status, and nothing that comes raises.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from millstream.protocols.cip_wire import (
    ATTRIBUTE_LIST_ERROR,
    ATTRIBUTE_UNSUPPORTED,
    EMBEDDED_ERROR,
    FRAME_BYTES_MAX,
    OBJECT_UNKNOWN,
    PARTIAL,
    SERVICE_UNSUPPORTED,
    TOO_LARGE,
    TOO_LITTLE,
    CipRefused,
    Frame,
    FrameCutter,
    Path,
    Request,
    encode_reply,
    parse_path,
    parse_request,
    unpack,
)
from millstream.protocols.logix_services import (
    MODIFY,
    READ,
    READ_PART,
    WRITE,
    WRITE_PART,
    modify_tag,
    read_tag,
    write_tag,
)
from millstream.protocols.logix_tags import LogixTag, TagTable, walk

NOP, LIST_SERVICES, LIST_IDENTITY, LIST_INTERFACES = 0x00, 0x04, 0x63, 0x64
REGISTER, UNREGISTER, UNCONNECTED, CONNECTED = 0x65, 0x66, 0x6F, 0x70
BAD_COMMAND, BAD_DATA, BAD_SESSION, BAD_VERSION = 0x01, 0x03, 0x64, 0x69  # encapsulation status, volume 2, 2-3.5
ALL, ATTRIBUTES, MULTIPLE, ATTRIBUTE, LISTED = 0x01, 0x03, 0x0A, 0x0E, 0x55
FORWARD_OPEN, FORWARD_CLOSE, UNCONNECTED_SEND, LARGE_FORWARD_OPEN = 0x54, 0x4E, 0x52, 0x5B
IDENTITY, ROUTER, MANAGER, NAME, SYMBOLS, TEMPLATES, CLOCK = 0x01, 0x02, 0x06, 0x64, 0x6B, 0x6C, 0x8B
UNCONNECTED_BYTES = 504  # of a message outside a connection
CONNECTION_BYTES_MIN, CONNECTION_BYTES_MAX = 100, 4002
CONNECTIONS_MAX = 32  # of one session
CONNECTION_REFUSED = 0x01
IN_USE, NOT_FOUND, BAD_SIZE, NONE_LEFT, NO_PORT, NO_LINK = 0x0100, 0x0107, 0x0109, 0x0113, 0x0311, 0x0312
BACKPLANE = 1
MESSAGES_MAX = 500  # of one Multiple Service Packet


@dataclass(frozen=True, slots=True)
class IdentityObject:
    """Who the controller says it is; 14 is a programmable controller, `status` 0x3160 one whose program runs."""

    vendor: int = 1
    device_type: int = 14
    product_code: int = 166
    revision: tuple[int, int] = (32, 11)
    status: int = 0x3160
    serial: int = 0x006C061A
    name: str = "Millstream simulated controller"

    def attributes(self) -> dict[int, bytes]:
        """Each as Get Attribute gives it."""
        raw = self.name.encode("ascii", "replace")[:32]
        return {
            1: struct.pack("<H", self.vendor), 2: struct.pack("<H", self.device_type),
            3: struct.pack("<H", self.product_code), 4: bytes(self.revision), 5: struct.pack("<H", self.status),
            6: struct.pack("<I", self.serial), 7: bytes([len(raw)]) + raw,
        }  # fmt: skip


@dataclass(slots=True)
class LogixDevice:
    """What all connections share. `now_us` is the controller's clock, UTC microseconds since 1970."""

    tags: TagTable
    now_us: Callable[[], int]
    identity: IdentityObject = field(default_factory=IdentityObject)
    program_name: str = "Simulated"
    slot: int = 0

    def list_identity(self, frame: Frame) -> Frame:
        """The answer to List Identity, by TCP or UDP."""
        body = struct.pack("<H16s", 1, struct.pack(">hH", 2, 44818)) + b"".join(self.identity.attributes().values())
        return _answer(frame, struct.pack("<HHH", 1, 0x0C, len(body) + 1) + body + b"\3")

    def serve(self, message: bytes, room: int) -> bytes:
        """The reply, of at most `room` bytes, to one message to an object or a tag."""
        service = message[0] if message else 0
        try:
            request = parse_request(message)
            reply = self._many(request, room) if request.service == MULTIPLE else self._one(request, room)
        except CipRefused as refused:
            return encode_reply(service, b"", refused.status, refused.extended)
        return reply if len(reply) <= room else encode_reply(service, b"", TOO_LARGE)

    def _many(self, request: Request, room: int) -> bytes:
        if request.path.class_id != ROUTER:
            raise CipRefused(SERVICE_UNSUPPORTED)
        (count,) = unpack("H", request.data)
        if not 0 < count <= MESSAGES_MAX:
            raise CipRefused(TOO_LITTLE)
        offsets = [*unpack(f"{count}H", request.data, 2), len(request.data)]
        if any(a < 2 + 2 * count or b < a for a, b in itertools.pairwise(offsets)):
            raise CipRefused(TOO_LITTLE)
        left = room - 6 - 2 * count - 4 * count  # each of them has at least a status
        replies: list[bytes] = []
        places: list[int] = []
        at, status = 2 + 2 * count, 0
        for start, end in itertools.pairwise(offsets):
            message = request.data[start:end]
            if message[:1] == bytes([MULTIPLE]):
                reply = encode_reply(MULTIPLE, b"", SERVICE_UNSUPPORTED)
            else:
                reply = self.serve(message, max(left + 4, 4))
            places.append(at)
            replies.append(reply)
            at += len(reply)
            left -= len(reply) - 4
            if reply[2]:
                status = EMBEDDED_ERROR
        return encode_reply(MULTIPLE, struct.pack(f"<H{count}H", count, *places) + b"".join(replies), status)

    def _one(self, request: Request, room: int) -> bytes:
        path = request.path
        if path.names and path.class_id is None:
            return self._tag(request, room)
        if path.class_id == SYMBOLS and request.service != LISTED:
            return self._tag(request, room)
        answer = {
            SYMBOLS: self._symbols, TEMPLATES: self._template, IDENTITY: self._identity, NAME: self._name,
            CLOCK: self._clock,
        }.get(path.class_id or 0)  # fmt: skip
        if answer is None:
            raise CipRefused(OBJECT_UNKNOWN)
        return answer(request, room)

    def _tag(self, request: Request, room: int) -> bytes:
        path = request.path
        if path.class_id == SYMBOLS:
            place = walk(self.tags.by_instance(path.scope, path.instance or 0), path.indices, path.names)
        else:
            place = self.tags.find(path.names)
        if request.service in (READ, READ_PART):
            return read_tag(place, request, room)
        if request.service in (WRITE, WRITE_PART):
            return write_tag(place, request)
        if request.service == MODIFY:
            return modify_tag(place, request)
        raise CipRefused(SERVICE_UNSUPPORTED)

    def _symbols(self, request: Request, room: int) -> bytes:
        """Get Instance Attribute List, as much of it as there is room for."""
        (count,) = unpack("H", request.data)
        wanted = unpack(f"{count}H", request.data, 2)
        found = bytearray()
        for tag in self.tags.listed(request.path.scope, request.path.instance or 0):
            known = symbol_attributes(tag)
            if any(number not in known for number in wanted):
                raise CipRefused(ATTRIBUTE_UNSUPPORTED)
            record = struct.pack("<I", tag.instance) + b"".join(known[number] for number in wanted)
            if len(found) + len(record) + 4 > room:
                if not found:
                    raise CipRefused(TOO_LARGE)
                return encode_reply(LISTED, bytes(found), PARTIAL)
            found += record
        return encode_reply(LISTED, bytes(found))

    def _template(self, request: Request, room: int) -> bytes:
        kind = self.tags.templates.get(request.path.instance or 0)
        if kind is None:
            raise CipRefused(OBJECT_UNKNOWN)
        if request.service == READ:
            offset, length = unpack("IH", request.data)
            part = kind.definition()[offset : offset + length]
            fits = max(0, room - 4) & ~3
            if not fits:
                raise CipRefused(TOO_LARGE)
            return encode_reply(READ, part[:fits], PARTIAL if len(part) > fits else 0)
        return _attributes(request, {
            1: struct.pack("<H", kind.handle), 2: struct.pack("<H", len(kind.members)), 3: bytes(2),
            4: struct.pack("<I", kind.definition_words), 5: struct.pack("<I", kind.size),
        })  # fmt: skip

    def _identity(self, request: Request, room: int) -> bytes:
        return _attributes(_instance_1(request), self.identity.attributes())

    def _name(self, request: Request, room: int) -> bytes:
        raw = self.program_name.encode("ascii", "replace")
        return _attributes(_instance_1(request), {1: struct.pack("<H", len(raw)) + raw})

    def _clock(self, request: Request, room: int) -> bytes:
        now = struct.pack("<Q", self.now_us())
        return _attributes(_instance_1(request), {6: now, 11: now})


def symbol_attributes(tag: LogixTag) -> dict[int, bytes]:
    """Of the Symbol object: name, type, addresses, software control, bytes of an element, dimensions, access."""
    raw = tag.name.encode("ascii")
    sizes = (*tag.dimensions, 0, 0, 0)[:3]
    return {
        1: struct.pack("<H", len(raw)) + raw, 2: struct.pack("<H", tag.symbol_type), 3: bytes(4), 5: bytes(4),
        6: struct.pack("<I", 1 << 26), 7: struct.pack("<H", tag.type.size), 8: struct.pack("<3I", *sizes),
        10: b"\2" if tag.is_read_only else b"\0",
    }  # fmt: skip


def _instance_1(request: Request) -> Request:
    if request.path.instance != 1:
        raise CipRefused(OBJECT_UNKNOWN)
    return request


def _attributes(request: Request, known: dict[int, bytes]) -> bytes:
    """Get Attributes All, Get Attribute Single or Get Attribute List."""
    if request.service == ALL:
        return encode_reply(ALL, b"".join(known.values()))
    if request.service == ATTRIBUTE:
        if request.path.attribute not in known:
            raise CipRefused(ATTRIBUTE_UNSUPPORTED)
        return encode_reply(ATTRIBUTE, known[request.path.attribute])
    if request.service != ATTRIBUTES:
        raise CipRefused(SERVICE_UNSUPPORTED)
    (count,) = unpack("H", request.data)
    numbers = unpack(f"{count}H", request.data, 2)
    found = [
        struct.pack("<HH", number, 0) + known[number]
        if number in known
        else struct.pack("<HH", number, ATTRIBUTE_UNSUPPORTED)
        for number in numbers
    ]
    status = 0 if all(number in known for number in numbers) else ATTRIBUTE_LIST_ERROR
    return encode_reply(ATTRIBUTES, struct.pack("<H", count) + b"".join(found), status)


@dataclass(frozen=True, slots=True)
class _Link:
    """A CIP connection: what the client calls it in answers, how large its messages are, and whose it is."""

    answer_id: int
    size: int
    owner: tuple[int, ...]


class LogixConnection:
    """One TCP connection with a client. `is_over`: close it, after what is still to be sent."""

    _sessions = itertools.count(1)

    def __init__(self, device: LogixDevice) -> None:
        self._device = device
        self._cutter = FrameCutter()
        self._session = 0
        self._links: dict[int, _Link] = {}
        self._link_ids = itertools.count(0x20000001)
        self.is_over = False

    def receive(self, data: bytes) -> bytes:
        """What came, to what is sent back; empty while there is nothing to say."""
        answers = bytearray()
        for frame in self._cutter.feed(data):
            if self.is_over:
                break
            answer = self._frame(frame)
            if answer is not None:
                answers += answer.encode()
        return bytes(answers)

    def _frame(self, frame: Frame) -> Frame | None:
        if frame.command == NOP:
            return None
        if frame.command == LIST_IDENTITY:
            return self._device.list_identity(frame)
        if frame.command == LIST_SERVICES:
            return _answer(frame, struct.pack("<HHHHH16s", 1, 0x0100, 20, 1, 0x0120, b"Communications"))
        if frame.command == LIST_INTERFACES:
            return _answer(frame, bytes(2))
        if frame.command == REGISTER:
            return self._register(frame)
        if frame.command == UNREGISTER:
            self.is_over = True
            return None
        if frame.command not in (UNCONNECTED, CONNECTED):
            return _refuse(frame, BAD_COMMAND)
        if not self._session or frame.session != self._session:
            return _refuse(frame, BAD_SESSION)
        body = self._unconnected(frame.data) if frame.command == UNCONNECTED else self._connected(frame.data)
        return _refuse(frame, BAD_DATA) if body is None else _answer(frame, body)

    def _register(self, frame: Frame) -> Frame:
        if len(frame.data) != 4:
            return _refuse(frame, BAD_DATA)
        if frame.data[:2] != b"\1\0":
            return Frame(REGISTER, b"\1\0\0\0", 0, BAD_VERSION, frame.context)
        self._session = self._session or next(self._sessions) & 0xFFFFFFFF
        return Frame(REGISTER, frame.data, self._session, 0, frame.context)

    def _unconnected(self, data: bytes) -> bytes | None:
        """A null address and a message (volume 2, 2-4.7)."""
        if len(data) < 16 or struct.unpack_from("<HHHH", data, 6)[:3] != (2, 0, 0):
            return None
        kind, length = struct.unpack_from("<HH", data, 12)
        message = data[16:]
        if kind != 0xB2 or len(message) != length:
            return None
        reply = self._outside(message)
        return data[:12] + struct.pack("<HH", 0xB2, len(reply)) + reply

    def _connected(self, data: bytes) -> bytes | None:
        """The address of a connection, a sequence number and a message (volume 2, 2-4.8)."""
        if len(data) < 22 or struct.unpack_from("<HHH", data, 6) != (2, 0xA1, 4):
            return None
        link_id, kind, length = struct.unpack_from("<IHH", data, 12)
        link = self._links.get(link_id)
        if link is None or kind != 0xB1 or length != len(data) - 20:
            return None
        reply = self._device.serve(data[22:], link.size - 2)
        head = data[:8] + struct.pack("<HHIHH", 0xA1, 4, link.answer_id, 0xB1, len(reply) + 2)
        return head + data[20:22] + reply

    def _outside(self, message: bytes) -> bytes:
        """The reply to a message outside a connection."""
        service = message[0] if message else 0
        try:
            request = parse_request(message)
            if request.path.class_id != MANAGER:
                return self._device.serve(message, UNCONNECTED_BYTES)
            if request.service in (FORWARD_OPEN, LARGE_FORWARD_OPEN):
                return self._open(request)
            if request.service == FORWARD_CLOSE:
                return self._close(request)
            if request.service == UNCONNECTED_SEND:
                return self._passed_on(request)
            raise CipRefused(SERVICE_UNSUPPORTED)
        except CipRefused as refused:
            return encode_reply(service, b"", refused.status, refused.extended)

    def _passed_on(self, request: Request) -> bytes:
        """Unconnected Send: the message, and the way to whom it is for."""
        _, _, length = unpack("BBH", request.data)
        message = request.data[4 : 4 + length]
        at = 4 + length + length % 2
        (words,) = unpack("B", request.data, at)
        route = request.data[at + 2 : at + 2 + 2 * words]
        if len(message) < length or len(route) < 2 * words:
            raise CipRefused(TOO_LITTLE)
        self._check_route(parse_path(route))
        return self._device.serve(message, UNCONNECTED_BYTES)

    def _open(self, request: Request) -> bytes:
        """Forward Open, also the large one (volume 1, 3-5.5.2)."""
        is_large = request.service == LARGE_FORWARD_OPEN
        layout = "BBIIHHIB3xIIIIBB" if is_large else "BBIIHHIB3xIHIHBB"
        numbers = unpack(layout, request.data)
        _, _, _, answer_id, serial, vendor, originator, _, rpi_out, out, rpi_in, _, _, words = numbers
        start = struct.calcsize("<" + layout)
        path = request.data[start : start + 2 * words]
        if len(path) < 2 * words:
            raise CipRefused(TOO_LITTLE)
        self._check_route(parse_path(path))
        size = out & (0xFFFF if is_large else 0x01FF)
        owner = (serial, vendor, originator)
        if any(link.owner == owner for link in self._links.values()):
            raise CipRefused(CONNECTION_REFUSED, IN_USE)
        if not CONNECTION_BYTES_MIN <= size <= CONNECTION_BYTES_MAX:
            raise CipRefused(CONNECTION_REFUSED, BAD_SIZE, CONNECTION_BYTES_MAX)
        if len(self._links) >= CONNECTIONS_MAX:
            raise CipRefused(CONNECTION_REFUSED, NONE_LEFT)
        link_id = next(self._link_ids)
        self._links[link_id] = _Link(answer_id, size, owner)
        return encode_reply(
            request.service, struct.pack("<IIHHIIIBB", link_id, answer_id, *owner, rpi_out, rpi_in, 0, 0)
        )

    def _close(self, request: Request) -> bytes:
        owner = unpack("HHI", request.data, 2)
        found = next((link_id for link_id, link in self._links.items() if link.owner == owner), None)
        if found is None:
            raise CipRefused(CONNECTION_REFUSED, NOT_FOUND)
        del self._links[found]
        return encode_reply(FORWARD_CLOSE, struct.pack("<HHIBB", *owner, 0, 0))

    def _check_route(self, path: Path) -> None:
        """No hop, or the one over the backplane to the controller's slot. Raises CipRefused."""
        if not path.hops:
            return
        (port, link), more = path.hops[0], path.hops[1:]
        if port != BACKPLANE or more:
            raise CipRefused(CONNECTION_REFUSED, NO_PORT)
        if link != bytes([self._device.slot]):
            raise CipRefused(CONNECTION_REFUSED, NO_LINK)


def answer_datagram(device: LogixDevice, data: bytes) -> bytes:
    """By UDP a controller only says who it is; empty for all else."""
    if len(data) > FRAME_BYTES_MAX:
        return b""
    for frame in FrameCutter().feed(data):
        if frame.command == LIST_IDENTITY:
            return device.list_identity(frame).encode()
    return b""


def _answer(frame: Frame, data: bytes) -> Frame:
    return Frame(frame.command, data, frame.session, 0, frame.context)


def _refuse(frame: Frame, status: int) -> Frame:
    return Frame(frame.command, b"", frame.session, status, frame.context)
