"""The page on logging in does what it says."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent))
from pages import ROOT, UP_TIMEOUT_S, Terminal, beside, blocks, checkout, node_json

PAGE = ROOT / "docs" / "how-to" / "log-in.md"
HUB_FILE, OIDC = blocks(PAGE, "yaml")
HUB, PEOPLE, LOG_IN, LOCK = blocks(PAGE, "sh")
OPERATOR = """
export MILLSTREAM_PASSPHRASE="a long sentence that you keep"
millstream operator init acme-it --hub-url nats://127.0.0.1:7422
millstream tenant add acme
"""


@pytest.mark.needs("curl")
async def test_the_page_on_logging_in_runs(tmp_path: Path) -> None:
    root = checkout(tmp_path)
    terminal = Terminal(root, "7422", "4222", "8080", "8000")
    run, with_ports = terminal.run, terminal.with_ports

    name, _, text = HUB_FILE.partition("\n")
    file = root / name.removeprefix("# ")
    file.write_text(with_ports(text), encoding="utf-8")
    await run(OPERATOR)
    async with beside(root, root, HUB.strip()):
        await node_json(root / "hub")
        async with asyncio.timeout(UP_TIMEOUT_S):
            while "api_url" not in json.loads((root / "hub" / "node.json").read_text(encoding="utf-8")):
                await asyncio.sleep(0.05)
        people = await run(PEOPLE)
        assert "acme  ann  viewer  acme/cologne" in people
        assert "otpauth://totp/" in people
        shown = await run(LOG_IN)
        assert '"paths":["acme/cologne"]' in shown
        assert shown.endswith('{"ended":true}')
        assert "acme/ann: removed" in await run(LOCK)
    merged = yaml.safe_load(text)
    merged["login"] |= yaml.safe_load(OIDC)["login"]
    file.write_text(yaml.safe_dump(merged), encoding="utf-8")
    (root / "secrets").mkdir()
    (root / "secrets" / "oidc").write_text("x", encoding="ascii")
    await run("millstream check hub.yaml")
