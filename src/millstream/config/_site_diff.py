"""Two documents of a site compared by path, and who set what in a row of them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from millstream.config._yaml import parse_yaml

T = TypeVar("T")
SHOWN_CHARS_MAX = 80


@dataclass(frozen=True, slots=True)
class PathChange:
    """One path of a document: `old` or `new` is None when it was not or is not there. Values as short JSON."""

    path: str
    old: str | None
    new: str | None

    def __str__(self) -> str:
        if self.old is None:
            return f"+ {self.path}: {self.new}"
        return f"- {self.path}: {self.old}" if self.new is None else f"~ {self.path}: {self.old} -> {self.new}"

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {"path": self.path, "old": self.old, "new": self.new}


@dataclass(frozen=True, slots=True)
class PathAuthor(Generic[T]):
    """One path of the newest document, and what set it to its value."""

    path: str
    value: str
    by: T


def leaves(text: str) -> dict[str, str]:
    """The values of a document by path, in order. Items of a list go by their `name`, as in ``connectors[press].type``,
    or by their place. A document that cannot be read has none."""
    return dict(_leaves("", parse_yaml(text).plain()))


def diff_documents(old: str, new: str) -> list[PathChange]:
    """What differs, in the order of the new document; what is gone comes last."""
    before, after = leaves(old), leaves(new)
    found = [PathChange(path, before.get(path), value) for path, value in after.items() if before.get(path) != value]
    return found + [PathChange(path, value, None) for path, value in before.items() if path not in after]


def blame(revisions: Sequence[tuple[T, str]]) -> list[PathAuthor[T]]:
    """For each path of the last document the revision that gave it its value; `revisions` oldest first. What was there
    in the first one is put down to it."""
    known: dict[str, tuple[str, T]] = {}
    for by, text in revisions:
        now = leaves(text)
        known = {
            path: known[path] if path in known and known[path][0] == value else (value, by)
            for path, value in now.items()
        }  # fmt: skip
    return [PathAuthor(path, value, by) for path, (value, by) in known.items()]


def _leaves(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(f"{path}.{key}" if path else str(key), item)
    elif isinstance(value, list) and value:
        names = [item.get("name") if isinstance(item, Mapping) else None for item in value]
        is_named = all(isinstance(name, str) for name in names) and len(set(map(str, names))) == len(names)
        for index, item in enumerate(value):
            yield from _leaves(f"{path}[{names[index] if is_named else index}]", item)
    elif path:
        yield path, _shown(value)


def _shown(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= SHOWN_CHARS_MAX else text[: SHOWN_CHARS_MAX - 3] + "..."
