"""The page on configuring a fleet does what it says, on the hub and the two sites that it names."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from pages import ROOT, beside, blocks, checkout, node_json, shell, until_done

from millstream.kernel import free_port

PAGE = ROOT / "docs" / "how-to" / "configure-a-fleet.md"
DEVICE, HUB, COLOGNE, BONN, PUT, EDIT, FOLDER, ROLLOUT = blocks(PAGE, "sh")
STATUS = "MILLSTREAM_NODE=data/hub millstream config status"


async def test_the_page_on_configuring_a_fleet_runs(tmp_path: Path) -> None:
    root = checkout(tmp_path)
    ports = {"15020": str(free_port()), "17422": str(free_port())}
    for block in blocks(PAGE, "yaml"):
        name, _, text = block.partition("\n")
        for fixed, free in ports.items():
            text = text.replace(fixed, free)
        path = root / name.removeprefix("# ")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(beside(root, root, DEVICE.strip().replace("15020", ports["15020"])))
        await stack.enter_async_context(beside(root, root, HUB.strip()))
        await node_json(root / "data" / "hub")
        for line, name in ((COLOGNE, "cologne"), (BONN, "bonn")):
            await stack.enter_async_context(beside(root, root, line.strip()))
            await node_json(root / "data" / name)
        await until_done(root, root, STATUS)  # both answer, each with its own file

        async def done(text: str) -> str:
            ended = await asyncio.to_thread(shell, root, root, text)
            assert ended.returncode == 0, ended.stdout + ended.stderr
            return ended.stdout

        await done(PUT)
        said = await done(EDIT)
        assert '~ connectors[boiler].sampling_interval: "1s" -> "500ms"' in said
        assert "cologne: revision 3, as 1" in said
        await until_done(root, root, STATUS)
        said = await done(FOLDER)
        assert "cologne: revision 4" in said
        assert "bonn: revision 1" in said
        await until_done(root, root, STATUS)
        said = await done(ROLLOUT)
        assert "fahrenheit: done, stage 2 of 2, 2 healthy" in said
        assert "bonn: revision 3, as 1" in said
        assert "cologne: revision 6, as 4" in said
        await until_done(root, root, STATUS)
