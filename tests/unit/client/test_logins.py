"""Whose hub is not here, or is not of tenants, is told so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from millstream.client import login_users
from millstream.kernel import ConfigError


async def refused(folder: Path, **fields: Any) -> str:
    """What `login_users` says of a node."""
    raw = {"nats_url": "nats://127.0.0.1:9", "role": "hub", "name": "h1", **fields}
    (folder / "node.json").write_text(json.dumps(raw), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        async with login_users(folder, "test"):
            pass
    return str(caught.value)


async def test_a_hub_without_tenants_and_one_whose_files_are_elsewhere_are_refused(tmp_path: Path) -> None:
    assert "no tenants" in await refused(tmp_path)
    assert "on the hub's machine" in await refused(tmp_path, tenants=str(tmp_path / "secrets" / "tenants"))
