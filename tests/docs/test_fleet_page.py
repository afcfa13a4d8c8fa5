"""The page on the fleet does what it says, on the plant that it names."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from pages import ROOT, beside, blocks, checkout, commands, node_json, shell, until_done

from millstream.kernel import free_port

PAGE = ROOT / "docs" / "how-to" / "fleet.md"
DEVICE, UP, QUERIES, DATA, HISTORY = blocks(PAGE, "sh")


async def test_the_page_on_the_fleet_runs(tmp_path: Path) -> None:
    root, port = checkout(tmp_path), str(free_port())
    name, _, text = blocks(PAGE, "yaml")[0].partition("\n")
    (root / name.removeprefix("# ")).write_text(text.replace("15020", port), encoding="utf-8")
    async with beside(root, root, DEVICE.strip().replace("15020", port)), beside(root, root, UP.strip()):
        await node_json(root / "data" / "hub")
        fits, full, every = commands(QUERIES)
        assert "edge1" in await until_done(root, root, f"{fits} | grep edge1")
        assert "1 of 1 nodes fit" in (await asyncio.to_thread(shell, root, root, fits)).stderr
        await until_done(root, root, "millstream fleet query 'link.state != \"cut\"' | grep edge1")
        done = await asyncio.to_thread(shell, root, root, full)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        done = await asyncio.to_thread(shell, root, root, every)
        facts = json.loads(done.stdout.splitlines()[0])["facts"]
        assert facts["labels"] == {"zone": "south", "line": "press"}
        assert facts["connectors"]["boiler"]["state"] == "ok"
        # The hub asks for data where it has heard of an edge's streams.
        await until_done(root, root, f"{commands(DATA)[0]} | grep temperature")
        done = await asyncio.to_thread(shell, root, root, DATA)
        assert "acme/plant1/boiler:temperature" in done.stdout, done.stderr
        assert (root / "look.parquet").is_file()
        done = await asyncio.to_thread(shell, root, root, commands(HISTORY)[0])  # the page's edge keeps none
        assert (done.returncode, "keeps no history" in done.stderr) == (6, True)
        (root / "ask.py").write_text(blocks(PAGE, "python")[0], encoding="utf-8")
        done = await asyncio.to_thread(shell, root, root, "python ask.py")
        assert done.stdout.splitlines()[-2:] == [
            "1 of 1 missing: {}", "['tag', 'kind', 'timestamp', 'value', 'quality'] True",
        ], done.stderr  # fmt: skip
        assert done.stdout.startswith("edge1 {'connectors': {'boiler': {'samples_per_s'")
