"""What a tenant may use of a hub: who reaches a limit is told so, nobody else is touched, and more is granted while the
hub runs."""

from __future__ import annotations

import contextlib
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from trust_site import Operator, Site, hub_of, now_s, until

from millstream.bus import Credentials, RawConnection, StreamApi
from millstream.bus._link import open_link
from millstream.client import PROVIDER, connect
from millstream.edge import EdgeNode
from millstream.kernel import PlantError
from millstream.trust import Limits, add_tenant, change_limits, note_change, shown_tenant

attack = pytest.mark.attack
GRANTED = Limits(connections=9, sites=1, subscriptions=1000, disk_bytes=64 << 20, memory_bytes=1 << 20)


def change(operator: Operator, tenant: str, **changes: int) -> None:
    """As `millstream tenant limits` does."""
    with operator.changing() as trust:
        before = shown_tenant(trust.tenants[tenant])
        change_limits(trust.tenants[tenant], changes)
        after = shown_tenant(trust.tenants[tenant])
        note_change(trust, "test", "limits_changed", tenant, tenant, {}, now_s(), before=before, after=after)


async def server_events(site: Site, who: str) -> list[str]:
    """Texts of what the servers announced, as it is stored for a tenant or the provider."""
    assert site.hub.tenants is not None
    login = Credentials(creds_file=site.hub.tenants.creds_dir / f"{who}.creds")
    stream, found = "P_EVENTS" if who == PROVIDER else "H_LOCAL", []
    async with RawConnection(site.hub.server.url, credentials=login) as connection:
        api = StreamApi(connection)
        for seq in range(1, (await api.state(stream)).last_seq + 1):
            one = await api.get(stream, seq)
            if one is not None and "millstream.server." in one.subject:
                found.append(one.payload.decode())
    return found


@attack("exhausting the hub: connections, sites, subscriptions, storage, large messages", layer="server (limits)")
async def test_each_limit_stops_who_reaches_it_says_so_and_touches_nobody_else(tmp_path: Path) -> None:
    operator = Operator(tmp_path)
    with operator.changing() as trust:
        add_tenant(trust, "acme", None, GRANTED, now_s())
        add_tenant(trust, "beta", None, Limits(disk_bytes=1 << 30), now_s())
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        site = await enter(hub_of(operator))
        files = [operator.join_file("acme", name) for name in ("plant1", "plant2")]
        viewers = {name: operator.user(name, "ann", "viewer") for name in ("acme", "beta")}
        await site.taken()
        folders = [await site.join(file) for file in files]

        # Sites.
        first = await enter(site.edge(files[0], folders[0]))
        await until(lambda: is_linked(first), "the first site is let in")
        second = await enter(site.edge(files[1], folders[1]))
        await until(lambda: "lets no more in: maximum account" in str(second.status()["alarms"]), "the second is told")
        assert is_linked(first)

        async def is_told(who: str, text: str) -> bool:
            return any(text in one for one in await server_events(site, who))

        for who in ("acme", PROVIDER):
            await until(lambda who=who: is_told(who, "acme: sites is 100% full"), "the limit of sites")  # type: ignore[misc]
            await until(lambda who=who: is_told(who, "edge plant2 at 127.0.0.1 was refused"), "whom it stopped")  # type: ignore[misc]
        change(operator, "acme", sites=2)
        await until(lambda: is_linked(second), "more is granted, and it is let in without a restart of anything")
        acts = await site.audit("acme", "operator.limits_changed")
        assert [(one["before"]["limits"]["sites"], one["after"]["limits"]["sites"]) for one in acts] == [(1, 2)]

        # Connections: the people's account has none of the hub's own.
        url = site.hub.server.url
        links = [await enter(connect(url=url, creds_file=viewers["acme"])) for _ in range(GRANTED.connections - 1)]
        subjects = [f"live.uns.v1.acme.x{number}" for number in range(GRANTED.subscriptions + 1)]
        wide = await enter(open_link(url, Credentials(creds_file=viewers["acme"])))
        await enter(wide.subscribe(subjects[: GRANTED.subscriptions * 9 // 10]))
        with pytest.raises(PlantError) as refused:
            await enter(connect(url=url, creds_file=viewers["acme"]))
        assert (refused.value.code, refused.value.got) == ("MS-2619", "maximum account active connections exceeded")
        assert len(links) == GRANTED.connections - 1
        for who in ("acme", PROVIDER):
            for text in ("acme: people's connections is 100%", "acme: people's subscriptions of one connection is 9"):
                await until(lambda who=who, text=text: is_told(who, text), text)  # type: ignore[misc]
        change(operator, "acme", connections=20)

        async def is_let_in() -> bool:
            with contextlib.suppress(PlantError):
                await enter(connect(url=url, creds_file=viewers["acme"]))
                return True
            return False

        await until(is_let_in, "more is granted")

        # Subscriptions, of one connection.
        for _ in range(8):  # whoever asks hears of it before it goes on, each time
            async with open_link(url, Credentials(creds_file=viewers["acme"])) as link:
                with pytest.raises(PlantError, match="a limit of the account is reached") as refused:
                    async with link.subscribe(subjects):
                        pass
                assert refused.value.got == "maximum subscriptions exceeded"
                async with link.subscribe(subjects[:10]):  # the link goes on
                    pass
        async with (
            open_link(url, Credentials(creds_file=viewers["beta"])) as other,
            other.subscribe([subject.replace("acme", "beta") for subject in subjects]),
        ):
            pass

        # Messages: none is larger than servers take, 1 MiB.
        async with site.plant("acme") as plant:
            with pytest.raises(PlantError, match="too large for the server"):
                await plant.publish("acme/line:photo", "x" * (2 << 20))

        await storage(site, operator, is_told)
        async with site.plant("beta") as plant:
            await plant.publish("beta/line:n", 1)
        assert not [one for one in await server_events(site, "beta") if "limit_" in one or "MS-2619" in one]


async def storage(site: Site, operator: Operator, is_told: Any) -> None:
    """On disk what streams reserve counts, in memory what they hold."""
    assert site.hub.tenants is not None
    login = Credentials(creds_file=site.hub.tenants.creds_dir / "acme.creds")
    async with RawConnection(site.hub.server.url, credentials=login) as connection:
        api = StreamApi(connection)
        large = {"name": "LARGE", "subjects": ["large.>"], "max_bytes": 5 << 30, "storage": "file"}
        with pytest.raises(PlantError, match="insufficient storage"):
            await api.request("STREAM.CREATE.LARGE", large)
        before = await api.request("STREAM.INFO.H_INTEGRITY")
        change(operator, "acme", disk_bytes=20 << 30)

        async def is_made() -> bool:
            with contextlib.suppress(PlantError):  # the server takes an account's limits a moment after it says so
                await api.request("STREAM.CREATE.LARGE", large)
                return True
            return False

        await until(is_made, "more is granted")

        async def has_grown() -> bool:
            found = await api.request("STREAM.INFO.H_INTEGRITY")
            return bool(found["config"]["max_bytes"] > before["config"]["max_bytes"])

        await until(has_grown, "the tenant's own streams have the room")
        await api.request("STREAM.CREATE.M", {"name": "M", "subjects": ["m.>"], "storage": "memory"})
        for _ in range(9):
            await connection.request("m.x", bytes(100_000))
        await until(lambda: is_told("acme", "acme: storage in memory is 8"), "the limit that is near")
        answers = [bytes((await connection.request("m.x", bytes(100_000)))[4]) for _ in range(3)]
        assert b"exceeded" in answers[-1], answers


def is_linked(edge: EdgeNode) -> bool:
    """It forwards, and no alarm says that it may not."""
    uplink: Any = edge.status()["uplink"]
    return uplink["state"] in ("idle", "flowing") and "MS-0615" not in str(edge.status()["alarms"])
