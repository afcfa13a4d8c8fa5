"""The page on flows does what it says: its files are written, its commands run, its flows count."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from pages import ROOT, beside, blocks, checkout, node_json, shell, until_done

PAGE = ROOT / "docs" / "how-to" / "flows.md"
UPDATE, TEST, RUN, LOOK, TRACE = blocks(PAGE, "sh")
PARTS = next(block for block in blocks(PAGE, "json") if not block.startswith("#"))


def written(folder: Path) -> Path:
    """A folder with all files of the page."""
    root = checkout(folder)
    for language in ("yaml", "json", "python"):
        for block in blocks(PAGE, language):
            if name := re.match(r"# (\S+\.\w+)\n", block):
                file = root / name.group(1)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(block[name.end() :], encoding="utf-8")
    return root


def test_the_tests_of_the_page_run_and_give_what_it_shows(tmp_path: Path) -> None:
    root = written(tmp_path)
    said = shell(root, root, UPDATE)
    assert said.returncode == 0, said.stderr
    assert [json.loads(line) for line in said.stdout.splitlines()[1:]] == [
        json.loads(line) for line in PARTS.splitlines()
    ]
    said = shell(root, root, TEST)
    assert (said.returncode, said.stdout.count("ok ")) == (0, 3), said.stdout + said.stderr
    expected = root / "tests" / "cycle" / "expected.jsonl"
    expected.write_text(expected.read_text("utf-8").replace("2.5,", "2.6,"), encoding="utf-8")
    assert shell(root, root, TEST).returncode == 6


async def test_the_flows_of_the_page_run_at_an_edge(tmp_path: Path) -> None:
    root = written(tmp_path)
    check, run = RUN.strip().splitlines()
    said = shell(root, root, check)
    assert said.returncode == 0, said.stdout + said.stderr
    export, false, true, look = LOOK.strip().splitlines()
    async with beside(root, root, run):
        await node_json(root / "data")
        await until_done(root, root, f"{export}\n{false}\n{true}")
        # The part counts 20 ms later by its own time, which passes when the machine is silent.
        shown = await until_done(root, root, f"{export}\n{look} --json | tee /dev/stderr | grep '\"value\":1,'")
        assert json.loads(shown)["path"] == "acme/plant1/press:parts"
        barrier, parts = (
            json.loads(shell(root, root, f"{export}\n{line} --json").stdout) for line in TRACE.strip().splitlines()
        )
        ways = [[s["where"].partition(":")[0] for s in found["stations"]] for found in (barrier, parts)]
        assert ways[0] == ["source", "edge", "E_press-shop_I"]
        assert ways[1][:2] == ["flow parts", "E_press-shop_F"]
        assert "by a timer" in parts["stations"][0]["what"]
