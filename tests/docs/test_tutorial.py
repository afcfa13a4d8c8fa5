"""The tutorial, step by step: its files, its programs, the cut, and the account at the end."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from pages import (
    ROOT,
    UP_TIMEOUT_S,
    beside,
    blocks,
    checkout,
    commands,
    first_line,
    node_json,
    shell,
    until_done,
    use_ports,
)

PAGE = ROOT / "docs" / "tutorials" / "machine-to-hub.md"
PREPARE, CHECK, DEVICE, HUB, LINK, EDGE, LOOK, CUT, STALE, RECOUNT, HISTORY = blocks(PAGE, "sh")
HEARTBEAT = "acme/plant1/utilities/boiler1:heartbeat"


def write_files(folder: Path) -> None:
    for block in blocks(PAGE, "yaml"):
        (folder / block.splitlines()[0].removeprefix("# ")).write_text(block, encoding="utf-8")


async def answer(root: Path, folder: Path, line: str) -> Any:
    """What a command says with --json."""
    return json.loads((await until_done(root, folder, f"{line} --json")).splitlines()[-1])


async def uplink(root: Path, folder: Path) -> tuple[str, int]:
    """State of the edge's uplink, and how many messages wait."""
    nodes = (await answer(root, folder, "millstream status --node data/edge"))["nodes"]
    found = next(node["uplink"] for node in nodes if node["role"] == "edge")
    return found["state"], found["behind_messages"] or 0


async def until_uplink(root: Path, folder: Path, state: str, *, behind_min: int = 0) -> None:
    async with asyncio.timeout(UP_TIMEOUT_S):
        while (seen := await uplink(root, folder))[0] != state or seen[1] < behind_min:
            await asyncio.sleep(0.2)


async def say(root: Path, folder: Path, block: str) -> None:
    """Every command of a block ends with 0 and says something."""
    for line in commands(block):
        assert await until_done(root, folder, line), line


async def test_a_cut_link_costs_nothing(tmp_path: Path) -> None:
    root = checkout(tmp_path)
    prepared = await asyncio.to_thread(shell, root, root, f"{PREPARE}pwd\n")
    folder = Path(prepared.stdout.strip())
    write_files(folder)
    assert "2 files, no errors" in (await asyncio.to_thread(shell, root, folder, CHECK)).stderr
    device, hub, link, edge = (commands(block)[0] for block in (DEVICE, HUB, LINK, EDGE))
    use_ports(folder / "hub.yaml", {7422: 0})
    async with (
        beside(root, folder, device.replace("5020", "0")) as boiler,
        beside(root, folder, hub),
        AsyncExitStack() as scope,
    ):
        leaf_port = (await node_json(folder / "data" / "hub"))["leaf_port"]
        link = link.replace("7422", str(leaf_port))
        async with beside(root, folder, link.replace("7423", "0")) as first:
            port = (await first_line(first))["port"]
            use_ports(folder / "edge.yaml", {5020: (await first_line(boiler))["port"], 7423: port})
            await scope.enter_async_context(beside(root, folder, edge))
            await until_uplink(root, folder, "flowing")
            await say(root, folder, LOOK)
        await until_uplink(root, folder, "cut", behind_min=10)
        await say(root, folder, CUT + STALE)
        async with beside(root, folder, link.replace("7423", str(port))):
            await until_uplink(root, folder, "flowing")
            await say(root, folder, RECOUNT + HISTORY)
            await check_account(root, folder)


async def check_account(root: Path, folder: Path) -> None:
    """The ledger balances, and the device's own numbers are complete in the history of the hub."""
    ledger = await answer(root, folder, commands(RECOUNT)[0])
    account = next(origin for origin in ledger["origins"] if origin["origin"] == "E_press-shop_I")
    assert (ledger["is_clean"], account["gaps"], account["repeats"]) == (True, 0, 0)
    said = await until_done(root, folder, f"{commands(HISTORY)[0]} --json")
    days = [json.loads(line) for line in said.splitlines()]
    first, last = min(day["min"] for day in days), max(day["max"] for day in days)
    assert sum(day["count"] for day in days) == last - first + 1 > 10
