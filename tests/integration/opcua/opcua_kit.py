"""Servers in processes of their own, and a small reader."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import warm
from millstream.connectors.opcua import OpcUaConfig, OpcUaConnector
from millstream.model import Sample
from millstream.sdk import ConnectorTools, Position, Session, Tag

READY_S = 120.0


@dataclass
class Process:
    """One server: its process and what it said when it was ready."""

    command: Sequence[str]
    environment: dict[str, str]
    process: subprocess.Popen[bytes] = field(init=False)
    ready: dict[str, Any] = field(init=False)

    def start(self) -> None:
        """Start and wait for the line that says the port."""
        self.process = subprocess.Popen(
            self.command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**os.environ, **self.environment}
        )
        assert self.process.stdout is not None
        deadline, buffer = time.monotonic() + READY_S, b""
        while time.monotonic() < deadline:
            if select.select([self.process.stdout], [], [], 0.2)[0]:
                read = os.read(self.process.stdout.fileno(), 65536)
                assert read, f"{self.command[-1]} ended with {self.process.wait()}"
                buffer += read
                for line in buffer.split(b"\n")[:-1]:
                    if line.startswith(b'{"port"'):
                        self.ready = json.loads(line)
                        return
        raise AssertionError("server not ready in time")

    def send(self, number: signal.Signals) -> None:
        """Signal the process."""
        self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it and wait."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return f"opc.tcp://127.0.0.1:{self.ready['port']}"


StartPlant = Callable[..., Process]


def plant_command(*arguments: str) -> list[str]:
    """The simulated plant."""
    return warm.python("-m", "millstream.sim.opcua_plant", *arguments)


def connector_for(endpoint: str, **config: Any) -> OpcUaConnector:
    """A connector without security, patient with servers on a machine under load."""
    config = {"security": {"policy": "none"}, "request_timeout": "60s", **config}
    return OpcUaConnector(OpcUaConfig.model_validate({"endpoint": endpoint, **config}), ConnectorTools())


def tags_of(
    addresses: Sequence[str], sampling_interval_s: float = 0.1, publishing_interval_s: float = 0.2, **options: Any
) -> list[Tag]:
    """Tags whose keys are the last parts of the addresses."""
    return [Tag(a.split("=")[-1], a, sampling_interval_s, publishing_interval_s, options) for a in addresses]


async def read_until(
    session: Session,
    tags: Sequence[Tag],
    is_enough: Callable[[list[Sample]], bool],
    *,
    resume: Position | None = None,
    within_s: float = 60.0,
) -> tuple[list[Sample], Position | None]:
    """Stream until enough; gives the samples and the last position."""
    samples: list[Sample] = []
    position = resume
    async with asyncio.timeout(within_s), aclosing(session.stream(tags, resume)) as stream:  # type: ignore[attr-defined]
        async for batch in stream:
            samples += batch.samples
            position = batch.position or position
            if is_enough(samples):
                break
    return samples, position


def counts_of(samples: list[Sample]) -> dict[str, list[int]]:
    """The counter values by tag, in order of arrival."""
    found: dict[str, list[int]] = defaultdict(list)
    for sample in samples:
        if sample.tag.startswith("counter") and isinstance(sample.value, int):
            found[sample.tag].append(sample.value)
    return found


class CountingRelay:
    """Passes bytes between clients and the server at `port`; counts connections and OpenSecureChannel requests."""

    def __init__(self, port: int) -> None:
        self.connections = 0
        self.channels_opened = 0
        self._port = port
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> CountingRelay:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return f"opc.tcp://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers += [writer, back]
        for source, sink, is_request in ((reader, back, True), (there, writer, False)):
            task = asyncio.create_task(self._pump(source, sink, is_request=is_request))
            self._tasks.add(task)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, is_request: bool) -> None:
        try:
            while data := await source.read(65536):
                # Headers are never encrypted; the four letters in a cipher text would be a rare accident.
                self.channels_opened += data.count(b"OPNF") if is_request else 0
                sink.write(data)
        except OSError:
            pass
        finally:
            sink.close()
