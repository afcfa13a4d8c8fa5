"""A configuration on its way from the hub to an edge, with real servers: tried, reported, taken back."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from site_kit import counts_at_hub, document, growing, healthy, report_where, site, status_of

from millstream.client import connect
from millstream.kernel import free_port


async def test_a_site_runs_what_the_hub_says_and_goes_back_when_it_is_not_well(tmp_path: Path) -> None:
    async with site(tmp_path) as made, connect(node=tmp_path / "hub") as plant:
        assert await plant.configs.get("e1") is None
        await report_where(plant, lambda r: r["revision"] == 0)
        async with growing(made):
            first = document(made.log_entry(), made.boiler_entry())
            stored = await plant.configs.put("e1", first, comment="a boiler", author="ada")
            assert (stored.revision, stored.based_on) == (1, 0)
            await healthy(plant, 1)
            connectors = {c["name"]: c for c in (await status_of(plant))["connectors"]}
            assert connectors["log"]["opens"] == 1  # its entry is the same: it was not touched
            assert connectors["boiler"]["state"] == "connected"

            entry = made.log_entry(tags=[{"name": "count", "address": "n"}, {"name": "twice", "address": "twice"}])
            await plant.configs.put("e1", document(entry, made.boiler_entry()), based_on=1)
            await healthy(plant, 2)

            worse = document(entry, made.boiler_entry(port=free_port()))
            await plant.configs.put("e1", worse, based_on=2, healthy_within_ms=3000)
            report = await report_where(plant, lambda r: r["failure"] is not None and r["phase"] == "settled")
        assert (report["revision"], report["seen"]) == (2, 3)
        assert (report["failure"]["code"], report["failure"]["is_rolled_back"]) == ("MS-2408", True)
        assert "boiler" in report["failure"]["reason"]
        node = await status_of(plant)
        assert [a["code"] for a in node["alarms"]] == ["MS-2408"]
        values = await counts_at_hub(made)
        assert values == list(range(made.lines))  # each once and in order, over three changes
        account = (await plant.ledger(recounted=True)).accounts["E_e1_I"]
        assert (account.gaps, account.repeats, account.out_of_order) == (0, 0, 0)
        told = [e async for e in plant.events("acme/plant1/**", type="millstream.config.*", start="-1h")]
        assert [(e.type.rpartition(".")[2], e.data["revision"]) for e in told] == [
            ("received", 1), ("applied", 1), ("healthy", 1), ("received", 2), ("applied", 2), ("healthy", 2),
            ("received", 3), ("applied", 3), ("rolled_back", 3),
        ]  # fmt: skip


async def test_flows_streams_and_a_faster_class_come_and_go_while_it_runs(tmp_path: Path) -> None:
    async with site(tmp_path) as made, connect(node=tmp_path / "hub") as plant:
        flow = {"name": "pace", "type": "deadband", "inputs": ["acme/plant1/log:count"], "config": {"absolute": 5}}
        fast = made.boiler_entry(durability="throughput")
        more = {"streams": {"integrity": {"max_bytes": "8GiB"}, "throughput": {"max_bytes": "64MiB"}}, "flows": [flow]}
        async with growing(made):
            await plant.configs.put("e1", document(made.log_entry(), fast, **more))
            await healthy(plant, 1)
            node = await status_of(plant)
            assert [f["name"] for f in node["flows"]] == ["pace"]
            async with connect(node=made.data) as here:
                bounds = {s["config"]["name"]: s["config"]["max_bytes"] for s in await here.streams()}
                assert (bounds["E_e1_T"], "E_e1_F" in bounds) == (64 << 20, True)
                assert bounds["E_e1_I"] > 64 << 20  # all of it, or what the disk has room for
                async with asyncio.timeout(60):
                    while not any("deadband" in str(entry.path) for entry in await here.tags("acme/plant1/**")):
                        await asyncio.sleep(0.1)
            asked = await plant.ask_flow("pace", "status")
            assert asked["state"] in ("running", "catching up")

            await plant.configs.put("e1", document(made.log_entry(), fast), based_on=1)
            await healthy(plant, 2)
            node = await status_of(plant)
            assert (node["flows"], {c["name"]: c["opens"] for c in node["connectors"]}) == ([], {"log": 1, "boiler": 1})
        assert await counts_at_hub(made) == list(range(made.lines))
        accounts = (await plant.ledger(recounted=True)).accounts
        for name in ("E_e1_I", "E_e1_T", "E_e1_F"):
            account = accounts[name]
            assert (account.gaps, account.repeats, account.out_of_order) == (0, 0, 0), name
