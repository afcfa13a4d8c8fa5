"""Runs the tests side by side, and what failed there for want of processor once more, alone.

Tests with real servers, processes and browsers share the processor with each other and with whatever else the machine
does. Up to ALONE_MAX of those may fail beside the others and be run again with nothing beside them: both outcomes are
shown, and the second one counts. All others are final at once: a pure test, a property or a simulation has no excuse.

    run_tests.py [arguments of pytest]
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

ALONE_MAX = 6  # one test in a thousand
WITH_SERVERS = ("tests/integration/", "tests/conformance/", "tests/docs/")
SHOWN_S = 20.0  # folders that took less are not worth a line


class Failures:
    """The tests that failed, by node id, in the order in which they did; and how long the tests of each folder took."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.seconds: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One phase of one test has ended."""
        if report.failed and report.nodeid not in self.names:
            self.names.append(report.nodeid)
        self.seconds[report.nodeid.partition("::")[0].rpartition("/")[0]] += report.duration

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """What `tests/lanes.py` deals out by."""
        shown = [(folder, spent) for folder, spent in self.seconds.most_common() if spent >= SHOWN_S]
        if shown:
            words = ", ".join(f"{folder.removeprefix('tests/')} {spent:.0f}" for folder, spent in shown)
            terminalreporter.write_line(f"seconds of all processes: {self.seconds.total():.0f}; by folder: {words}")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that cannot be read holds tests that nobody ran: no second run makes up for it."""
        if report.failed:
            self.names.append(f"collecting {report.nodeid}")


def has_second_run(failed: Sequence[str]) -> bool:
    """Whether these failures may be for want of processor: few, and all of tests with servers."""
    return 0 < len(failed) <= ALONE_MAX and all(name.startswith(WITH_SERVERS) for name in failed)


def main(arguments: Sequence[str]) -> int:
    """Run them; returns pytest's exit code."""
    failures = Failures()
    sys.path.insert(0, str(Path.cwd()))  # as `python -m pytest` has it
    code = int(pytest.main(list(arguments), plugins=[failures]))
    if code != pytest.ExitCode.TESTS_FAILED or not has_second_run(failures.names):
        return code
    print(f"\n{len(failures.names)} failed beside the others; now alone:", *failures.names, sep="\n  ", flush=True)
    again = subprocess.run([sys.executable, "-m", "pytest", *failures.names], check=False).returncode
    if again == 0:
        print(
            "\npassed alone, so they race with something (in the test or in the product), which is to be mended:",
            *failures.names,
            sep="\n  ",
            flush=True,
        )
    return again


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
