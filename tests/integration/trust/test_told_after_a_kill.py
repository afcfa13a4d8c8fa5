"""What was done, and not told because the hub was killed between, or was not there, is told when it is back: once."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from test_configs_of_people import document
from trust_site import Operator, Site, hub_client, hub_of, now_s, until

from millstream.bus import CONTRACTS_PREFIX, ROLLOUTS_PREFIX, Credentials, RawConnection
from millstream.client import Contract, Plant
from millstream.config import load_folder
from millstream.hub._desk import DeskAround, PeopleAudit
from millstream.hub._told_acts import ToldActs
from millstream.kernel import SystemClock
from millstream.protocols.contract import encode_contract
from millstream.protocols.contract_audit import by_header
from millstream.protocols.module import Manifest, decode_info, encode_info, info_subject, module_digest, with_manifest
from millstream.protocols.rollout import Rollout, RolloutSite, decode_rollout, encode_rollout, steered
from millstream.protocols.site_config import encode_revision, make_revision
from millstream.trust import note_change, revoke_user

MODULE = (Path(__file__).resolve().parents[2] / "data" / "wasm" / "odd.wasm").read_bytes()
CONTRACT = Contract("speeds", "tag", ("acme/**:speed",), description="one")


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
            assert await told_again(site) == [], "also not when the stream's window is over"
            last = (await site.audit("acme", "config.put"))[-1]
    assert (last["who"], last["from"], last["edge"]) == ("o@d", "d", "east")
    assert (last["before"]["revision"], last["after"]["revision"]) == (2, 3)


async def told_again(site: Site) -> list[tuple[str, str]]:
    """What a hub would tell that looks now, when no window of the stream hides what was told twice."""
    found: list[tuple[str, str]] = []

    async def tell(what: str, outcome: str, data: object, once: str = "") -> None:
        found.append((what, outcome))

    assert site.hub.tenants is not None
    creds = Credentials(creds_file=site.hub.tenants.creds_dir / "acme.creds")
    audit = PeopleAudit(tell, lambda *_: None)
    async with RawConnection(site.hub.server.url, credentials=creds) as connection:
        around = DeskAround(connection, lambda: {"east": "acme/east"}, cast("Any", None), audit, SystemClock())
        await ToldActs(around, "acme").look()
    return found


async def told_acts(folder: Path, plant: Plant) -> None:
    """A contract, a module, a configuration and a roll-out that is stopped, by whoever has the hub's own rights."""
    await plant.publish_contract(CONTRACT)
    await plant.configs.code.push(MODULE, "odd.wasm", author="o@d")
    await plant.configs.put("east", document("70MiB"), based_on=0, comment="told", author="o@d")
    (folder / "git" / "sites").mkdir(parents=True)
    (folder / "git" / "sites" / "east.yaml").write_text(document("80MiB"), encoding="utf-8")
    plan = await plant.configs.plan(load_folder(folder / "git"))
    await plant.configs.rollouts.start(plan, name="first", author="o@d", overwrite=True)
    await plant.configs.rollouts.stop("first", author="o@d")


async def untold_acts(hub: Any) -> None:
    """The same as they lie in the buckets when who does them is killed before they are told."""
    js, at_ns = hub.jetstream(), SystemClock().now_ns()
    second = replace(CONTRACT, version=2, description="two", published_ns=at_ns)
    await js.publish(f"{CONTRACTS_PREFIX}speeds.2", encode_contract(second), headers=by_header("ann@box3", "10.0.0.9"))
    info = await js.get_last_msg("OBJ_modules", info_subject(module_digest(MODULE)))
    stored = decode_info(info.data, module_digest(MODULE))
    assert stored is not None
    manifests = with_manifest(
        stored.manifests,
        Manifest(digest=stored.manifest.digest, size_bytes=len(MODULE), kind="wasm", file="odd.wasm", author="ben@box4",
                 time_ns=at_ns),
    )  # fmt: skip
    described = encode_info(manifests, stored.nuid, stored.chunks_count, "2026-01-01T00:00:00Z")
    await js.publish(info_subject(stored.manifest.digest), described, headers={"Nats-Rollup": "sub"})
    raw = await js.get_last_msg("KV_rollouts", f"{ROLLOUTS_PREFIX}first")
    act = {"verb": "cancel", "subject": "first", "upon": "-", "author": "cleo@box5", "time_ns": at_ns}
    cancelled = steered(decode_rollout(raw.data), "cancel", "cleo@box5", at_ns, act)
    await js.publish(f"{ROLLOUTS_PREFIX}first", encode_rollout(cancelled))
    begun = Rollout(
        name="second", author="dora@box6", created_ns=at_ns, ends=(1,), sites=(RolloutSite("east", 9, "sha256:0", 0),),
        state="cancelled",
    )  # fmt: skip
    await js.publish(f"{ROLLOUTS_PREFIX}second", encode_rollout(begun))


async def test_contracts_modules_and_roll_outs_that_were_not_told_are_told_by_the_hub_once(tmp_path: Path) -> None:
    operator = Operator(tmp_path)
    operator.sign()
    operator.join_file("acme", "east")
    async with hub_of(operator) as site, site.plant("acme") as plant:
        await told_acts(tmp_path, plant)
        assert await told_again(site) == []
        async with hub_client(site, "acme") as hub:
            await untold_acts(hub)
        due = {("contract", "put"): 1, ("module", "pushed"): 1, ("rollout", "cancelled"): 1, ("rollout", "started"): 1}
        assert Counter(await told_again(site)) == due
    for _ in range(2):
        async with hub_of(operator) as site:

            async def are_told(site: Site = site) -> bool:
                return not await told_again(site)

            await until(are_told, "all of them")
            contracts, modules = await site.audit("acme", "contract.put"), await site.audit("acme", "module.pushed")
            rollouts = await site.audit("acme", "rollout")
            assert [(e["who"], e["from"]) for e in contracts][1:] == [("ann@box3", "10.0.0.9")]
            assert (contracts[1]["before"]["description"], contracts[1]["after"]["description"]) == ("one", "two")
            assert [(e["who"], e["from"]) for e in modules] == [("o@d", modules[0]["from"]), ("ben@box4", "box4")]
            assert {(e["name"], e["turn"], e["who"]) for e in rollouts} == {
                ("first", 0, "o@d"), ("first", 1, "o@d"), ("first", 2, "cleo@box5"), ("second", 0, "dora@box6"),
            }  # fmt: skip
            (cancelled,) = (e for e in rollouts if e["turn"] == 2)
            assert (cancelled["before"], cancelled["after"]["state"]) == ({"known": False}, "cancelled")
            assert len(rollouts) == 4
