"""The page on alarms does what it says: its flow says what the page expects, and its commands are commands."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent))
from pages import ROOT, blocks

from millstream.cli._commands import COMMANDS
from millstream.config import load_notifier
from millstream.flow import build_flow, drive, read_lines, read_spec, tidy_lines, with_ticks, write_lines

PAGE = ROOT / "docs" / "how-to" / "alarms.md"


def test_the_flow_of_the_page_says_what_the_page_expects(tmp_path: Path) -> None:
    (spec, *_), (given, expected) = blocks(PAGE, "yaml"), blocks(PAGE, "json")
    flow = build_flow(read_spec(yaml.safe_load(spec)), tmp_path)
    outcome = drive(flow, with_ticks(flow, read_lines(given)))
    assert write_lines([outcome]) == tidy_lines(expected)


def test_the_senders_file_of_the_page_is_one(tmp_path: Path) -> None:
    (text,) = (block for block in blocks(PAGE, "yaml") if block.startswith("# notify.yaml"))
    path = tmp_path / "notify.yaml"
    path.write_text(text, encoding="utf-8")
    config, findings = load_notifier(path)
    assert config is not None, [str(f) for f in findings]
    assert sorted({channel.type for channel in config.channels.values()}) == ["mail", "mqtt", "webhook"]


def test_the_commands_of_the_page_are_commands() -> None:
    told = set(re.findall(r"^millstream (alarm \w+)", "\n".join(blocks(PAGE, "sh")), re.M))
    known = {command.name for command in COMMANDS if command.name.startswith("alarm ")}
    assert told == known - {"alarm restore"}
