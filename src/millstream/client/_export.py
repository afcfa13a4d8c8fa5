"""Export of history: day after day, each complete and once, into a lake that remembers what it has.

The version of a day is how many samples of it were ever stored: it grows with each late one, and never else. A day
whose version the lake has is left alone; one that was cut off is written anew.
"""

from __future__ import annotations

import asyncio
import datetime
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from millstream.kernel import PlantError

if TYPE_CHECKING:
    import pyarrow as pa

    from millstream.lake import Lake

DAY_NS = 86_400 * 10**9
CHUNK_ROWS = 400_000  # asked for at once; the historian answers at most a million
ANSWER_ROWS_MAX = 1_000_000
NAMES_MAX = 1000  # of one question, which must fit into a message
DAY_TRIES = 3
Ask = Callable[[dict[str, Any]], Awaitable["pa.Table"]]
Outcome = Literal["written", "unchanged", "empty", "kept"]


@dataclass(frozen=True, slots=True)
class ExportPlan:
    """What is exported: `names` of one kind of data, days of UTC from `first` to `last`, both included. `spec` says the
    same in words that do not change while names come and go."""

    names: Sequence[str]
    kind: str
    first: datetime.date
    last: datetime.date
    spec: str
    as_recorded: bool = False


@dataclass(frozen=True, slots=True)
class ExportedDay:
    """What became of one day: written, unchanged since the last export, empty, or kept since the history has less of it
    than the lake (retention)."""

    day: datetime.date
    outcome: Outcome
    rows: int


def export_spec(patterns: Sequence[str], kind: str, *, as_recorded: bool) -> str:
    """What an export holds, as text."""
    return json.dumps({"patterns": sorted(patterns), "kind": kind, "as_recorded": as_recorded})


async def export_days(
    ask: Ask, plan: ExportPlan, lake: Lake, staging: Path, *, chunk_rows: int = CHUNK_ROWS
) -> AsyncGenerator[ExportedDay, None]:
    """Export each day, oldest first, and tell of it once it is there. Raises PlantError, LakeError; what was told stays
    exported."""
    day = plan.first
    while day <= plan.last:
        yield await _export_day(ask, plan, lake, staging, day, chunk_rows)
        day += datetime.timedelta(days=1)


async def _export_day(
    ask: Ask, plan: ExportPlan, lake: Lake, staging: Path, day: datetime.date, chunk_rows: int
) -> ExportedDay:  # fmt: skip
    from millstream.lake import DayFile, Written, staged  # loads Arrow: only who exports

    before = await asyncio.to_thread(lake.written, day)
    for _ in range(DAY_TRIES):
        version = sum((await _counts(ask, plan, day, as_recorded=True)).values())
        if before is None and version == 0:
            return ExportedDay(day, "empty", 0)
        if before is not None and version == before.version:
            return ExportedDay(day, "unchanged", before.rows)
        if before is not None and version < before.version:
            return ExportedDay(day, "kept", before.rows)
        counts = await _counts(ask, plan, day, as_recorded=plan.as_recorded)
        with staged(staging, {"millstream.version": str(version), "millstream.export": plan.spec}) as (file, writer):
            for names in _chunks(counts, chunk_rows):
                async for table in _rows(ask, plan, names, *_span(day)):
                    await asyncio.to_thread(writer.add, table)
            writer.close()
            after = sum((await _counts(ask, plan, day, as_recorded=True)).values())
            if writer.rows == sum(counts.values()) and after == version:
                written = Written(version, writer.rows)
                await asyncio.to_thread(lake.replace, DayFile(day, file, written))
                return ExportedDay(day, "written", writer.rows)
    raise PlantError(
        "samples of this day keep coming in", where=day.isoformat(), next_step="export it later", code="MS-0432"
    )


def _span(day: datetime.date) -> tuple[int, int]:
    start_ns = (day - datetime.date(1970, 1, 1)).days * DAY_NS
    return start_ns, start_ns + DAY_NS


async def _counts(ask: Ask, plan: ExportPlan, day: datetime.date, *, as_recorded: bool) -> dict[str, int]:
    start_ns, end_ns = _span(day)
    found: dict[str, int] = {}
    for begin in range(0, len(plan.names), NAMES_MAX):
        table = await ask(
            {
                "kind": "count", "data_kind": plan.kind, "tags": list(plan.names[begin : begin + NAMES_MAX]),
                "start_ns": start_ns, "end_ns": end_ns, "as_recorded": as_recorded,
            }
        )  # fmt: skip
        if len(table):
            found |= dict(zip(table.column("tag").to_pylist(), table.column("count").to_pylist(), strict=True))
    return found


def _chunks(counts: dict[str, int], chunk_rows: int) -> list[list[str]]:
    """Names in order, together as many rows as one answer may well have."""
    found: list[list[str]] = []
    room = 0
    for name in sorted(counts):
        if not found or counts[name] > room or len(found[-1]) >= NAMES_MAX:
            found.append([])
            room = chunk_rows
        found[-1].append(name)
        room -= counts[name]
    return found


async def _rows(
    ask: Ask, plan: ExportPlan, names: Sequence[str], start_ns: int, end_ns: int
) -> AsyncGenerator[pa.Table, None]:  # fmt: skip
    """Rows by tag and time; a span that one answer cannot hold is halved."""
    table = await ask(
        {
            "kind": "range", "data_kind": plan.kind, "tags": list(names), "start_ns": start_ns, "end_ns": end_ns,
            "as_recorded": plan.as_recorded, "layout": "typed", "limit": ANSWER_ROWS_MAX,
        }
    )  # fmt: skip
    if (table.schema.metadata or {}).get(b"truncated") == b"true":
        if end_ns - start_ns < 2:
            raise PlantError("too many samples of one time", where=names[0], expected=f"at most {ANSWER_ROWS_MAX}")
        middle_ns = (start_ns + end_ns) // 2
        for span in ((start_ns, middle_ns), (middle_ns, end_ns)):
            async for part in _rows(ask, plan, names, *span):
                yield part
    elif len(table):
        yield _typed(table)


def _typed(table: pa.Table) -> pa.Table:
    """As the lake has it, by tag and time; rows of one time stay in their order."""
    import pyarrow as pa

    from millstream.lake import SCHEMA

    times = table.column("timestamp").cast(pa.int64())
    columns = {
        "tag": table.column("tag").cast(pa.string()),
        "kind": table.column("kind").cast(pa.string()),
        "time": table.column("timestamp").cast(pa.timestamp("us", "UTC"), safe=False),
        "time_ns": times,
        **{name: table.column(name) for name in ("type", "number", "integer", "text")},
        "quality": table.column("quality").cast(pa.int64()),
        "at": pa.array(range(len(table)), pa.int64()),
    }
    found = pa.table(columns).sort_by([("tag", "ascending"), ("time_ns", "ascending"), ("at", "ascending")])
    return found.drop_columns(["at"]).cast(SCHEMA)


def date_of(day: int) -> datetime.date:
    """The day that lies so many days after 1970-01-01."""
    return datetime.date(1970, 1, 1) + datetime.timedelta(days=day)
