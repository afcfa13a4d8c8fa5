"""Nodes of the tests start the workers of their flows as forks of a process that has imported them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1]))
import warm  # lives in tests/, which is no package
from millstream.worker import _supervisor


@pytest.fixture(autouse=True, scope="session")
def workers_are_forks() -> Iterator[None]:
    """What a node starts a worker as."""
    program, _supervisor.PROGRAM = _supervisor.PROGRAM, warm.Worker()
    yield
    _supervisor.PROGRAM = program
