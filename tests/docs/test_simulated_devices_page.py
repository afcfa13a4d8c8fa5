"""The page on simulated devices does what it says, on free ports."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from pages import ROOT, beside, blocks, checkout, first_line, shell

from millstream.kernel import free_port

PAGE = ROOT / "docs" / "how-to" / "simulated-devices.md"
DEVICE, FAULT, MAP, PROBE = blocks(PAGE, "sh")


async def test_the_page_on_simulated_devices_runs(tmp_path: Path) -> None:
    root, ports = checkout(tmp_path), {"15021": str(free_port()), "15022": str(free_port())}

    def here(text: str) -> str:
        for fixed, free in ports.items():
            text = text.replace(fixed, free)
        return text.strip()

    async with beside(root, root, here(DEVICE)) as device:
        await first_line(device)
        async with beside(root, root, here(FAULT)) as layer:
            await first_line(layer)
            done = await asyncio.to_thread(shell, root, root, here(MAP))
            assert done.returncode == 0, done.stdout + done.stderr
            assert "2 tags, 2 with a unit" in done.stderr
            done = await asyncio.to_thread(shell, root, root, here(PROBE))
            assert done.returncode == 0, done.stdout + done.stderr
            assert "reads, writes" in done.stdout
