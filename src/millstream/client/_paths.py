"""From what a person writes to subjects, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, TypeAlias

from millstream.client._tree import TagEntry
from millstream.kernel import DecodeError
from millstream.model import AssetPath, TagPath
from millstream.protocols.uns_pattern import Pattern, contract_of
from millstream.protocols.uns_subject import UnsAddress, decode_subject, encode_subject

Where: TypeAlias = "str | AssetPath | TagPath"


def to_patterns(texts: Sequence[Where]) -> list[Pattern]:
    """Patterns of texts or paths; without any, everything. Raises DecodeError."""
    return [Pattern.parse(text) for text in texts] or [Pattern.parse("**:**")]


def disjoint(subjects: Sequence[str]) -> list[str]:
    """Filters that let at least as much through but no message twice: when two overlap, one for what they share."""
    unique = list(dict.fromkeys(subjects))
    if not any(_overlap(one.split("."), other.split(".")) for one, other in combinations(unique, 2)):
        return unique
    shared = []
    for tokens in zip(*(subject.split(".") for subject in unique), strict=False):
        if len(set(tokens)) > 1 or tokens[0] == ">":
            break
        shared.append(tokens[0])
    return [".".join([*shared, ">"])] if len(unique) > 1 else unique


def _overlap(one: Sequence[str], other: Sequence[str]) -> bool:
    for a, b in zip(one, other, strict=False):
        if ">" in (a, b):
            return True
        if a != b and "*" not in (a, b):
            return False
    return len(one) == len(other)


def to_address(subject: str) -> UnsAddress | None:
    """The address of a subject, None when it is not of the namespace."""
    try:
        return decode_subject(subject)
    except DecodeError:
        return None  # not of the namespace: others may use the server too


def to_subject(path: Where, kind: str) -> str:
    """The subject of one tag. Raises DecodeError."""
    tag = Pattern.parse(path).tag
    return encode_subject(UnsAddress(tag.asset, contract_of(kind), tag.names))


def event_place(path: Where, type_name: str) -> tuple[AssetPath, tuple[str, ...]]:
    """Where an event goes: the place, and the names of the path or of its type. Raises DecodeError."""
    text = str(path)
    if ":" in text:
        tag = TagPath.parse(text)
        return tag.asset, tag.names
    names = tuple(part for part in type_name.split(".") if part)
    return AssetPath.parse(text), names or (type_name or "event",)


def to_names(aggregate: str | Sequence[str] | None) -> list[str] | None:
    """One name or several as a list."""
    if aggregate is None:
        return None
    return [aggregate] if isinstance(aggregate, str) else list(aggregate)


def to_entry(path: str, kind: str, count: int, raw: Mapping[str, Any]) -> TagEntry:
    """A tag with its description."""
    source = raw.get("source")
    return TagEntry(
        path, kind, count, raw.get("unit"), raw.get("data_type"), raw.get("description"),
        source.get("address") if isinstance(source, dict) else None,
    )  # fmt: skip
