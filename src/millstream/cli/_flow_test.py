"""`millstream flow test`: flows in virtual time, samples in and samples out as files."""

from __future__ import annotations

import difflib
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from millstream.cli._flow_file import FLOW_FILE, read_flow_file
from millstream.cli._options import Json
from millstream.cli._output import CHECK_FAILED, OK, note, print_json, print_text
from millstream.kernel import ConfigError, NotFoundError, PlantError

INPUT_FILE, EXPECTED_FILE = "input.jsonl", "expected.jsonl"
TIMEOUT_S = 60.0


@dataclass(slots=True)
class CaseReport:
    """What became of one case."""

    case: str
    ok: bool = False
    updated: bool = False
    inputs: int = 0
    outputs: int = 0
    rejected: int = 0
    state_bytes: int = 0
    diff: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def run_cases(
    first: Path, /, *more: Path, update: Annotated[bool, Parameter(negative="")] = False,
    timeout: float = TIMEOUT_S, json: Json = False,
) -> int:  # fmt: skip
    """Test flows: samples in, samples out, in virtual time.

    A case is a folder with flow.yaml (one entry of `flows:`), input.jsonl and expected.jsonl. Each is also run a second
    time, with other commit points, killed in the middle of commits, and over partitions: the outputs must be the same.

    Examples:

        millstream flow test tests/flows
        millstream flow test tests/flows/parts --update

    Parameters
    ----------
    first
        A case, its flow.yaml, or a folder with cases at any depth.
    more
        Further ones.
    update
        Write what comes out into expected.jsonl instead of comparing.
    timeout
        Longest time for one case, in seconds.
    json
        Print one object with all cases.
    """
    reports = [_report(case, update=update, timeout_s=timeout) for case in _cases((first, *more))]
    failed = [report for report in reports if not report.ok]
    if json:
        print_json({"ok": not failed, "cases": [asdict(report) for report in reports]})
        return CHECK_FAILED if failed else OK
    for report in reports:
        state = "updated" if report.updated else "ok" if report.ok else "FAILED"
        counts = f"{report.inputs} in, {report.outputs} out"
        print_text(f"{state:7} {report.case} ({counts}{f', {report.rejected} rejected' if report.rejected else ''})")
        for line in (*report.problems, *report.diff):
            print_text(f"    {line}")
    note(f"{len(reports)} case{'s' if len(reports) != 1 else ''}, {len(failed)} failed")
    return CHECK_FAILED if failed else OK


def _cases(paths: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        here = [path.parent] if path.is_file() else sorted(p.parent for p in path.rglob(FLOW_FILE))
        if not here:
            raise NotFoundError(f"no {FLOW_FILE}", where=str(path), next_step="see docs/how-to/flows.md")
        found += here
    return list(dict.fromkeys(found))


def _report(case: Path, *, update: bool, timeout_s: float) -> CaseReport:
    report = CaseReport(str(case))
    try:
        with _at_most(timeout_s):
            lines = _run(case, report)
    except TimeoutError:
        report.problems.append(
            f"not done after {timeout_s:g} s: an endless loop in the step? A long case takes --timeout"
        )
        return report
    except PlantError as error:
        report.problems.append(_text(error))
        return report
    expected_file = case / EXPECTED_FILE
    if update and not report.problems:
        text = "".join(f"{line}\n" for line in lines)
        report.updated = not expected_file.is_file() or expected_file.read_text("utf-8") != text
        expected_file.write_text(text, encoding="utf-8")
    elif not update:
        _compare(expected_file, lines, report)
    report.ok = not report.problems and not report.diff
    return report


def _run(case: Path, report: CaseReport) -> list[str]:
    from millstream.flow import build_flow, read_lines, verify, with_ticks, write_lines

    spec = read_flow_file(case)
    input_file = case / INPUT_FILE
    if not input_file.is_file():
        raise NotFoundError("no inputs", where=str(input_file))
    arrivals = read_lines(input_file.read_text("utf-8"), str(input_file))
    flow = build_flow(spec, case)
    outcome, report.problems = verify(lambda: build_flow(spec, case), with_ticks(flow, arrivals))
    report.inputs = sum(not isinstance(arrival, int) for arrival in arrivals)
    report.outputs, report.rejected = len(outcome.messages), len(outcome.rejected)
    report.state_bytes = outcome.state_bytes
    return write_lines([outcome])


def _compare(expected_file: Path, lines: list[str], report: CaseReport) -> None:
    from millstream.flow import tidy_lines

    if not expected_file.is_file():
        report.problems.append(f"no {EXPECTED_FILE}; look at the outputs below, then run with --update")
        report.diff = [f"+{line}" for line in lines]
        return
    try:
        expected = tidy_lines(expected_file.read_text("utf-8"), str(expected_file))
    except ConfigError as error:
        report.problems.append(_text(error))
        return
    if expected != lines:
        diff = difflib.unified_diff(expected, lines, "expected", "got", n=2, lineterm="")
        report.diff = list(diff)


def _text(error: PlantError) -> str:
    parts: list[Any] = [f"{error.where}: {error.what}" if error.where else error.what]
    parts += [f"expected {error.expected}"] if error.expected else []
    parts += [f"got {error.got}"] if error.got else []
    return ", ".join(parts) + f" [{error.code}]" + (f"; {error.next_step}" if error.next_step else "")


@contextmanager
def _at_most(timeout_s: float) -> Iterator[None]:
    """Raise TimeoutError in the middle of whatever runs, again and again: the first may end in a step's quarantine."""

    def ring(number: int, frame: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, timeout_s, timeout_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
