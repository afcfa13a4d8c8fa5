"""The flows of the page on prediction are sound, and fit together."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from pages import ROOT, blocks

from millstream.config import load_edge
from millstream.flow.library import FLOW_TYPES


def test_the_flows_of_the_page_are_sound(tmp_path: Path) -> None:
    [block] = blocks(ROOT / "docs" / "how-to" / "predict.md", "yaml")
    file = tmp_path / "edge.yaml"
    file.write_text(f"edge: {{name: e1, path: acme/plant1, data_dir: d}}\n{block}", encoding="utf-8")
    config, findings = load_edge(file, {}, FLOW_TYPES)
    assert findings == []
    assert config is not None
    assert [flow.name for flow in config.flows] == ["spindle", "odd-spindle", "spindle-orders"]
