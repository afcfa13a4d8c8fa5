"""A part of the namespace as a page shows it first: places with how many tags lie below, and the tags of what is open.

A list of all tags is cheap in a small plant and too much in a large one; this is one answer for the first picture of
both, and for each place that somebody opens.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from millstream.historian import TagEntry

TAGS_MAX = 10_000  # of one list
OPEN_MAX = 50
NAMES_KEPT = 10_000
_NUMBER = re.compile(r"(\d+)")


@dataclass(frozen=True, slots=True)
class Place:
    """`count`: of tags at and below it. `is_whole`: what lies directly in it is in the answer."""

    path: str
    count: int
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Part:
    """Places in no order, tags from top to bottom; `count`: of tags below the place that was asked for."""

    count: int
    places: tuple[Place, ...]
    tags: tuple[TagEntry, ...]


def part_of(entries: Sequence[TagEntry], place: str, *, open_count: int, limit: int) -> Part:
    """What lies directly in `place` ("" is the root), and in the places below while opening a level opens at most
    `open_count` in all; at most `limit` tags. Cost: O(entries)."""
    of_asset = Counter(_asset(entry.path) for entry in entries)
    counts: Counter[str] = Counter()
    children: defaultdict[str, set[str]] = defaultdict(set)
    for asset, count in of_asset.items():
        if _is_below(asset, place):
            for parent, path in _levels(asset):
                counts[path] += count
                children[parent].add(path)
    opened = _opened(children, place, open_count)
    tags: defaultdict[str, list[TagEntry]] = defaultdict(list)
    for entry in entries:
        if (asset := _asset(entry.path)) in opened:
            tags[asset].append(entry)
    shown: list[TagEntry] = []
    whole: set[str] = set()
    for path in _from_the_top(children, opened, place):
        room = limit - len(shown)
        mine = tags[path]
        if room > 0:
            shown += sorted(mine, key=lambda entry: _natural(entry.path))[:room]
        if len(mine) <= room:
            whole.add(path)
    seen = [place, *(path for parent in opened for path in children[parent])]
    return Part(
        counts[place] if place else of_asset.total(),
        tuple(Place(path, counts[path], path in whole) for path in seen if path),
        tuple(shown),
    )


def _asset(path: str) -> str:
    return path.partition(":")[0]


def _is_below(asset: str, place: str) -> bool:
    return not place or asset == place or asset.startswith(f"{place}/")


def _levels(asset: str) -> Iterator[tuple[str, str]]:
    """Each place on the way to it, with the one above."""
    parent = ""
    for level in asset.split("/"):
        path = f"{parent}/{level}" if parent else level
        yield parent, path
        parent = path


def _opened(children: defaultdict[str, set[str]], place: str, open_count: int) -> set[str]:
    """Level by level, while it does not become too many."""
    opened = {place}
    level = sorted(children[place])
    while level and len(opened) - 1 + len(level) <= open_count:
        opened.update(level)
        level = [path for parent in level for path in children[parent]]
    return opened


def _from_the_top(children: defaultdict[str, set[str]], opened: set[str], place: str) -> Iterator[str]:
    """Open places as a page lists their tags: below a place its places come before its own tags."""
    for path in sorted(children[place] & opened, key=_natural):
        yield from _from_the_top(children, opened, path)
    yield place


@lru_cache(maxsize=NAMES_KEPT)  # the same few names for each page that is opened
def _natural(path: str) -> tuple[tuple[int, str], ...]:
    """Numbers in a name by their size."""
    return tuple((int(part), "") if part.isdecimal() else (-1, part.lower()) for part in _NUMBER.split(path) if part)
