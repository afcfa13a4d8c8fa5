"""The page on OEE does what it says: its flow gives its figure, and its table of a recorded machine holds."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from pages import ROOT, blocks, checkout, lay_out, shell

from millstream.shop import CATEGORIES

PAGE = ROOT / "docs" / "how-to" / "oee.md"


def test_the_flow_of_the_page_gives_the_figure_of_the_page(tmp_path: Path) -> None:
    root = checkout(tmp_path)
    lay_out(PAGE, root)
    said = shell(root, root, blocks(PAGE, "sh")[0])
    assert said.returncode == 0, said.stdout + said.stderr
    found = json.loads(said.stdout.splitlines()[-1])
    expected = json.loads(next(b for b in blocks(PAGE, "json") if not b.startswith("#")))
    assert found.pop("value") == pytest.approx(expected.pop("value"))
    assert found == expected


def test_the_table_of_categories_is_the_programs() -> None:
    rows = re.findall(r"^\| (\w+) \| (`.*) \|$", PAGE.read_text("utf-8").partition("## What counts as what")[2], re.M)
    told = {state: category for category, states in rows for state in re.findall(r"`(\w+)`", states)}
    assert told == {state: category.value for state, category in CATEGORIES.items()}
