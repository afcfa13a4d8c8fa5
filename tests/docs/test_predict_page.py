"""The flows of the page on prediction are sound, and fit together."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from pages import ROOT, blocks, check_flows


def test_the_flows_of_the_page_are_sound(tmp_path: Path) -> None:
    page = ROOT / "docs" / "how-to" / "predict.md"
    assert len(blocks(page, "yaml")) == 1
    check_flows(page, tmp_path, ["spindle", "odd-spindle", "spindle-orders"])
