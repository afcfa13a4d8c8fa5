"""The demo as the README has it, and its account against the very data that it left, with a truth that is wrong."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from copy import deepcopy
from pathlib import Path

import psutil

import millstream
from millstream.client import Plant
from millstream.config import load_hub
from millstream.demo._account import exit_status, totals
from millstream.demo._history import device_accounts
from millstream.demo._plant import DEVICES, MQTT, OPCUA, SHDR
from millstream.hub import HubNode

README = Path(__file__).resolve().parents[3] / "README.md"
KEYS = {
    "samples_produced", "samples_edge", "samples_hub", "samples_historian", "lost", "duplicated", "out_of_order",
    "cut_s", "catch_up_s", "live_age_p99_ms", "edge_rss_mb",
}  # fmt: skip


def of_the_page(shorter: dict[str, str]) -> list[str]:
    """What `make demo` hands to the program where the README asks for the account, with shorter times."""
    [words] = re.findall(r'^make demo ARGS="(.*?)"', README.read_text(encoding="utf-8"), re.MULTILINE)
    found = words.split()
    assert "--json" in found
    for option, value in shorter.items():
        found[found.index(option) + 1] = value
    return found


def _programs_of(folder: Path) -> list[str]:
    found = (" ".join(p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"]))
    return [command for command in found if str(folder) in command]


async def test_a_short_demo_proves_itself_and_sees_a_truth_that_is_wrong(tmp_path: Path) -> None:
    kept, temporary = tmp_path / "kept", tmp_path / "tmp"
    temporary.mkdir()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "millstream", "demo", *of_the_page({"--for": "6s", "--cut": "2s"}), "--keep", str(kept),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env={**os.environ, "TMPDIR": str(temporary)},
    )  # fmt: skip
    try:
        async with asyncio.timeout(240):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, err.decode()
    result = json.loads(out.decode().splitlines()[-1])
    assert set(result) >= KEYS
    assert (result["lost"], result["duplicated"], result["cut_s"]) == (0, 0, 2.0)
    assert result["samples_produced"] > 10_000
    assert result["is_level"]
    assert result["catch_up_s"] > 0
    assert _programs_of(kept) == []
    assert list(temporary.iterdir()) == []
    await _account_again(kept, result["samples_produced"])


async def test_a_demo_that_is_told_to_end_leaves_nothing_running(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "millstream", "demo", "--for", "10min", "--keep", str(kept),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(120):
            while not _programs_of(kept / "hub" / "server"):
                await asyncio.sleep(0.1)
            process.terminate()
            _, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 143, err.decode()
    assert _programs_of(kept) == []


async def _account_again(kept: Path, produced: int) -> None:
    """The hub that the demo left behind, asked once with the devices' truth and then with lies."""
    truth = {d.name: json.loads(d.truth_file(kept).read_text())["produced"] for d in (*DEVICES, MQTT)}
    config, findings = load_hub(kept / "hub.yaml")
    assert config is not None, findings
    async with HubNode(config) as hub, asyncio.TaskGroup() as group:
        running = group.create_task(hub.run())
        async with millstream.connect(kept / "hub") as plant:
            await _machines_are_seen(plant)
            for device, name, change, expected in [
                (OPCUA, "", 0, (0, 0)),
                (OPCUA, "strokes", -1, (0, 2)),  # one row too many, and one part that a flow made up
                (OPCUA, _first_counter(truth[OPCUA.name]), 1, (1, 0)),
                (MQTT, "scale/weight", 1, (1, 0)),
                (SHDR, "adapter_seq", -1, (0, 1)),
                (MQTT, "scale/count", -1, (0, 1)),
            ]:
                told = deepcopy(truth)
                if change:
                    told[device.name][name] += change
                accounts = await device_accounts(plant, told)
                found = totals([a for tags in accounts.values() for a in tags], [])
                assert (found["lost"], found["duplicated"]) == expected, (name, change)
                assert exit_status(found) == (1 if change else 0)
                assert found["samples_produced"] == produced + change * (2 if name == "strokes" else 1)
        running.cancel()


async def _machines_are_seen(plant: Plant) -> None:
    """What the flows worked out in those seconds: states and figures of both machines, parts, an order for each."""
    states = {r.path: r.value for r in await plant.last("acme/plant1", kind="state")}
    figures = {r.path: r for r in await plant.last("acme/plant1", kind="kpi")}
    for machine in ("acme/plant1/press", "acme/plant1/mazak1"):
        assert states[f"{machine}:state"] in ("Execute", "Suspended", "Held", "Idle", "Stopped"), states
        assert f"{machine}:downtime/state" in states
        assert 0 < figures[f"{machine}:oee/live/availability"].value <= 1
    assert figures["acme/plant1/press:oee/live/oee"].quality.is_good
    assert 0 < figures["acme/plant1:oee/live/availability"].value <= 1, "of both together"
    orders = await plant.context.list("acme/plant1/**", what="order")
    assert [order.path for order in orders] == ["acme/plant1/mazak1:order/4712", "acme/plant1/press:order/4711"]


def _first_counter(names: dict[str, int]) -> str:
    return next(name for name in names if name.startswith("counter"))
