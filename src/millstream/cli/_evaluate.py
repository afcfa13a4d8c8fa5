"""`millstream evaluate`: how well a flow finds anomalies that people have labelled, beside what is simple."""

from __future__ import annotations

import csv
import datetime
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from millstream.cli._evaluate_life import life_report, show_life
from millstream.cli._flow_file import read_flow_file
from millstream.cli._options import Json
from millstream.cli._output import OK, duration, note, print_json, print_table
from millstream.kernel import ConfigError, NotFoundError

if TYPE_CHECKING:
    from millstream.flow import Detections, FlowSpec, Recording
    from millstream.model import TagPath
    from millstream.shop import Labelled

SECOND_NS = 10**9
SIGMAS = 3.0
NAMES_SHOWN = 10
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def evaluate(
    flow: Path, data: Path, /, *more: Path, labels: Path, tag: str = "acme/plant1/machine:value", alarm: str = "",
    score: str = "", threshold: float | None = None, json: Json = False,
) -> int:  # fmt: skip
    """Score a flow that finds anomalies on labelled recordings, beside baselines.

    The rules are those of the Numenta Anomaly Benchmark: the first 15 % of a series (750 rows at most) are for learning
    and do not count, an early detection in a window is worth more than a late one, one outside costs the more the
    further it is from the window before. 0 is a detector that never speaks, 100 a perfect one, and a bad one falls
    below 0. Beside the scores stand plain counts of events.

    Without --score the flow's alarms are its detections. With it, rows whose score reaches --threshold are, and the
    threshold that would have been best on these very series is shown: no detector knows it beforehand.

    Examples:

        millstream evaluate flow.yaml oven.csv --labels windows.json
        millstream evaluate flow.yaml data/*.csv --labels windows.json --score surprise --threshold 0.9 --json

    Parameters
    ----------
    flow
        Its flow.yaml (one entry of `flows:`), or the folder of that.
    data
        A series: CSV with a heading; the first column is the time (UTC when it names no zone), the second the value.
        Further columns are heard as tags of the same machine under the names in the heading, when they change.
    more
        Further series; all are scored together.
    labels
        JSON: {"oven.csv": [["2026-01-05 10:00:00", "2026-01-05 14:00:00"], ...], ...}, first and last time of each
        anomaly. For a flow that foretells an end, such as `remaining_life`: {"drill1.csv": "2026-01-05 10:00:00", ...},
        the end of each; then it is told how often the end lay in the interval.
    tag
        What the flow hears the values as.
    alarm
        Only alarms of this name are detections: the last level of their path. Left out: all of the flow.
    score
        Name of the number between 0 and 1 that the flow gives for a row: the last level of its path.
    threshold
        From which score on a row is a detection.
    json
        Print one object.
    """
    from millstream.flow import build_flow, detect
    from millstream.model import TagPath

    if bool(score) != (threshold is not None):
        raise ConfigError("--score and --threshold go together", code="MS-0580")
    windows, ends = _read_labels(labels)
    recordings = [_read_series(path, windows, labels) for path in (data, *more)]
    spec, base, path = read_flow_file(flow), flow if flow.is_dir() else flow.parent, TagPath.parse(tag)
    if ends:
        return _evaluate_life(spec, base, recordings, [ends[each.series.name] for each in recordings], path, json=json)
    found = []
    for each in recordings:
        note(f"{each.series.name}: {len(each.values)} rows, {len(each.series.windows_ns)} windows ...")
        found.append(detect(build_flow(spec, base), each, path, score, alarm))
    _check_names(found, score, alarm)
    report = _report(spec.name, recordings, found, threshold)
    if json:
        print_json({"ok": True, **report})
    else:
        _show(report)
    return OK


def _check_names(found: Sequence[Detections], score: str, alarm: str) -> None:
    """A wrong name must not look like a detector that never speaks. Raises ConfigError; a flow that raised no alarm at
    all may be one."""
    for option, name, known in (
        ("score", score, {each for said in found for each in said.number_names}),
        ("alarm", alarm, {each for said in found for each in said.alarm_names}),
    ):
        if name and name not in known and (known or option == "score"):
            listed = ", ".join(sorted(known)[:NAMES_SHOWN])
            raise ConfigError(
                f"the flow gave no such {option}", where=f"--{option}", got=name, code="MS-0580",
                expected=f"one of {listed}" if listed else "a number for each row, and it gave none at all",
            )  # fmt: skip


def _evaluate_life(
    spec: FlowSpec, base: Path, recordings: Sequence[Recording], ends_ns: Sequence[int], tag: TagPath, *, json: bool
) -> int:
    from millstream.flow import build_flow, foretell

    said = []
    for each in recordings:
        note(f"{each.series.name}: {len(each.values)} rows up to its end ...")
        said.append(foretell(build_flow(spec, base), each, tag))
    report = life_report(spec.name, recordings, ends_ns, said)
    if json:
        print_json({"ok": True, **report})
    else:
        show_life(report)
    return OK


def _read_labels(path: Path) -> tuple[dict[str, list[tuple[int, int]]], dict[str, int]]:
    """Windows with an anomaly by series, or the ends of series that were followed up to it."""
    try:
        raw = msgspec.json.decode(path.read_bytes(), type=dict[str, list[tuple[str, str]] | str])
        ends = {Path(name).name: time_ns(each) for name, each in raw.items() if isinstance(each, str)}
        spans = {Path(name).name: [] if isinstance(each, str) else each for name, each in raw.items()}
        if ends and len(ends) < len(raw):
            raise ValueError("some series have windows and others an end")
        return {name: [(time_ns(a), time_ns(b)) for a, b in each] for name, each in spans.items()}, ends
    except FileNotFoundError:
        raise NotFoundError("no labels", where=str(path)) from None
    except (msgspec.DecodeError, ValueError) as error:
        raise ConfigError(
            f"not labels: {error}", where=str(path), expected='{"a.csv": [["<time>", "<time>"]]}'
        ) from error


def time_ns(text: str) -> int:
    """Of ISO 8601, UTC when it names no zone. Raises ValueError."""
    when = datetime.datetime.fromisoformat(text.strip())
    span = (when if when.tzinfo is not None else when.replace(tzinfo=datetime.UTC)) - EPOCH
    return (span.days * 86_400 + span.seconds) * SECOND_NS + span.microseconds * 1000


def _read_series(path: Path, windows: dict[str, list[tuple[int, int]]], labels: Path) -> Recording:
    from millstream.flow import Recording
    from millstream.shop import Labelled

    if not path.exists():
        raise NotFoundError("no series", where=str(path))
    if path.name not in windows:
        raise ConfigError("a series without labels", where=str(labels), got=path.name, expected="an entry, [] for none")
    times, values, beside = [], [], list[tuple[int, str, Any]]()
    newest: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.reader(file)
            names = [name.strip() for name in next(rows, ())][2:]
            for number, row in enumerate(rows, 2):
                try:
                    times.append(time_ns(row[0]))
                    values.append(float(row[1]))
                except (ValueError, IndexError) as error:
                    raise ConfigError(
                        "not a time and a number", where=f"{path}:{number}", got=",".join(row)[:80]
                    ) from error
                for name, text in zip(names, row[2:], strict=False):
                    if name and text and newest.get(name) != text:
                        newest[name] = text
                        beside.append((len(times) - 1, name, _value(text)))
        if not times:
            raise ConfigError(
                "a series without a row", where=str(path), expected="a heading, then a time and a value a row"
            )
        return Recording(Labelled(path.name, times, windows[path.name]), values, beside)
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise ConfigError(f"not a series: {error}", where=str(path)) from error


def _value(text: str) -> float | str:
    try:
        value = float(text)
    except ValueError:
        return text
    return value if math.isfinite(value) else text


def _report(
    name: str, recordings: Sequence[Recording], found: Sequence[Detections], threshold: float | None
) -> dict[str, Any]:
    from millstream.shop import PROFILES, best_threshold, rows_above

    series = [each.series for each in recordings]
    own = [each.rows if threshold is None else rows_above(each.scores, threshold) for each in found]
    learnt = [_outside(each.values, each.series.probation_rows) for each in recordings]
    results = [
        _result(name, series, own),
        _result("as many, evenly spread", series, [_spread(*pair) for pair in zip(series, own, strict=True)]),
        _result(f"{SIGMAS:g} sigma of the first rows", series, learnt),
        _result("every row", series, [range(len(each.times_ns)) for each in series]),
    ]
    report: dict[str, Any] = {
        "series": [
            {
                "name": each.name, "rows": len(each.times_ns), "probation_rows": each.probation_rows,
                "windows": len(each.windows_ns), "detections": len(rows), "rejected": said.rejected,
            }
            for each, rows, said in zip(series, own, found, strict=True)
        ],
        "results": results,
    }  # fmt: skip
    if threshold is not None:
        scored = [(each, said.scores) for each, said in zip(series, found, strict=True)]
        best = {profile.name: best_threshold(scored, profile) for profile in PROFILES}
        report["best_threshold"] = {
            key: None if pair is None else {"threshold": pair[0], "score": pair[1]} for key, pair in best.items()
        }
    return report


def _result(name: str, series: Sequence[Labelled], rows: Sequence[Sequence[int]]) -> dict[str, Any]:
    from millstream.shop import PROFILES, count_events, score

    detected = list(zip(series, rows, strict=True))
    events = count_events(detected)
    return {
        "detector": name,
        "scores": {profile.name: score(detected, profile) for profile in PROFILES},
        "windows": events.windows, "found": events.found, "false_alarms": events.false_alarms,
        "precision": events.precision, "recall": events.recall, "delay_s": events.delay_s,
    }  # fmt: skip


def _spread(series: Labelled, rows: Sequence[int]) -> list[int]:
    """As many detections, at even distances over what counts."""
    start, count = series.probation_rows, len([row for row in rows if row >= series.probation_rows])
    step = (len(series.times_ns) - start) / max(count, 1)
    return [start + int((n + 0.5) * step) for n in range(count)]


def _outside(values: Sequence[float], learnt: int) -> list[int]:
    """Rows further than SIGMAS standard deviations from the mean of the first ones."""
    first = [value for value in values[:learnt] if math.isfinite(value)]
    if len(first) < 2:
        return []
    mean = math.fsum(first) / len(first)
    sigma = math.sqrt(math.fsum((value - mean) ** 2 for value in first) / (len(first) - 1))
    return [row for row, value in enumerate(values) if row >= learnt and abs(value - mean) > SIGMAS * sigma]


def _show(report: dict[str, Any]) -> None:
    columns = ["DETECTOR", "STANDARD", "LOW FP", "LOW FN", "FOUND", "FALSE", "PRECISION", "DELAY"]
    rows = [
        [
            each["detector"], *(_number(value) for value in each["scores"].values()),
            f"{each['found']}/{each['windows']}", each["false_alarms"], _number(each["precision"], 2),
            "-" if each["delay_s"] is None else duration(each["delay_s"]),
        ]
        for each in report["results"]
    ]  # fmt: skip
    print_table(columns, rows, right=columns[1:])
    for name, best in report.get("best_threshold", {}).items():
        if best is not None:
            note(f"{name}: {_number(best['score'])} with the threshold {best['threshold']:g}, known afterwards only")
    for each in report["series"]:
        if each["rejected"]:
            note(f"{each['name']}: {each['rejected']} rows were rejected by the flow")


def _number(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
