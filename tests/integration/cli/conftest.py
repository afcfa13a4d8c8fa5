"""The small real node of the SDK's tests, for the commands."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "client"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "modbus"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "conformance"))
from fake_node import FakeNode, fake_node


@pytest.fixture
async def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeNode]:
    async with fake_node(tmp_path / "hub") as node:
        monkeypatch.setenv("MILLSTREAM_NODE", str(node.folder))
        yield node


@pytest.fixture
async def edge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeNode]:
    async with fake_node(tmp_path / "edge", "edge", "edge1") as node:
        monkeypatch.setenv("MILLSTREAM_NODE", str(node.folder))
        yield node
