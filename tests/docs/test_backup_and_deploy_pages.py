"""The pages about backup and about services: each command is one that the program takes, each file and value that they
name is there. What the commands do is tested where a hub runs."""

from __future__ import annotations

import re
import shlex

import pytest
import yaml
from cyclopts import CycloptsError
from pages import ROOT, commands

from millstream.cli._main import build_app

BACKUP, DEPLOY = (ROOT / "docs" / "how-to" / f"{name}.md" for name in ("backup", "deploy"))


def shell_lines(text: str) -> list[str]:
    """The commands of all blocks without a language, continued lines joined."""
    found = re.findall(r"^```\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [line for block in found for line in commands(block.replace("\\\n", " "))]


LINES = shell_lines(BACKUP.read_text(encoding="utf-8"))


@pytest.mark.parametrize("line", LINES)
def test_a_command_of_the_page_about_backup_is_one_that_the_program_takes(line: str) -> None:
    program, name, *words = shlex.split(line)
    assert program == "millstream"
    _, bound, *_ = build_app(name).parse_args([name, *words], exit_on_error=False, print_error=False)
    assert bound.arguments


def test_the_page_about_backup_has_each_of_its_commands() -> None:
    assert {line.split()[1] for line in LINES} == {"backup", "restore", "hub"}
    assert sum("--before" in line for line in LINES) == 1
    assert sum("--config" in line for line in LINES) == 2  # a hub of one box, and of several


def test_an_option_that_is_not_there_is_seen() -> None:
    with pytest.raises(CycloptsError):
        build_app("backup").parse_args(["backup", "/backup/x", "--befor", "y"], exit_on_error=False, print_error=False)


def test_files_and_values_of_the_page_about_services_are_there() -> None:
    lines = shell_lines(DEPLOY.read_text(encoding="utf-8"))
    named = {word for line in lines for word in shlex.split(line) if word.startswith("deploy/")}
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []
    values = yaml.safe_load((ROOT / "deploy" / "helm" / "millstream" / "values.yaml").read_text(encoding="utf-8"))
    for key in re.findall(r"--set (\S+?)=", "\n".join(lines)):
        found = values
        for part in key.split("."):
            assert part in found, f"{key} is not in the chart's values"
            found = found[part]
