"""The kit's checks with a fault layer find what they look for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

import pytest
from faults import faulty_wire

from millstream.kernel import ProtocolViolation, Unreachable
from millstream.model import Sample
from millstream.sdk import ConnectorConfig, ConnectorInfo, ConnectorTools, Tag
from millstream.sdk.testing import ConformanceCase, ExpectedValue, Peer, run_check

ANSWER = b"\x0612.500"
TIMEOUT_S = 1.0


class GaugeConfig(ConnectorConfig):
    """A gauge."""

    host: str
    """Its address."""
    port: int
    """Its port."""


class Gauge:
    """Asks with one octet, is answered by a length and that many digits. `fault` names what it does wrong."""

    info: ClassVar[ConnectorInfo] = ConnectorInfo("gauge", "measures", "none")
    Config: ClassVar[type[ConnectorConfig]] = GaugeConfig
    fault: ClassVar[str] = ""

    def __init__(self, config: GaugeConfig, tools: ConnectorTools) -> None:
        self._config = config

    def check_tag(self, tag: Tag) -> None:
        """Everything goes."""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[GaugeSession]:
        """Connect."""
        reader, writer = await asyncio.open_connection(self._config.host, self._config.port)
        try:
            yield GaugeSession(reader, writer, self.fault)
        finally:
            writer.close()


class GaugeSession:
    """Polled."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: str) -> None:
        self._reader, self._writer, self._fault = reader, writer, fault

    async def read(self, tags: Sequence[Tag]) -> Sequence[Sample]:
        """One answer."""
        try:
            async with asyncio.timeout(None if self._fault == "waits for ever" else TIMEOUT_S):
                self._writer.write(b"?")
                text = await self._digits()
        except (OSError, EOFError, TimeoutError) as error:
            if self._fault == "leaks foreign errors":
                raise
            if self._fault == "goes on with the last value":
                return [Sample(tag.key, 12.5) for tag in tags]
            raise Unreachable("gauge") from error
        try:
            return [Sample(tag.key, float(text)) for tag in tags]
        except ValueError as error:
            raise ProtocolViolation("gauge") from error

    async def _digits(self) -> bytes:
        if self._fault == "takes what there is":
            return (await self._reader.read(100))[1:]
        (length,) = await self._reader.readexactly(1)
        return await self._reader.readexactly(length)


class GaugeCase(ConformanceCase):
    """A gauge on loopback."""

    connector = Gauge
    folder: ClassVar[Path] = Path(__file__).parent
    deadline_s = 3.0

    @asynccontextmanager
    async def peer(self) -> AsyncIterator[Peer]:
        """It answers each octet."""
        tasks: set[asyncio.Task[None]] = set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            try:
                while await reader.read(1):
                    writer.write(ANSWER)
            except (OSError, asyncio.CancelledError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        try:
            config = {"host": "127.0.0.1", "port": server.sockets[0].getsockname()[1]}
            yield Peer(config, [Tag("n", "n")], extremes=[ExpectedValue(Tag("n", "n"), 12.5)])
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture(autouse=True)
def fault(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Gauge, "fault", getattr(request, "param", ""))


@pytest.mark.parametrize("check", ["half_frames", "broken_answers"])
async def test_a_connector_that_knows_its_frames_passes(check: str) -> None:
    assert await run_check(GaugeCase(), check, faulty_wire) == "held"
    assert await run_check(GaugeCase(), check) == "not applicable: there is no fault layer"


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ("takes what there is", "half_frames"),
        ("leaks foreign errors", "broken_answers"),
        ("waits for ever", "broken_answers"),
        ("goes on with the last value", "broken_answers"),
    ],
    indirect=["fault"],
)
async def test_a_fault_is_found(fault: None, check: str) -> None:
    with pytest.raises((AssertionError, ProtocolViolation, OSError, EOFError, TimeoutError)):
        await run_check(GaugeCase(), check, faulty_wire)


class ElsewhereCase(ConformanceCase):
    """A source that is no TCP device."""

    connector = Gauge
    folder: ClassVar[Path] = Path(__file__).parent

    @asynccontextmanager
    async def peer(self) -> AsyncIterator[Peer]:
        """A file."""
        yield Peer({"file": "x"}, [Tag("n", "n")])


async def test_a_source_without_an_address_has_no_wire() -> None:
    result = await run_check(ElsewhereCase(), "half_frames", faulty_wire)
    assert result == "not applicable: the session does not connect to its source by TCP"
