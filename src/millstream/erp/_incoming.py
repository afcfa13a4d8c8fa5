"""What a system knows comes in as context: each page is judged row by row, and what is refused is kept apart.

The same fact again changes nothing, so a page that is read twice counts once. What is refused is tried again with each
look, until it is taken or its row says something else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from millstream.config import ReadConfig
from millstream.erp._book import Book
from millstream.erp._rows import SystemRow, as_json, cells_of, identity, is_removed, judge, leaf_of
from millstream.erp._systems import Source
from millstream.kernel import DecodeError
from millstream.shop import Fact

if TYPE_CHECKING:
    from millstream.client import KnownFact, Plant

REFUSED_MAX = 1000  # rows of one read that are kept to be tried again; of more only the number is known
CODE = "MS-2810"


@dataclass(slots=True)
class Look:
    """What one look found: rows, facts that are new, rows that are refused with their reasons."""

    rows: int = 0
    taken: int = 0
    facts: list[Fact] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    newly_refused: dict[str, str] = field(default_factory=dict)
    settled: set[str] = field(default_factory=set)


class Incoming:
    """One read."""

    def __init__(self, plant: Plant, read: ReadConfig, place: str, book: Book) -> None:
        self._plant, self._read, self._place, self._book = plant, read, place, book
        self._who = f"erp {read.name}"

    async def look(self, source: Source, *, is_dry: bool = False) -> Look:
        """Read, judge and store what there is (dry: only judge). Raises what the source and the plant raise."""
        found = Look()
        position = self._book.get(f"read/{self._read.name}")
        kept = {} if self._read.is_whole else {name: entry["row"] for name, entry in self._book.items(self._head)}
        async with aclosing(source.pages(self._read, position)) as pages:
            async for page in pages:
                rows = {**kept, **{identity(self._read, row): row for row in page.rows}}
                found.rows += len(page.rows)
                await self._take(rows, found, is_dry)
                kept = {}
                if page.position is not None and not is_dry:
                    await asyncio.to_thread(self._book.put, f"read/{self._read.name}", page.position)
        if not is_dry:
            await self._settle(found)
        return found

    async def _take(self, rows: Mapping[str, SystemRow], found: Look, is_dry: bool) -> None:
        known = await self._plant.context.list()
        removed, cells, broken = self._sorted(rows, known)
        products = {f.path.rpartition("/")[2]: f.data for f in known if f.what == "product"}
        cycles = {name: float(data["ideal_cycle_s"]) for name, data in products.items() if "ideal_cycle_s" in data}
        facts, refused = judge(self._read, self._place, cells, cycles)
        changed = self._changed([*removed, *facts, *self._left_behind(facts, known)], known)
        reasons = {**broken, **refused}
        found.facts += changed
        found.refused.update(reasons)
        found.settled.update(name for name in rows if name not in reasons)
        if is_dry:
            return
        found.taken += await self._plant.context.put(changed, who=self._who)
        for name, reason in reasons.items():
            await self._put_aside(name, rows[name], reason, found)

    def _sorted(
        self, rows: Mapping[str, SystemRow], known: Sequence[KnownFact]
    ) -> tuple[list[Fact], dict[str, Mapping[str, str]], dict[str, str]]:  # fmt: skip
        """What is to be taken away; the cells of the rest; and why which rows cannot be read at all."""
        cells: dict[str, Mapping[str, str]] = {}
        removed: list[Fact] = []
        broken: dict[str, str] = {}
        for name, row in rows.items():
            is_gone = is_removed(self._read, row)
            try:
                own = cells_of(self._read, row)
            except DecodeError as error:
                if not is_gone:
                    broken[name] = f"{error.what}, got {error.got}"
                continue
            if is_gone:
                leaf = leaf_of(self._read.what, own)
                removed += [_gone(f) for f in known if self._is_ours(f) and f.path.rpartition("/")[2] == leaf]
            else:
                cells[name] = own
        return removed, cells, broken

    def _left_behind(self, facts: Sequence[Fact], known: Sequence[KnownFact]) -> list[Fact]:
        """An order that goes to another machine is none of the first one any more."""
        paths = {fact.path.rpartition("/")[2]: fact.path for fact in facts if fact.what == "order"}
        return [
            _gone(f) for f in known
            if self._is_ours(f) and f.what == "order" and paths.get(f.path.rpartition("/")[2], f.path) != f.path
        ]  # fmt: skip

    def _is_ours(self, fact: KnownFact) -> bool:
        return fact.what == self._read.what and fact.who == self._who

    @staticmethod
    def _changed(facts: Sequence[Fact], known: Sequence[KnownFact]) -> list[Fact]:
        stands = {fact.path: fact.data for fact in known}
        return [f for f in facts if (f.path in stands if f.data.get("removed") else stands.get(f.path) != f.data)]

    # -- what is refused ----------------------------------------------------------------------------------------------

    @property
    def _head(self) -> str:
        return f"refused/{self._read.name}/"

    async def _put_aside(self, name: str, row: SystemRow, reason: str, found: Look) -> None:
        """Keep a refused row, and tell of it once."""
        entry = {"reason": reason, "row": as_json(row)}
        before = self._book.get(self._head + name)
        if before == entry:
            return
        found.newly_refused[name] = reason
        await self._plant.put_aside(f"erp-{self._read.name}", msgspec.json.encode(entry["row"]), reason, code=CODE)
        if before is not None or len(self._book.items(self._head)) < REFUSED_MAX:
            await asyncio.to_thread(self._book.put, self._head + name, entry)

    async def _settle(self, found: Look) -> None:
        """Let go what was taken since, or is not there any more."""
        for name, _ in self._book.items(self._head):
            if name in found.settled or (self._read.is_whole and name not in found.refused):
                await asyncio.to_thread(self._book.put, self._head + name, None)


def _gone(fact: KnownFact) -> Fact:
    return Fact(fact.path, fact.what, {"removed": True})
