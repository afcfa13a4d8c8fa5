"""`millstream operator export`: a copy for a safe, and a key store that is left without what only the safe needs."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import warm

PASSPHRASE = "a long sentence that nobody guesses"


def run(folder: Path, *words: str, passphrase: str = PASSPHRASE, status: int = 0) -> Any:
    done = subprocess.run(
        warm.command(*words, "--json"), cwd=folder, env={**os.environ, "MILLSTREAM_PASSPHRASE": passphrase},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == status, (words, done.stdout, done.stderr)
    return json.loads(done.stdout) if status == 0 else done.stderr


def test_the_copy_has_all_and_what_is_left_signs_for_daily_work(tmp_path: Path) -> None:
    run(tmp_path, "operator", "init", "acme-it", "--hub-url", "nats://127.0.0.1:7422")
    run(tmp_path, "tenant", "add", "acme")
    safe = tmp_path / "safe"
    safe.mkdir()
    copy = safe / "operator.keys"
    assert run(tmp_path, "operator", "export", str(copy), "--remove-identities")["identities_removed"] is True

    left = run(tmp_path, "operator", "show")
    assert left["has_identities"] is False
    kept = run(tmp_path, "operator", "show", "--trust", str(safe))
    assert kept == {**left, "has_identities": True, "serial": kept["serial"]}
    assert copy.stat().st_mode & 0o077 == 0

    run(tmp_path, "site", "add", "cologne", "--tenant", "acme")
    run(tmp_path, "user", "add", "ann", "--tenant", "acme", "--role", "viewer")
    assert [site["name"] for site in run(tmp_path, "operator", "show")["tenants"]["acme"]["sites"]] == ["cologne"]


def test_a_copy_opens_with_the_passphrase_only_and_overwrites_nothing(tmp_path: Path) -> None:
    run(tmp_path, "operator", "init", "acme-it", "--hub-url", "nats://127.0.0.1:7422")
    safe = tmp_path / "safe"
    safe.mkdir()
    run(tmp_path, "operator", "export", str(safe / "operator.keys"))
    before = (safe / "operator.keys").read_bytes()
    for words, passphrase, status in (
        (("operator", "show", "--trust", str(safe)), "another sentence that is long", 4),
        (("operator", "export", str(safe / "operator.keys")), PASSPHRASE, 1),
    ):
        said = run(tmp_path, *words, passphrase=passphrase, status=status)
        assert "MS-" in said
        assert (safe / "operator.keys").read_bytes() == before
