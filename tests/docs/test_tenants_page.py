"""The page on tenants does what it says."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from pages import ROOT, Terminal, beside, blocks, checkout, node_json

PAGE = ROOT / "docs" / "how-to" / "tenants.md"
OPERATOR, HUB, SITE, JOIN, EDGE, PEOPLE, LOCK, LIMITS, EVENTS = blocks(PAGE, "sh")


async def test_the_page_on_tenants_runs(tmp_path: Path) -> None:
    root = checkout(tmp_path)
    terminal = Terminal(root, "7422", "4222")
    run, with_ports = terminal.run, terminal.with_ports

    name, _, text = blocks(PAGE, "yaml")[0].partition("\n")
    (root / name.removeprefix("# ")).write_text(with_ports(text), encoding="utf-8")
    shown = await run(OPERATOR)
    assert "beta  beta  0 sites  0 users" in shown
    async with beside(root, root, HUB.strip()):
        await node_json(root / "hub")
        await run(SITE)
        assert "this box is the edge of cologne" in await run(JOIN)
        assert '  labels: {"region": "west"}' in (root / "edge.yaml").read_text(encoding="utf-8")
        async with beside(root, root, EDGE.strip()):
            await node_json(root / "cologne")
            assert "\n42\n" in await run(PEOPLE)
            passphrase, user, site, let_in = LOCK.splitlines()
            await run("\n".join([passphrase, user, site]))
            cut = "edge cologne at 127.0.0.1 is gone (credentials revoked) [MS-2612]"
            told = [f"warning  leaf_lost       acme: {cut}", f"warning  leaf_lost       {cut}"]
            async with asyncio.timeout(20):
                lost: list[str] = []
                while len(lost) < len(told):  # who is let in at once is not cut
                    happened = [line[20:].strip() for line in (await run(EVENTS)).splitlines()]
                    lost = [line for line in happened if "revoked" in line]
            assert lost == told
            assert "site cologne: 1 key let in" in await run(f"{passphrase}\n{let_in}")
            assert "acme  sites 50  connections 1000" in await run(LIMITS)
            assert not [line for line in happened if "join-cologne" in line]  # who asks once is not who is lost
