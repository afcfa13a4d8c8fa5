"""What an edge runs that joined under an operator: signed by the tenant's engineers, and nothing else."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from nats.aio.client import Client
from trust_site import DEADLINE_S, Site, hub_client, refusals, trusted_hub, until

from millstream.client import Plant, Signer
from millstream.kernel import AuthError
from millstream.protocols.module import info_subject
from millstream.protocols.site_config import Revision, encode_revision, make_revision
from millstream.trust import revoke_user

attack = pytest.mark.attack
ODD = Path(__file__).resolve().parents[2] / "data" / "wasm" / "odd.wasm"


def document(digest: str | None = None, retention: str = "64MiB") -> str:
    """A document for the site, with a module or without."""
    flows = [] if digest is None else [{"name": "rows", "type": "wasm", "module": digest}]
    return str(yaml.safe_dump({"streams": {"integrity": {"max_bytes": retention}}, "flows": flows}))


async def report_where(plant: Plant, condition: Any) -> Any:
    """What the site says, once it is as wanted."""
    report: Any = None
    end = time.monotonic() + DEADLINE_S
    while report is None or not condition(report):
        report = await plant.configs.report("east")
        assert time.monotonic() < end, f"the last report was {report}"
        await asyncio.sleep(0.05)
    return report


async def healthy(plant: Plant, number: int) -> Any:
    return await report_where(plant, lambda r: r["healthy_revision"] == number and r["phase"] == "settled")


async def refused(plant: Plant, number: int, code: str, said: str) -> None:
    """The site says that it refused a revision, and goes on with what it has."""
    report = await report_where(
        plant, lambda r: (r["failure"] or {}).get("revision") == number and said in r["failure"]["reason"]
    )
    assert (report["failure"]["code"], report["phase"]) == (code, "settled")


class Forger:
    """Somebody who may write into the hub's buckets, past all checks of ours."""

    def __init__(self, client: Client) -> None:
        self._stream = client.jetstream()

    async def put(self, revision: Revision) -> None:
        await self._stream.publish("$KV.config.east", encode_revision(revision))

    async def change_info(self, digest: str, change: Any) -> None:
        """Change what the bucket says of a module."""
        found = await self._stream.get_last_msg("OBJ_modules", info_subject(digest))
        raw = msgspec.json.decode(found.data or b"")
        raw["metadata"] = {name: change(text) for name, text in raw["metadata"].items()}
        headers = {"Nats-Rollup": "sub"}
        await self._stream.publish(info_subject(digest), msgspec.json.encode(raw), headers=headers)


def unsigned(number: int, author: str = "ann") -> Revision:
    return make_revision(
        "east", document(retention="96MiB"), revision=number, based_on=number - 1, author=author, comment="",
        time_ns=time.time_ns(),
    )  # fmt: skip


@attack("a configuration that nobody signed, written into the hub's bucket", layer="edge: chain of trust")
@attack("a configuration that was changed after it was signed", layer="edge: signature")
@attack("an older signed configuration sent again", layer="edge: newest revision seen")
@attack("a revision with a huge number that nobody signed, to use the numbers up", layer="edge: chain of trust")
@attack("a configuration by an engineer who was locked out, or one of another tenant", layer="edge: operator's list")
async def test_an_edge_under_an_operator_runs_what_its_engineers_signed(tmp_path: Path) -> None:
    async with trusted_hub(tmp_path, "acme", "beta") as site, AsyncExitStack() as stack:
        file = site.operator.join_file("acme", "east")
        ann, bob = (Signer.of(site.operator.user("acme", name, "engineer")) for name in ("ann", "bob"))
        eve = Signer.of(site.operator.user("beta", "eve", "engineer"))
        await site.taken()
        folder = await site.join(file)
        client = await stack.enter_async_context(hub_client(site, "acme"))
        forger = Forger(client)
        async with site.edge(file, folder), site.plant("acme") as plant:
            await report_where(plant, lambda r: r["demands_signatures"])
            with pytest.raises(AuthError, match="demands a signature"):
                await plant.configs.put("east", document())

            plant.configs.signer = ann
            first = await plant.configs.put("east", document(), comment="the first")
            assert (first.revision, first.author) == (1, "ann")
            assert (await healthy(plant, 1))["signed_by"] == ann.key.public

            await forger.put(unsigned(2))
            await refused(plant, 2, "MS-2413", "nobody signed it")
            await forger.put(unsigned(10**9))
            await refused(plant, 10**9, "MS-2413", "nobody signed it")
            await forger.put(msgspec.structs.replace(unsigned(2), signature=first.signature))
            await refused(plant, 2, "MS-2413", "a signature does not fit")
            await forger.put(eve.sign_revision(unsigned(3, "eve")))
            await refused(plant, 3, "MS-2413", "who signed it may not")
            await forger.put(bob.sign_revision(unsigned(4, "bob")))
            await healthy(plant, 4)  # the numbers of what nobody signed are not used up
            await forger.put(first)
            await refused(plant, 1, "MS-2404", "an older revision")

            with site.operator.changing() as trust:
                revoke_user(trust.tenants["acme"], "bob", int(time.time()))
            await site.taken()
            await until(lambda: _is_handed_on(client, site), "the newest chain is handed on")
            await forger.put(bob.sign_revision(unsigned(5, "bob")))
            await refused(plant, 5, "MS-2413", "none of the operator's authors")

            unproven = [("MS-2413", number) for number in (2, 10**9, 2, 3, 5)]
            wanted = [*unproven[:-1], ("MS-2404", 1), unproven[-1]]
            assert await refusals(site, "config", len(wanted), "code", "revision") == wanted


async def _is_handed_on(client: Client, site: Site) -> bool:
    assert site.hub.tenants is not None
    token = site.hub.tenants.trust.tenants["acme"].people_token
    found = await client.jetstream().get_last_msg("KV_trust", "$KV.trust.chain")
    return msgspec.json.decode(found.data or b"")["people_token"] == token


@attack("a module that nobody signed, or a viewer, or whose manifest was changed", layer="edge: chain of trust")
async def test_an_edge_under_an_operator_fetches_what_its_engineers_signed(tmp_path: Path) -> None:
    async with trusted_hub(tmp_path, "acme") as site, AsyncExitStack() as stack:
        file = site.operator.join_file("acme", "east")
        ann = Signer.of(site.operator.user("acme", "ann", "engineer"))
        vic = Signer.of(site.operator.user("acme", "vic", "viewer"))
        await site.taken()
        folder = await site.join(file)
        client = await stack.enter_async_context(hub_client(site, "acme"))
        forger = Forger(client)
        async with site.edge(file, folder), site.plant("acme") as plant:
            configs, odd = plant.configs, ODD.read_bytes()
            await report_where(plant, lambda r: r["demands_signatures"])
            stored = await configs.code.push(odd, "odd.wasm", author="who")
            for number, signer, said in ((1, None, "nobody signed it"), (2, vic, "who signed it may not")):
                configs.signer = signer
                await configs.code.push(odd, "odd.wasm", author="who")
                configs.signer = ann
                await configs.put("east", document(stored.digest), based_on=number - 1)  # the same, once more
                await refused(plant, number, "MS-2443", said)
            await configs.code.push(odd, "odd.wasm", author="who")
            await forger.change_info(stored.digest, lambda manifest: manifest.replace("odd.wasm", "bad.wasm"))
            await configs.put("east", document(stored.digest), based_on=2)
            await refused(plant, 3, "MS-2443", "a signature does not fit")
            assert not (folder / "modules").exists(), "nothing of it was fetched"

            await configs.code.remove(stored.digest, even_if_used=True)
            await configs.code.push(odd, "odd.wasm", author="who")
            await configs.put("east", document(stored.digest), based_on=3)
            await healthy(plant, 4)
            assert [path.name for path in (folder / "modules").iterdir()] == [stored.digest.removeprefix("sha256:")]
            wanted = [("MS-2443", number) for number in (1, 2, 3)]
            assert await refusals(site, "config", len(wanted), "code", "revision") == wanted
