"""Names of Logix tags, and which values fit a CIP type: pure, no I/O (Logix 5000 Data Access, 1756-PM020).

An address is the tag's name as the programming software shows it:

    Speed                     one value                      Recipe.Step[2].Name       a member of a structure
    Temperature[3]            an element of an array         Program:Main.Counter      a tag of one program
    Matrix[1,2]               of two or three dimensions     Local:1:I.Data            an input of a module
    Status.5                  bit 5, 0 is the least          Temperature[0]{10}        a list of ten elements
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache

from millstream.kernel import ConfigError
from millstream.model import Value

ADDRESS_LENGTH_MAX = 512
ELEMENTS_COUNT_MAX = 10_000  # of one list; at 500 bytes a message this is already 160 messages
BIT_MAX = 63
INDEX_MAX = 0xFFFFFFFF
STRING_BYTES_MAX = 82  # the standard STRING of Logix

_NAME = r"[A-Za-z_][A-Za-z0-9_]*(?::[A-Za-z0-9_]+)*"
_SEGMENT = _NAME + r"(?:\[\d{1,10}(?:,\d{1,10}){0,2}\])?"
_ADDRESS = re.compile(
    rf"(?P<tag>{_SEGMENT}(?:\.{_SEGMENT})*)(?:\.(?P<bit>\d{{1,2}}))?(?:\{{(?P<count>\d{{1,5}})\}})?\Z", re.ASCII
)
_INDEX = re.compile(r"\[([\d,]+)\]")
_TRAILING_INDEX = re.compile(r"\[([\d,]+)\]\Z")


@dataclass(frozen=True, slots=True)
class TagAddress:
    """One parsed address. `name` is what the PLC is asked for, `base` the same without a last index and bit.

    `count` is None for one value, else the length of the list.
    """

    name: str
    base: str
    indices: tuple[int, ...] = ()
    bit: int | None = None
    count: int | None = None


@lru_cache(maxsize=65536)
def parse_address(text: str) -> TagAddress:
    """The tag that `text` names. Raises ConfigError."""
    stripped = text.strip()
    match = _ADDRESS.match(stripped) if len(stripped) <= ADDRESS_LENGTH_MAX else None
    if match is None:
        raise _refuse("not the name of a Logix tag", text, "e.g. Speed, Recipe.Step[2].Name, Status.5 or Values[0]{10}")
    tag, bit, count = match["tag"], match["bit"], match["count"]
    if any(int(index) > INDEX_MAX for group in _INDEX.findall(tag) for index in group.split(",")):
        raise _refuse("index of a Logix array is too large", text, f"at most {INDEX_MAX}")
    if bit is not None and (int(bit) > BIT_MAX or count is not None):
        raise _refuse("not a bit of a Logix tag", text, f"0 to {BIT_MAX}, and no list")
    if count is not None and not 1 <= int(count) <= ELEMENTS_COUNT_MAX:
        raise _refuse("list of Logix elements does not fit", text, f"1 to {ELEMENTS_COUNT_MAX} elements")
    trailing = _TRAILING_INDEX.search(tag)
    return TagAddress(
        name=tag if bit is None else f"{tag}.{int(bit)}",
        base=_TRAILING_INDEX.sub("", tag),
        indices=tuple(int(index) for index in trailing[1].split(",")) if trailing else (),
        bit=None if bit is None else int(bit),
        count=None if count is None else int(count),
    )


def _refuse(what: str, text: str, expected: str) -> ConfigError:
    return ConfigError(what, expected=expected, got=repr(text), code="MS-1301")


_INTEGERS = {
    "SINT": (-(2**7), 2**7 - 1),
    "INT": (-(2**15), 2**15 - 1),
    "DINT": (-(2**31), 2**31 - 1),
    "LINT": (-(2**63), 2**63 - 1),
    "USINT": (0, 2**8 - 1),
    "UINT": (0, 2**16 - 1),
    "UDINT": (0, 2**32 - 1),
    "ULINT": (0, 2**64 - 1),
    "BYTE": (0, 2**8 - 1),
    "LTIME": (-(2**63), 2**63 - 1),
}
REAL_MAX = 3.4028234663852886e38


def writable_value(address: TagAddress, data_type: str, value: Value) -> Value:
    """`value` as it may be written to a tag of `data_type` (its CIP name; BOOL for a bit).

    Raises TypeError for a wrong kind and OverflowError for one that does not fit, in words for a person.
    """
    if address.count is None:
        return _writable_one("BOOL" if address.bit is not None else data_type, value)
    if not isinstance(value, list) or len(value) != address.count:
        raise TypeError(f"expected a list of {address.count} values")
    return [_writable_one(data_type, item) for item in value]


def _writable_one(data_type: str, value: Value) -> Value:
    if data_type == "BOOL":
        if not isinstance(value, bool):
            raise TypeError("expected true or false")
        return value
    if data_type in _INTEGERS:
        low, high = _INTEGERS[data_type]
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"expected an integer for {data_type}")
        if not low <= value <= high:
            raise OverflowError(f"expected {low} to {high} for {data_type}")
        return value
    if data_type in ("REAL", "LREAL"):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"expected a number for {data_type}")
        if data_type == "REAL" and math.isfinite(value) and abs(value) > REAL_MAX:
            raise OverflowError(f"expected at most {REAL_MAX:g} for REAL")
        return float(value)
    if data_type == "STRING":
        return _writable_text(value)
    raise TypeError(f"tags of type {data_type} cannot be written")


def _writable_text(value: Value) -> str:
    if not isinstance(value, str):
        raise TypeError("expected text for STRING")
    if len(value.encode("utf-8", "surrogatepass")) > STRING_BYTES_MAX:
        raise OverflowError(f"expected at most {STRING_BYTES_MAX} bytes of UTF-8 for STRING")
    return value
