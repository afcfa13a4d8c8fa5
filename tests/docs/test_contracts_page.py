"""The page on contracts does what it says: its files are written, its commands run, what it shows is what they say."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from pages import ROOT, beside, blocks, checkout, node_json, shell, until_done

PAGE = ROOT / "docs" / "how-to" / "contracts.md"
OFFLINE, EDGE, PUBLISH, BREAK, LOOK, REPAIR, CHECK, CHANGE = blocks(PAGE, "sh")
SHOWN = re.findall(r"^```\n(press-temperature/2.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
READ = "export MILLSTREAM_NODE=data\nmillstream get acme/plant1/press:temperature --json"


async def test_the_page_on_contracts_runs(tmp_path: Path) -> None:
    root = checkout(tmp_path)
    for block in blocks(PAGE, "yaml"):
        name, _, text = block.partition("\n")
        (root / name.removeprefix("# ")).write_text(text, encoding="utf-8")

    async def said(text: str, status: int = 0) -> tuple[str, str]:
        done = await asyncio.to_thread(shell, root, root, text)
        assert done.returncode == status, f"{text}: {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout, done.stderr

    assert "2 contracts, no errors" in (await said(OFFLINE))[1]
    async with beside(root, root, EDGE.strip()):
        await node_json(root / "data")
        listed = (await said(PUBLISH))[0]
        assert "press-temperature/1: published, new" in listed
        assert (await said(BREAK, 1))[1].count('"hot" is not of type "number"') == 1
        assert "contract press-temperature/1" in (await said(LOOK))[0]
        await said(REPAIR)
        assert json.loads(await until_done(root, root, READ))["value"] == 42.0
        assert (await said(CHECK, 6))[0] == SHOWN[0]
        assert "press-temperature/1 to press-temperature/2: breaking" in (await said(CHANGE))[0]
