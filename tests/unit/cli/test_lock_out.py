"""``revoke`` and ``restore`` of users and sites: one act, told in one form."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from millstream.cli import main
from millstream.trust import Tenant, Trust, load_keys

PASSPHRASE = "a sentence for the test"


@pytest.fixture(autouse=True)
def operator(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MILLSTREAM_PASSPHRASE", PASSPHRASE)
    monkeypatch.delenv("MILLSTREAM_URL", raising=False)
    monkeypatch.delenv("MILLSTREAM_TRUST", raising=False)
    for line in ("operator init op --hub-url nats://127.0.0.1:1", "tenant add acme", "site add plant1 --tenant acme"):
        assert main(line.split()) == 0
    assert main(["user", "add", "ann", "--tenant", "acme", "--role", "viewer"]) == 0


def kept() -> tuple[Trust, Tenant]:
    """What the key store holds."""
    trust = load_keys(Path("trust/operator.keys"), PASSPHRASE)
    return trust, trust.tenants["acme"]


def test_a_user_is_locked_out_and_let_in_again(capsys: pytest.CaptureFixture[str]) -> None:
    public = kept()[1].users["ann"].public
    for act, is_revoked in (("revoke", True), ("restore", False)):
        capsys.readouterr()
        assert main(["user", act, "ann", "--tenant", "acme", "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told == {"user": "ann", "tenant": "acme", "keys": [public], "revoked": is_revoked}
        trust, tenant = kept()
        assert (public in tenant.revoked, tenant.users["ann"].revoked_s is not None) == (is_revoked, is_revoked)
        change = trust.changes[-1]
        assert (change.action, change.subject, change.data) == (f"user_{act}d", "ann", {"keys": [public]})


def test_locking_out_what_is_not_there_or_a_site_without_its_hub_changes_nothing() -> None:
    before = kept()
    assert main(["user", "revoke", "nobody", "--tenant", "acme"]) != 0
    assert main(["user", "restore", "ann", "--tenant", "nobody"]) != 0
    assert main(["site", "revoke", "nowhere", "--tenant", "acme", "--url", "nats://127.0.0.1:1"]) != 0
    assert main(["site", "revoke", "plant1", "--tenant", "acme"]) != 0  # no --url: which keys joined only the hub knows
    assert kept() == before
