"""Who refuses us: told once, kept as an alarm, and what is stored meanwhile arrives once it is put right."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from bad_site import WITNESS_ROWS, eventually, running_site, until
from cases.mosquitto_peer import broker
from forward_site import hub_config, leaf_of

from millstream.hub import HubNode


async def test_a_hub_that_refuses_the_edge_is_told_once_and_gets_everything_later(tmp_path: Path) -> None:
    secret = tmp_path / "edge.secret"
    secret.touch(mode=0o600)
    secret.write_text("not the one that the hub knows")
    async with HubNode(hub_config(tmp_path)) as hub, asyncio.TaskGroup() as group:
        running = group.create_task(hub.run())
        port, right = leaf_of(hub)
        uplink = f"uplink: {{url: 'nats://127.0.0.1:{port}', secret: {{file: '{secret}'}}}}"
        async with running_site(tmp_path, "", extra=uplink) as site:
            await until(lambda: "MS-0615" in site.alarms(), "the refusal is an alarm")
            status = site.node.status()
            assert status["uplink"]["state"] not in ("flowing", "idle")  # type: ignore[index]
            (line,) = [line for _, line in site.log if "MS-0615" in line]
            assert "refuse" in line
        assert hub.ledger() == {}
        secret.write_text(right)
        async with running_site(tmp_path, "", extra=uplink) as site:
            await until(lambda: hub.ledger().get("E_e1_I", {}).get("samples", 0) >= WITNESS_ROWS, "all is at the hub")
            assert "MS-0615" not in site.alarms()
            account = hub.ledger()["E_e1_I"]
            assert account["is_clean"], account
            assert account["samples"] == WITNESS_ROWS
        running.cancel()


@pytest.mark.needs("mosquitto")
async def test_a_broker_that_refuses_the_password_stops_that_connector_only(tmp_path: Path) -> None:
    secret = tmp_path / "broker.secret"
    secret.touch(mode=0o600)
    secret.write_text("wrong")
    async with broker(tmp_path, password="right") as peer:
        connector = (
            "  - name: refused\n    type: mqtt\n    path: refused\n    tags: [{name: n, address: n}]\n    config:\n"
            f"      {{source: broker, host: 127.0.0.1, port: {peer.port}, client_id: e1, user: edge,"
            f" secret: {{file: '{secret}'}}}}\n"
        )
        async with running_site(tmp_path, connector) as site:
            await until(lambda: site.connector("refused")["state"] == "stopped", "the connector stops")
            assert site.alarms() == ["MS-0201"]
            (line,) = site.complaints("refused")
            assert "refuses user or password" in line
            found = await eventually(site, lambda f: "refused:n" in f, "the tag is marked")
            assert [(s.value, s.quality) for s in found["refused:n"]] == [(None, "BadNoCommunication")]
