"""`millstream flow test`: the exit status, the diff, --update, and flows that are not what they promise."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from millstream.cli import main

FLOW = """name: parts
python: mine.py:parts
inputs: ["acme/**:barrier"]
"""
GOOD = """
from millstream.flow import Emit, Flow, Input

def count(state, event):
    state += bool(event.value)
    return state, [Emit(f"{event.key}:parts", state, event.time_ns)]

parts = Flow("x", (Input("acme:none"),), count, int, int)
"""
INPUT = "".join(
    f'{{"time": "{i}s", "path": "acme/plant1/press:barrier", "value": {"true" if i % 2 else "false"}}}\n'
    for i in range(6)
)


def case(folder: Path, code: str = GOOD, flow: str = FLOW, given: str = INPUT) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "flow.yaml").write_text(flow)
    (folder / "mine.py").write_text(code)
    (folder / "input.jsonl").write_text(given)
    return folder


def problems(folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> list[str]:
    """What is wrong with the only case."""
    assert main(["flow", "test", str(folder), "--json", *options]) == 6
    [report] = json.loads(capsys.readouterr().out)["cases"]
    return list(report["problems"])


def test_update_writes_what_comes_out_and_then_the_case_is_good(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = case(tmp_path / "one")
    assert main(["flow", "test", str(tmp_path)]) == 6
    assert "no expected.jsonl" in capsys.readouterr().out
    assert main(["flow", "test", str(tmp_path), "--update"]) == 0
    lines = (folder / "expected.jsonl").read_text().splitlines()
    assert json.loads(lines[-1]) == {
        "time": "2026-01-01T00:00:05Z", "path": "acme/plant1/press:parts", "kind": "count", "value": 3
    }  # fmt: skip
    capsys.readouterr()
    assert main(["flow", "test", str(folder / "flow.yaml")]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("ok ")
    assert captured.err == "1 case, 0 failed\n"


def test_a_difference_is_shown_as_a_diff(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = case(tmp_path)
    main(["flow", "test", str(folder), "--update"])
    file = folder / "expected.jsonl"
    file.write_text(file.read_text().replace('"value":3', '"value":4'))
    capsys.readouterr()
    assert main(["flow", "test", str(folder)]) == 6
    out = capsys.readouterr().out
    assert "FAILED" in out
    assert '    -{"time":"2026-01-01T00:00:05Z","path":"acme/plant1/press:parts","kind":"count","value":4}' in out
    assert '    +{"time":"2026-01-01T00:00:05Z","path":"acme/plant1/press:parts","kind":"count","value":3}' in out
    assert main(["flow", "test", str(folder), "--json"]) == 6
    report = json.loads(capsys.readouterr().out)
    assert (report["ok"], report["cases"][0]["outputs"]) == (False, 6)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("state += 1; return state, [Emit(f'{event.key}:parts', random.random(), event.time_ns)]", "run again"),
        (
            "calls.append(1); return state, [Emit(f'{event.key}:parts', len(calls), event.time_ns)]",
            "killed behind input",
        ),
    ],
    ids=["randomness", "state outside of the state"],
)
def test_a_flow_that_is_not_deterministic_is_found(
    body: str, found: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = (
        "import random\nfrom millstream.flow import Emit, Flow, Input\ncalls = []\n"
        f"def count(state, event):\n    {body}\nparts = Flow('x', (Input('acme:none'),), count, int, int)\n"
    )
    assert any(found in problem for problem in problems(case(tmp_path, code), capsys, "--update"))
    assert not (tmp_path / "expected.jsonl").exists(), "what is not deterministic is not written down"


def test_an_endless_loop_ends_the_case(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = GOOD.replace("    state += bool(event.value)\n", "    while True:\n        pass\n")
    folder = case(tmp_path, code, given=INPUT.splitlines()[0] + "\n")
    [problem] = problems(folder, capsys, "--timeout", "0.2")
    assert "no expected.jsonl" in problem or "endless loop" in problem


def test_an_entry_of_a_node_is_taken_as_it_is_and_finds_what_lies_beside_its_file(tmp_path: Path) -> None:
    code = "from beside_it import parts\n"
    folder = case(tmp_path / "one", code, FLOW + "instances: 2\nstart: now\nstep_timeout: 2s\nmax_memory: 1GiB\n")
    (folder / "beside_it.py").write_text(GOOD)
    assert main(["flow", "test", str(tmp_path), "--update"]) == 0


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"flow": FLOW.replace("python: mine.py:parts", "type: part_conter")}, "did you mean 'part_counter'?"),
        ({"flow": FLOW.replace("inputs", "input")}, "did you mean 'inputs'?"),
        ({"flow": FLOW.replace(":parts", ":none")}, "no none in the file"),
        ({"flow": "name: [\n"}, "not YAML"),
        ({"code": "1 / 0"}, "ZeroDivisionError"),
        ({"given": '{"time": "1s", "path": "acme:barrier", "valeu": 1}\n'}, "input.jsonl:1: unknown key"),
        ({"given": '\n{"time": "soon", "path": "acme:barrier", "value": 1}\n'}, "input.jsonl:2: not an RFC 3339 time"),
        (
            {"flow": "name: p\ntype: part_counter\ninputs: ['a:b']\nconfig: {hold: 5}\n"},
            'config.hold: a duration needs a unit, e.g. "5s" or "5ms"',
        ),
    ],
)
def test_what_is_wrong_with_a_case_is_said(
    change: dict[str, str], found: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [problem] = problems(case(tmp_path, **change), capsys)
    assert found in problem


def test_a_folder_without_a_case_is_not_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["flow", "test", str(tmp_path)]) == 3
    assert "no flow.yaml" in capsys.readouterr().err
