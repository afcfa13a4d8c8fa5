"""The page on device profiles shows what the command prints, and its files are right."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from pages import ROOT, blocks, checkout, shell

from millstream.config import InstalledConnectors, load_edge
from millstream.config._profiles import _read

PAGE = ROOT / "docs" / "how-to" / "device-profiles.md"
EDGE = "edge: {name: e1, path: acme/plant1, data_dir: data}\n"


def test_the_page_on_profiles_shows_what_the_command_prints(tmp_path: Path) -> None:
    root = checkout(tmp_path)
    (command,), (shown,) = blocks(PAGE, "sh"), blocks(PAGE, "text")
    done = shell(root, root, command)
    assert [line.rstrip() for line in done.stdout.splitlines()] == shown.splitlines()


def test_the_files_of_the_page_are_right(tmp_path: Path) -> None:
    connectors, profile = blocks(PAGE, "yaml")
    path = tmp_path / "edge.yaml"
    path.write_text(EDGE + connectors)
    config, findings = load_edge(path, InstalledConnectors())
    assert config is not None, [str(finding) for finding in findings]
    assert len(config.connectors[0].tags) == 67
    assert _read("own", profile).tags[0]["name"] == "l1/voltage"
