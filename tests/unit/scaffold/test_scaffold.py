"""`make new-connector` gives a connector that passes the kit, in a copy of the tree."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tools"))
import scaffold  # noqa: E402  (tools/ is no package)

NAME = "dial_gauge2"
KEPT = ("src", "tests", "tools", "Makefile", "pyproject.toml", "README.md")
LEFT = shutil.ignore_patterns("__pycache__", "node_modules", "venvs")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What the new files are written to."""
    for name in KEPT:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=LEFT)
        else:
            shutil.copy(source, tmp_path)
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "README.md", tmp_path / "docs")
    return tmp_path


def install(tree: Path) -> None:
    """What `pip install -e` writes of an entry point, so that the kit of the copy finds it."""
    project = tomllib.loads((tree / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    folder = tree / "src" / "millstream-0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: millstream\nVersion: 0\n", encoding="utf-8")
    points = project["entry-points"]["millstream.connectors"].items()
    lines = ["[millstream.connectors]", *(f"{name} = {target}" for name, target in points)]
    (folder / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def run(tree: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A program in the copy, which sees the copy's source first."""
    environment = {**os.environ, "PYTHONPATH": str(tree / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    for name in ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER", "MAKEFLAGS", "MFLAGS", "NAME"):
        environment.pop(name, None)
    return subprocess.run(words, cwd=tree, env=environment, capture_output=True, text=True, timeout=240, check=False)


def test_a_new_connector_passes_its_tests_and_the_kit_from_the_first_minute(tree: Path) -> None:
    made = run(tree, "make", "--no-print-directory", "new-connector", f"NAME={NAME}", f"PYTHON={sys.executable}")
    assert made.returncode == 0, made.stderr
    written = [tree / line for line in made.stdout.splitlines()]
    package = {path.name for path in written if path.parent.name == NAME and "connectors" in path.parts}
    assert package == {
        "__init__.py", "_config.py", "_connector.py", "_session.py", "README.md", "sample.yaml", "quality.yaml",
    }  # fmt: skip
    for path in written:
        assert "acme_device" not in path.read_text(encoding="utf-8").lower(), path
    install(tree)
    words = ("tests/conformance/test_connectors.py", f"tests/unit/{NAME}", "-q", "-k", NAME, "-p", "no:cacheprovider")
    done = run(tree, sys.executable, "-m", "pytest", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= 27, done.stdout  # the case is there, fourteen checks, and the tests of its own
    assert "failed" not in done.stdout


def test_what_is_entered_in_the_project_is_whole(tree: Path) -> None:
    before = tomllib.loads((tree / "pyproject.toml").read_text(encoding="utf-8"))
    scaffold.scaffold(tree, NAME)
    after = tomllib.loads((tree / "pyproject.toml").read_text(encoding="utf-8"))
    points = after["project"]["entry-points"].pop("millstream.connectors")
    assert points.pop(NAME) == f"millstream.connectors.{NAME}:DialGauge2Connector"
    assert points == before["project"]["entry-points"].pop("millstream.connectors")
    extras = after["project"]["optional-dependencies"]
    assert extras.pop(NAME) == []
    assert extras["all"] == [before["project"]["optional-dependencies"]["all"][0].replace("]", f",{NAME}]")]
    extras["all"] = before["project"]["optional-dependencies"]["all"]
    (rule,) = [r for r in after["tool"]["importlinter"]["contracts"] if r["type"] == "independence"]
    assert rule["modules"].pop() == f"millstream.connectors.{NAME}"
    assert after == before
    assert f"[Dial gauge2](../src/millstream/connectors/{NAME}/README.md) |" in (tree / "docs/README.md").read_text()


@pytest.mark.parametrize(
    "name", ["", "Scale", "2scale", "my-scale", "my__scale", "class", "match", "a" * 31, "acme_device", "../up"]
)
def test_a_name_that_cannot_be_one_is_refused(name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert scaffold.main([name, "--root", str(tmp_path)]) == 2
    assert "NAME is" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["modbus", NAME])
def test_nothing_is_overwritten(tree: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    if name == NAME:
        scaffold.scaffold(tree, NAME)
    before = {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    assert scaffold.main([name, "--root", str(tree)]) == 2
    assert "already" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()} == before


def test_the_template_is_tidy(tree: Path) -> None:
    """The rules of STYLE.md hold for the new files as for the others."""
    import tidy

    written = [tree / path for path in scaffold.scaffold(tree, NAME)]
    files = [tidy.read(path, tree) for path in written if path.suffix == ".py" and "src" in path.parts]
    assert len(files) == 5
    assert [text for rule in tidy.RULES for text in rule(files)] == []
    ruff = Path(sys.executable).with_name("ruff")
    found = run(tree, str(ruff), "check", "--no-cache", *(str(path) for path in written if path.suffix == ".py"))
    assert found.returncode == 0, found.stdout
    lines = [line for path in written if path.suffix == ".py" for line in path.read_text().splitlines()]
    assert max(map(len, lines)) <= 120
