"""The page on code does what it says, under an operator, with a hub and an edge that joins."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from pages import ROOT, Terminal, beside, blocks, checkout, node_json, until_done

PAGE = ROOT / "docs" / "how-to" / "code-to-the-edge.md"
TEST, OPERATOR, HUB, JOIN, EDGE, PUSH, SEE, NEXT = blocks(PAGE, "sh")


async def test_the_page_on_code_runs(tmp_path: Path) -> None:
    root = checkout(tmp_path)
    terminal = Terminal(root, "7422", "4222")
    run, with_ports = terminal.run, terminal.with_ports

    name, _, text = blocks(PAGE, "yaml")[0].partition("\n")
    (root / name.removeprefix("# ")).write_text(with_ports(text), encoding="utf-8")
    assert (await run(TEST)).count("ok ") == 3
    await run(OPERATOR)
    async with beside(root, root, HUB.strip()):
        await node_json(root / "hub")
        await until_done(root, root, with_ports(JOIN))
        async with beside(root, root, EDGE.strip()):
            await node_json(root / "cologne")
            await until_done(root, root, "millstream config status --node hub --tenant acme")
            said = await run(PUSH)
            assert "file: cycle.wasm" in said
            assert "sites: cologne" in said
            assert (await run(SEE)).rstrip().endswith(" s"), "the time of a cycle, in seconds"
            said = await run(NEXT)
            assert "cologne: revision 3, as 1" in said
            assert said.count("cycle.wasm") == 2
