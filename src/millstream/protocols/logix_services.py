"""Reading, writing and modifying tags, whole or in parts, as a Logix controller does it (1756-PM020, chapter 1)."""

from __future__ import annotations

from millstream.protocols.cip_wire import (
    GENERAL,
    PARTIAL,
    TOO_LARGE,
    TOO_LITTLE,
    TOO_MUCH,
    CipRefused,
    Request,
    encode_reply,
    unpack,
)
from millstream.protocols.logix_tags import BEYOND, BOOL, Place

READ, WRITE, MODIFY, READ_PART, WRITE_PART = 0x4C, 0x4D, 0x4E, 0x52, 0x53
WRONG_TYPE = 0x2107  # extended status
NOT_ALLOWED = 0x0F  # privilege violation
MASK_BYTES = (1, 2, 4, 8)


def read_tag(place: Place, request: Request, room: int) -> bytes:
    """Read Tag and Read Tag Fragmented: as many whole elements as there is room for; status 6 says that there are more.
    Raises CipRefused."""
    (count,) = unpack("H", request.data)
    offset = unpack("I", request.data, 2)[0] if request.service == READ_PART else 0
    head = place.type.wire_type
    if not 0 < count <= place.count:
        raise CipRefused(GENERAL, BEYOND)
    if place.bit is not None:
        is_on = place.tag.data[place.offset] >> place.bit & 1
        return encode_reply(request.service, head + bytes([is_on]))
    data = place.tag.data[place.offset : place.offset + count * place.type.size]
    if offset >= len(data):
        raise CipRefused(GENERAL, BEYOND)
    fits = room - 4 - len(head)
    part = data[offset : offset + fits] if fits > 0 else b""
    if offset + len(part) < len(data):
        step = min(4, place.type.size)
        part = part[: len(part) - len(part) % step]
        if not part:
            raise CipRefused(TOO_LARGE)
        return encode_reply(request.service, head + part, PARTIAL)
    return encode_reply(request.service, head + part)


def write_tag(place: Place, request: Request) -> bytes:
    """Write Tag and Write Tag Fragmented. Nothing is written of a request that does not fit. Raises CipRefused."""
    if place.tag.is_read_only:
        raise CipRefused(NOT_ALLOWED)
    head = place.type.wire_type
    if len(request.data) < len(head):
        raise CipRefused(TOO_LITTLE)
    if request.data[: len(head)] != head:
        raise CipRefused(GENERAL, WRONG_TYPE)
    (count,) = unpack("H", request.data, len(head))
    at, offset = len(head) + 2, 0
    if request.service == WRITE_PART:
        (offset,) = unpack("I", request.data, at)
        at += 4
    data = request.data[at:]
    if not 0 < count <= place.count:
        raise CipRefused(GENERAL, BEYOND)
    size = count * place.type.size
    if request.service == WRITE:
        if len(data) < size:
            raise CipRefused(TOO_LITTLE)
        data = data[:size]  # pycomm3 puts a single write twice into its message, and controllers are written to with it
    if offset + len(data) > size:
        raise CipRefused(TOO_MUCH)
    if place.type == BOOL:
        data = bytes(1 if byte else 0 for byte in data)
    if place.bit is not None:
        byte = place.tag.data[place.offset] & ~(1 << place.bit)
        place.tag.data[place.offset] = byte | (data[0] << place.bit if data else 0)
    else:
        start = place.offset + offset
        place.tag.data[start : start + len(data)] = data
    return encode_reply(request.service)


def modify_tag(place: Place, request: Request) -> bytes:
    """Read Modify Write: bits on by the first mask, off by the second; pycomm3 sends a second one that is
    too long. Raises CipRefused."""
    if place.tag.is_read_only:
        raise CipRefused(NOT_ALLOWED)
    (size,) = unpack("H", request.data)
    if size not in MASK_BYTES or size > place.type.size or place.bit is not None:
        raise CipRefused(GENERAL, WRONG_TYPE)
    on, off = request.data[2 : 2 + size], request.data[2 + size : 2 + 2 * size]
    if len(off) < size:
        raise CipRefused(TOO_LITTLE)
    for i in range(size):
        at = place.offset + i
        place.tag.data[at] = (place.tag.data[at] | on[i]) & off[i]
    return encode_reply(request.service)
