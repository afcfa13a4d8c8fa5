"""Whole nodes over TLS: one machine with a flow, listeners that ask for certificates, a server that is given."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path

import pytest
from tls_site import tls_site, until

import warm
from millstream.bus import LeafListener, NatsServer, ServerSettings, ServerTls
from millstream.bus._mqtt_wake import wake_mqtt
from millstream.client import connect
from millstream.kernel import AuthError, Unreachable
from millstream.sdk import TlsFiles
from millstream.tls import issue, make_authority

UP = """edge: {name: press-shop, path: acme/plant1, data_dir: data/edge}
hub: {name: hub1, data_dir: data/hub}
tls: {certificate: tls/node.pem, key: tls/node.key, ca_file: tls/ca.pem}
server: {mqtt_port: 0}
flows:
  - {name: parts, type: part_counter, inputs: ["acme/plant1/**:barrier"], config: {hold: 20ms}}
"""


async def test_a_machine_of_its_own_runs_edge_hub_and_flow_over_tls(tmp_path: Path) -> None:
    make_authority(tmp_path / "tls", "test", time.time())
    issue(tmp_path / "tls", "node", [], time.time())
    (tmp_path / "up.yaml").write_text(UP, encoding="utf-8")
    with (tmp_path / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *warm.command("up", "-c", "up.yaml"), cwd=tmp_path, start_new_session=True,
            stdout=asyncio.subprocess.DEVNULL, stderr=log,
        )  # fmt: skip
    try:
        files = [tmp_path / "data" / node / "node.json" for node in ("edge", "hub")]
        await until(lambda: all(file.is_file() for file in files) or process.returncode is not None, "both nodes")
        async with connect(tmp_path / "data" / "edge") as edge, connect(tmp_path / "data" / "hub") as hub:
            assert edge.node.nats_url.startswith("tls://")
            for value in (False, True):
                await edge.publish("acme/plant1/press:barrier", value)

            async def counted() -> bool:
                return [found.value for found in await hub.last("acme/plant1/press:parts", kind="count")] == [1]

            await until(counted, "what the flow's own process has counted, at the hub")
        os.killpg(process.pid, signal.SIGTERM)
        async with asyncio.timeout(60):
            assert await process.wait() == 0, (tmp_path / "log").read_text(encoding="utf-8")
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    assert "Traceback" not in (tmp_path / "log").read_text(encoding="utf-8")


@pytest.mark.attack(
    "an edge's password or a device's, without the certificate that is asked for", layer="server (client certificate)"
)
async def test_listeners_that_ask_for_a_certificate_let_nobody_in_without(tmp_path: Path) -> None:
    async with tls_site(tmp_path, asks=("leaf", "mqtt"), mqtt_port=0) as site:
        own = {"certificate": site.authority / "e1.pem", "key": site.authority / "e1.key"}
        async with site.edge(**own) as edge:
            await until(lambda: edge.status()["uplink"]["state"] in ("idle", "flowing"), "the link of the edge")  # type: ignore[index]
        log = tmp_path / "hub" / "server" / "nats-server.log"
        async with site.edge() as edge:
            await until(lambda: "didn't provide a certificate" in log.read_text("utf-8"), "the refusal at the hub")
            assert edge.status()["uplink"]["state"] not in ("idle", "flowing")  # type: ignore[index]

        port, login = site.hub.server.settings.mqtt_port, site.hub.server.mqtt_credentials
        assert port is not None
        assert login is not None
        await wake_mqtt("localhost", port, *login, tls=TlsFiles(ca_file=site.trust.ca_file, **own))
        with pytest.raises((Unreachable, AuthError)):
            await wake_mqtt("localhost", port, *login, tls=site.trust)


async def test_a_server_that_is_given_is_checked_too(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_authority(tmp_path / name, "test", time.time())
    issue(tmp_path / "a", "hub", [], time.time())
    files = TlsFiles(
        ca_file=tmp_path / "a" / "ca.pem", certificate=tmp_path / "a" / "hub.pem", key=tmp_path / "a" / "hub.key"
    )
    settings = ServerSettings("h1", domain="hub", leaf_listener=LeafListener(), tls=ServerTls(files))
    async with NatsServer(settings, tmp_path / "there") as there:

        def given(authority: str) -> NatsServer:
            trust = TlsFiles(ca_file=tmp_path / authority / "ca.pem")
            return NatsServer(
                ServerSettings(
                    "h1", domain="hub", url=there.url, user=there.user, password=there.password, given_tls=trust
                ),
                tmp_path / "here",
            )

        async with given("a") as server, server.connection("x") as connection:
            await connection.request("$JS.API.INFO", timeout_s=60)
        async with given("b") as server:
            with pytest.raises(Unreachable) as refused:
                async with server.connection("x"):
                    pass
            assert refused.value.code == "MS-0221"
