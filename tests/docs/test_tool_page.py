"""The page on tools does what it says: its flows fit together, and its table is what the commands print."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from pages import ROOT, check_flows, evaluation_of, is_table_of

from millstream.cli import main
from millstream.sim import cutting

PAGE = ROOT / "docs" / "how-to" / "tool.md"


def test_the_flows_of_the_page_are_sound(tmp_path: Path) -> None:
    check_flows(PAGE, tmp_path, ["spindle-force", "tools"])


def test_the_page_shows_what_the_commands_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    made, evaluated = evaluation_of(PAGE)
    assert made[:3] == ["python", "-m", "millstream.sim.cutting"]
    cutting.main(made[3:])
    assert main(evaluated[1:]) == 0
    said = capsys.readouterr().out
    assert is_table_of(PAGE, said), said
