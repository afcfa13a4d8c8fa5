"""The page on writing does what it says, on the simulated device that it names."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from pages import ROOT, beside, blocks, checkout, node_json, shell

from millstream.kernel import free_port

PAGE = ROOT / "docs" / "how-to" / "write-to-machines.md"
DEVICE, EDGE, WRITE, REFUSED = blocks(PAGE, "sh")


async def test_the_page_on_writing_runs(tmp_path: Path) -> None:
    root, port = checkout(tmp_path), str(free_port())
    name, _, text = blocks(PAGE, "yaml")[0].partition("\n")
    (root / name.removeprefix("# ")).write_text(text.replace("15020", port), encoding="utf-8")
    environment = "export MILLSTREAM_NODE=data\n"
    async with beside(root, root, DEVICE.strip().replace("15020", port)), beside(root, root, EDGE.strip()):
        await node_json(root / "data")
        ready = 'until millstream status --json | grep -q \'"state": *"connected"\'; do sleep 0.2; done'
        await asyncio.to_thread(shell, root, root, environment + ready)
        done = await asyncio.to_thread(shell, root, root, WRITE)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "the machine shows 42.5" in done.stderr
        assert len(re.findall(r"^acme/plant1/boiler:(?:setpoint|pump) ", done.stdout, re.MULTILINE)) == 2
        refused = await asyncio.to_thread(shell, root, root, environment + REFUSED)
        assert refused.returncode != 0
        assert json.loads(refused.stderr)["error"]["code"] == "MS-2002"
