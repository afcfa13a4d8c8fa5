"""What counts in a history in ClickHouse, worked out without a server; see `_clickhouse_store`."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from millstream.historian._frozen import Beside
from millstream.historian._store import Commit, Position

WRITER_BITS = 40  # of `n`, below the writer's number: a million rows a second for twelve days, then the next number


@dataclass(frozen=True, slots=True)
class StateRow:
    """One entry of the state; `kind`, `name`, `part` and `number` say which, the one with the greatest `n` counts."""

    kind: str
    name: str = ""
    part: str = ""
    number: int = 0
    n: int = 0
    value: int = 0
    extra: int = 0
    data: bytes = b""

    @classmethod
    def of(cls, row: Sequence[Any]) -> StateRow:
        """As the server gives it, the bytes in base64."""
        kind, name, part, number, n, value, extra, data = row
        return cls(kind, name, part, number, n, value, extra, base64_of(data))


@dataclass(frozen=True, slots=True)
class Void:
    """Places of arrival from `first` up to `end` that do not count; known since `since_ns`."""

    first: int
    end: int
    since_ns: int


@dataclass(slots=True)
class State:
    """What the writer with this number stands at."""

    writer: int
    order: int = 0
    positions: dict[tuple[str, int], Position] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    voids: list[Void] = field(default_factory=list)

    @classmethod
    def taken_over(
        cls, writer: int, before: int, rows: Iterable[StateRow], now_ns: int
    ) -> tuple[State, list[StateRow]]:
        """From the rows of the writer before (0: there is none), and what makes it the own. All places between where
        that one stood and the own first one are void."""
        state, start = cls(writer, writer << WRITER_BITS), before << WRITER_BITS
        copied = []
        for row in rows:
            if row.kind == "order":
                start = row.value
            elif row.kind == "void" and row.value > row.number:
                state.voids.append(Void(row.number, row.value, row.extra))
            elif row.kind == "position":
                state.positions[row.name, row.number] = Position(row.name, row.number, row.value, row.extra)
            elif row.kind == "counter":
                state.counters[row.name] = row.value
            if row.kind in ("position", "counter") or (row.kind == "ledger" and row.value):
                copied.append(replace(row, n=state.order))
        if before:
            state.voids = _joined([*state.voids, Void(start, state.order, now_ns)])
        copied += [StateRow("void", "", "", v.first, state.order, v.end, v.since_ns) for v in state.voids]
        return state, [*copied, StateRow("order", n=state.order, value=state.order)]

    def has_room(self, places: int) -> bool:
        """Whether so many more places are left under this number."""
        return self.order + places < (self.writer + 1) << WRITER_BITS

    def after(self, batch: Commit, order: int) -> tuple[State, list[StateRow]]:
        """What it stands at once the batch is stored, up to `order`, and the rows that say so."""
        counters = dict(self.counters)
        for name, count in (batch.counts or {}).items():
            counters[name] = counters.get(name, 0) + count
        stream, ledger = batch.position.stream, batch.ledger or {}
        rows = [StateRow("counter", name, n=order, value=counters[name]) for name in batch.counts or {}]
        rows += [
            StateRow("ledger", stream, origin, n=order, value=int(state is not None), data=state or b"")
            for origin, state in ledger.items()
        ]
        return self._next(batch.position, order, rows, counters)

    def filled(self, beside: Beside, order: int) -> tuple[State, list[StateRow]]:
        """With a whole history that was stored up to `order`."""
        positions = {**self.positions, **{(p.stream, p.generation): p for p in beside.positions}}
        counters = {name: value for name, value in beside.counters.items() if name not in ("rows", "order")}
        rows = [StateRow("counter", name, n=order, value=value) for name, value in counters.items()]
        rows += [StateRow("ledger", s, origin, n=order, value=1, data=state) for s, origin, state in beside.ledger]
        rows += [
            StateRow("position", p.stream, "", p.generation, order, p.last_seq, p.last_stored_ns)
            for p in beside.positions
        ]
        rows.append(StateRow("order", n=order, value=order))
        return replace(self, order=order, positions=positions, counters=counters), rows

    def moved(self, position: Position) -> tuple[State, list[StateRow]]:
        """With a stream put back."""
        return self._next(position, self.order + 1, [], self.counters)

    def counted(self, counters: Mapping[str, int]) -> tuple[State, list[StateRow]]:
        """With one more place, and counters at these values."""
        order = self.order + 1
        rows = [StateRow("counter", name, n=order, value=value) for name, value in counters.items()]
        rows.append(StateRow("order", n=order, value=order))
        return replace(self, order=order, counters={**self.counters, **counters}), rows

    def without(self, void: Void) -> tuple[State, list[StateRow]]:
        """With a void range that holds nothing any more."""
        order, left = self.order + 1, [other for other in self.voids if other != void]
        rows = [StateRow("void", number=void.first, n=order, value=void.first)]
        rows.append(StateRow("order", n=order, value=order))
        return replace(self, order=order, voids=left), rows

    def _next(
        self, position: Position, order: int, rows: list[StateRow], counters: Mapping[str, int]
    ) -> tuple[State, list[StateRow]]:
        name, number = position.stream, position.generation
        rows.append(StateRow("position", name, "", number, order, position.last_seq, position.last_stored_ns))
        rows.append(StateRow("order", n=order, value=order))
        positions = {**self.positions, (name, number): position}
        return replace(self, order=order, positions=positions, counters=dict(counters)), rows

    def void(self) -> str:
        """As a condition in SQL: the row lies in a void range; empty when there is none."""
        ranges = [f"(n >= {void.first:d} AND n < {void.end:d})" for void in self.voids]
        return f"({' OR '.join(ranges)})" if ranges else ""

    def seen(self) -> str:
        """As a condition in SQL: the row counts."""
        void = self.void()
        return f"n < {self.order:d}" + (f" AND NOT {void}" if void else "")


def as_columns(writer: int, rows: Sequence[StateRow]) -> dict[str, Any]:
    """As the table that is inserted."""
    import pyarrow as pa

    texts, numbers = ("kind", "name", "part"), ("number", "n", "value", "extra")
    return {
        "writer": pa.array([writer] * len(rows), pa.int64()),
        **{name: pa.array([getattr(row, name) for row in rows], pa.string()) for name in texts},
        **{name: pa.array([getattr(row, name) for row in rows], pa.int64()) for name in numbers},
        "data": pa.array([row.data for row in rows], pa.binary()),
    }


def base64_of(text: str) -> bytes:
    """The bytes back: text of an answer must be Unicode."""
    return base64.b64decode(text)


def _joined(voids: Iterable[Void]) -> list[Void]:
    """Neighbours as one: a writer that stored nothing leaves nothing between."""
    joined: list[Void] = []
    for void in sorted(voids, key=lambda void: void.first):
        if joined and joined[-1].end == void.first:
            void = Void(joined.pop().first, void.end, void.since_ns)
        joined.append(void)
    return joined
