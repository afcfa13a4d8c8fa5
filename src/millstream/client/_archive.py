"""The history as a whole: days of it into a lake, files into it, its rollups."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from millstream.client._export import DAY_NS, ExportedDay, ExportPlan, date_of, export_days, export_spec
from millstream.client._history import SAMPLE_KINDS, Historian, check_kind, reported
from millstream.client._paths import Where, to_patterns
from millstream.client._site_configs import me
from millstream.client._times import Time, to_time_ns
from millstream.kernel import Clock, DecodeError, NotFoundError
from millstream.protocols.history_job import (
    PART_ROWS,
    ImportPart,
    Job,
    JobAnswer,
    RollupsAgain,
    encode_job,
    job_subject,
)

if TYPE_CHECKING:
    from millstream.bus._link import Link
    from millstream.lake import Lake, RowsFile

JOB_S = 60.0  # for one part, or one stretch of rollups
ROLLUP_DAYS = 7  # worked out by one question
SampleKind = Literal["tag", "count", "kpi", "state"]


@dataclass(frozen=True, slots=True)
class ImportedFile:
    """What became of one file: `rows` of it are in the history; `is_new`: some of them came in only now. Of these
    `late` ones are of days of which retention has left only the rollup: they are dropped again, the rollup stays."""

    file: Path
    rows: int
    is_new: bool
    late: int = 0


class Archive:
    """Made by `Plant.archive`."""

    def __init__(
        self, historian: Historian, link: Link, whom: Callable[[], Awaitable[tuple[str, str]]], clock: Clock
    ) -> None:  # fmt: skip
        self._historian = historian
        self._link = link
        self._whom = whom
        self._clock = clock

    async def export(
        self, folder: Path, *patterns: Where, start: Time = "-30d", end: Time = "now", kind: str = "tag",
        form: Literal["parquet", "delta"] = "parquet", as_recorded: bool = False,
    ) -> AsyncGenerator[ExportedDay, None]:  # fmt: skip
        """Export the days (of UTC) from that of `start` on that are over at `end`, oldest first, into `folder`: Parquet
        files by day, or a Delta table. Run again it goes on where it was cut off, and takes in what came late.

        Raises LakeError when the folder holds another export, NotFoundError when nothing fits the patterns.
        """
        from millstream.lake import DeltaLake, ParquetLake  # loads Arrow: only who exports

        now_ns = self._clock.now_ns()
        spec = export_spec([str(pattern) for pattern in patterns], kind, as_recorded=as_recorded)
        names = await self._historian.resolve(to_patterns(patterns), check_kind(kind, SAMPLE_KINDS))
        first, last = to_time_ns(start, now_ns) // DAY_NS, min(to_time_ns(end, now_ns), now_ns) // DAY_NS - 1
        plan = ExportPlan(sorted(names), kind, date_of(first), date_of(last), spec, as_recorded)
        with tempfile.TemporaryDirectory(prefix="millstream-") as temporary:
            lake: Lake = DeltaLake(folder, spec) if form == "delta" else ParquetLake(folder, spec)
            staging = Path(temporary) if form == "delta" else folder  # Parquet is moved: within one file system
            async with aclosing(export_days(self._historian.ask, plan, lake, staging)) as days:
                async for day in days:
                    yield day

    async def import_files(
        self, path: Path, *, kind: SampleKind = "tag", is_correction: bool = False
    ) -> AsyncGenerator[ImportedFile, None]:  # fmt: skip
        """Bring a file, or the Parquet and CSV files of a folder, into a hub's history. A file is known by its content:
        what is in already does not come twice, and one that was cut off goes on. An event says who did it.

        Raises DecodeError for a file that is no history, NotFoundError at an edge, LakeError.
        """
        from millstream.lake import files_below, look_at

        subject = await self._subject()
        files = await asyncio.to_thread(files_below, path)
        if not files:
            raise NotFoundError("no file to import", where=str(path), expected=".parquet or .csv")
        for name in files:
            file = await asyncio.to_thread(look_at, name)
            is_new, late = await self._import(subject, file, kind, is_correction=is_correction)
            yield ImportedFile(name, file.rows, is_new, late)

    async def _import(
        self, subject: str, file: RowsFile, kind: SampleKind, *, is_correction: bool
    ) -> tuple[bool, int]:  # fmt: skip
        from millstream.lake import parts_of

        id = hashlib.sha256(f"{file.digest} {kind} {is_correction} {PART_ROWS}".encode()).hexdigest()[:32]
        count = -(-file.rows // PART_ROWS)
        part = ImportPart(id, file.path.name, me(), 0, count, kind, is_correction)
        stored, late = (await self._do(subject, part)).done, 0
        if not stored:  # else a wrong row behind the first part would leave half of the file in the history
            await asyncio.to_thread(_check, file, kind)
        parts = parts_of(file, PART_ROWS, skip=stored)
        for number in range(stored + 1, count + 1):
            rows = await asyncio.to_thread(_next, parts)
            late += (await self._do(subject, msgspec.structs.replace(part, part=number), rows)).late
        return stored < count, late

    async def roll_up(self, start: Time, end: Time = "now") -> int:
        """Work the rollups of the sealed days of a time out anew, from their samples; how many days. Raises
        NotFoundError at an edge."""
        subject, now_ns = await self._subject(), self._clock.now_ns()
        first, last = to_time_ns(start, now_ns) // DAY_NS, to_time_ns(end, now_ns) // DAY_NS
        done = 0
        for begin in range(first, last + 1, ROLLUP_DAYS):
            done += (await self._do(subject, RollupsAgain(me(), begin, min(begin + ROLLUP_DAYS - 1, last)))).done
        return done

    async def _subject(self) -> str:
        role, name = await self._whom()
        if role != "hub":
            raise NotFoundError("an edge's history takes no such work", where=name, next_step="ask its hub")
        return job_subject(name)

    async def _do(self, subject: str, job: Job, rows: bytes = b"") -> JobAnswer:
        reply = await self._link.request(subject, encode_job(job, rows), timeout_s=JOB_S)
        if "Ms-Error" in reply.headers:
            raise reported(reply.headers["Ms-Error"])
        return msgspec.json.decode(reply.payload, type=JobAnswer)


def _check(file: RowsFile, kind: SampleKind) -> None:
    """Read the whole file as the hub will. Raises DecodeError, LakeError."""
    from millstream.historian import check_rows
    from millstream.lake import parts_of

    parts = enumerate(parts_of(file, PART_ROWS))
    try:
        for index, rows in parts:
            check_rows(rows, kind, index * PART_ROWS + 1)
    except DecodeError as error:
        name = str(file.path)
        place = (
            error.where
            if error.where and error.where.startswith(name)
            else ", ".join(filter(None, [name, error.where]))
        )
        raise DecodeError(
            f"nothing of the file is imported: {error.what}", where=place, expected=error.expected, got=error.got,
            code=error.code,
        ) from error  # fmt: skip


def _next(parts: Iterator[bytes]) -> bytes:
    return next(parts)
