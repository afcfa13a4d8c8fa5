"""Fixtures of the Sparkplug tests."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "conformance"))

from sparkplug_kit import PEERS, ForeignCodec


@pytest.fixture
def foreign_codec() -> Iterator[ForeignCodec]:
    """The service."""
    process = subprocess.Popen(
        ["node", str(PEERS / "sparkplug_codec.js")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield ForeignCodec(process)
    finally:
        process.kill()
        process.communicate()
