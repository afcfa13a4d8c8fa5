"""The folder of certificates: a stranger is refused and kept, and followed once a person trusts it."""

from __future__ import annotations

from pathlib import Path

import pytest
from opcua_certificates import Authority, make_certificate, secured
from opcua_kit import Process, StartPlant, connector_for, read_until, tags_of

from millstream.kernel import AuthError, PlantError, Unreachable
from millstream.sdk import Tag

SERVER_URI = "urn:freeopcua:python:server"


async def open_fails(endpoint: str, **config: object) -> PlantError:
    """The error with which opening ends."""
    with pytest.raises(PlantError) as caught:
        async with connector_for(endpoint, **config).open():
            pass
    return caught.value


async def test_a_strangers_certificate_is_rejected_and_followed_once_it_is_trusted(
    start_plant: StartPlant, tmp_path: Path
) -> None:
    certificate, key = make_certificate(tmp_path, "server", SERVER_URI)
    plant = start_plant("--tags", "1", "--certificate", str(certificate), "--private-key", str(key))
    pki = tmp_path / "pki"
    connector = connector_for(plant.endpoint, security={"pki": str(pki)})  # ours is made by the first attempt
    for _ in range(2):
        with pytest.raises(Unreachable) as caught:
            async with connector.open():
                pass
        assert caught.value.code == "MS-0221"
    (rejected,) = (pki / "rejected").iterdir()
    assert f"move {rejected}" in str(caught.value)
    assert rejected.read_bytes() == certificate.read_bytes()
    rejected.rename(pki / "trusted" / rejected.name)
    async with connector.open() as session:
        samples, _ = await read_until(session, tags_of(plant.ready["tags"]), lambda s: len(s) > 5)
        assert samples
    assert {path.name for path in (pki / "own").iterdir()} == {"certificate.der", "private_key.pem"}


async def test_a_trusted_authoritys_server_is_followed_until_its_certificate_is_revoked(
    start_plant: StartPlant, tmp_path: Path
) -> None:
    authority = Authority()
    certificate, key = make_certificate(tmp_path, "server", SERVER_URI, authority=authority)
    plant = start_plant("--tags", "1", "--certificate", str(certificate), "--private-key", str(key))
    trusted = tmp_path / "pki" / "trusted"
    trusted.mkdir(parents=True)
    (trusted / "authority.der").write_bytes(authority.der)
    ours = secured(*make_certificate(tmp_path, "client"), pki=str(tmp_path / "pki"))
    connector = connector_for(plant.endpoint, security=ours)
    async with connector.open() as session:
        assert (await read_until(session, tags_of(plant.ready["tags"]), lambda s: len(s) > 5))[0]
    (trusted / "authority.crl").write_bytes(authority.revoke(certificate.read_bytes()))
    with pytest.raises(Unreachable) as caught:  # tried again: the server may get another one
        async with connector.open():
            pass
    assert caught.value.code == "MS-0222"


@pytest.mark.parametrize(
    ("uri", "is_expired", "code"), [("urn:somebody:else", False, "MS-1101"), (SERVER_URI, True, "MS-0220")]
)
async def test_a_trusted_certificate_of_another_application_or_time_is_refused(
    start_plant: StartPlant, tmp_path: Path, uri: str, is_expired: bool, code: str
) -> None:
    certificate, key = make_certificate(tmp_path, "server", uri, is_expired=is_expired)
    plant = start_plant("--tags", "1", "--certificate", str(certificate), "--private-key", str(key))
    (tmp_path / "pki" / "trusted").mkdir(parents=True)
    (tmp_path / "pki" / "trusted" / "server.der").write_bytes(certificate.read_bytes())
    error = await open_fails(plant.endpoint, security=secured(certificate, key, pki=str(tmp_path / "pki")))
    assert isinstance(error, Unreachable)
    assert error.code == code


@pytest.mark.needs("node-opcua")
async def test_a_user_may_log_in_with_a_certificate(secure: Process, tmp_path: Path) -> None:
    security = secured(*make_certificate(tmp_path, "client"))
    certificate, key = make_certificate(tmp_path, "operator", "urn:operator")
    _, other_key = make_certificate(tmp_path, "other", "urn:operator")
    tag = Tag("double", "nsu=urn://node-opcua-simulator;s=Static_Scalar_Double", 0.1, 0.1)
    user = {"user_certificate": str(certificate), "user_private_key": str(key)}
    async with connector_for(secure.endpoint, security=security, **user).open() as session:
        samples, _ = await read_until(session, [tag], lambda s: len(s) >= 1)
        assert samples[0].quality.is_good
    stolen = {"user_certificate": str(certificate), "user_private_key": str(other_key)}
    error = await open_fails(secure.endpoint, security=security, **stolen)
    assert isinstance(error, AuthError)


async def test_a_user_certificate_is_not_sent_where_nothing_could_sign_it(
    start_plant: StartPlant, tmp_path: Path
) -> None:
    plant = start_plant("--tags", "1")
    certificate, key = make_certificate(tmp_path, "operator")
    user = {"user_certificate": str(certificate), "user_private_key": str(key)}
    error = await open_fails(plant.endpoint, **user)
    assert isinstance(error, AuthError)
    assert "security policy" in str(error)
    lost = {"user_certificate": str(certificate), "user_private_key": str(tmp_path / "no-such-key.pem")}
    assert "no-such-key.pem" in str(await open_fails(plant.endpoint, **lost))
