"""TLS with Mosquitto: certificates on both sides, and each thing that can be wrong with them by its own code."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cases.mosquitto_peer import Mosquitto
from certificates import Authority, Signed

from millstream.connectors.mqtt import MqttConfig, MqttConnector
from millstream.kernel import ConfigError, PlantError, Unreachable
from millstream.sdk import ConnectorTools

pytestmark = pytest.mark.needs("mosquitto")


@asynccontextmanager
async def broker(folder: Path, authority: Authority, shown: Signed, *extra: str) -> AsyncIterator[int]:
    """A broker that shows `shown`; its port."""
    lines = [f"cafile {authority.ca_file}", f"certfile {shown.certificate}", f"keyfile {shown.key}", *extra]
    peer = Mosquitto(folder, extra="\n".join(lines))
    await peer.start()
    try:
        yield peer.port
    finally:
        await peer.stop()


def connector(port: int, **config: Any) -> MqttConnector:
    found = {"source": "broker", "host": "127.0.0.1", "port": port, "client_id": "edge1", "tls": True, **config}
    return MqttConnector(MqttConfig.model_validate(found), ConnectorTools())


async def refused(mqtt: MqttConnector, kind: type[PlantError]) -> str:
    with pytest.raises(kind) as caught:
        async with mqtt.open():
            pass
    return caught.value.code


async def test_both_sides_show_a_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server, ours = authority.sign("server"), authority.sign("edge1")
    async with broker(tmp_path, authority, server, "require_certificate true") as port:
        mqtt = connector(port, ca_file=authority.ca_file, certificate=ours.certificate, key=ours.key)
        async with mqtt.open():
            pass


@pytest.mark.parametrize("is_shown", [False, True], ids=["missing", "of another authority"])
async def test_a_broker_that_refuses_our_certificate_is_told_apart(tmp_path: Path, is_shown: bool) -> None:
    """By its alert, or by a hint where the closing of the socket overtook the alert."""
    authority = Authority(tmp_path)
    ours = Authority(tmp_path, "other").sign("edge1")
    shown = {"certificate": ours.certificate, "key": ours.key} if is_shown else {}
    async with broker(tmp_path, authority, authority.sign("server"), "require_certificate true") as port:
        with pytest.raises(PlantError) as caught:
            async with connector(port, ca_file=authority.ca_file, **shown).open():
                pass
    error = caught.value
    assert error.code == "MS-0224" or "client certificate" in str(error.next_step)


@pytest.mark.parametrize(
    ("fault", "code"),
    [("expired", "MS-0220"), ("untrusted", "MS-0221"), ("revoked", "MS-0222"), ("another name", "MS-0223")],
)
async def test_each_fault_of_the_brokers_certificate_has_its_code(tmp_path: Path, fault: str, code: str) -> None:
    authority = Authority(tmp_path)
    address = "127.0.0.9" if fault == "another name" else "127.0.0.1"
    server = authority.sign("server", address=address, is_expired=fault == "expired")
    trusted = Authority(tmp_path, "other") if fault == "untrusted" else authority
    crl = {"crl_file": authority.revoke(server.serial)} if fault == "revoked" else {}
    async with broker(tmp_path, authority, server) as port:
        assert await refused(connector(port, ca_file=trusted.ca_file, **crl), Unreachable) == code


async def test_a_certificate_that_is_not_on_the_list_of_the_revoked_is_good(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with (
        broker(tmp_path, authority, authority.sign("server")) as port,
        connector(port, ca_file=authority.ca_file, crl_file=authority.revoke(4711)).open(),
    ):
        pass


async def test_a_broker_without_tls_on_its_port_is_told_apart(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    peer = Mosquitto(tmp_path)
    await peer.start()
    try:
        await refused(connector(peer.port, ca_file=authority.ca_file), Unreachable)
    finally:
        await peer.stop()


@pytest.mark.parametrize("content", ["", "no certificate", None], ids=["empty", "junk", "absent"])
async def test_an_unusable_file_is_named(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "ours.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match=r"ours\.pem"):
        async with connector(1, certificate=file).open():
            pass


@pytest.mark.parametrize("config", [{"tls": False, "certificate": "a.pem"}, {"key": "a.key"}])
def test_certificates_that_would_not_be_used_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="need"):
        connector(1, **config)
