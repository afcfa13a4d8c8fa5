"""Acme device: its lines without I/O, and a session with a small device."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from millstream.connectors.acme_device import AcmeDeviceConfig, AcmeDeviceConnector
from millstream.kernel import ConfigError, DecodeError, ProtocolViolation, Unreachable
from millstream.model import BAD_NO_COMMUNICATION, BAD_NODE_ID_UNKNOWN, GOOD
from millstream.protocols.acme_device_wire import parse_answer, write_request
from millstream.sdk import ConnectorTools, Tag, Write

STATE = Tag("state", "state")


@asynccontextmanager
async def device(*answers: bytes) -> AsyncIterator[AcmeDeviceConnector]:
    """A device with these answers, one for each line that it gets; then it is silent."""
    left = list(answers)
    serving: list[asyncio.Task[None] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())
        with contextlib.suppress(OSError):
            while await reader.readline():
                writer.write(left.pop(0) if left else b"")
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        config = AcmeDeviceConfig.model_validate({"host": "127.0.0.1", "port": port, "timeout": "500ms"})
        yield AcmeDeviceConnector(config, ConnectorTools())
        await asyncio.gather(*(task for task in serving if task is not None))


@pytest.mark.parametrize("line", [b"", b"\n", b"OK\n", b"OK {\n", b"\xff\n", b"YES 1\n"])
def test_a_line_that_is_no_answer_is_refused(line: bytes) -> None:
    with pytest.raises(DecodeError):
        parse_answer(line)


def test_a_refusal_is_an_answer_with_a_bad_quality() -> None:
    answer = parse_answer(b"NO unknown\n")
    assert (answer.value, answer.quality, answer.reason) == (None, BAD_NODE_ID_UNKNOWN, "unknown")


def test_a_value_is_written_as_json() -> None:
    assert write_request("state", "a\nb") == b'WRITE state "a\\nb"\n'


@pytest.mark.parametrize("address", ["", "two words", "new\nline"])
async def test_an_address_that_cannot_be_sent_is_refused_offline(address: str) -> None:
    async with device() as connector:
        with pytest.raises(ConfigError):
            connector.check_tag(Tag("bad", address))


async def test_values_of_one_read_keep_their_order() -> None:
    async with device(b"OK 1\n", b"NO unknown\n", b"OK 3\n") as connector, connector.open() as session:
        samples = await session.read([Tag(key, key) for key in "abc"])
        assert [(s.tag, s.value, s.quality) for s in samples] == [
            ("a", 1, GOOD),
            ("b", None, BAD_NODE_ID_UNKNOWN),
            ("c", 3, GOOD),
        ]


async def test_a_silent_device_is_unreachable() -> None:
    async with device() as connector, connector.open() as session:
        with pytest.raises(Unreachable, match="no answer within"):
            await session.read([STATE])


async def test_nonsense_ends_the_session_and_is_kept() -> None:
    async with device(b"nonsense\n") as connector, connector.open() as session:
        with pytest.raises(ProtocolViolation) as caught:
            await session.read([STATE])
        assert caught.value.frame == b"nonsense\n"


async def test_a_line_without_end_is_cut_off() -> None:
    async with device(b"O" * (1 << 17)) as connector, connector.open() as session:
        with pytest.raises(ProtocolViolation, match="longer than"):
            await session.read([STATE])


async def test_each_write_has_its_result_when_the_link_is_lost() -> None:
    async with device(b"OK 1\n") as connector, connector.open() as session:
        results = await session.write([Write(STATE, 1), Write(STATE, 2), Write(STATE, 3)])
        assert [result.quality for result in results] == [GOOD, BAD_NO_COMMUNICATION, BAD_NO_COMMUNICATION]


async def test_the_device_lists_its_addresses() -> None:
    async with device(b'OK ["state", "speed", "temperature"]\n') as connector, connector.open() as session:
        assert [node.address async for node in session.browse("s")] == ["state", "speed"]
