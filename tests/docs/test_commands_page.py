"""The page on commands does what it says, on the plant of the page on the fleet."""

from __future__ import annotations

import asyncio
import json
import sys
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from pages import ROOT, beside, blocks, checkout, commands, node_json, shell, until_done

from millstream.kernel import SystemClock, free_port
from millstream.protocols.contract_schema import check_schema
from millstream.sdk import CommandContext

PAGE = ROOT / "docs" / "how-to" / "commands.md"
FLEET = ROOT / "docs" / "how-to" / "fleet.md"
DEVICE, UP, SENDING, BUNDLE = blocks(PAGE, "sh")
CLIENT, OWN, OF_FLOW = blocks(PAGE, "python")


async def test_the_page_on_commands_runs(tmp_path: Path) -> None:
    root, port = checkout(tmp_path), str(free_port())
    name, _, text = blocks(FLEET, "yaml")[0].partition("\n")
    (root / name.removeprefix("# ")).write_text(text.replace("15020", port), encoding="utf-8")
    async with beside(root, root, DEVICE.strip().replace("15020", port)), beside(root, root, UP.strip()):
        await node_json(root / "data" / "hub")
        await until_done(root, root, "millstream fleet query 'connectors.boiler.state == \"ok\"' | grep edge1")
        restart, diagnose, listing, is_open = commands(SENDING)
        said = await asyncio.to_thread(shell, root, root, restart)
        assert (said.returncode, "done" in said.stdout) == (0, True), said.stderr
        said = await asyncio.to_thread(shell, root, root, diagnose)
        assert json.loads(said.stdout)["state"] == "done"
        said = await asyncio.to_thread(shell, root, root, listing)
        assert "restart_connector" in said.stdout
        assert (await asyncio.to_thread(shell, root, root, is_open)).stdout == ""
        said = await asyncio.to_thread(shell, root, root, BUNDLE)
        assert said.returncode == 0, said.stderr
        with zipfile.ZipFile(root / "bundle.zip") as file:
            assert "status.json" in file.namelist()
        (root / "ask.py").write_text(CLIENT, encoding="utf-8")
        said = await asyncio.to_thread(shell, root, root, "python ask.py")
        assert said.stdout.startswith("edge1 done "), said.stderr


async def test_the_command_of_ones_own_is_one(tmp_path: Path) -> None:
    names: dict[str, type] = {}
    exec(compile(OWN, str(PAGE), "exec"), names)
    command = names["ZeroScale"]()
    told: list[str] = []

    async def progress(ratio: float, text: str) -> None:
        told.append(text)

    assert check_schema(command.schema) == []
    context = CommandContext("c1", "ada", "edge1", tmp_path, progress, SystemClock(), None)  # type: ignore[arg-type]
    assert await command.run({"scale": 2}, context) == {"zeroed": 2, "by": "ada"}
    assert told == ["asking the scale"]


def test_the_command_of_a_flow_is_that_of_the_example() -> None:
    assert OF_FLOW in (ROOT / "examples" / "commands" / "tally.py").read_text(encoding="utf-8")
