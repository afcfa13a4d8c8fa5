"""``probe`` and ``browse`` with real connectors: a recording that is there, a device that is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from millstream.cli import main

EDGE = """edge: {name: e1, path: acme/plant1, data_dir: data}
connectors:
  - name: day
    type: replay
    config: {file: day.csv, format: csv}
    tags: [{name: temperature, address: temperature}]
  - name: plc
    type: modbus
    config: {host: 127.0.0.1, port: 1}
    tags: [{name: speed, address: "holding:1"}]
"""


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("edge.yaml").write_text(EDGE)
    Path("day.csv").write_text("time,temperature\n2026-01-01T00:00:00Z,1.5\n2026-01-01T00:00:01Z,2.5\n")


def test_a_source_that_is_there_is_ok(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", "edge.yaml", "day", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["name"], result["ok"], "streams" in result["capabilities"]) == ("day", True, True)


def test_one_that_is_not_there_is_told_beside_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", "edge.yaml", "--timeout", "5"]) == 5
    out = capsys.readouterr().out
    assert "ok" in next(line for line in out.splitlines() if line.startswith("day"))
    assert "failed" in next(line for line in out.splitlines() if line.startswith("plc"))


def test_a_wrong_name_is_not_found_with_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", "edge.yaml", "dayy"]) == 3
    assert "did you mean 'day'?" in capsys.readouterr().err


def test_a_wrong_file_is_a_failed_check(capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.yaml").write_text("edge: 5\n")
    assert main(["probe", "bad.yaml"]) == 6
    Path("hub.yaml").write_text("hub: {name: h, data_dir: d}\n")
    assert main(["browse", "hub.yaml"]) == 6
    assert "a hub has no connectors" in capsys.readouterr().err


def test_browse_writes_a_configuration_that_loads(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["browse", "edge.yaml", "day"]) == 0
    text = capsys.readouterr().out
    assert "temperature" in text
    Path("found.yaml").write_text("edge: {name: e1, path: acme/plant1, data_dir: data}\n" + text)
    assert main(["check", "found.yaml"]) == 0


def test_browse_needs_one_connector(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["browse", "edge.yaml"]) == 2
    assert "name one of day, plc" in capsys.readouterr().err
