"""The page about a hub of three boxes: its file is checked as it stands there."""

from __future__ import annotations

from pathlib import Path

from pages import ROOT, blocks, checkout, shell

PAGE = ROOT / "docs" / "how-to" / "cluster.md"


def test_the_commands_of_the_page_work_on_its_file(tmp_path: Path) -> None:
    root = checkout(tmp_path)
    (root / "hub.yaml").write_text(blocks(PAGE, "yaml")[0], encoding="utf-8")
    for block in blocks(PAGE, "sh"):
        done = shell(root, root, f". .venv/bin/activate\n{block}")
        assert done.returncode == 0, done.stderr
