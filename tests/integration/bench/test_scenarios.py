"""Each benchmark runs on a small input: its shape and what it computed are checked, its speed never is."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from bench._report import digest
from bench.historian._streams import value

import warm

ROOT = Path(__file__).resolve().parents[3]
ROWS = {
    "connectors": 8, "console": 13, "contracts": 4, "count": 6, "fleet": 7, "flow": 3, "historian": 6, "ingest": 12,
    "opcua": 1, "outage": 2, "predict": 6, "shop": 7, "simulation": 1, "soak": 1, "trust": 6, "wasm": 4,
}  # fmt: skip
PARTS = {
    "console": (13, "--chromium", "none-of-this-name"),  # with a browser it takes too long for a test
    "connectors": (2, "--kind", "modbus", "--kind", "mqtt"),
    "ingest": (2, "--only", "units of 1"),
}  # of long ones
KEPT_ROWS_MAX = ROWS | {
    "connectors": 16,
    "count-instances": 5,
    "fleet-raw": 2,
    "fleet-update": 2,
    "predict-edge": 2,
}  # at two sizes each; with --instances 1,2
ROW_KEYS = {"measure", "figure", "target", "ratio", "is_met", "note", "result_hash", "details"}


def run_bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = warm.python("-m", "bench", *arguments)
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=600)


def test_without_arguments_the_scenarios_are_listed_with_what_they_measure() -> None:
    done = run_bench()
    assert done.returncode == 0
    listed = {line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")}
    assert listed == {*ROWS, "all"}


def test_an_unknown_scenario_is_refused_with_the_known_ones() -> None:
    done = run_bench("ingestion")
    assert done.returncode == 2
    assert "historian, ingest" in done.stderr


def short(name: str, *arguments: str, name_of: str = "") -> dict[str, Any]:
    done = run_bench(name, "--short", "--json", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    assert document["bench"] == (name_of or name)
    assert document["machine"]["cores"] > 0
    assert all(set(row) == ROW_KEYS for row in document["rows"])
    return document


@pytest.mark.parametrize("name", sorted(ROWS))
def test_a_scenario_runs_on_a_small_input(name: str) -> None:
    count, *part = PARTS.get(name, (ROWS[name],))
    rows = short(name, *map(str, part))["rows"]
    assert len(rows) == count
    assert all(row["figure"] == "not measured" or len(row["result_hash"]) == 16 for row in rows)
    if name == "historian":  # every value came back, in order
        expected = digest([value(n) for n in range(2000)])
        assert [row["result_hash"] for row in rows[:2]] == [expected, expected]
    if name == "count":  # each way comes to the same totals, and no output is doubled
        events, keys = 2000, 50
        totals = sorted((f"machine{k}", events // keys // 2) for k in range(keys))
        assert rows[0]["result_hash"] == digest(totals)
        assert rows[1]["details"]["outputs"] == events // 2 + keys
        assert rows[5]["figure"] == "not measured" or rows[5]["result_hash"] == digest(totals)
    if name == "outage":
        expected = digest([0, 0, 0, list(range(1, 101))])  # nothing lost, doubled or out of order
        assert [row["result_hash"] for row in rows] == [expected, expected]


def test_one_and_two_instances_of_a_flow_come_to_the_same_totals() -> None:
    events, keys = 2000, 50
    done = run_bench("count", "--instances", "1,2", "--short", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(done.stdout)["rows"]
    totals = digest(sorted((f"machine{k}", events // keys // 2) for k in range(keys)))
    assert rows[0]["result_hash"] == rows[1]["result_hash"] == totals
    assert [len(row["details"]["worker_cores"]) for row in rows[:4]] == [1, 2, 1, 2]
    assert rows[4]["figure"] == "0 lost, 0 repeated"
    assert rows[4]["details"]["is_clean"] is True


def test_raw_waveforms_come_whole_from_a_site() -> None:
    done = run_bench("fleet", "--raw", "1", "--short", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert [row["result_hash"] for row in rows] == [digest([(1, n, 2000), True]) for n in (1, 8)]


def test_breaks_are_told_through_a_whole_edge() -> None:
    (row,) = short("predict", "--edge", name_of="predict-edge")["rows"]
    assert 0 < row["details"]["p50_ms"] <= row["details"]["worst_ms"]


@pytest.mark.parametrize("path", sorted((ROOT / "bench" / "results").glob("*.json")), ids=lambda path: path.stem)
def test_a_kept_result_is_of_a_full_run_of_a_scenario_that_exists(path: Path) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    assert document["bench"] == path.stem
    assert document["command"].split()[3] == path.stem.partition("-")[0]
    assert "--short" not in document["command"]
    assert 1 <= len(document["rows"]) <= KEPT_ROWS_MAX[path.stem]
    assert all(set(row) == ROW_KEYS for row in document["rows"])


def test_every_scenario_has_a_kept_result() -> None:
    assert {path.stem for path in (ROOT / "bench" / "results").glob("*.json")} == {
        *ROWS,
        "count-instances",
        "fleet-raw",
        "fleet-update",
        "predict-edge",
    }
