"""The page on energy does what it says: its flow gives its figures, and its alarm can be made."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent))
from pages import ROOT, blocks, checkout, lay_out, shell

from millstream.flow import Input
from millstream.flow.library import FLOW_TYPES

PAGE = ROOT / "docs" / "how-to" / "energy.md"


def test_the_flow_of_the_page_gives_the_figures_of_the_page(tmp_path: Path) -> None:
    root = checkout(tmp_path)
    lay_out(PAGE, root)
    said = shell(root, root, blocks(PAGE, "sh")[0])
    assert said.returncode == 0, said.stdout + said.stderr
    found = [json.loads(line) for line in said.stdout.splitlines() if line.startswith("{")]
    told = next(b for b in blocks(PAGE, "json") if not b.startswith("#"))
    expected = [json.loads(line) for line in told.splitlines()]
    assert [each.pop("value") for each in found] == pytest.approx([each.pop("value") for each in expected])
    assert found == expected


def test_the_alarm_of_the_page_can_be_made() -> None:
    told = yaml.safe_load(next(b for b in blocks(PAGE, "yaml") if b.startswith("flows:")))["flows"][0]
    inputs = [Input(**each) for each in told["inputs"]]
    assert FLOW_TYPES[told["type"]].make(told["name"], inputs, told["config"]).name == "peak"
