"""A BACnet/IP device with as many analog values as are asked for, which all change with each second.

ReadProperty of what a client wants to know first, and ReadPropertyMultiple of present values and status flags
(ASHRAE 135-2020, clauses 15.5, 15.7 and 20.2), without segments.
"""

from __future__ import annotations

import asyncio
import struct
import time
from typing import cast

READ, READ_MULTIPLE = 12, 14
OBJECT_IDENTIFIER, MAX_APDU, PRESENT_VALUE, STATUS_FLAGS = 75, 62, 85, 111
DEVICE_ID = 77
NO_FLAGS = b"\x82\x04\x00"
NO_OBJECT = b"\x91\x01\x91\x1f"
NO_PROPERTY = b"\x91\x02\x91\x20"


class BacnetDevice(asyncio.DatagramProtocol):
    """Answers as fast as asyncio does."""

    def __init__(self) -> None:
        self.requests_count = 0
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Bound."""
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, address: tuple[str | int, ...]) -> None:
        """One request: BVLC, an NPDU without addresses, a confirmed request."""
        if len(data) < 10 or data[0] != 0x81 or data[6] >> 4 or self._transport is None:
            return
        self.requests_count += 1
        invoke, service, body = data[8], data[9], data[10:]
        answer = self._read(body) if service == READ else self._read_many(body) if service == READ_MULTIPLE else None
        if answer is None:
            apdu = bytes((0x50, invoke, service)) + NO_PROPERTY
        else:
            apdu = bytes((0x30, invoke, service)) + answer
        self._transport.sendto(struct.pack(">BBHBB", 0x81, 0x0A, len(apdu) + 6, 1, 0) + apdu, address)

    def _read(self, body: bytes) -> bytes | None:
        identifier, wanted = struct.unpack_from(">I", body, 1)[0], body[6]
        if identifier >> 22 == 8:
            found = {
                OBJECT_IDENTIFIER: struct.pack(">BI", 0xC4, 8 << 22 | DEVICE_ID), MAX_APDU: b"\x22\x05\xc4"
            }.get(wanted)  # fmt: skip
        else:
            found = _value(identifier, wanted)
        return None if found is None else body[:7] + b"\x3e" + found + b"\x3f"

    def _read_many(self, body: bytes) -> bytes:
        parts: list[bytes] = []
        at = 0
        while at < len(body):
            identifier = struct.unpack_from(">I", body, at + 1)[0]
            parts.append(body[at : at + 6])  # the object, and the opening tag
            at += 6
            while body[at] != 0x1F:
                wanted = body[at + 1]
                found = _value(identifier, wanted)
                parts.append(bytes((0x29, wanted)))
                parts.append(b"\x5e" + NO_PROPERTY + b"\x5f" if found is None else b"\x4e" + found + b"\x4f")
                at += 2
            parts.append(b"\x1f")
            at += 1
        return b"".join(parts)


def _value(identifier: int, wanted: int) -> bytes | None:
    if wanted == PRESENT_VALUE:
        return struct.pack(">Bf", 0x44, (identifier & 0x3FFFFF) + int(time.time()) % 100_000)
    return NO_FLAGS if wanted == STATUS_FLAGS else None
