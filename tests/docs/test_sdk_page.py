"""The examples of the SDK page run, in order, against a hub with its historian."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
from pathlib import Path

import pytest

import millstream
from millstream.config import load_hub
from millstream.hub import HubNode

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "python-sdk.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
TEMPERATURE = "acme/plant1/press:temperature"


async def run_block(block: str, names: dict[str, object]) -> None:
    """Run one example; `await` at its top level is allowed, as in a notebook."""
    code = compile(block, str(PAGE), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if code.co_flags & inspect.CO_COROUTINE:
        await eval(code, names)
    else:
        await asyncio.to_thread(exec, code, names)


async def test_every_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config_file = tmp_path / "hub.yaml"
    config_file.write_text("hub: {name: hub1, data_dir: data}\nhistorian: {}\n", encoding="utf-8")
    config, findings = load_hub(config_file)
    assert config is not None, findings
    monkeypatch.setenv("MILLSTREAM_NODE", str(tmp_path / "data"))
    names: dict[str, object] = {"__name__": "page", "millstream": millstream}
    assert len(BLOCKS) >= 10
    async with HubNode(config) as hub, asyncio.TaskGroup() as scope:
        running = scope.create_task(hub.run())
        for block in BLOCKS:
            if "history(" in block:
                await history_holds_all(hub)
            await run_block(block, names)
        running.cancel()


async def history_holds_all(hub: HubNode) -> None:
    """The historian commits a moment after the streams do."""
    async with millstream.connect() as plant, asyncio.timeout(60):
        while True:
            stored = {s["config"]["name"]: s["state"]["last_seq"] for s in await plant.streams()}
            assert hub.historian is not None
            if hub.historian.positions["H_INTEGRITY"] >= stored["H_INTEGRITY"] >= stored["H_LOCAL"]:
                return
            await asyncio.sleep(0.05)
