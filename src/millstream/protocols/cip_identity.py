"""EtherNet/IP identities, bytes in, values out (CIP Networks Library volume 2, 2-4.2 and volume 1, 5A-2).

A device says who it is in answer to a List Identity request, which needs neither a session nor a password.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum

from millstream.kernel import DecodeError

PORT = 44818
LIST_IDENTITY = 0x63
LIST_IDENTITY_REQUEST = struct.pack("<HHII8sI", LIST_IDENTITY, 0, 0, 0, b"", 0)
IDENTITY_ITEM = 0x0C
REPLY_BYTES_MAX = 1024  # of one datagram; a product's name has at most 255
READ_STATUS = bytes.fromhex("0e03 2001 2401 3005")
"""Get_Attribute_Single of the Identity object's attribute 5, its status word."""

_HEADER = struct.Struct("<HHIIQI")  # command, length, session, status, context, options
_FIXED = struct.Struct("<H16sHHHBBHIB")  # encapsulation version, socket address, then the Identity object's attributes


class Mode(Enum):
    """What a controller does, from the extended device status of its Identity object."""

    RUN = "running"
    PROGRAM = "in program mode"
    FAULT = "in major fault"
    UNKNOWN = "in an unknown mode"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a device is. `vendor_id` 1 is Rockwell Automation; `device_type` 14 is a programmable controller."""

    vendor_id: int
    device_type: int
    product_code: int
    revision: str
    status: int
    serial: str
    product_name: str


def decode_identity(data: bytes) -> Identity:
    """The identity in an answer to List Identity. Raises DecodeError."""
    try:
        command, length, _, status, _, _ = _HEADER.unpack_from(data)
        (count,) = struct.unpack_from("<H", data, _HEADER.size)
        kind, item_length = struct.unpack_from("<HH", data, _HEADER.size + 2)
        start = _HEADER.size + 6
        _, _, vendor, device, product, major, minor, word, serial, name_length = _FIXED.unpack_from(data, start)
    except struct.error as error:
        raise _refuse(f"{len(data)} bytes") from error
    end = start + _FIXED.size + name_length
    is_whole = command == LIST_IDENTITY and status == 0 and len(data) == _HEADER.size + length
    if not is_whole or count < 1 or kind != IDENTITY_ITEM or end > min(len(data), start + item_length):
        raise _refuse(data[:32].hex())
    return Identity(
        vendor_id=vendor,
        device_type=device,
        product_code=product,
        revision=f"{major}.{minor:03d}",
        status=word,
        serial=f"{serial:08x}",
        product_name=data[end - name_length : end].decode("latin-1"),
    )


def _refuse(got: str) -> DecodeError:
    return DecodeError("not an answer to List Identity", expected="one identity item", got=got, code="MS-1306")


def mode_of(status: int) -> Mode:
    """What the status word of a Logix controller says: bits 4 to 7, and major faults in bits 10 and 11."""
    if status & 0x0C00 and status & 0x00F0 == 0x0050:
        return Mode.FAULT
    return {0x60: Mode.RUN, 0x70: Mode.PROGRAM, 0x50: Mode.FAULT}.get(status & 0x00F0, Mode.UNKNOWN)
