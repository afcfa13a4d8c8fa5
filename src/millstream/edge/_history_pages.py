"""Pages of an edge's history for the fleet: samples or windows in order of time, each page cut between two times.

Nothing is kept between two pages: the next one begins at the time where this one was cut, so rows of one time come in
one page, together.
"""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

import msgspec

from millstream.historian import (
    AGGREGATES,
    SAMPLE_KINDS,
    Aggregate,
    HistorianService,
    Page,
    Range,
    SampleKind,
    Window,
    table_page,
)
from millstream.kernel import DecodeError, NotFoundError
from millstream.protocols.fleet_data import Cursor, PageAsk
from millstream.protocols.uns_pattern import Pattern

if TYPE_CHECKING:
    import pyarrow as pa

PAGE_ROWS = 20_000  # some hundred KB
PAGE_ROWS_MAX = 1_000_000  # of one time; the historian answers no more


class HistoryPages:
    """Asks `historian`, which is None while there is none."""

    def __init__(
        self, name: str, historian: Callable[[], HistorianService | None], *, page_rows: int = PAGE_ROWS
    ) -> None:  # fmt: skip
        self._name = name
        self._page_rows = page_rows
        self._historian = historian

    async def page(self, ask: PageAsk, patterns: Sequence[Pattern], at: Cursor) -> tuple[Page, str | None]:
        """One page of what `patterns` fit, and the cursor of the next. Raises PlantError."""
        historian = self._historian()
        if historian is None:
            raise NotFoundError(
                "this edge keeps no history", where=self._name, code="MS-2212",
                next_step="give its file a `historian` section, or ask for raw data without --history and --every",
            )  # fmt: skip
        assert ask.history is not None
        kind = cast("SampleKind", ask.kind)
        entries = historian.tags("*", kind) if kind in SAMPLE_KINDS else []
        names = tuple(glob.escape(e.path) for e in entries if any(p.fits_path(e.path) for p in patterns))
        if not names:
            return Page((), 0, 0), None
        rows = self._page_rows
        while True:
            table = await historian.query(_query(ask, names, kind, at, rows))
            if len(table) < rows:
                return table_page(table), None
            kept, next_ns = _cut(table)
            if len(kept):
                return table_page(kept), msgspec.json.encode(Cursor(0, 0, next_ns, at.end_ns)).decode()
            if rows >= PAGE_ROWS_MAX:
                raise DecodeError("too many rows of one time", expected=f"at most {rows}", code="MS-2210")
            rows = min(rows * 10, PAGE_ROWS_MAX)


def _query(ask: PageAsk, names: tuple[str, ...], kind: SampleKind, at: Cursor, rows: int) -> Range | Window:
    history = ask.history
    assert history is not None
    if history.every_ns is None:
        return Range(
            tags=names, data_kind=kind, start_ns=at.start_ns, end_ns=at.end_ns, limit=rows,
            quality=history.quality or "any",
        )  # fmt: skip
    wrong = [name for name in history.aggregates if name not in AGGREGATES]
    if wrong:
        raise DecodeError("no such aggregate", expected=", ".join(AGGREGATES), got=wrong[0], code="MS-2210")
    aggregates = cast("tuple[Aggregate, ...]", history.aggregates)
    return Window(
        tags=names, data_kind=kind, start_ns=at.start_ns, end_ns=at.end_ns, limit=rows, every_ns=history.every_ns,
        quality=history.quality or "usable", **({"aggregates": aggregates} if aggregates else {}),
    )  # fmt: skip


def _cut(table: pa.Table) -> tuple[pa.Table, int]:
    """Without the rows of the last time, which may not be all, and that time."""
    import pyarrow as pa
    import pyarrow.compute as pc

    times = table.column("timestamp").cast(pa.int64())
    last_ns = int(times[len(times) - 1].as_py())
    return table.slice(0, pc.index(pc.equal(times, last_ns), value=True).as_py()), last_ns
