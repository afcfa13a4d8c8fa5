"""OEE of several machines, or of a longer time, from the windows that the flow `oee` told of each machine. Pure.

Times are added, never ratios: a line is as available as the time its machines ran together in the time that they were
to run. Quality is weighed by the ideal time of the parts, so that a machine with many quick parts does not speak for
one with few slow ones; availability times performance times quality is OEE at each level.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from millstream.protocols.cloudevents import format_time, parse_time_ns

SECOND_NS = 1_000_000_000
KINDS = ("day", "shift", "hour")  # in the order in which they are preferred: what one window tells is not cut into many
KNOWN_MIN = 0.95  # below it a total is not sure, as a window is not
DOUBTS_MAX = 100


class OeeTold(msgspec.Struct, omit_defaults=True):
    """What such a window's event tells, as far as a total needs it. `until` is the end of a window that runs."""

    window: str
    start: str
    end: str
    planned_s: float
    spent_s: dict[str, float]
    produced: float
    rejected: float
    ideal_s: float
    losses_s: dict[str, float]
    small_stops: int
    failures: int
    doubts: list[str]
    revision: int = 0
    states_s: dict[str, float] = {}
    scrap: float | None = None
    rework: float | None = None
    inspected: float | None = None
    until: str | None = None


@dataclass(frozen=True, slots=True)
class OeeWindow:
    """One window of one machine, as its event tells it. `machine` is its place."""

    machine: str
    start_ns: int
    end_ns: int
    told: OeeTold


def read_window(machine: str, data: Any) -> OeeWindow:
    """Raises ValueError, DecodeError for what is no window of the flow `oee`."""
    try:
        told = msgspec.convert(data, OeeTold)
    except msgspec.ValidationError as error:
        raise ValueError(f"not a window of the flow oee: {error}") from error
    return OeeWindow(machine, parse_time_ns(told.start), parse_time_ns(told.end), told)


def chosen_windows(told: Iterable[OeeWindow], start_ns: int, end_ns: int) -> dict[str, list[OeeWindow]]:
    """Of each machine the windows that lie within [start_ns, end_ns) and tell the most of it, none over another; behind
    them the running one, where it is told. Of those that tell as much the longest. Of a window told more than once the
    last one counts."""
    newest = {
        (each.machine, each.told.window, each.start_ns): each for each in told
        if start_ns <= each.start_ns and each.end_ns <= end_ns
    }  # fmt: skip
    found: dict[str, list[OeeWindow]] = {}
    for machine in sorted({name for name, _, _ in newest}):
        live = sorted((w for (name, of, _), w in newest.items() if (name, of) == (machine, "live")), key=_start_of)
        ways = [live[-1:]]
        for kind in KINDS:
            kept = sorted((w for (name, of, _), w in newest.items() if (name, of) == (machine, kind)), key=_start_of)
            over_ns = kept[-1].end_ns if kept else start_ns
            ways.append([*kept, *[w for w in live if w.start_ns >= over_ns][-1:]])
        found[machine] = max(ways, key=_told_ns)  # the first such
    return found


def oee_total(
    windows: Mapping[str, Sequence[OeeWindow]], start_ns: int, end_ns: int, *, missing: Sequence[str] = (),
    known_min: float = KNOWN_MIN, remark: str = "",
) -> dict[str, Any]:  # fmt: skip
    """The figures of all these machines together over [start_ns, end_ns), with what they are made of.

    `covered` is the share of that time that windows tell of, from the first to the last one of a machine where these
    are shifts, between which nothing is planned. With less than 95 % of it (`known_min`), less than that known, or a
    doubt in any window, the figures are not sure (`is_sure`). `missing` are machines that should tell of this time and
    do not: a doubt each. `remark` is a doubt of all of it.
    """
    every = [window for each in windows.values() for window in each]
    spent = _sums(window.told.spent_s for window in every)
    losses = _sums(window.told.losses_s for window in every)
    planned_s = sum(window.told.planned_s for window in every)
    unknown_s, production_s = spent.get("unknown", 0.0), spent.get("production", 0.0)
    busy_s = planned_s - unknown_s - spent.get("planned", 0.0)
    produced, rejected = sum(w.told.produced for w in every), sum(w.told.rejected for w in every)
    ideal_s, good_s = sum(w.told.ideal_s for w in every), sum(_good_s(w.told) for w in every)
    covered_s = sum(_covered_ns(each) for each in windows.values()) / SECOND_NS
    covered = _ratio(covered_s, len(windows) * (end_ns - start_ns) / SECOND_NS) or 0.0
    failures, known = sum(w.told.failures for w in every), 1.0 - (_ratio(unknown_s, planned_s) or 0.0)
    quality = _ratio(good_s, ideal_s) if ideal_s else _ratio(produced - rejected, produced)
    doubts = [
        *({"path": "", "start": format_time(start_ns), "doubt": each} for each in [remark] if each),
        *({"path": each, "start": format_time(start_ns), "doubt": "it told nothing of this time"} for each in missing),
        *({"path": w.machine, "start": w.told.start, "doubt": doubt} for w in every for doubt in w.told.doubts),
    ]  # fmt: skip
    return {
        "start": format_time(start_ns), "end": format_time(end_ns), "machines": len(windows), "windows": len(every),
        "oee": _ratio(good_s, busy_s), "availability": _ratio(production_s, busy_s),
        "performance": _ratio(ideal_s, production_s), "quality": quality,
        "teep": _ratio(good_s, covered_s - unknown_s), "known": known, "covered": covered,
        "is_sure": bool(every) and min(known, covered) >= known_min and not doubts,
        "planned_s": planned_s, "busy_s": busy_s, "spent_s": spent,
        "states_s": _sums(w.told.states_s for w in every),
        "produced": produced, "rejected": rejected, **_apart(every, produced, rejected), "ideal_s": ideal_s,
        "losses_s": losses,
        "small_stops": sum(w.told.small_stops for w in every), "failures": failures,
        "mttr_s": _ratio(spent.get("down", 0.0), failures), "mtbf_s": _ratio(production_s, failures),
        "doubts": doubts[:DOUBTS_MAX], "doubts_count": len(doubts),
    }  # fmt: skip


def oee_by_place(windows: Mapping[str, Sequence[OeeWindow]], levels: int) -> dict[str, dict[str, Sequence[OeeWindow]]]:
    """The same windows by the place that many levels from the top, for a total of each."""
    found: dict[str, dict[str, Sequence[OeeWindow]]] = {}
    for machine, each in windows.items():
        found.setdefault("/".join(machine.split("/")[:levels]), {})[machine] = each
    return dict(sorted(found.items()))


def _good_s(told: OeeTold) -> float:
    """The ideal time of the good parts."""
    return told.ideal_s * (told.produced - told.rejected) / told.produced if told.produced else 0.0


def _covered_ns(windows: Sequence[OeeWindow]) -> int:
    if any(window.told.window == "shift" for window in windows):
        return windows[-1].end_ns - windows[0].start_ns
    return _told_ns(windows)


def _apart(every: Sequence[OeeWindow], produced: float, rejected: float) -> dict[str, float | None]:
    """Scrap and rework where somebody tells them apart, for each machine: a part of them would look like all."""
    found: dict[str, float | None] = {}
    for name in ("scrap", "rework"):
        counts = [getattr(window.told, name) for window in every]
        if counts and None not in counts:
            found[name] = sum(counts)
            found[f"{name}_ratio"] = _ratio(sum(counts), produced)
    if len(found) == 4:
        seen = [w.told.inspected if w.told.inspected is not None else w.told.produced for w in every]
        found["first_pass_yield"] = _ratio(sum(seen) - rejected, sum(seen))
    return found


def _sums(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for part in parts:
        for name, value in part.items():
            sums[name] = sums.get(name, 0.0) + value
    return dict(sorted(sums.items()))


def _told_ns(windows: Sequence[OeeWindow]) -> int:
    return sum(window.end_ns - window.start_ns for window in windows)


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None


def _start_of(window: OeeWindow) -> int:
    return window.start_ns
