"""What a machine lacks is listed by name, and with CI=true it fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEST = 'import pytest\n\n\n@pytest.mark.needs("no-such-program")\ndef test_it() -> None:\n    pass\n'


def run(folder: Path, *words: str, is_ci: bool) -> subprocess.CompletedProcess[str]:
    """A command on a machine without any foreign program."""
    environment = {"PATH": str(folder), "HOME": str(folder), "PYTHONPATH": str(ROOT / "tests")}
    environment |= {"CI": "true"} if is_ci else {}
    environment |= {k: v for k, v in os.environ.items() if k.startswith("LD_")}
    return subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("is_ci", [False, True])
def test_missing_programs_are_listed_by_name(tmp_path: Path, is_ci: bool) -> None:
    done = run(tmp_path, "tools/peers.py", "list", is_ci=is_ci)
    for name in ("node-opcua", "jsmodbus", "modbus-serial", "mosquitto_pub"):
        assert f"missing: {name} " in done.stderr
    assert done.returncode == int(is_ci)


@pytest.mark.parametrize("is_ci", [False, True])
def test_a_test_that_needs_a_missing_program_is_listed_and_fails_in_ci(tmp_path: Path, is_ci: bool) -> None:
    (tmp_path / "test_needing.py").write_text(TEST)
    words = ("-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider", "-c", "pyproject.toml", "-q")
    done = run(tmp_path, *words, str(tmp_path / "test_needing.py"), is_ci=is_ci)
    assert "missing foreign program: no-such-program" in done.stdout
    assert ("1 error" if is_ci else "1 skipped") in done.stdout
    assert done.returncode == int(is_ci)


def test_make_test_lists_them_before_the_tests() -> None:
    recipe = (ROOT / "Makefile").read_text().partition("\ntest:")[2].partition("\n\n")[0]
    assert recipe.index("tools/peers.py list") < recipe.index("tools/run_tests.py")
    ci = (ROOT / ".ci/run").read_text()
    assert ci.index("export CI=true") < ci.index("tools/peers.py install") < ci.index("make test")
