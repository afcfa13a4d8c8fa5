"""The page on TLS does what it says."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from pages import ROOT, Terminal, beside, blocks, checkout, commands, node_json, until_done

PAGE = ROOT / "docs" / "how-to" / "tls.md"
MAKE, HUB, EDGE, PEOPLE, RENEW, ROLL, FINISH = blocks(PAGE, "sh")


async def test_the_page_on_tls_runs(tmp_path: Path) -> None:
    root = checkout(tmp_path)
    terminal = Terminal(root, "7422", "4222", "8080")
    run, with_ports = terminal.run, terminal.with_ports

    for block in blocks(PAGE, "yaml"):
        name, _, text = block.partition("\n")
        (root / name.removeprefix("# ")).write_text(with_ports(text), encoding="utf-8")
    [program] = blocks(PAGE, "python")
    (root / "ask.py").write_text(with_ports(program), encoding="utf-8")
    assert "tls/hub.pem" in await run(MAKE)
    check, hub = commands(HUB)
    await run(check)
    async with beside(root, root, hub):
        node = await node_json(root / "hub")
        assert node["nats_url"].startswith("tls://")
        async with beside(root, root, EDGE.strip()):
            await node_json(root / "cologne")
            assert await run(PEOPLE) == "42\n"
            assert await run("python ask.py") == "42\nb'{\"is_healthy\":true}'\n"
            before = (root / "tls" / "hub.pem").read_bytes()
            for block in (RENEW, ROLL, FINISH):
                await run(block)
            assert (root / "tls" / "hub.pem").read_bytes() != before
            await until_done(root, root, "python ask.py")  # the hub looks at its files each second
