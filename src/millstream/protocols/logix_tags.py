"""Tags of a Logix controller as a device holds them: types, structures, memory (Logix 5000 Data Access, 1756-PM020).

A tag is bytes in the controller's layout. Templates, symbol types and sizes are as a client uploads them.
"""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from millstream.model import Value
from millstream.protocols.cip_wire import GENERAL, PATH_SEGMENT_ERROR, PATH_UNKNOWN, CipRefused

BEYOND = 0x2105  # extended status: past the end of the tag
STRING_TEMPLATE, STRING_CHARACTERS = 0xFCE, 82
TAGS_COUNT_MAX = 20_000
TAG_BYTES_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class Atomic:
    """A number. `layout` is its letter for `struct`."""

    name: str
    code: int
    layout: str

    @property
    def size(self) -> int:
        """Bytes of one."""
        return struct.calcsize("<" + self.layout)

    @property
    def alignment(self) -> int:
        """Where it may begin inside a structure: at multiples of this."""
        return self.size

    @property
    def symbol_type(self) -> int:
        """As in the list of tags, without dimensions."""
        return self.code

    @property
    def wire_type(self) -> bytes:
        """In front of values."""
        return struct.pack("<H", self.code)


@dataclass(frozen=True, slots=True)
class Member:
    """One of a structure. `count` is 0 for a single one; `bit` is set for a BOOL, which is a bit of a hidden SINT."""

    name: str
    type: Type
    count: int
    offset: int
    bit: int | None = None

    @property
    def is_hidden(self) -> bool:
        """It only holds the bits of others."""
        return self.name.startswith("ZZZZZZZZZZ")


@dataclass(frozen=True, slots=True)
class Structure:
    """A user-defined type, or STRING."""

    name: str
    template: int
    members: tuple[Member, ...]
    size: int
    alignment: int
    handle: int

    @property
    def symbol_type(self) -> int:
        """As in the list of tags, without dimensions."""
        return 0x8000 | self.template

    @property
    def wire_type(self) -> bytes:
        """In front of values."""
        return struct.pack("<HH", 0x02A0, self.handle)

    def definition(self) -> bytes:
        """What the Template object gives out, filled up so that `definition_words` says its length."""
        info = b"".join(_member_info(member) for member in self.members)
        flags = b"".join(b"E@" if member.is_hidden else b"EC" for member in self.members)
        names = b"".join(member.name.encode("ascii") + b"\0" for member in self.members)
        data = info + self.name.encode("ascii") + b";n" + flags + b"\0" + names
        return data + bytes(-len(data) % 4)

    @property
    def definition_words(self) -> int:
        """Attribute 4 of the Template object: clients ask for four times this, less 20 to 23 bytes."""
        return len(self.definition()) // 4 + 5


Type: TypeAlias = "Atomic | Structure"

BOOL, SINT, INT, DINT, LINT = (
    Atomic("BOOL", 0xC1, "?"), Atomic("SINT", 0xC2, "b"), Atomic("INT", 0xC3, "h"), Atomic("DINT", 0xC4, "i"),
    Atomic("LINT", 0xC5, "q"),
)  # fmt: skip
PROGRAM = Atomic("Program", 0x1068, "I")  # a program in the list of tags
REAL, LREAL, DWORD = Atomic("REAL", 0xCA, "f"), Atomic("LREAL", 0xCB, "d"), Atomic("DWORD", 0xD3, "I")


def _member_info(member: Member) -> bytes:
    kind, number = member.type.symbol_type, member.count
    if member.bit is not None:
        number = member.bit
    elif member.count:
        kind |= 0x2000
    return struct.pack("<HHI", number, kind, member.offset)


def structure(
    name: str, template: int, members: Iterable[tuple[str, Type, int]], *, handle: int | None = None
) -> Structure:
    """Lay out members (name, type, count; count 0 for a single one) as the programming software does: BOOLs are packed
    into hidden SINTs, all others begin at multiples of their size, structures at multiples of four."""
    laid: list[Member] = []
    offset, alignment = 0, 4
    hidden: Member | None = None
    for member, kind, count in members:
        if kind == BOOL and not count:
            bit = 0 if hidden is None else (laid[-1].bit or 0) + 1
            if hidden is None or bit == 8:
                hidden, bit = Member(f"ZZZZZZZZZZ{name}{len(laid)}", SINT, 0, offset), 0
                laid.append(hidden)
                offset += 1
            laid.append(Member(member, BOOL, 0, hidden.offset, bit))
            continue
        hidden = None
        offset += -offset % kind.alignment
        laid.append(Member(member, kind, count, offset))
        offset += kind.size * max(1, count)
        alignment = max(alignment, kind.alignment)
    size = offset + -offset % alignment
    made = Structure(name, template, tuple(laid), size, alignment, handle or 0)
    return made if handle else Structure(
        name, template, made.members, size, alignment, zlib.crc32(made.definition()) & 0xFFFF or 1
    )  # fmt: skip


STRING = structure(
    "STRING", STRING_TEMPLATE, [("LEN", DINT, 0), ("DATA", SINT, STRING_CHARACTERS)], handle=STRING_TEMPLATE
)


def encode_value(kind: Type, value: Value) -> bytes:
    """One value in the controller's layout. Raises TypeError, ValueError, struct.error, KeyError for what it is not."""
    if isinstance(kind, Atomic):
        return struct.pack("<" + kind.layout, value)
    if kind == STRING and isinstance(value, str):
        raw = value.encode("utf-8")[:STRING_CHARACTERS]
        return struct.pack(f"<I{kind.size - 4}s", len(raw), raw)
    if not isinstance(value, Mapping):
        raise TypeError(f"expected an object for {kind.name}")
    data = bytearray(kind.size)
    for member in kind.members:
        if member.name not in value:
            continue
        if member.bit is not None:
            data[member.offset] |= bool(value[member.name]) << member.bit
            continue
        one = value[member.name]
        raw = encode_values(member.type, one if isinstance(one, list) else [one])
        data[member.offset : member.offset + len(raw)] = raw
    return bytes(data)


def encode_values(kind: Type, values: Sequence[Value]) -> bytes:
    """Several of them."""
    return b"".join(encode_value(kind, value) for value in values)


@dataclass(slots=True)
class LogixTag:
    """One tag. `dimensions` is empty for a single value; `is_read_only`: clients may not write it."""

    name: str
    type: Type
    dimensions: tuple[int, ...]
    data: bytearray
    is_read_only: bool = False
    instance: int = 0

    @property
    def symbol_type(self) -> int:
        """Attribute 2 of the Symbol object."""
        return self.type.symbol_type | len(self.dimensions) << 13

    def set(self, value: Value, index: int = 0) -> None:
        """Put a value, or a list from its element `index` on. Raises what `encode_value` raises."""
        raw = encode_values(self.type, value if isinstance(value, list) else [value])
        at = index * self.type.size
        if at + len(raw) > len(self.data):
            raise ValueError(f"{self.name} has no element {index}")
        self.data[at : at + len(raw)] = raw


@dataclass(frozen=True, slots=True)
class Place:
    """Where a path leads: so many elements of a type from a byte of a tag on, or one bit."""

    tag: LogixTag
    type: Type
    offset: int
    count: int
    bit: int | None = None


class TagTable:
    """The tags of a controller and of its programs; ``Program:Main.Step`` is the tag Step of the program Main."""

    def __init__(self) -> None:
        self._scopes: dict[str, dict[str, LogixTag]] = {"": {}}
        self._numbered: dict[tuple[str, int], LogixTag] = {}
        self._instances = itertools.count(1)
        self.templates: dict[int, Structure] = {}

    def add(
        self, name: str, kind: Type, value: Value | None = None, *, dimensions: tuple[int, ...] = (),
        is_read_only: bool = False,
    ) -> LogixTag:  # fmt: skip
        """Make a tag. Raises ValueError when there is no room, and what `encode_value` raises."""
        scope, _, own = name.rpartition(".")
        size = kind.size
        for length in dimensions:
            size *= length
        if size > TAG_BYTES_MAX or sum(map(len, self._scopes.values())) >= TAGS_COUNT_MAX or len(dimensions) > 3:
            raise ValueError(f"no room for {name}")
        tag = LogixTag(own, kind, dimensions, bytearray(size), is_read_only, next(self._instances))
        if value is not None:
            tag.set(value)
        self._learn(kind)
        self._keep(scope, tag)
        if scope and scope.lower() not in self._scopes[""]:
            program = LogixTag(scope, PROGRAM, (), bytearray(4), instance=next(self._instances))
            self._keep("", program)
        return tag

    def _keep(self, scope: str, tag: LogixTag) -> None:
        self._scopes.setdefault(scope.lower(), {})[tag.name.lower()] = tag
        self._numbered[scope.lower(), tag.instance] = tag

    def _learn(self, kind: Type) -> None:
        if isinstance(kind, Structure) and kind.template not in self.templates:
            self.templates[kind.template] = kind
            for member in kind.members:
                self._learn(member.type)

    def get(self, name: str) -> LogixTag | None:
        """By its whole name; case does not matter."""
        scope, _, own = name.lower().rpartition(".")
        return self._scopes.get(scope, {}).get(own)

    def listed(self, scope: str, first: int) -> Iterator[LogixTag]:
        """Tags of a scope from an instance on, in order. Raises CipRefused for no such scope."""
        if scope.lower() not in self._scopes:
            raise CipRefused(PATH_UNKNOWN)
        return (tag for tag in self._scopes[scope.lower()].values() if tag.instance >= first)

    def by_instance(self, scope: str, instance: int) -> LogixTag:
        """Raises CipRefused."""
        tag = self._numbered.get((scope.lower(), instance))
        if tag is None or tag.type is PROGRAM:
            raise CipRefused(PATH_UNKNOWN)
        return tag

    def find(self, names: Sequence[tuple[str, tuple[int, ...]]]) -> Place:
        """Where symbols lead: a tag, its elements and members. Raises CipRefused."""
        if not names:
            raise CipRefused(PATH_SEGMENT_ERROR)
        scope = ""
        if names[0][0].lower().startswith("program:") and len(names) > 1:
            scope, names = names[0][0].lower(), names[1:]
        (name, indices), members = names[0], names[1:]
        tag = self._scopes.get(scope, {}).get(name.lower())
        if tag is None or tag.type is PROGRAM:
            raise CipRefused(PATH_UNKNOWN)
        return walk(tag, indices, members)


def walk(tag: LogixTag, indices: tuple[int, ...], members: Sequence[tuple[str, tuple[int, ...]]]) -> Place:
    """From a tag into its elements and members. Raises CipRefused."""
    index, total = _index(indices, tag.dimensions)
    place = Place(tag, tag.type, index * tag.type.size, total - index)
    for name, numbers in members:
        if not isinstance(place.type, Structure) or place.bit is not None:
            raise CipRefused(PATH_UNKNOWN)
        found = next((each for each in place.type.members if each.name.lower() == name.lower()), None)
        if found is None or found.is_hidden:
            raise CipRefused(PATH_UNKNOWN)
        index, total = _index(numbers, (found.count,) if found.count else ())
        offset = place.offset + found.offset + index * found.type.size
        place = Place(tag, found.type, offset, total - index, found.bit)
    return place


def _index(indices: tuple[int, ...], dimensions: tuple[int, ...]) -> tuple[int, int]:
    """The element's number in memory, and how many there are in all."""
    total = 1
    for length in dimensions:
        total *= length
    if not indices:
        return 0, total
    if len(indices) != len(dimensions):
        raise CipRefused(PATH_SEGMENT_ERROR)
    at = 0
    for index, length in zip(indices, dimensions, strict=True):
        if index >= length:
            raise CipRefused(GENERAL, BEYOND)
        at = at * length + index
    return at, total
