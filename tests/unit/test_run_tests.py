"""What gets a second run alone, and what does not (tools/run_tests.py)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import run_tests  # lives in tools/, which is no package

RACES = """
from pathlib import Path

def test_races():
    tried = Path(__file__).with_suffix(".tried")
    first = not tried.exists()
    tried.touch()
    assert not first, "the first time it fails"
"""
FAILS = "def test_fails():\n    assert False, 'as ever'\n"


def run(folder: Path, **files: str) -> tuple[int, str]:
    """The tool's exit code and output in a project of these tests, `integration__a` for tests/integration/test_a.py."""
    (folder / "pytest.ini").write_text("[pytest]\n")
    for name, text in files.items():
        *parents, own = name.split("__")
        file = folder.joinpath("tests", *parents, f"test_{own}.py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    bare = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""}
    done = subprocess.run(
        [sys.executable, run_tests.__file__], cwd=folder, env=bare, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout


def test_what_failed_beside_others_and_passes_alone_is_named_and_passes(tmp_path: Path) -> None:
    code, said = run(tmp_path, integration__races=RACES)
    assert code == 0, said
    assert "the first time it fails" in said
    assert said.rstrip().endswith("to be mended:\n  tests/integration/test_races.py::test_races")


def test_a_second_failure_fails(tmp_path: Path) -> None:
    code, said = run(tmp_path, integration__fails=FAILS, docs__races=RACES)
    assert code == 1
    assert said.count("as ever") > 1, "it ran twice"


def test_a_file_that_cannot_be_read_is_not_made_up_for_by_a_second_run(tmp_path: Path) -> None:
    code, said = run(tmp_path, integration__races=RACES, unit__broken="import no_such_module\n")
    assert code != 0, said


def test_how_long_each_folder_took_is_shown() -> None:
    failures, said = run_tests.Failures(), []
    for name, spent in (("flow/test_a.py::t", 15.0), ("flow/test_b.py::t[x::y]", 7.4), ("bus/test_c.py::t", 19.9)):
        for when, share in (("setup", 0.25), ("call", 0.5), ("teardown", 0.25)):
            report = pytest.TestReport(
                f"tests/integration/{name}", ("", 0, ""), {}, "passed", None, when, duration=spent * share
            )
            failures.pytest_runtest_logreport(report)
    failures.pytest_terminal_summary(SimpleNamespace(write_line=said.append))
    assert said == ["seconds of all processes: 42; by folder: integration/flow 22"]


@pytest.mark.parametrize(
    ("failed", "expected"),
    [
        (["tests/integration/a.py::t", "tests/docs/b.py::t", "tests/conformance/c.py::t"], True),
        ([f"tests/integration/a.py::t{i}" for i in range(7)], False),
        (["tests/integration/a.py::t", "tests/unit/b.py::t"], False),
        (["tests/simulation/a.py::t"], False),
        ([], False),
    ],
)
def test_a_pure_test_or_many_have_no_second_run(failed: list[str], expected: bool) -> None:
    assert run_tests.has_second_run(failed) is expected
