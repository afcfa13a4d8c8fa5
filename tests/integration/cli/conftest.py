"""The small real node of the SDK's tests, for the commands."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

INTEGRATION = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(INTEGRATION / "client"), str(INTEGRATION / "modbus"), str(INTEGRATION.parent / "conformance")]
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
