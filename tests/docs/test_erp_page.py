"""The page on ERP says what is: its file and its flows are ones, its commands are commands, its codes are codes."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent))
from pages import ROOT, blocks

from millstream.cli._commands import COMMANDS
from millstream.config import load_erp
from millstream.flow import build_flow, read_spec
from millstream.kernel import error_registry

PAGE = ROOT / "docs" / "how-to" / "erp.md"


def test_the_file_of_the_page_is_one(tmp_path: Path) -> None:
    (text,) = (block for block in blocks(PAGE, "yaml") if block.startswith("# erp.yaml"))
    (tmp_path / "erp.yaml").write_text(text, encoding="utf-8")
    config, findings = load_erp(tmp_path / "erp.yaml")
    assert config is not None, [str(f) for f in findings]
    assert sorted(system.type for system in config.systems.values()) == ["rest", "sql", "tryton"]
    assert {each.kind for each in config.reads} == {each.kind for each in config.confirms} == {"rest", "sql", "tryton"}


def test_the_flows_of_the_page_can_be_built(tmp_path: Path) -> None:
    flows = yaml.safe_load(blocks(PAGE, "yaml")[0])["flows"]
    assert [build_flow(read_spec(flow), tmp_path).name for flow in flows] == ["oee", "made"]


def test_the_commands_and_codes_of_the_page_are_ones() -> None:
    told = set(re.findall(r"^millstream (erp \w+)", "\n".join(blocks(PAGE, "text")), re.M))
    assert told == {command.name for command in COMMANDS if command.name.startswith("erp ")}
    assert set(re.findall(r"MS-\d{4}", PAGE.read_text("utf-8"))) <= set(error_registry())
