"""Encryption, users and certificates, against node-opcua and asyncua."""

from __future__ import annotations

from pathlib import Path

import pytest
from opcua_certificates import make_certificate, secured
from opcua_kit import Process, StartPlant, connector_for, read_until, tags_of

from millstream.kernel import AuthError, PlantError, Unreachable
from millstream.sdk import Tag


async def open_fails(endpoint: str, **config: object) -> PlantError:
    """The error with which opening ends."""
    with pytest.raises(PlantError) as caught:
        async with connector_for(endpoint, **config).open():
            pass
    assert "secret-word" not in str(caught.value)
    return caught.value


@pytest.mark.needs("node-opcua")
async def test_encrypted_sessions_with_user_at_node_opcua(
    secure: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_OPCUA_PASSWORD", "secret-word")
    certificate, key = make_certificate(tmp_path, "client")
    user = {"user": "operator", "password": {"env": "TEST_OPCUA_PASSWORD"}}
    tag = Tag("double", "nsu=urn://node-opcua-simulator;s=Static_Scalar_Double", 0.1, 0.1)
    for policy in ("basic256sha256", "aes128_sha256_rsa_oaep", "aes256_sha256_rsa_pss"):
        for mode in ("sign", "sign_and_encrypt"):
            security = secured(certificate, key, policy, mode=mode)
            async with connector_for(secure.endpoint, security=security, **user).open() as session:
                samples, _ = await read_until(session, [tag], lambda s: len(s) >= 1)
                assert samples[0].quality.is_good, (policy, mode)
    security = secured(certificate, key)
    monkeypatch.setenv("TEST_OPCUA_PASSWORD", "secret-word-but-wrong")
    refused = await open_fails(secure.endpoint, security=security, **user)
    assert isinstance(refused, AuthError)
    assert (refused.code, "password" in (refused.next_step or "")) == ("MS-0201", True)
    anonymous = await open_fails(secure.endpoint, security=security)
    assert (type(anonymous), anonymous.code) == (AuthError, "MS-0201")
    unprotected = await open_fails(secure.endpoint)
    assert (type(unprotected), unprotected.code) == (AuthError, "MS-1103")


@pytest.mark.needs("node-opcua")
async def test_an_untrusted_certificate_is_refused_with_the_next_step(
    start_node_server: StartPlant, tmp_path: Path
) -> None:
    certificate, key = make_certificate(tmp_path, "stranger")
    server = start_node_server("secure", "counter", OPCUA_TRUST_ALL="0")
    error = await open_fails(server.endpoint, security=secured(certificate, key))
    assert isinstance(error, AuthError | Unreachable)
    assert "trust this client's certificate" in (error.next_step or "")


async def test_another_server_than_the_pinned_one_is_refused(start_plant: StartPlant, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path, "client")
    server_certificate, server_key = make_certificate(tmp_path, "server", "urn:freeopcua:python:server")
    other_certificate, _ = make_certificate(tmp_path, "other", "urn:freeopcua:python:server")
    plant = start_plant("--tags", "1", "--certificate", str(server_certificate), "--private-key", str(server_key))
    pinned = secured(certificate, key, server_certificate=str(server_certificate))
    async with connector_for(plant.endpoint, security=pinned).open() as session:
        samples, _ = await read_until(session, tags_of(plant.ready["tags"]), lambda s: len(s) > 5)
        assert samples
    wrong = secured(certificate, key, server_certificate=str(other_certificate))
    assert isinstance(await open_fails(plant.endpoint, security=wrong, request_timeout="1s"), AuthError | Unreachable)
    lost = secured(certificate, tmp_path / "no-such-key.pem", server_certificate=str(server_certificate))
    error = await open_fails(plant.endpoint, security=lost)
    assert (type(error), error.code) == (AuthError, "MS-1105")
    assert "no-such-key.pem" in str(error)


async def test_a_password_does_not_go_out_in_clear_unless_told_so(
    start_plant: StartPlant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_OPCUA_PASSWORD", "secret-word")
    plant = start_plant(
        "--tags", "1", "--user", "operator", "--password-env", "TEST_OPCUA_PASSWORD", TEST_OPCUA_PASSWORD="secret-word"
    )
    user = {"user": "operator", "password": {"env": "TEST_OPCUA_PASSWORD"}}
    error = await open_fails(plant.endpoint, **user)
    assert (type(error), error.code) == (AuthError, "MS-1104")
    assert "clear" in error.what
    async with connector_for(plant.endpoint, allow_clear_password=True, **user).open() as session:
        samples, _ = await read_until(session, tags_of(plant.ready["tags"]), lambda s: len(s) > 5)
        assert samples
    monkeypatch.delenv("TEST_OPCUA_PASSWORD")
    error = await open_fails(plant.endpoint, allow_clear_password=True, **user)
    assert isinstance(error, AuthError)
    assert error.code == "MS-0103"
