"""Two tenants at one hub, with sites of the same name: neither sees the other; revoking takes effect at once."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from trust_site import Site, now_s, trusted_hub, until

from millstream.client import Plant, connect, joined_keys
from millstream.trust import restore_site, revoke_site


async def values(plant: Plant) -> dict[str, object]:
    """Path of each tag -> last value."""
    return {str(reading.path): reading.value for reading in await plant.last("**")}


async def counted(plant: Plant, samples: int) -> bool:
    """So many samples of the site came, once and in order."""
    account = (await plant.ledger()).accounts.get("E_plant1_I")
    if account is None:
        return False
    assert (account.gaps, account.repeats, account.out_of_order) == (0, 0, 0)
    return account.samples == samples


async def keys(site: Site, tenant: str, name: str) -> list[str]:
    """The keys that joined, as the hub knows them."""
    found = site.operator.tenant(tenant)
    return await joined_keys(site.operator.trust, found, found.sites[name], site.hub.server.url)


async def test_two_tenants_with_sites_of_the_same_name_never_meet(tmp_path: Path) -> None:
    async with trusted_hub(tmp_path, "acme", "beta") as site:
        files = [site.operator.join_file(tenant, "plant1") for tenant in ("acme", "beta")]
        await site.taken()
        folders = [await site.join(file) for file in files]
        async with site.edge(files[0], folders[0]), site.edge(files[1], folders[1]):
            for number, (file, folder) in enumerate(zip(files, folders, strict=True)):
                async with connect(folder) as at_edge:
                    await at_edge.publish(f"{file.place}/line:speed", 100 + number)
            for number, file in enumerate(files):
                async with site.plant(file.tenant) as plant:
                    wanted = {f"{file.place}/line:speed": 100 + number}

                    async def is_there(plant: Plant = plant, wanted: dict[str, object] = wanted) -> bool:
                        return {k: v for k, v in (await values(plant)).items() if "speed" in k} == wanted

                    await until(is_there, f"the value of {file.tenant}, and nothing else")
                    await until(lambda plant=plant: counted(plant, 1), "the account")  # type: ignore[misc]


async def test_revoking_cuts_a_live_site_within_a_second_and_it_goes_on_locally_until_it_is_let_in_again(
    tmp_path: Path,
) -> None:
    async with trusted_hub(tmp_path, "acme") as site:
        file = site.operator.join_file("acme", "plant1")
        await site.taken()
        folder = await site.join(file)
        async with site.edge(file, folder) as edge, connect(folder) as at_edge, site.plant("acme") as plant:
            await at_edge.publish("acme/plant1/line:n", 1)

            async def arrived(number: int) -> bool:
                return (await values(plant)).get("acme/plant1/line:n") == number

            await until(lambda: arrived(1), "the first value")
            joined = await keys(site, "acme", "plant1")
            assert len(joined) == 1
            started = time.monotonic()
            with site.operator.changing():
                revoke_site(site.operator.tenant("acme"), "plant1", joined, now_s())
            leafs = site.hub.server

            async def is_gone() -> bool:
                return not (await leafs.monitor("/leafz")).get("leafs")

            await until(is_gone, "the leaf is cut")
            assert time.monotonic() - started < 30  # a second on an idle machine; bench/ measures it
            await at_edge.publish("acme/plant1/line:n", 2)  # the site goes on
            await until(lambda: "MS-0615" in str(edge.status()["alarms"]), "the edge says that it is locked out")
            assert not await arrived(2)
            with site.operator.changing():
                restore_site(site.operator.tenant("acme"), "plant1", joined)
            await until(lambda: arrived(2), "what was stored meanwhile")
            await until(lambda: counted(plant, 2), "the account")


async def test_a_tenant_that_is_added_while_the_hub_runs_gets_its_plant(tmp_path: Path) -> None:
    async with trusted_hub(tmp_path, "acme") as site:
        site.operator.tenant("late")
        await site.ready("late")
        async with site.plant("late") as plant:
            assert await values(plant) == {}


async def test_a_viewer_sees_the_plant_live_and_stored_and_may_change_nothing(tmp_path: Path) -> None:
    async with trusted_hub(tmp_path, "acme") as site:
        file = site.operator.join_file("acme", "plant1")
        creds = site.operator.user("acme", "ann", "viewer")
        await site.taken()
        folder = await site.join(file)
        url = site.hub.server.url
        async with site.edge(file, folder), connect(folder) as at_edge, connect(url=url, creds_file=creds) as viewer:
            await at_edge.publish("acme/plant1/line:n", 1)

            async def seen() -> bool:
                return (await values(viewer)).get("acme/plant1/line:n") == 1

            await until(seen, "the stored value")
            got: list[object] = []

            async def live() -> bool:
                await at_edge.publish("acme/plant1/line:n", 7)
                return 7 in got

            async def follow() -> None:
                async for reading in viewer.live("acme/**"):
                    got.append(reading.value)  # noqa: PERF401 (looked at while it grows)

            task = asyncio.ensure_future(follow())
            try:
                await until(live, "a live value")
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
