"""A small real node for the SDK's tests."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from fake_node import FakeNode, fake_node


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[FakeNode]:
    async with fake_node(tmp_path / "hub") as node:
        yield node


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[FakeNode]:
    async with fake_node(tmp_path / "edge", "edge", "edge1") as node:
        yield node
