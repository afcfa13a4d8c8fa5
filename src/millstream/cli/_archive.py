"""``history``: what is done with the history as a whole."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from millstream.cli._options import DEFAULT, Json, Target, run
from millstream.cli._output import OK, note, print_json, print_text


def export(
    folder: Path,
    /,
    *patterns: str,
    start: Annotated[str, Parameter(allow_leading_hyphen=True)] = "-30d",
    end: Annotated[str, Parameter(allow_leading_hyphen=True)] = "now",
    kind: Literal["tag", "count", "kpi", "state"] = "tag",
    format: Literal["parquet", "delta"] = "parquet",
    as_recorded: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
    target: Target = DEFAULT,
) -> int:
    """Export days of history to Parquet files or a Delta table, each once.

    Run it again, daily for one: it goes on where it was cut off, and replaces days for which samples came late. Only
    days of UTC that are over are exported.

    Examples:

        millstream history export /lake/press 'acme/plant1/press*' --start -90d
        millstream history export /lake/all 'acme/**' --format delta

    Parameters
    ----------
    folder
        Where to; it holds one export only.
    patterns
        Paths or patterns.
    start
        From the day of this time on.
    end
        Days that are over at this time.
    kind
        What is exported.
    format
        Files day=.../samples.parquet, or a Delta table partitioned by day.
    as_recorded
        Also what later samples of the same time correct.
    json
        Print one object a day.
    """

    async def work() -> int:
        """One line a day."""
        seen = written = rows = 0
        async with (
            target.connect() as plant,
            aclosing(
                plant.archive.export(
                    folder, *patterns, start=start, end=end, kind=kind, form=format, as_recorded=as_recorded
                )
            ) as days,
        ):
            async for day in days:
                if json:
                    print_json({"day": day.day.isoformat(), "outcome": day.outcome, "rows": day.rows})
                elif day.outcome != "empty":
                    print_text(f"{day.day.isoformat()}  {day.outcome}  {day.rows} rows")
                seen += day.outcome != "empty"
                written += day.outcome == "written"
                rows += day.rows if day.outcome == "written" else 0
        note(f"{written} days written, {rows} rows")
        if not seen:
            note("no day that is over has samples of these between --start and --end; today's come tomorrow")
        return OK

    return run(work())


def import_(
    path: Path,
    /,
    *,
    kind: Literal["tag", "count", "kpi", "state"] = "tag",
    correction: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
    target: Target = DEFAULT,
) -> int:
    """Bring Parquet or CSV files into a hub's history, each once.

    A file is known by its content: run it again, and what was cut off goes on, what is in stays. Files are those of
    `history export`, or have columns tag, time (RFC 3339 or ns), value and perhaps quality. An event says who did it.

    Examples:

        millstream history import /lake/old-historian
        millstream history import put-right.csv --correction

    Parameters
    ----------
    path
        A file, or a folder with its folders.
    kind
        What the samples are.
    correction
        They take the place of samples of exactly the same time, which stay readable as recorded.
    json
        Print one object a file.
    """

    async def work() -> int:
        """One line a file."""
        async with (
            target.connect() as plant,
            aclosing(plant.archive.import_files(path, kind=kind, is_correction=correction)) as files,
        ):
            async for file in files:
                if json:
                    print_json({"file": str(file.file), "rows": file.rows, "is_new": file.is_new, "late": file.late})
                else:
                    print_text(f"{file.file}  {file.rows} rows  {'imported' if file.is_new else 'was in already'}")
                if file.late:
                    note(
                        f"{file.late} rows are of days of which retention has left only aggregates, which stay: dropped"
                    )
        return OK

    return run(work())


def rollups(
    *,
    start: Annotated[str, Parameter(allow_leading_hyphen=True)],
    end: Annotated[str, Parameter(allow_leading_hyphen=True)] = "now",
    json: Json = False,
    target: Target = DEFAULT,
) -> int:
    """Work aggregates of minutes and hours out anew, from the samples.

    Of the sealed days of a time; what has no samples any more keeps what it has. An event says who did it.

    Examples:

        millstream history rollups --start -7d
        millstream history rollups --start 2026-01-01 --end 2026-02-01

    Parameters
    ----------
    start
        From the day of this time on.
    end
        Up to the day of this time.
    json
        Print one object.
    """

    async def work() -> int:
        """Tell how many."""
        async with target.connect() as plant:
            days = await plant.archive.roll_up(start, end)
        if json:
            print_json({"days": days})
        else:
            note(f"rollups of {days} days worked out")
        return OK

    return run(work())
