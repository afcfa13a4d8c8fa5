"""Five recorded days of a Mazak: seconds by state as counted by others, and run time against the controller's clock."""

from __future__ import annotations

import csv
import datetime
from collections import defaultdict
from pathlib import Path

import pytest

from millstream.shop import Category, Figures, Made, figures

DATA = Path(__file__).resolve().parents[2] / "data" / "mazak-execution"
RUNNING = ("ACTIVE", "FEED_HOLD", "INTERRUPTED")  # while a program runs the controller's auto_time does
PAGE = Path(__file__).resolve().parents[3] / "docs" / "how-to" / "oee.md"


def rows(name: str) -> list[dict[str, str]]:
    with (DATA / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def of_days() -> dict[str, Figures]:
    """Of each recording from its first state to its last line (the row without a state)."""
    changes: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for row in rows("execution.csv"):
        at = datetime.datetime.fromisoformat(row["time"])
        changes[row["file"]].append((int(at.timestamp()) * 10**9 + at.microsecond * 1000, row["state"]))
    found = {}
    for file, states in changes.items():
        span = (states[0][0], states[-1][0])
        found[file] = figures(states[:-1], [span], Made(), span)
    return found


REFERENCE = rows("reference_state_seconds.csv")


@pytest.mark.parametrize("row", REFERENCE, ids=[row["file"][8:16] for row in REFERENCE])
def test_seconds_by_state_and_run_time_agree_with_what_others_counted(row: dict[str, str]) -> None:
    found = of_days()[row["file"]]
    names = [name for name in row if name.isupper()]
    seconds = {name: found.states_ns.get(name, 0) / 1e9 for name in names}
    assert seconds == pytest.approx({name: int(row[name]) for name in names}, abs=1)
    assert found.spent_ns[Category.UNKNOWN] == found.states_ns["UNAVAILABLE"]
    assert Category.DOWN in found.spent_ns
    run_s, counted_s = sum(seconds[name] for name in RUNNING), float(row["auto_time_increment"])
    assert run_s == pytest.approx(counted_s, rel=0.04)
    day = f"{row['file'][8:12]}-{row['file'][12:14]}-{row['file'][14:16]}"
    line = f"| {day} | {run_s:,.0f} | {counted_s:,.0f} | {run_s / counted_s:.3f} |"
    assert line in PAGE.read_text(encoding="utf-8"), line
