"""EtherNet/IP frames and CIP paths, bytes in, values out (CIP Networks Library volume 2, chapter 2; volume 1, C-1.4).

What a device needs to be asked: whole encapsulation frames, the paths in requests, and refusals as CIP says them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

ENCAPSULATION = struct.Struct("<HHII8sI")  # command, length, session, status, sender's context, options
FRAME_BYTES_MAX = 65_511 + ENCAPSULATION.size  # volume 2, 2-3.3

PATH_SEGMENT_ERROR, PATH_UNKNOWN, PARTIAL = 0x04, 0x05, 0x06
SERVICE_UNSUPPORTED, ATTRIBUTE_LIST_ERROR, TOO_LARGE = 0x08, 0x0A, 0x11
TOO_LITTLE, ATTRIBUTE_UNSUPPORTED, TOO_MUCH = 0x13, 0x14, 0x15
OBJECT_UNKNOWN, EMBEDDED_ERROR, PATH_SIZE_INVALID, GENERAL = 0x16, 0x1E, 0x26, 0xFF


class CipRefused(Exception):
    """A request that is answered with a general status and perhaps an extended one; it never leaves a device."""

    def __init__(self, status: int, *extended: int) -> None:
        super().__init__(status, *extended)
        self.status = status
        self.extended = extended


@dataclass(frozen=True, slots=True)
class Frame:
    """One encapsulation frame. `context` is the sender's and goes back as it came."""

    command: int
    data: bytes
    session: int = 0
    status: int = 0
    context: bytes = bytes(8)

    def encode(self) -> bytes:
        """As it goes on the wire."""
        return ENCAPSULATION.pack(self.command, len(self.data), self.session, self.status, self.context, 0) + self.data


@dataclass(slots=True)
class FrameCutter:
    """Cuts whole frames out of what comes; holds at most one frame that is not whole."""

    _rest: bytearray = field(default_factory=bytearray)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are whole now. A length that no frame may have ends it: the rest makes no sense then."""
        self._rest += data
        while len(self._rest) >= ENCAPSULATION.size:
            command, length, session, status, context, _ = ENCAPSULATION.unpack_from(self._rest)
            end = ENCAPSULATION.size + length
            if len(self._rest) < end:
                return
            body = bytes(self._rest[ENCAPSULATION.size : end])
            del self._rest[:end]
            yield Frame(command, body, session, status, context)


@dataclass(frozen=True, slots=True)
class Path:
    """A request's path, taken apart. `hops` are port and link of each on the way to another device, `names` symbols,
    each with the element numbers behind it. What is not given is None; see `parse_path` for `scope` and `indices`."""

    hops: tuple[tuple[int, bytes], ...] = ()
    names: tuple[tuple[str, tuple[int, ...]], ...] = ()
    class_id: int | None = None
    instance: int | None = None
    attribute: int | None = None
    scope: str = ""
    indices: tuple[int, ...] = ()


def parse_path(data: bytes) -> Path:
    """A padded path. With a class, a symbol before it is the `scope`, as in ``Program:Main`` and class 0x6B; elements
    and members behind the instance are `indices` and `names`. Raises CipRefused."""
    names: list[tuple[str, list[int]]] = []
    hops: list[tuple[int, bytes]] = []
    numbers: dict[str, int] = {}
    indices: list[int] = []
    scope, at = "", 0
    try:
        while at < len(data):
            kind = data[at]
            if kind < 0x20:
                hop, at = _port(data, at)
                hops.append(hop)
            elif kind == 0x91:
                name, at = _symbol(data, at)
                names.append((name, []))
            elif kind & 0xE0 == 0x20:
                number, at = _logical(data, at)
                what = kind & 0x1C
                if what == 0x08:
                    (names[-1][1] if names else indices).append(number)
                elif what == 0x00:
                    numbers["class_id"] = number
                    scope, names = ".".join(name for name, _ in names), []
                elif what in (0x04, 0x10):
                    numbers["instance" if what == 0x04 else "attribute"] = number
                else:
                    raise CipRefused(PATH_SEGMENT_ERROR)
            else:
                raise CipRefused(PATH_SEGMENT_ERROR)
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise CipRefused(PATH_SEGMENT_ERROR) from error
    return Path(
        tuple(hops), tuple((name, tuple(found)) for name, found in names),
        scope=scope, indices=tuple(indices), **numbers,
    )  # fmt: skip


def _port(data: bytes, at: int) -> tuple[tuple[int, bytes], int]:
    port, is_long = data[at] & 0x0F, data[at] & 0x10
    if not is_long:
        return (port, data[at + 1 : at + 2]), at + 2
    length = data[at + 1]
    return (port, data[at + 2 : at + 2 + length]), at + 2 + length + length % 2


def _symbol(data: bytes, at: int) -> tuple[str, int]:
    length = data[at + 1]
    raw = data[at + 2 : at + 2 + length]
    if not raw or len(raw) < length:
        raise CipRefused(PATH_SEGMENT_ERROR)
    return raw.decode("ascii"), at + 2 + length + length % 2


def _logical(data: bytes, at: int) -> tuple[int, int]:
    form = data[at] & 0x03
    if form == 0:
        return data[at + 1], at + 2
    layout = {1: "<H", 2: "<I"}.get(form)
    if layout is None:
        raise CipRefused(PATH_SEGMENT_ERROR)
    return int(struct.unpack_from(layout, data, at + 2)[0]), at + 2 + struct.calcsize(layout)


@dataclass(frozen=True, slots=True)
class Request:
    """One CIP message."""

    service: int
    path: Path
    data: bytes


def parse_request(message: bytes) -> Request:
    """Take a message apart. Raises CipRefused."""
    if len(message) < 2:
        raise CipRefused(TOO_LITTLE)
    end = 2 + 2 * message[1]
    if len(message) < end:
        raise CipRefused(PATH_SIZE_INVALID)
    return Request(message[0], parse_path(message[2:end]), message[end:])


def encode_reply(service: int, data: bytes = b"", status: int = 0, extended: tuple[int, ...] = ()) -> bytes:
    """The answer to a service."""
    words = struct.pack(f"<{len(extended)}H", *extended)
    return bytes([service & 0x7F | 0x80, 0, status, len(extended)]) + words + data


def unpack(layout: str, data: bytes, at: int = 0) -> tuple[int, ...]:
    """Numbers of a request. Raises CipRefused when it is too short for them."""
    try:
        return struct.unpack_from("<" + layout, data, at)
    except struct.error as error:
        raise CipRefused(TOO_LITTLE) from error
