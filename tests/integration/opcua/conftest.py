"""Fixtures: servers that are ended after the test."""

from __future__ import annotations

import signal
import sys
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
        process.end(signal.SIGKILL)  # there is nothing that it would have to do at its end


@pytest.fixture
def start_node_server(tmp_path: Path) -> Iterator[StartPlant]:
    """Start node-opcua: with its conformance address space, or what another script gives it."""
    started: list[Process] = []

    def start(kind: str = "plain", name: str = "conformance", **environment: str) -> Process:
        process = Process(node_command(name, tmp_path / "pki", kind), environment)
        started.append(process)
        process.start()
        return process

    yield start
    for process in started:
        process.end(signal.SIGKILL)  # there is nothing that it would have to do at its end


@pytest.fixture(scope="package")
def plant() -> Iterator[Process]:
    """Two counters at 20 a second, for tests that leave it as it was."""
    yield from _shared(plant_command("--tags", "2", "--rate", "20"))


@pytest.fixture(scope="package")
def structures() -> Iterator[Process]:
    """A server with structures of its own; what may be written is shared by those who write first what they need."""
    yield from _shared([sys.executable, str(Path(__file__).with_name("structure_server.py"))])


@pytest.fixture(scope="package")
def conformance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """node-opcua with its conformance address space."""
    yield from _shared(node_command("conformance", tmp_path_factory.mktemp("opcua") / "pki"))


@pytest.fixture(scope="package")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """The same, encrypted, for whoever comes with the user "operator" and the password "secret-word"."""
    command = node_command("conformance", tmp_path_factory.mktemp("opcua") / "pki", "secure")
    yield from _shared(command, OPCUA_PASSWORD="secret-word", OPCUA_TRUST_ALL="1")


@pytest.fixture(scope="package")
def counter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """node-opcua with the small address space, for tests that raise no alarm."""
    yield from _shared(node_command("counter", tmp_path_factory.mktemp("opcua") / "pki"))


def _shared(command: list[str], **environment: str) -> Iterator[Process]:
    process = Process(command, environment)
    try:
        process.start()
        yield process
    finally:
        process.end(signal.SIGKILL)


def node_command(name: str, pki: Path, kind: str = "plain") -> list[str]:
    """tests/peers/opcua_<name>.js."""
    return ["node", str(Path(__file__).resolve().parents[2] / "peers" / f"opcua_{name}.js"), str(pki), kind]
