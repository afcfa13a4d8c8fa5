"""The flow on remaining life: what it refuses, and how it is scored against ends that are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from millstream.cli import main
from millstream.flow import Input
from millstream.flow.library import FLOW_TYPES
from millstream.kernel import ConfigError
from millstream.sim import wearing


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, "required"),
        ({"limit": 1, "values_min": 50, "memory": 20}, "at most memory"),
        ({"limit": 0, "trend": "exponential"}, "limit above zero"),
        ({"limit": 1, "output": "life"}, "contains {name}"),
    ],
)
def test_what_cannot_be_followed_is_refused(config: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        FLOW_TYPES["remaining_life"].make("f", [Input("acme/**")], config)


def test_the_end_of_each_series_is_what_it_is_scored_by(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wearing.main([str(tmp_path), "--lives", "2", "--seed", "9"])
    flow = tmp_path / "flow.yaml"
    flow.write_text("name: drill\ntype: remaining_life\ninputs: ['acme/plant1/**']\nconfig: {limit: 1.4, by: values}\n")
    words = ["evaluate", str(flow), *(str(tmp_path / f"linear-{n}.csv") for n in range(2))]
    assert main([*words, "--labels", str(tmp_path / "ends.json"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    own, mean_life, straight = report["results"]
    assert (own["detector"], report["series"]) == ("drill", 2)
    assert 0.5 < own["answered"] <= 1
    assert 0.7 < own["covered"] <= 1
    assert mean_life["answered"] > 0.9
    assert straight["covered"] is None
    mixed = tmp_path / "mixed.json"
    mixed.write_text('{"linear-0.csv": "2026-01-05", "linear-1.csv": []}')
    assert main([*words, "--labels", str(mixed)]) != 0
    assert "some series have windows and others an end" in capsys.readouterr().err
