"""Hub, edge, clients and listeners over TLS, while certificates and the authority itself are replaced."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from tls_site import TlsSite, shown_at, tls_site, until

from millstream.api import serve_api
from millstream.bus import Credentials, NatsPyConnection, RawConnection, node_tls, tls_of
from millstream.cli import main
from millstream.client import connect
from millstream.kernel import SystemClock, Unreachable
from millstream.sdk import TlsFiles
from millstream.tls import KeptFiles, begin_roll_over, end_roll_over, issue, make_authority, renew

ENDLESS = 10_000_000  # rows: the ramp outlasts whatever the machine needs


def _der(path: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert(path.read_text(encoding="ascii"))


async def _codes(site: TlsSite) -> set[str]:
    """Of the hub's alarms that are about TLS."""
    status = await site.hub.status()
    return {alarm["code"] for alarm in status["alarms"] if alarm["code"].startswith("MS-25")}


def _samples(site: TlsSite) -> int:
    return int((site.hub.ledger().get("E_e1_I") or {}).get("samples", 0))


async def test_data_crosses_while_certificates_and_authority_are_replaced(tmp_path: Path) -> None:
    async with tls_site(tmp_path, websocket_port=0, mqtt_port=0) as site, site.edge(rows=ENDLESS) as edge:
        server = site.hub.server
        ports = server.settings.wanted_ports()
        pid = server.pid
        await until(lambda: _samples(site) > 0, "the first samples at the hub")
        async with server.connection("live") as live, connect(tmp_path / "hub") as plant:
            renew(site.authority, "hub", time.time())
            for listener in ("mqtt", "websocket"):
                await until(lambda: _shows(ports[listener], site.authority / "hub.pem"), f"the new one at {listener}")  # noqa: B023
            assert (await plant.status())[0]["name"] == "h1"  # node.json said whom to believe
            assert (live.connects, server.pid, server.restarts_count) == (1, pid, 0)  # links and server stayed

        begin_roll_over(site.authority, time.time())
        renew(site.authority, "hub", time.time())
        renew(site.authority, "e1", time.time())
        await until(lambda: _shows(ports["websocket"], site.authority / "hub.pem"), "the new authority's")
        server.restart("test: every link is made anew, by the new authority")
        await until(lambda: server.restarts_count >= 1, "the restart")
        end_roll_over(site.authority)
        stored = int(_connector(edge)["samples_stored"])
        await until(lambda: _samples(site) > stored, "all of before, and new ones over the new links")
        account = site.hub.ledger()["E_e1_I"]
        assert (account["gaps"], account["repeats"], account["out_of_order"]) == (0, 0, 0)
        await until(lambda: _has_none(site), "no alarm about TLS is left")


async def _shows(port: int, certificate: Path) -> bool:
    return await shown_at(port) == _der(certificate)


def _connector(edge: Any) -> dict[str, Any]:
    found: dict[str, Any] = edge.status()["connectors"][0]
    return found


async def test_what_is_wrong_with_a_certificate_is_said_by_name(tmp_path: Path) -> None:
    async with tls_site(tmp_path) as site:
        url, login = site.hub.server.url, (site.hub.server.user, site.hub.server.password)
        good = Credentials(*login, tls=site.trust)
        async with NatsPyConnection(url, credentials=good) as connection:
            await connection.request("$JS.API.INFO")

        async def refused(files: TlsFiles, code: str, *, at: str = url) -> None:
            with pytest.raises(Unreachable) as raw:
                async with connect(url=at, user=login[0], password=login[1], tls=files):
                    pass
            with pytest.raises(Unreachable) as own:
                async with RawConnection(at, credentials=Credentials(*login, tls=files)):
                    pass
            assert (raw.value.code, own.value.code) == (code, code)

        make_authority(tmp_path / "b", "test", time.time())
        await refused(TlsFiles(ca_file=tmp_path / "b" / "ca.pem"), "MS-0221")
        await refused(TlsFiles(ca_file=site.trust.ca_file, server_name="other.example"), "MS-0223")

        # A key that others can read, and then an expired certificate: alarms; data and node go on.
        (site.authority / "hub.key").chmod(0o644)
        renewed = site.authority / "hub.pem"
        renew(site.authority, "hub", time.time() - 10 * 86_400, days=5)
        (site.authority / "hub.key").chmod(0o644)
        await until(lambda: _has(site, "MS-2502", "MS-2506"), "alarms of the expired certificate and its key")
        await refused(site.trust, "MS-0220")
        renewed.write_text("half of a file", encoding="ascii")
        await until(lambda: _has(site, "MS-2508"), "an alarm of files that do not fit")
        renewed.unlink()
        issue(site.authority, "hub", [], time.time())
        await until(lambda: _has_none(site), "no alarm with the new one")
        async with connect(url=url, user=login[0], password=login[1], tls=site.trust) as plant:
            assert [node["name"] for node in await plant.status()] == ["h1"]


async def _has(site: TlsSite, *codes: str) -> bool:
    return set(codes) <= await _codes(site)


async def _has_none(site: TlsSite) -> bool:
    return not await _codes(site)


async def test_doctor_says_before_the_start_that_an_edge_will_not_take_this_for_its_hub(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with tls_site(tmp_path) as site:
        make_authority(tmp_path / "b", "test", time.time())

        async def found(ca_file: Path) -> list[str]:
            config = tmp_path / "edge.yaml"
            config.write_text(
                f"edge: {{name: e1, path: acme/plant1, data_dir: none}}\n"
                f"uplink: {{url: 'tls://localhost:{site.leaf_port}', ca_file: {ca_file}}}\n",
                encoding="utf-8",
            )
            await asyncio.to_thread(main, ["doctor", "-c", str(config), "--json", "--node", str(tmp_path / "hub")])
            said = json.loads(capsys.readouterr().out)
            return [finding["code"] for finding in said["findings"] if finding["check"] == "uplink"]

        good = site.authority / "ca.pem"
        assert await found(good) == []
        assert await found(tmp_path / "b" / "ca.pem") == ["MS-0221"]


async def test_the_http_interface_shows_the_newest_certificate_and_keeps_its_links(tmp_path: Path) -> None:
    authority, now_s = tmp_path / "tls", time.time()
    make_authority(authority, "test", now_s)
    issue(authority, "hub", [], now_s)
    kept = KeptFiles(
        TlsFiles(certificate=authority / "hub.pem", key=authority / "hub.key"), tmp_path / "k", SystemClock()
    )
    kept.open()

    async def answer(request: Request) -> PlainTextResponse:
        return PlainTextResponse(request.url.scheme)

    app = Starlette(routes=[Route("/", answer)])
    trust = ssl.create_default_context(cafile=authority / "ca.pem")
    async with (
        serve_api(app, certificate=kept.in_use.certificate) as address,
        httpx.AsyncClient(verify=trust) as client,
    ):
        assert address.url.startswith("https://127.0.0.1:")
        assert (await client.get(address.url)).text == "https"
        assert await shown_at(address.port) == _der(authority / "hub.pem")
        renew(authority, "hub", now_s)
        assert kept.look()
        assert await shown_at(address.port) == _der(authority / "hub.pem")
        assert kept.in_use.certificate is not None
        kept.in_use.certificate.write_text("half of a file", encoding="ascii")
        assert await shown_at(address.port) == _der(authority / "hub.pem")
        reply = await client.get(address.url)  # over the link of before
        assert (reply.status_code, reply.text) == (200, "https")


def test_the_node_file_says_no_more_than_its_owner_may_know(tmp_path: Path) -> None:
    """What stands in node.json is paths, never a key."""
    files = TlsFiles(ca_file=tmp_path / "ca.pem", certificate=tmp_path / "server.pem", server_name="hub.example")
    assert tls_of(json.loads(json.dumps(node_tls(files)))) == files
    assert node_tls(None) is None
