"""What the servers of a hub with tenants announce: to the tenant whose account it concerns, and to who runs the hub."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from trust_site import Site, hub_client, trusted_hub, until

from millstream.cli import main
from millstream.client import PROVIDER
from millstream.protocols.nats_jwt import parse_creds

MESSAGES_COUNT = 12  # of 1 MB: more than the sockets of both ends hold


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


async def one_who_does_not_read(site: Site, creds: Path, subject: str) -> socket.socket:
    """A program that subscribes and then reads nothing."""
    token, key = parse_creds(creds.read_text(encoding="ascii"), where="test")
    end = socket.socket()
    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # before it connects: so small stays its window
    await asyncio.to_thread(end.connect, ("127.0.0.1", int(site.hub.server.url.rpartition(":")[2])))
    info = json.loads((await asyncio.to_thread(end.recv, 65536)).partition(b" ")[2])
    signature = base64.urlsafe_b64encode(key.sign(info["nonce"].encode())).rstrip(b"=").decode()
    options = {"jwt": token, "sig": signature, "name": "sluggish", "verbose": False, "protocol": 1}
    end.sendall(f"CONNECT {json.dumps(options)}\r\nSUB {subject} 1\r\nPING\r\n".encode())
    assert b"PONG" in await asyncio.to_thread(end.recv, 65536)
    return end


async def test_what_happens_to_one_tenant_is_told_to_it_and_to_the_provider_and_to_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MILLSTREAM_TENANT", raising=False)
    async with trusted_hub(tmp_path, "acme", "beta", more={"historian": {}}) as site:
        file = site.operator.join_file("acme", "plant1")
        viewer = site.operator.user("acme", "slow", "viewer")
        await site.taken()
        sluggish = await one_who_does_not_read(site, viewer, "live.uns.v1.acme.>")
        async with hub_client(site, "acme") as client:
            for _ in range(MESSAGES_COUNT):
                await client.publish("live.uns.v1.acme.line._tag.x", bytes(1_000_000))
                await client.flush()
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

        # Ten seconds after nothing could be written to it the server cuts it off.
        async def is_slow(who: str) -> bool:
            return "slow_consumer" in kinds(await events(site, capsys, who))

        for who in ("acme", PROVIDER):
            await until(lambda who=who: is_slow(who), f"the program that does not read, to {who}")  # type: ignore[misc]
        slow = [event["data"] for event in await events(site, capsys, "acme") if "slow_consumer" in event["type"]]
        assert [(one["code"], one["severity"]) for one in slow] == [("MS-2613", "alarm")]
        assert "program sluggish at 127.0.0.1 was too slow" in slow[0]["text"]
        assert not await is_slow("beta")
        sluggish.close()

        capsys.readouterr()
        assert await asyncio.to_thread(main, ["events", "--alarms", "--node", str(tmp_path / "hub")]) == 0
        assert "acme: edge plant1 at 127.0.0.1 is gone" in capsys.readouterr().out
