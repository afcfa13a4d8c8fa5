"""The page on evaluating detectors does what it says: on its recording, with its flow."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from pages import ROOT, blocks

from millstream.cli import main

PAGE = ROOT / "docs" / "how-to" / "evaluate.md"
DATA = ROOT / "tests" / "data" / "nab"
SERIES = DATA / "ambient_temperature_system_failure.csv"


def page_flow(folder: Path, number: int = 0) -> Path:
    """A flow of the page, as a file."""
    name, _, text = blocks(PAGE, "yaml")[number].partition("\n")
    file = folder / name.removeprefix("# ")
    file.parent.mkdir()
    file.write_text(text, encoding="utf-8")
    return file.parent


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """The command as a person calls it; exit status, standard output and standard error."""
    status = main([str(word) for word in words])
    said = capsys.readouterr()
    return status, said.out, said.err


@pytest.mark.parametrize("number", [0, 1])
def test_the_page_shows_what_the_command_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], number: int
) -> None:  # fmt: skip
    folder = page_flow(tmp_path, number)
    commands, tables = blocks(PAGE, "sh"), blocks(PAGE, "text")
    assert len(commands) == len(tables) == 2
    assert commands[number].split() == [
        *["millstream", "evaluate", folder.name, "tests/data/nab/*.csv", "--labels", "tests/data/nab/windows.json"]
    ]
    status, said, _ = run(capsys, "evaluate", folder, SERIES, "--labels", DATA / "windows.json")
    assert status == 0
    assert [line.split() for line in said.splitlines()] == [line.split() for line in tables[number].splitlines()]


def test_a_score_is_judged_by_its_threshold_and_the_best_one_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flow = tmp_path / "flow.yaml"
    flow.write_text(
        "name: heat\ntype: derived_tag\ninputs: ['acme/plant1/**']\n"
        "config: {names: {t: value}, expression: 't / 100', output: surprise}\n"
    )
    words = ("evaluate", flow, SERIES, "--labels", DATA / "windows.json", "--score", "surprise", "--json")
    status, said, error = run(capsys, *words, "--threshold", "0.8")
    assert status == 0, error
    report = json.loads(said)
    own, best = report["results"][0], report["best_threshold"]["standard"]
    assert own["detector"] == "heat"
    assert own["found"] >= 1
    assert best["score"] >= own["scores"]["standard"]
    again = json.loads(run(capsys, *words, "--threshold", best["threshold"])[1])
    assert again["results"][0]["scores"]["standard"] == pytest.approx(best["score"])
    assert report["series"][0]["rows"] == 7267


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"--tag": "acme/elsewhere:value"}, r"does not listen.*acme/plant1/\*\*.*acme/elsewhere:value"),
        ({"--labels": "none.json"}, "no labels"),
        ({"--labels": "odd.json"}, "not labels"),
        ({"--labels": "empty.json"}, "a series without labels"),
        ({"data": "torn.csv"}, r"torn.csv:3: not a time and a number"),
        ({"data": "bare.csv"}, "a series without a row"),
        ({"data": "gone.csv"}, "no series"),
        ({"--score": "surprise"}, "go together"),
        ({"--labels": "late.json"}, "window 1 is without a row: the series has none"),
        ({"--labels": "back.json"}, "window 1 is without a row: it ends before"),
        ({"--score": "surprise", "--threshold": "0.9"}, "gave no such score.*none at all.*surprise"),
        ({"--alarm": "hot"}, "gave no such alarm.*one of cold, warm.*hot"),
    ],
)
def test_what_cannot_be_judged_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, str], expected: str
) -> None:
    (tmp_path / "odd.json").write_text('{"a.csv": [["yesterday", "today"]]}')
    (tmp_path / "empty.json").write_text("{}")
    (tmp_path / "torn.csv").write_text("time,value\n2026-01-01 00:00:00,1\n2026-01-01 00:01:00\n")
    (tmp_path / "bare.csv").write_text("time,value\n")
    (tmp_path / "torn.json").write_text('{"torn.csv": [], "bare.csv": []}')
    for name, window in (("late", ["2023-01-01", "2023-01-02"]), ("back", ["2013-12-20", "2013-12-01"])):
        (tmp_path / f"{name}.json").write_text(json.dumps({SERIES.name: [window]}))
    options = {"--labels": str(DATA / "windows.json"), **change}
    data = str(SERIES)
    if name := options.pop("data", ""):
        data, options["--labels"] = str(tmp_path / name), str(tmp_path / "torn.json")
    if "/" not in options["--labels"]:
        options["--labels"] = str(tmp_path / options["--labels"])
    words = [word for pair in options.items() for word in pair]
    status, said, error = run(capsys, "evaluate", page_flow(tmp_path), data, *words)
    assert status != 0
    assert said == ""
    assert re.search(expected, error), error
