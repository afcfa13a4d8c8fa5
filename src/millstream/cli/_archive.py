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
        written = rows = 0
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
                written += day.outcome == "written"
                rows += day.rows if day.outcome == "written" else 0
        note(f"{written} days written, {rows} rows")
        return OK

    return run(work())
