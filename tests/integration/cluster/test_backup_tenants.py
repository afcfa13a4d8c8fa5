"""A hub with tenants comes back from a folder, tenant by tenant; on one box, or on three."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from cluster_site import MEMBERS, free_ports
from forward_site import running_edge, until
from tenant_cluster import TenantCluster
from trust_site import Site, hub_of, trusted_hub

import warm
from millstream.client import Plant, connect
from millstream.config import HubConfig
from millstream.edge import join_hub
from millstream.historian import Range
from millstream.hub import load_manifest, restore_hub
from millstream.kernel import PlantError, SystemClock

HISTORY: dict[str, Any] = {"historian": {}}


async def _millstream(*arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *warm.command(*arguments), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def _counted(site: Site, tenant: str) -> int:
    """Messages of the tenant's site; its account must be clean."""
    async with site.plant(tenant) as plant:
        account = (await plant.ledger()).accounts.get("E_plant1_I")
    if account is None:
        return 0
    assert (account.gaps, account.repeats, account.out_of_order) == (0, 0, 0)
    return account.messages


async def _holds(site: Site, tenant: str, count: int) -> bool:
    plant = site.hub.tenants.plant(tenant) if site.hub.tenants is not None else None
    assert plant is not None
    assert plant.historian is not None
    return len(await plant.historian.query(Range(tags=(f"{tenant}/plant1:n*",), limit=10_000))) >= count


async def test_a_hub_with_tenants_comes_back_from_its_backup_on_one_box_and_on_three(tmp_path: Path) -> None:
    more = {**HISTORY, "server": {"leaf_port": free_ports(1)[0]}}
    backup = tmp_path / "backup"
    async with trusted_hub(tmp_path, "acme", "beta", more=more) as site:
        operator = site.operator
        file = operator.join_file("acme", "plant1")
        await site.taken()
        await join_hub(file, tmp_path / "plant1")
        async with running_edge(tmp_path, site.leaf_port, name="plant1", tenant="acme") as edge:
            await edge.send(300)
            async with site.plant("beta") as plant:
                await plant.publish("beta/line:n", 7)
            await until(lambda: _holds(site, "acme", 300), "the values in the history")
            code, out, err = await _millstream("backup", str(backup), "--node", str(tmp_path / "hub"), "--json")
            assert code == 0, err
            parts = json.loads(out)["parts"]
            assert set(parts) == {"provider", "acme", "beta"}
            assert parts["acme"]["history"]["tables"]["readings"] >= 300
            assert all(parts[name]["streams"]["H_LOCAL"] >= 1 for name in ("acme", "beta"))  # that it is copied, too

    # On one box: the site's key is known again, and what it sent since the backup comes from it.
    document = {
        "hub": {"name": "h1", "data_dir": str(tmp_path / "hub")}, "streams": {"max_bytes": "64MiB"},
        "trust": {"file": str(operator.hub_file)}, **more,
    }  # fmt: skip
    (tmp_path / "hub.yaml").write_text(json.dumps(document), encoding="utf-8")
    shutil.rmtree(tmp_path / "hub")
    code, out, err = await _millstream("restore", str(backup), "-c", str(tmp_path / "hub.yaml"), "--json")
    assert code == 0, err
    assert json.loads(out)["parts"] == parts
    async with (
        running_edge(tmp_path, more["server"]["leaf_port"], name="plant1", tenant="acme") as edge,
        hub_of(operator, more) as site,
    ):
        edge.sent = 300
        await edge.send(200)
        await until(lambda: _all_of(site, 500), "all of the site")
        await until(lambda: _holds(site, "acme", 500), "all in the history")
        async with site.plant("beta") as plant:
            assert [reading.value for reading in await plant.last("beta/**")] == [7]

    # On three: one of them makes the streams, each has the history.
    cluster = TenantCluster(tmp_path, operator=operator, **HISTORY)
    configs = [HubConfig.model_validate(cluster.document(member)) for member in MEMBERS]
    said: dict[str, list[str]] = {member: [] for member in MEMBERS}
    restoring = (
        restore_hub(config, backup, is_replacing=False, say=said[member].append, clock=SystemClock())
        for member, config in zip(MEMBERS, configs, strict=True)
    )
    async with asyncio.timeout(300):
        await asyncio.gather(*restoring)
    makers = [member for member, lines in said.items() if any("H_INTEGRITY" in line for line in lines)]
    assert len(makers) == 1
    for member, lines in said.items():
        assert [line for line in lines if line.startswith("history of acme") and "as backed up" in line], lines
        assert (tmp_path / member / "historian" / "acme").is_dir()
    await _runs_on_three(tmp_path, cluster)

    # A part that was changed, or is of another backup, is no part.
    manifest = backup / "tenants" / "beta" / "manifest.json"
    manifest.unlink()
    shutil.copyfile(backup / "provider" / "manifest.json", manifest)
    with pytest.raises(PlantError) as refused:
        load_manifest(backup)
    assert refused.value.code == "MS-2620"


async def _all_of(site: Site, count: int) -> bool:
    return await _counted(site, "acme") >= count


async def _runs_on_three(folder: Path, cluster: TenantCluster) -> None:
    """The three boxes serve what was backed up, and the site's key is known: what it sent since comes from it."""
    try:
        await cluster.start(*MEMBERS)
        leader = await cluster.wait_up()
        first, *others = cluster.leaf_ports.values()
        async with running_edge(folder, first, name="plant1", more_ports=others, hang_s=60.0, tenant="acme") as edge:
            edge.sent = 500
            await edge.send(100)
            await cluster.wait_counted("acme", 600)
        for member in (leader, next(member for member in MEMBERS if member != leader)):
            async with connect(folder / member, tenant="acme") as plant:
                await until(lambda plant=plant: _has_values(plant, 600), f"each value in the history of {member}")  # type: ignore[misc]
        async with connect(folder / leader, tenant="beta") as plant:
            assert [reading.value for reading in await plant.last("beta/**")] == [7]
    finally:
        await cluster.stop_all()


async def _has_values(plant: Plant, count: int) -> bool:
    table = await plant.history("acme/plant1:n*", start=0)
    values = sorted(table.column("value").to_pylist()) if len(table) else []
    assert len(values) == len(set(values)), "none is there twice"
    return values == list(range(1, count + 1))
