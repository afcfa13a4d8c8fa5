"""The page on remaining life does what it says: its flows are sound, and its table is what the commands print."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from pages import ROOT, check_flows, evaluation_of, is_table_of

from millstream.cli import main
from millstream.sim import wearing

PAGE = ROOT / "docs" / "how-to" / "remaining-life.md"


def test_the_flows_of_the_page_are_sound(tmp_path: Path) -> None:
    check_flows(PAGE, tmp_path, ["tool-life", "filter-life"])


def test_the_page_shows_what_the_commands_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    made, evaluated = evaluation_of(PAGE)
    assert made[:3] == ["python", "-m", "millstream.sim.wearing"]
    wearing.main(made[3:])
    files = [str(path) for path in sorted(Path().glob(evaluated[3]))]
    assert main([*evaluated[1:3], *files, *evaluated[4:]]) == 0
    said = capsys.readouterr().out
    assert is_table_of(PAGE, said), said
