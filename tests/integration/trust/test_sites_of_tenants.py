"""Who runs a hub of tenants sees how all their sites are, by what each tenant exports; no value, and no way back."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import nats.errors
import pytest
from nats.aio.client import Client
from trust_site import client_of, hub_client, trusted_hub, until

from millstream.cli import main
from millstream.client import connect

attack = pytest.mark.attack
SECRET = 31_415_926.5  # a value of a tenant's, in nothing that its provider is told


async def answers(client: Client, subject: str) -> bytes | None:
    """None when nobody does."""
    try:
        return (await client.request(subject, b"", timeout=2.0)).data
    except (nats.errors.NoRespondersError, nats.errors.TimeoutError):
        return None


@attack("a tenant asking back, through what its provider imports", layer="server (accounts)")
@attack("a provider asking a tenant for more than it exports to him", layer="server (imports)")
async def test_the_provider_sees_all_sites_and_no_value_and_no_tenant_reaches_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MILLSTREAM_TENANT", raising=False)

    async def sites(*words: str) -> tuple[int, list[dict[str, Any]]]:
        capsys.readouterr()
        folder = str(tmp_path / "hub")
        code = await asyncio.to_thread(main, ["fleet", "sites", "--json", "--node", folder, *words])
        return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    async with trusted_hub(tmp_path, "acme", "beta") as site:
        files = [site.operator.join_file(tenant, "plant1") for tenant in ("acme", "beta")]
        await site.taken()
        folder = await site.join(files[0])
        async with site.edge(files[0], folder), connect(folder) as at_edge, hub_client(site, "acme") as acme:
            await at_edge.publish("acme/plant1/line:speed", SECRET)

            async def is_seen() -> bool:
                return [each["state"] for each in (await sites())[1]] == ["up", "silent"]

            await until(is_seen, "acme's site is up, beta's has not joined yet")
            code, found = await sites()
            assert code == 6
            assert [(each["tenant"], each["name"], each["place"]) for each in found] == [
                ("acme", "plant1", "acme/plant1"), ("beta", "plant1", "beta/plant1"),
            ]  # fmt: skip
            assert found[0]["uplink"] in ("idle", "flowing", "behind")
            assert (await sites("--of", "acme"))[0] == 0

            # What they say of themselves, for a filter.
            async def query(*words: str) -> tuple[int, list[dict[str, Any]]]:
                asked = ["--json", "--node", str(tmp_path / "hub"), "--tenant", "provider"]
                code = await asyncio.to_thread(main, ["fleet", "query", *words, *asked])
                return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]

            code, (found_site, account) = await query("link.state != 'cut'", "--select", "tenant,path,role")
            assert code == 6
            assert found_site == {
                "node": "acme/plant1", "state": "match",
                "facts": {"tenant": "acme", "path": "acme/plant1", "role": "edge"},
            }  # fmt: skip
            assert (account["summary"]["expected"], account["summary"]["matching"]) == (2, 1)
            assert list(account["summary"]["missing"]) == ["beta/plant1"]
            code, (found_site, _) = await query("--of", "acme/plant1", "--select", "*")
            assert code == 0
            assert str(SECRET) not in str(found_site)
            assert {"version", "link", "connectors", "streams", "alarms"} <= found_site["facts"].keys()
            code, (account,) = await query("disk.free_ratio < 2.0", "--of", "acme/plant1")
            assert account["summary"]["absent"] == ["acme/plant1"], "its disk is not told"

            # All that comes over to the provider while values flow, and what it may ask.
            creds = tmp_path / "hub" / "secrets" / "tenants" / "provider.creds"
            heard: list[str] = []
            async with client_of(site, creds) as provider:

                async def hear(message: Any) -> None:
                    heard.append(f"{message.subject} {message.data!r}")

                await provider.subscribe(">", cb=hear)
                await provider.flush()
                await at_edge.publish("acme/plant1/line:speed", SECRET)
                for what in ("h1.status", "h1.ledger", "plant1.status"):
                    answer = await answers(provider, f"tenant.acme.millstream.node.{what}")
                    assert answer is not None, what
                    assert str(SECRET).encode() not in answer
                for subject in (
                    "tenant.acme.millstream.historian.query", "tenant.acme.millstream.node.plant1.write",
                    "tenant.acme.millstream.node.plant1.facts", "tenant.acme.millstream.node.h1.fleet_data",
                    "tenant.acme.$JS.API.STREAM.INFO.H_INTEGRITY", "millstream.node.plant1.status",
                ):  # fmt: skip
                    assert await answers(provider, subject) is None, subject
                assert not [one for one in heard if str(SECRET) in one or "uns.v1.acme" in one]

                # The hub's own rights in a tenant are the most that anybody has there.
                heard.clear()
                for subject in (
                    "tenant.beta.millstream.node.plant1.status", "tenant.beta.millstream.node.h1.status",
                    "tenant.acme.millstream.node.h1.status", "$JS.API.STREAM.INFO.P_EVENTS",
                ):  # fmt: skip
                    answer = await answers(acme, subject)
                    assert answer is None or b"stream not found" in answer, (subject, answer)
                await acme.publish("event.millstream.server.leaf_lost", b"{}")
                await acme.flush()
                await answers(provider, "tenant.acme.millstream.node.h1.status")  # after it, and over the same way
                assert not [one for one in heard if one.startswith(("event.", "tenant.beta"))]
