"""S7 addresses as they stand in STEP 7 and the TIA Portal, read offline: pure, no I/O.

    DB1.DBX0.3               one bit                        M0.1, I4.0 (E4.0), Q2.7 (A2.7)    bits of the other areas
    DB1.DBB3                 a byte, 0 to 255               MB3, IB3, QB3
    DB1.DBW2                 a word, 0 to 65535             MW2, IW2, QW2
    DB1.DBW2:INT             with its type                  DB1.DBD4:REAL
    DB1.DBB10:STRING[20]     the declared length            DB1.DBB10:WSTRING[20], :CHAR[8]
    DB1.DBB40:LREAL          any type from a byte on        DB1.DBX40.0:DTL, as the TIA Portal writes the offset
    DB1.DBW60:INT[8]         a list of eight                DB1.DBX76.0:BOOL[16], DB1.DBB80:STRING[10][4]

A leading ``%`` is allowed. Areas are I (E), Q (A), M and the data blocks; timers and counters of the S7-300 are not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from millstream.kernel import ConfigError, suggest

BYTE_MAX = 65535  # the wire has 24 bits for a bit address, no block of any CPU is larger than this
LENGTH_MAX = {"STRING": 254, "WSTRING": 16382}
SIZES_BYTES = {
    "BOOL": 1, "BYTE": 1, "SINT": 1, "USINT": 1, "CHAR": 1,
    "WORD": 2, "INT": 2, "UINT": 2, "WCHAR": 2, "DATE": 2, "S5TIME": 2,
    "DWORD": 4, "DINT": 4, "UDINT": 4, "REAL": 4, "TIME": 4, "TOD": 4,
    "LWORD": 8, "LINT": 8, "ULINT": 8, "LREAL": 8, "LTIME": 8, "LTOD": 8, "LDT": 8, "DATE_AND_TIME": 8, "DTL": 12,
}  # fmt: skip
ALIASES = {"DT": "DATE_AND_TIME", "TIME_OF_DAY": "TOD", "LTIME_OF_DAY": "LTOD", "DATE_AND_LTIME": "LDT"}
_TYPES = (*SIZES_BYTES, *LENGTH_MAX, *ALIASES)
_DEFAULT_TYPES = {"X": "BOOL", "B": "BYTE", "W": "WORD", "D": "DWORD"}
_LETTER_SIZES = {"W": 2, "D": 4}
_TEXT = re.compile(
    r"%?(?:DB(?P<db>\d{1,5})\.DB(?P<db_letter>[XBWD])|(?P<area>[IEQAM])(?P<letter>[XBWD])?)"
    r"(?P<byte>\d{1,5})(?:\.(?P<bit>\d))?(?::(?P<type>[A-Z0-9_]+)(?P<dims>(?:\[\d{1,5}\]){0,2}))?\Z",
    re.ASCII,
)


class Area(Enum):
    """The areas by their codes on the wire."""

    INPUTS = 0x81
    OUTPUTS = 0x82
    MERKERS = 0x83
    DATA_BLOCK = 0x84


_AREAS = {"I": Area.INPUTS, "E": Area.INPUTS, "Q": Area.OUTPUTS, "A": Area.OUTPUTS, "M": Area.MERKERS}
_AREA_NAMES = {Area.INPUTS: "inputs", Area.OUTPUTS: "outputs", Area.MERKERS: "merkers"}


@dataclass(frozen=True, slots=True)
class Point:
    """One parsed address: where it starts and how to read it.

    `bit` counts from 0 and is 0 for all but bits; `length` is the declared one of a STRING or WSTRING, else 0;
    `repeat` is None for one value, else the length of the list.
    """

    area: Area
    db: int
    byte: int
    data_type: str
    bit: int = 0
    length: int = 0
    repeat: int | None = None

    @property
    def stride_bytes(self) -> int:
        """Bytes from one value of a list to the next; texts begin at even addresses."""
        if self.data_type == "STRING":
            return (self.length + 3) // 2 * 2
        if self.data_type == "WSTRING":
            return 2 * self.length + 4
        return SIZES_BYTES[self.data_type]

    @property
    def size_bytes(self) -> int:
        """Bytes that must be read for it."""
        count = 1 if self.repeat is None else self.repeat
        if self.data_type == "BOOL":
            return (self.bit + count + 7) // 8
        last = self.length + 2 if self.data_type == "STRING" else self.stride_bytes
        return (count - 1) * self.stride_bytes + last

    @property
    def end(self) -> int:
        """The first byte after it."""
        return self.byte + self.size_bytes

    @property
    def block(self) -> tuple[Area, int]:
        """What it lies in."""
        return self.area, self.db


def block_name(area: Area, db: int) -> str:
    """The block or area in words."""
    return f"DB{db}" if area is Area.DATA_BLOCK else _AREA_NAMES[area]


def _refuse(what: str, text: str, *, expected: str, next_step: str | None = None) -> ConfigError:
    return ConfigError(what, expected=expected, got=repr(text), next_step=next_step, code="MS-1200")


@lru_cache(maxsize=65536)
def parse_address(text: str) -> Point:
    """The point that `text` names. Raises ConfigError."""
    match = _TEXT.match(text.strip().upper())
    if match is None:
        raise _refuse(
            "not an S7 address", text, expected="DB<n>.DB<X|B|W|D><byte>[.<bit>][:<TYPE>], e.g. DB1.DBD4:REAL, or M0.1"
        )
    if match["db"] is not None:
        area, db, letter = Area.DATA_BLOCK, int(match["db"]), match["db_letter"]
    else:
        area, db, letter = _AREAS[match["area"]], 0, match["letter"] or "X"
    data_type = _data_type(match["type"], letter, text)
    length, repeat = _dimensions(data_type, match["dims"] or "", text)
    _check_place(match["bit"], letter, data_type, text)
    point = Point(area, db, int(match["byte"]), data_type, int(match["bit"] or 0), length, repeat)
    if (area is Area.DATA_BLOCK and not 1 <= db <= 65535) or point.end > BYTE_MAX + 1:
        raise _refuse("S7 address is too large", text, expected=f"DB1 to DB65535, ending at byte {BYTE_MAX}")
    return point


def _data_type(named: str | None, letter: str, text: str) -> str:
    if named is None:
        return _DEFAULT_TYPES[letter]
    data_type = ALIASES.get(named, named)
    if data_type not in SIZES_BYTES and data_type not in LENGTH_MAX:
        near = suggest(named, _TYPES)
        raise _refuse(
            "unknown S7 data type",
            text,
            expected=", ".join((*SIZES_BYTES, "STRING[n]", "WSTRING[n]")),
            next_step=f"did you mean {near}?" if near else None,
        )
    return data_type


def _dimensions(data_type: str, dims: str, text: str) -> tuple[int, int | None]:
    numbers = [int(number) for number in re.findall(r"\d+", dims)]
    if 0 in numbers:
        raise _refuse("a length of zero", text, expected="at least one")
    length_max = LENGTH_MAX.get(data_type)
    if length_max is None:
        if len(numbers) > 1:
            raise _refuse("one dimension is all a list may have", text, expected=f"{data_type}[n]")
        return 0, numbers[0] if numbers else None
    if not numbers or numbers[0] > length_max:
        raise _refuse(
            "a text needs its declared length", text, expected=f"{data_type}[n] with n from 1 to {length_max}"
        )
    return numbers[0], numbers[1] if len(numbers) > 1 else None


def _check_place(bit: str | None, letter: str, data_type: str, text: str) -> None:
    if letter == "X" and (bit is None or int(bit) > 7):
        raise _refuse("a bit needs its number", text, expected="0 to 7 after the byte, e.g. DB1.DBX0.3 or M0.1")
    if letter != "X" and bit is not None:
        raise _refuse("bytes, words and double words have no bit", text, expected="DBX for a bit, e.g. DB1.DBX0.3")
    if data_type == "BOOL" and letter != "X":
        raise _refuse("a BOOL is addressed by its bit", text, expected="DBX, e.g. DB1.DBX0.3")
    if letter == "X" and data_type != "BOOL" and bit != "0":
        raise _refuse("this type begins at a whole byte", text, expected="bit 0")
    size = _LETTER_SIZES.get(letter)
    if size is not None and SIZES_BYTES.get(data_type) != size:
        raise _refuse(
            "the address is not as wide as its type", text, expected=f"a type of {size} bytes, or DBB for any type"
        )
