"""Roll-outs over three sites with real servers: stage by stage, over a restart of the hub, stopped and taken back."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from site_kit import Site, document, healthy

from millstream.cli import main
from millstream.client import Plant, Rollout, connect
from millstream.config import load_folder
from millstream.kernel import free_port
from millstream.rig import Child, new_secret, write_document, write_private

EDGES = ("e1", "e2", "e3")
ZONES = {"e1": "south", "e2": "north", "e3": "south"}


@asynccontextmanager
async def three_sites(folder: Path) -> AsyncIterator[tuple[Site, dict[str, Site]]]:
    """A hub and three edges, each with a connector to the same device."""
    secrets = {name: write_private(folder / f"{name}.secret", new_secret()) for name in EDGES}
    port = free_port()
    raw = {
        "hub": {"name": "hub", "data_dir": str(folder / "hub")}, "streams": {"max_bytes": "64MiB"}, "historian": None,
        "server": {"leaf_port": port},
        "edges": [
            {"name": name, "path": f"acme/{name}", "secret": {"file": str(secret)}} for name, secret in secrets.items()
        ],
    }  # fmt: skip
    write_document(folder / "hub.yaml", raw)
    (folder / "lines").mkdir()
    hub = Site(folder, leaf_port=port)
    sites = {name: Site(folder, name, leaf_port=port, secret=secrets[name]) for name in EDGES}
    try:
        device = await Child.start("device", ["millstream.sim.modbus_plant", "--port", "0"], folder)
        await device.wait_ready()
        await hub.start_hub()
        for made in (hub, *sites.values()):
            made.device, made.device_port = device, int(device.ready["port"])
        for name, made in sites.items():
            own = made.edge_file([made.boiler_entry()])
            own["edge"] |= {"path": f"acme/{name}", "labels": {"zone": ZONES[name]}}
            write_document(folder / f"{name}.yaml", own)
        await asyncio.gather(*(made.start_edge() for made in sites.values()))
        yield hub, sites
    finally:
        for child in (*(made.edge for made in sites.values()), hub.hub, hub.device):
            if child is not None:
                await child.stop()


def write_folder(folder: Path, base: str, **sites: str) -> Path:
    (folder / "sites").mkdir(parents=True, exist_ok=True)
    (folder / "base.yaml").write_text(base, encoding="utf-8")
    for name in EDGES:
        (folder / "sites" / f"{name}.yaml").write_text(sites.get(name, "{}\n"), encoding="utf-8")
    return folder


async def until(plant: Plant, name: str, *states: str) -> Rollout:
    async with asyncio.timeout(60):
        while (found := await plant.configs.rollouts.get(name)).state not in states:
            await asyncio.sleep(0.1)
    return found


async def test_a_rollout_goes_stage_by_stage_stops_at_a_failure_and_is_taken_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with three_sites(tmp_path) as (hub, sites):
        monkeypatch.setenv("MILLSTREAM_NODE", str(tmp_path / "hub"))
        made = sites["e1"]
        folder = write_folder(tmp_path / "git", document(made.boiler_entry()))
        async with connect(node=tmp_path / "hub") as plant:
            plans = await plant.configs.plan(load_folder(folder))
            first = await plant.configs.rollouts.start(plans, stages=["1", "all"], name="first", author="ada")
            assert first.ends == (1, 3)
            done = await until(plant, "first", "done", "stopped")
            assert (done.state, done.counts()) == ("done", {"healthy": 3})
            released = [site.released_ns for site in done.sites]
            assert released[0] < min(released[1:])
            for name in EDGES:
                await healthy(plant, 1, name)
            with pytest.raises(Exception, match="MS-2430"):  # nothing differs any more
                await plant.configs.rollouts.start(await plant.configs.plan(load_folder(folder)))

            # The hub ends in the middle, and goes on by itself; a site that is away holds its stage.
            assert sites["e2"].edge is not None
            await sites["e2"].edge.stop()
            write_folder(folder, document(made.boiler_entry(sampling_interval="300ms")))
            plans = await plant.configs.plan(load_folder(folder))
            await plant.configs.rollouts.start(plans, stages=["2", "all"], name="second")
            await healthy(plant, 2, "e1")
        assert hub.hub is not None
        await hub.hub.kill()
        await hub.start_hub()
        async with connect(node=tmp_path / "hub") as plant:
            second = await plant.configs.rollouts.get("second")
            assert (second.state, second.sites[2].state) == ("running", "waiting")
            await sites["e2"].start_edge()
            done = await until(plant, "second", "done", "stopped")
            assert (done.state, done.counts()) == ("done", {"healthy": 3})

            # A bad one, for the sites of a label, stops after the one of its first stage, and is taken back.
            write_folder(folder, document(made.boiler_entry(port=free_port())))
            start = ["config", "rollout", "start", str(folder), "--stages", "1,all", "--name", "third",
                     "--only", "e3,e2,e1", "--where", 'labels.zone == "south"', "--healthy-within", "2s"]  # fmt: skip
            assert await asyncio.to_thread(main, start) == 0
            third = await until(plant, "third", "done", "stopped")
            found = [(site.edge, site.state, site.code) for site in third.sites]
            assert (third.state, third.ends, found) == (
                "stopped",
                (1, 2),
                [("e3", "failed", "MS-2408"), ("e1", "waiting", None)],
            )
            assert await asyncio.to_thread(main, ["config", "rollout", "status", "third"]) == 6
            assert "third: stopped, stage" in capsys.readouterr().out
            assert await asyncio.to_thread(main, ["config", "rollout", "rollback", "third", "--json"]) == 0
            told = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
            assert told == [{"edge": "e3", "result": "revision 4, as 2"}]
            await healthy(plant, 4, "e3")
            assert (await plant.configs.rollouts.get("third")).state == "cancelled"
