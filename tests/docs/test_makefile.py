"""`make` on a machine that lacks something: one clear line and the next step, on standard error."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TOO_OLD = "sys.version_info = (3, 9, 2, 'final', 0)"
NO_ENSUREPIP = "sys.modules['ensurepip'] = None"
HANDED_DOWN = ("MFLAGS", "ARGS", "JOBS", "PYTHON")  # by the `make test` that runs this
NO_PIP = """
import subprocess
calls = iter([0, 1])  # the environment is made; pip cannot reach its index
subprocess.call = lambda *arguments, **options: next(calls)
"""


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """A repository without its environment: what `make` looks at before it installs anything."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / "tools" / "environment.py", tmp_path / "tools")
    return tmp_path


def fake_python(folder: Path, state: str) -> Path:
    """This Python, as it would be on another machine."""
    program = f"import runpy, sys\n{state}\nsys.argv = sys.argv[1:]\nrunpy.run_path(sys.argv[0], run_name='__main__')"
    (folder / "fake.py").write_text(program, encoding="utf-8")
    fake = folder / "python-of-elsewhere"
    fake.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{folder / "fake.py"}" "$@"\n', encoding="utf-8")
    fake.chmod(0o755)
    return fake


def make(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name not in HANDED_DOWN
    }
    return subprocess.run(
        ["make", "--no-print-directory", *words], cwd=folder, capture_output=True, text=True, env=kept, check=False
    )


@pytest.mark.parametrize("target", ["demo", "test", "setup"])
@pytest.mark.parametrize(
    ("state", "said"),
    [
        (TOO_OLD, r"is Python 3\.9, expected 3\.11 or newer.*make PYTHON="),
        (NO_ENSUREPIP, r"no module ensurepip.*apt-get install python3\.\d+-venv"),
        (NO_PIP, r"pip could not install.*PIP_INDEX_URL"),
    ],
    ids=["too old", "no ensurepip", "no packages"],
)
def test_what_python_lacks_is_said_with_the_next_step(fresh: Path, target: str, state: str, said: str) -> None:
    result = make(fresh, target, f"PYTHON={fake_python(fresh, state)}")
    assert result.returncode != 0
    assert re.search(said, result.stderr), result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert not (fresh / ".venv" / ".runtime").exists(), "the next try begins again"


def test_a_machine_without_python_is_told_what_to_name(fresh: Path) -> None:
    result = make(fresh, "demo", "PYTHON=no-such-python")
    assert result.returncode != 0
    assert "no no-such-python here, expected Python 3.11 or newer" in result.stderr


def test_help_lists_every_command_with_a_line(fresh: Path) -> None:
    result = make(fresh)
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert phony is not None
    listed = re.findall(r"^  make ([a-z-]+) +\S", result.stdout, re.MULTILINE)
    assert sorted(listed) == sorted(set(phony[1].split()) & set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE)))
    assert {"demo", "test", "bench", "lint", "gen"} <= set(listed)
    assert all(len(line) <= 120 for line in result.stdout.splitlines())
