"""The page on remaining life does what it says: its flows are sound, and its table is what the commands print."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from pages import ROOT, blocks

from millstream.cli import main
from millstream.config import load_edge
from millstream.flow.library import FLOW_TYPES
from millstream.sim import wearing

PAGE = ROOT / "docs" / "how-to" / "remaining-life.md"


def test_the_flows_of_the_page_are_sound(tmp_path: Path) -> None:
    file = tmp_path / "edge.yaml"
    file.write_text(f"edge: {{name: e1, path: acme/plant1, data_dir: d}}\n{blocks(PAGE, 'yaml')[0]}", encoding="utf-8")
    config, findings = load_edge(file, {}, FLOW_TYPES)
    assert findings == []
    assert config is not None
    assert [flow.name for flow in config.flows] == ["tool-life", "filter-life"]


def test_the_page_shows_what_the_commands_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    name, _, text = blocks(PAGE, "yaml")[1].partition("\n")
    file = tmp_path / name.removeprefix("# ")
    file.parent.mkdir()
    file.write_text(text, encoding="utf-8")
    made, evaluated = (line.split() for line in blocks(PAGE, "sh")[0].splitlines())
    assert made[:3] == ["python", "-m", "millstream.sim.wearing"]
    wearing.main(made[3:])
    files = [str(path) for path in sorted(Path().glob(evaluated[3]))]
    assert main([*evaluated[1:3], *files, *evaluated[4:]]) == 0
    said = capsys.readouterr().out
    assert [line.split() for line in said.splitlines()] == [
        line.split() for line in blocks(PAGE, "text")[0].splitlines()
    ]
