"""Of `millstream evaluate`: how well a flow foretells the end of series that were followed up to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from millstream.cli._output import print_table

if TYPE_CHECKING:
    from millstream.flow import Foretold, Recording

STAGES = ("first third", "second third", "last third")


@dataclass(frozen=True, slots=True)
class _Guess:
    """At one row: in which third of the life, what remained, and what was said of it; low and high may be missing."""

    stage: int
    true: float
    mid: float
    low: float | None
    high: float | None


def life_report(
    name: str, recordings: Sequence[Recording], ends_ns: Sequence[int], said: Sequence[Sequence[Foretold]]
) -> dict[str, Any]:
    """The flow beside two baselines: the mean life of the other series, and a line from the first value to the newest
    one up to what the value was at the end of the others."""
    rows = sum(len(each.series.times_ns) for each in recordings)
    own, mean_life, straight = list[_Guess](), list[_Guess](), list[_Guess]()
    for index, (recording, end_ns) in enumerate(zip(recordings, ends_ns, strict=True)):
        times = recording.series.times_ns
        others = [
            (end - each.series.times_ns[0], each.values[-1])
            for each, end in zip(recordings, ends_ns, strict=True)
            if each is not recording
        ]
        for at in said[index]:
            true = (end_ns - times[at.row]) / 1e9 if at.is_time else float(len(times) - at.row)
            own.append(_Guess(_stage(times[at.row], times[0], end_ns), true, at.mid, at.low, at.high))
        for row in range(1, len(times)) if others else ():
            stage, true = _stage(times[row], times[0], end_ns), (end_ns - times[row]) / 1e9
            lives = [took / 1e9 - (times[row] - times[0]) / 1e9 for took, _ in others]
            mean_life.append(_Guess(stage, true, max(sum(lives) / len(lives), 0.0), max(min(lives), 0.0), max(lives)))
            grown, limit = recording.values[row] - recording.values[0], median(value for _, value in others)
            if grown * (limit - recording.values[0]) > 0:
                ahead = (limit - recording.values[row]) / grown * (times[row] - times[0]) / 1e9
                straight.append(_Guess(stage, true, max(ahead, 0.0), None, None))
    results = [_result(name, own, rows)]
    if len(recordings) > 1:
        results += [
            _result("mean life of the others", mean_life, rows),
            _result("first to newest value", straight, rows),
        ]
    return {"series": len(recordings), "rows": rows, "results": results}


def _stage(at_ns: int, start_ns: int, end_ns: int) -> int:
    return min(3 * (at_ns - start_ns) // max(end_ns - start_ns, 1), 2)


def _result(name: str, guesses: Sequence[_Guess], rows: int) -> dict[str, Any]:
    return {
        "detector": name,
        "answered": len(guesses) / rows if rows else None,
        "covered": _covered(guesses),
        "covered_by_stage": {
            stage: _covered([each for each in guesses if each.stage == number]) for number, stage in enumerate(STAGES)
        },
        "error": median(abs(each.mid - each.true) / each.true for each in guesses) if guesses else None,
        "width": _width(guesses),
        "too_late": _share([each.low is not None and each.true < each.low for each in guesses if each.low is not None]),
    }


def _covered(guesses: Sequence[_Guess]) -> float | None:
    """Share of the intervals in which the end lay."""
    known = [(each.low, each.true, each.high) for each in guesses if each.low is not None and each.high is not None]
    return _share([low <= true <= high for low, true, high in known])


def _width(guesses: Sequence[_Guess]) -> float | None:
    known = [(each.high - each.low) / each.true for each in guesses if each.low is not None and each.high is not None]
    return median(known) if known else None


def _share(hits: Sequence[bool]) -> float | None:
    return sum(hits) / len(hits) if hits else None


def show_life(report: dict[str, Any]) -> None:
    """For people."""
    columns = ["FORETELLS", "ANSWERED", "COVERED", *(stage.upper() for stage in STAGES), "TOO LATE", "ERROR", "WIDTH"]
    rows = [
        [
            each["detector"], _percent(each["answered"]), _percent(each["covered"]),
            *(_percent(value) for value in each["covered_by_stage"].values()), _percent(each["too_late"]),
            _percent(each["error"]), _percent(each["width"]),
        ]
        for each in report["results"]
    ]  # fmt: skip
    print_table(columns, rows, right=columns[1:])


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"
