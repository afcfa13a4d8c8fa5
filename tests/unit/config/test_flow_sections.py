"""What `millstream check` says of flows: everything at once, with its place."""

from __future__ import annotations

from pathlib import Path

from millstream.config import load_edge, load_hub
from millstream.flow.library import FLOW_TYPES

FILE = """
edge: {name: e1, path: acme/p1, data_dir: d}
flows:
  - {name: a, type: part_countr, inputs: ["acme/**:barrier"]}
  - {name: a, type: part_counter, inputs: ["acme/**:barrier"], config: {debouncing: 3}}
  - {name: c, type: part_counter, inputs: ["acme/**:*", {pattern: "acme/**:**", kind: count}]}
  - {name: d, python: "missing.py:flow"}
  - {name: e, python: "mine.py:flwo"}
  - {name: f, python: "mine.py:flow", inputs: ["a::b"], idle: 5, start: yesterday, partitions: 0}
  - {name: g, type: part_counter}
  - {name: h, python: "broken.py:flow"}
"""


def test_all_that_is_wrong_with_flows_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("raise SystemExit('a check runs no code')\nflow = 1\n")
    (tmp_path / "broken.py").write_text("def f(:\n")
    path = tmp_path / "edge.yaml"
    path.write_text(FILE)
    config, findings = load_edge(path, {}, FLOW_TYPES)
    assert config is None
    found = {f.path: f.message for f in findings}
    assert set(found) == {
        "flows[0].type", "flows[1].name", "flows[1].config.debouncing", "flows[2].inputs[1]", "flows[3].python",
        "flows[4].python", "flows[5].inputs[0].pattern", "flows[5].idle", "flows[5].start", "flows[5].partitions",
        "flows[6]", "flows[7].python",
    }, found  # fmt: skip
    hints = {f.path: f.hint or "" for f in findings}
    assert "part_counter" in hints["flows[0].type"]
    assert "flow" in hints["flows[4].python"]
    assert "stands twice" in found["flows[1].name"]


def test_right_flows_load_with_their_places(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("flow = 1\n")
    path = tmp_path / "hub.yaml"
    path.write_text(
        "hub: {name: h, data_dir: d}\nflows:\n"
        "  - {name: a, type: part_counter, inputs: ['acme/**:barrier', {pattern: 'acme/x:y', kind: state}]}\n"
        "  - {name: b, python: 'mine.py:flow', idle: never, lateness: 2s, partitions: 4, instances: 2}\n"
    )
    config, findings = load_hub(path, FLOW_TYPES)
    assert config is not None, findings
    first, second = config.flows
    assert [(i.pattern, i.kind) for i in first.inputs] == [("acme/**:barrier", "tag"), ("acme/x:y", "state")]
    assert second.python == f"{tmp_path / 'mine.py'}:flow"
    assert (second.idle, second.lateness, second.partitions) == ("never", 2.0, 4)
