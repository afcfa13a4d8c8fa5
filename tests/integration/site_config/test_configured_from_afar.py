"""A configuration on its way from the hub to an edge, with real servers: tried, reported, taken back."""

from __future__ import annotations

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
