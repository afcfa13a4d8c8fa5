"""What who runs a hub of tenants sees of it: how each tenant is, alarms that come and go, and nothing of their data."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from trust_site import Site, now_s, trusted_hub, until

from millstream.bus import write_private
from millstream.cli import main
from millstream.client import PROVIDER, connect
from millstream.trust import make_bundle, make_trust


async def seen(site: Site) -> dict[str, Any]:
    """The hub's own status, asked for as its provider."""
    async with connect(site.operator.folder / "hub", tenant=PROVIDER) as provider:
        (node,) = await provider.status()
    return dict(node)


async def test_a_refused_trust_file_is_an_alarm_until_a_good_one_comes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MILLSTREAM_TENANT", raising=False)
    async with trusted_hub(tmp_path, "acme", "beta") as site:
        site.operator.join_file("acme", "plant1")
        await site.taken()
        before = await seen(site)
        assert before["alarms"] == []
        assert before["audit"] == {"failures": 0, "violations_untold": 0}
        tenants = {tenant["name"]: tenant for tenant in before["tenants"]}
        assert {name: tenant["is_up"] for name, tenant in tenants.items()} == {"acme": True, "beta": True}
        assert (tenants["acme"]["sites"], tenants["acme"]["join_answers_lost"]) == (1, 0)

        other = make_trust("other", "nats://127.0.0.1:1", now_s())
        write_private(site.operator.hub_file, make_bundle(other, now_s()))

        async def is_told() -> bool:
            return [alarm["code"] for alarm in (await seen(site))["alarms"]] == ["MS-2105"]

        await until(is_told, "the alarm of another operator's file")
        first = (await seen(site))["alarms"][0]
        other.serial += 1
        write_private(site.operator.hub_file, make_bundle(other, now_s()))
        await until(lambda: audited_twice(site), "both refusals are in the audit")
        assert (await seen(site))["alarms"][0]["since_ns"] == first["since_ns"]  # it began with the first

        capsys.readouterr()
        folder = str(site.operator.folder / "hub")
        assert await asyncio.to_thread(main, ["status", "--node", folder, "--json"]) == 0
        (node,) = json.loads(capsys.readouterr().out)["nodes"]
        assert [alarm["code"] for alarm in node["alarms"]] == ["MS-2105"]
        assert await asyncio.to_thread(main, ["status", "--node", folder]) == 0
        shown = capsys.readouterr()
        assert "MS-2105" in shown.err
        assert "beta" in shown.out

        site.operator.sign()  # the same that was taken before: good, and not newer

        async def is_over() -> bool:
            return (await seen(site))["alarms"] == []

        await until(is_over, "the alarm is over")


async def audited_twice(site: Site) -> bool:
    """The provider's audit has two refused files."""
    return len(await site.audit("", "trust.refused")) >= 2
