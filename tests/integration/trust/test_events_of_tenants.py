"""What the servers of a hub with tenants announce: to the tenant whose account it concerns, and to who runs the hub."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from trust_site import Site, trusted_hub, until

from millstream.cli import main
from millstream.client import PROVIDER


async def events(site: Site, capsys: pytest.CaptureFixture[str], who: str, *more: str) -> list[dict[str, Any]]:
    """What `millstream events` prints, as one of them."""
    capsys.readouterr()
    folder = str(site.operator.folder / "hub")
    words = ["events", "--json", "--start", "-1h", "--node", folder, *more]
    assert await asyncio.to_thread(main, words + ([] if who == PROVIDER else ["--tenant", who])) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def kinds(found: list[dict[str, Any]]) -> set[str]:
    """What happened, without its prefix."""
    return {event["type"].removeprefix("millstream.server.") for event in found}


async def test_what_happens_to_one_tenant_is_told_to_it_and_to_the_provider_and_to_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MILLSTREAM_TENANT", raising=False)
    async with trusted_hub(tmp_path, "acme", "beta", more={"historian": {}}) as site:
        file = site.operator.join_file("acme", "plant1")
        await site.taken()
        folder = await site.join(file)
        async with site.edge(file, folder):

            async def is_linked() -> bool:
                return "leaf_connected" in kinds(await events(site, capsys, "acme"))

            await until(is_linked, "the link of acme's site")

        async def links(who: str) -> dict[str, dict[str, Any]]:
            return {event["id"]: event for event in await events(site, capsys, who) if "leaf_" in event["type"]}

        async def is_told() -> bool:
            of_acme = await links("acme")
            return "leaf_lost" in kinds(list(of_acme.values())) and of_acme.keys() == (await links(PROVIDER)).keys()

        await until(is_told, "the link is gone, to acme and to the provider")
        of_all = (await links(PROVIDER)).values()
        assert {event["data"].get("tenant") for event in of_all} == {"acme"}
        assert "leaf_lost" not in kinds(await events(site, capsys, "beta"))
        assert "plant1" not in json.dumps(await events(site, capsys, "beta"))

        capsys.readouterr()
        assert await asyncio.to_thread(main, ["events", "--alarms", "--node", str(tmp_path / "hub")]) == 0
        assert "acme: edge plant1 at 127.0.0.1 is gone" in capsys.readouterr().out
