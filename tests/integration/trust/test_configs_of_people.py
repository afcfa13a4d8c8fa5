"""Engineers write, plan and apply the configurations of their sites, signed by their own keys; nobody else does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from login_site import LoginSite, bearer, login_site, nats_of, person
from trust_site import DEADLINE_S, Site, creds_of, hub_client, told, until

from millstream.cli import main
from millstream.client import Plant, Signer, connect
from millstream.config import load_folder
from millstream.kernel import NotFoundError, PlantError
from millstream.protocols.below import CONFIG, below_subject
from millstream.protocols.config_desk import ConfigAsk, encode_ask
from millstream.protocols.site_config import Revision, encode_revision, make_revision
from millstream.trust import new_key

attack = pytest.mark.attack


def document(retention: str) -> str:
    """A document for a site."""
    return str(yaml.safe_dump({"streams": {"integrity": {"max_bytes": retention}}}))


@asynccontextmanager
async def seen_by(site: Site, creds: Path, signer: Signer | None = None) -> AsyncIterator[Plant]:
    """The SDK with somebody's credentials, once the hub has its services for people there."""
    async with connect(url=site.hub.server.url, creds_file=creds) as plant:
        plant.configs.signer = signer

        async def answers() -> bool:
            try:
                return bool(await plant.configs.sites())
            except PlantError:
                return False

        await until(answers, "the hub's desk answers")
        yield plant


async def healthy(plant: Plant, edge: str, number: int) -> Any:
    """What a site says, once it runs a revision."""
    report: Any = None
    end = time.monotonic() + DEADLINE_S
    while report is None or report["healthy_revision"] != number or report["phase"] != "settled":
        report = await plant.configs.report(edge)
        assert time.monotonic() < end, f"the last report was {report}"
        await asyncio.sleep(0.05)
    return report


async def refused(plant: Plant, edge: str, number: int, said: str) -> None:
    """A site says that it does not take a revision, and why."""

    async def is_told() -> bool:
        failure = (await plant.configs.report(edge) or {}).get("failure") or {}
        return failure.get("revision") == number and failure.get("code") == "MS-2413" and said in failure["reason"]

    await until(is_told, f"{edge} refuses {number}, since {said}")


def signed(signer: Signer, edge: str, number: int) -> Revision:
    """A revision past all checks of the SDK."""
    revision = make_revision(
        edge, document("80MiB"), revision=number, based_on=number - 1, author=signer.name, comment="",
        time_ns=time.time_ns(),
    )  # fmt: skip
    return signer.sign_revision(revision)


async def put_raw(plant: Plant, place: str, revision: Revision, last_seq: int = 0) -> None:
    """A "put" by hand; raises what the hub answers."""
    book: Any = plant.configs._book
    ask = ConfigAsk("put", revision.edge, last_seq=last_seq)
    await book._ask(place, ask, encode_revision(revision))


@attack("an engineer of one path reading or writing the configuration of a site elsewhere, or of all",
        layer="server (paths in the scope of the signing key)")  # fmt: skip
@attack("a viewer reading or writing configurations", layer="server (publish permission of the role)")
@attack("a configuration that nobody, a viewer, or an author of another path signed, put with an engineer's log-in",
        layer="hub (operator's authors and their paths)")  # fmt: skip
@attack("a configuration signed by an author of another path, written into the hub's bucket",
        layer="edge (operator's authors and their paths)")  # fmt: skip
async def test_engineers_configure_their_own_sites_and_no_others(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        people: LoginSite = await stack.enter_async_context(login_site(tmp_path, "acme"))
        site = people.site
        files = {name: site.operator.join_file("acme", name) for name in ("east", "west")}
        ann = site.operator.user("acme", "ann", "engineer")
        bea = site.operator.user("acme", "bea", "engineer", paths=("acme/east",))
        vic = site.operator.user("acme", "vic", "viewer")
        await site.taken()
        folder = await site.join(files["east"])
        await stack.enter_async_context(site.edge(files["east"], folder))
        signers = {path.stem: Signer.of(path) for path in (ann, bea, vic)}
        by_bea, by_ann, by_vic = (signers[f"acme-{name}"] for name in ("bea", "ann", "vic"))

        at_bea = await stack.enter_async_context(seen_by(site, bea, by_bea))
        assert dict(await at_bea.configs.sites()) == {"east": "acme/east"}
        first = await at_bea.configs.put("east", document("64MiB"), comment="the first")
        assert (await healthy(at_bea, "east", 1))["signed_by"] == by_bea.key.public
        with pytest.raises(NotFoundError, match="no such site"):
            await at_bea.configs.put("west", document("64MiB"))
        at_ann = await stack.enter_async_context(seen_by(site, ann, by_ann))
        assert set(await at_ann.configs.sites()) == {"east", "west"}
        assert (await at_ann.configs.put("west", document("64MiB"))).revision == 1
        with pytest.raises(PlantError, match="somebody else"):
            await at_ann.configs.put("east", document("72MiB"), based_on=0)

        for revision, said in (
            (msgspec.structs.replace(signed(by_ann, "east", 2), signature=None), "nobody signed it"),
            (signed(by_vic, "east", 2), "who signed it may not"),
            (msgspec.structs.replace(signed(by_ann, "east", 2), comment="changed"), "signature does not fit"),
            (signed(by_bea, "west", 2), "no author here"),
            (msgspec.structs.replace(first, revision=2, based_on=1), "signature does not fit"),
        ):
            with pytest.raises(PlantError, match=said):
                await put_raw(at_ann, f"uns.v1.acme.{revision.edge}", revision, 1)
        with pytest.raises(PlantError, match="no such site below"):
            await put_raw(at_bea, "uns.v1.acme.east", signed(by_bea, "west", 2), 1)

        async with hub_client(site, "acme") as hub:  # somebody who has taken the hub
            await hub.jetstream().publish("$KV.config.west", encode_revision(signed(by_bea, "west", 2)))
            await hub.jetstream().publish("$KV.config.east", encode_revision(signed(by_bea, "east", 2)))
        await healthy(at_bea, "east", 2)
        west = await site.join(files["west"])
        async with site.edge(files["west"], west):
            await refused(at_ann, "west", 2, "no author here")

        # Who logs in with a password has NATS credentials for minutes, and signs with the key that the operator listed.
        await people.add("acme", "bea", role="engineer", paths=("acme/east",))
        client = await stack.enter_async_context(people.http())
        await bearer(people, client, "acme", "bea")
        key = new_key("user")
        nats = await nats_of(client, key)
        short = tmp_path / "session.creds"
        short.write_text(creds_of(nats["jwt"], key), encoding="ascii")
        (tmp_path / "git" / "sites").mkdir(parents=True)
        (tmp_path / "git" / "sites" / "east.yaml").write_text(document("96MiB"), encoding="utf-8")
        async with seen_by(site, short, by_bea) as plant:
            (plan,) = await plant.configs.plan(load_folder(tmp_path / "git"))
            assert [change.path for change in plan.changes], "what the folder would change"
            applied = await plant.configs.apply(plan, overwrite=True)
            assert applied is not None
            assert (await healthy(plant, "east", applied.revision))["signed_by"] == by_bea.key.public

        (tmp_path / "git" / "sites" / "east.yaml").write_text(document("112MiB"), encoding="utf-8")
        words = [str(tmp_path / "git"), "--url", site.hub.server.url, "--creds", str(bea), "--overwrite"]
        assert await asyncio.to_thread(main, ["config", "apply", *words, "--sign", str(bea)]) == 0
        await healthy(at_bea, "east", 4)

        history = encode_ask(ConfigAsk("history", "west"))
        async with person(people, nats, key) as evil:
            for place in ("uns.v1.acme.west", "uns.v1.acme", "uns.v1", "uns.v1.acme.eas", ">", "*.>"):
                assert await evil.outcome(below_subject(CONFIG, place), history) == "violation", place
        await told(site, "acme", "permission.refused", subject=below_subject(CONFIG, "uns.v1.acme.west"))
        await people.add("acme", "vic", role="viewer", paths=("acme/east",))
        await bearer(people, client, "acme", "vic")
        async with person(people, await nats_of(client, key), key) as viewer:
            for place in ("uns.v1.acme.east", "uns.v1.acme.east.line1", "uns.v1"):
                assert await viewer.outcome(below_subject(CONFIG, place), history) == "violation", place
