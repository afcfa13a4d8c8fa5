"""``oee``: the figures of machines together, at any level and over any time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from millstream.cli._options import DEFAULT, Json, Start, Target, run
from millstream.cli._output import OK, duration, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Mapping

COLUMNS = (
    "place", "oee", "availability", "performance", "quality", "teep", "known", "mtbf", "mttr", "good", "rejected",
    "sure",
)  # fmt: skip


def oee(
    *patterns: str, start: Start = "-1d", end: Start = "now", levels: int | None = None, name: str = "oee",
    json: Json = False, target: Target = DEFAULT,
) -> int:  # fmt: skip
    """Show OEE of machines, lines or plants over any time.

    From the windows of hours, shifts or days that the flow `oee` told of each machine, as they were put right last, and
    the running one where the flow explains it.

    Examples:

        millstream oee acme/plant1 --start -7d --levels 3
        millstream oee acme/plant1/line1 --start 2026-01-01T00:00:00+01:00 --end 2026-02-01T00:00:00+01:00 --json

    Parameters
    ----------
    patterns
        Places or patterns; left out: everything.
    start
        Begin: 2026-01-31T06:00:00Z, or back from now: -7d.
    end
        End, not included.
    levels
        A row for each place so many levels from the top, such as 3 for lines; left out: for each machine.
    name
        What the flow calls its results.
    json
        Print one object, with losses, states and doubts.
    """

    async def work() -> int:
        """Ask and tell."""
        async with target.connect() as plant:
            found = await plant.oee.total(*patterns, start=start, end=end, levels=levels, name=name)
        if json:
            print_json(found)
            return OK
        parts = found["parts"]
        rows = [_row(part["path"], part) for part in parts]
        numbers = COLUMNS[1:-1]
        print_table(COLUMNS, rows if len(parts) == 1 else [*rows, _row("(together)", found)], right=numbers)
        losses = [(loss, duration(seconds)) for loss, seconds in found["losses_s"].items() if seconds]
        print_table(("loss", "time"), losses, right=("time",))
        print_table(("windows", "tell of the time"), [(found["windows"], f"{found['covered']:.1%}")])
        print_table(("doubt", "place", "window"), [(d["doubt"], d["path"], d["start"][:19]) for d in found["doubts"]])
        return OK

    return run(work())


def _row(place: str, found: Mapping[str, Any]) -> tuple[object, ...]:
    shares = [_share(found[name]) for name in ("oee", "availability", "performance", "quality", "teep", "known")]
    times = ["" if found[name] is None else duration(found[name]) for name in ("mtbf_s", "mttr_s")]
    good, rejected = found["produced"] - found["rejected"], found["rejected"]
    return (place, *shares, *times, f"{good:g}", f"{rejected:g}", "yes" if found["is_sure"] else "no")


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"
