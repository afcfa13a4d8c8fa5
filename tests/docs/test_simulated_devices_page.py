"""The page on simulated devices does what it says, on free ports."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from pages import ROOT, beside, blocks, checkout, first_line, shell

from millstream.kernel import free_port

PAGE = ROOT / "docs" / "how-to" / "simulated-devices.md"
DEVICE, PLC, READ, FAULT, MAP, PROBE = blocks(PAGE, "sh")


async def test_the_page_on_simulated_devices_runs(tmp_path: Path) -> None:
    root, ports = checkout(tmp_path), {port: str(free_port()) for port in ("15021", "15022", "15102")}

    def here(text: str) -> str:
        for fixed, free in ports.items():
            text = text.replace(fixed, free)
        return text.strip()

    async with beside(root, root, here(PLC)) as plc:
        await first_line(plc)
        done = await asyncio.to_thread(shell, root, root, here(READ))
        assert done.returncode == 0, done.stdout + done.stderr
        assert "reads, writes" in done.stdout
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
