"""Fixtures: servers that are ended after the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from opcua_kit import Process, StartPlant, plant_command


@pytest.fixture
def start_plant() -> Iterator[StartPlant]:
    """Start simulated plants; all are ended after the test."""
    started: list[Process] = []

    def start(*arguments: str, **environment: str) -> Process:
        process = Process(plant_command(*arguments), environment)
        started.append(process)
        process.start()
        return process

    yield start
    for process in started:
        process.end()


@pytest.fixture
def start_node_server(tmp_path: Path) -> Iterator[StartPlant]:
    """Start node-opcua: with its conformance address space, or what another script gives it."""
    started: list[Process] = []

    def start(kind: str = "plain", name: str = "conformance", **environment: str) -> Process:
        script = Path(__file__).resolve().parents[2] / "peers" / f"opcua_{name}.js"
        process = Process(["node", str(script), str(tmp_path / "pki"), kind], environment)
        started.append(process)
        process.start()
        return process

    yield start
    for process in started:
        process.end()
