"""What was done, and not told because the hub was killed between, or was not there, is told when it is back: once."""

from __future__ import annotations

from pathlib import Path

from test_configs_of_people import document
from trust_site import Operator, Site, hub_client, hub_of, now_s, until

from millstream.protocols.site_config import encode_revision, make_revision
from millstream.trust import note_change, revoke_user


def lock_out(operator: Operator, name: str) -> None:
    """As `millstream user revoke` does."""
    with operator.changing() as trust:
        revoke_user(operator.tenant("acme"), name, now_s())
        note_change(trust, "olga@desk", "user_revoked", "acme", name, {}, now_s())


async def told_of(site: Site) -> list[str]:
    """Whose locking out is told, in order."""
    return [event["subject"] for event in await site.audit("acme", "operator.user_revoked")]


async def test_an_act_of_the_operator_is_told_once_however_often_the_hub_is_killed(tmp_path: Path) -> None:
    operator = Operator(tmp_path)
    operator.sign()
    operator.tenant("acme")
    for name in ("ann", "bob", "cora"):
        operator.user("acme", name, "viewer")
    async with hub_of(operator) as site:
        lock_out(operator, "ann")

        async def is_told() -> bool:
            return await told_of(site) == ["ann"]

        await until(is_told, "what was done while it runs")
    mark = tmp_path / "hub" / "secrets" / "told.json"
    before = mark.read_bytes()
    lock_out(operator, "bob")
    for _ in range(2):
        async with hub_of(operator) as site:

            async def is_told_too(site: Site = site) -> bool:
                return await told_of(site) == ["ann", "bob"] and mark.read_bytes() != before

            await until(is_told_too, "what was done while it was away, once")
        mark.write_bytes(before)  # killed behind the telling, before it is noted


async def test_a_configuration_that_was_put_and_not_told_is_told_by_the_hub(tmp_path: Path) -> None:
    operator = Operator(tmp_path)
    operator.sign()
    operator.join_file("acme", "east")
    comments = ["told", "not told", "not told either"]
    async with hub_of(operator) as site, site.plant("acme") as plant:
        await plant.configs.put("east", document("70MiB"), based_on=0, comment=comments[0], author="o@d")
        async with hub_client(site, "acme") as hub:  # killed before they are told
            for number in (1, 2):
                text, based_on = document(f"{number + 70}MiB"), {"revision": number + 1, "based_on": number}
                put = make_revision("east", text, **based_on, author="o@d", comment=comments[number], time_ns=1)
                await hub.jetstream().publish("$KV.config.east", encode_revision(put))
    for _ in range(2):
        async with hub_of(operator) as site:

            async def are_told(site: Site = site) -> bool:
                return [event["comment"] for event in await site.audit("acme", "config.put")] == comments

            await until(are_told, "each of them, once and in order")
            last = (await site.audit("acme", "config.put"))[-1]
    assert (last["who"], last["from"], last["edge"]) == ("o@d", "d", "east")
    assert (last["before"]["revision"], last["after"]["revision"]) == (2, 3)
