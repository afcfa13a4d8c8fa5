"""modbus-serial as a slow device: few requests, no pile-up, and a refused block costs only the refused registers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from millstream.connectors.modbus import ModbusConfig, ModbusConnector
from millstream.kernel import Unreachable, free_port
from millstream.model import BAD_NODE_ID_UNKNOWN, GOOD
from millstream.sdk import ConnectorTools, Tag

PEERS = Path(__file__).resolve().parents[2] / "peers"


@contextlib.asynccontextmanager
async def slow_device(wait_ms: int) -> AsyncIterator[int]:
    """A modbus-serial server in a process of its own; gives its port."""
    node = shutil.which("node")
    assert node is not None
    port = free_port()
    child = await asyncio.create_subprocess_exec(
        node, "modbus_serial_slow.js", str(port), str(wait_ms), stdout=asyncio.subprocess.PIPE, cwd=PEERS
    )
    try:
        assert child.stdout is not None
        async with asyncio.timeout(60):
            yield int(json.loads(await child.stdout.readline())["port"])
    finally:
        child.kill()
        await child.wait()


def connector_for(port: int, timeout: str = "1s") -> ModbusConnector:
    """A connector for the device."""
    settings = {"host": "127.0.0.1", "port": port, "timeout": timeout}
    return ModbusConnector(ModbusConfig.model_validate(settings), ConnectorTools())


def registers(*numbers: int) -> list[Tag]:
    """Holding registers, named by their number."""
    return [Tag(str(number), f"holding:{number}") for number in numbers]


@pytest.mark.needs("modbus-serial")
async def test_neighbours_share_a_request_to_a_slow_device() -> None:
    """Thirty-three tags in two requests of 500 ms each: 16 s if each tag had its own."""
    inputs = [Tag(f"input {number}", f"input:{number}") for number in (0, 10, 20)]
    async with slow_device(500) as port, connector_for(port, "60s").open() as session:
        start = time.monotonic()
        samples = await session.read([*registers(*range(30)), *inputs])
        assert 1.0 <= time.monotonic() - start < 12.0
    assert [sample.value for sample in samples] == [*range(1000, 1030), 1000, 1010, 1020]


@pytest.mark.needs("modbus-serial")
async def test_a_refused_block_is_split_until_only_the_refused_registers_are_bad() -> None:
    async with slow_device(0) as port, connector_for(port).open() as session:
        for _ in range(2):  # the second time by the plan that the first one learnt
            for sample in await session.read(registers(*range(40, 70, 2))):
                number = int(sample.tag)
                expected = (None, BAD_NODE_ID_UNKNOWN) if 50 <= number < 60 else (number + 1000, GOOD)
                assert (sample.value, sample.quality) == expected


@pytest.mark.needs("modbus-serial")
async def test_a_stalled_device_is_unreachable_once_and_requests_do_not_pile_up() -> None:
    """Three seconds an answer: a read of ten requests ends with the first one (else 50 s), and a patient session starts
    clean."""
    async with slow_device(3000) as port:
        start = time.monotonic()
        for _ in range(2):
            async with connector_for(port, "2500ms").open() as session:
                with pytest.raises(Unreachable):
                    await session.read(registers(*range(0, 600, 60)))
        assert time.monotonic() - start < 30.0
        async with connector_for(port, "60s").open() as session:
            assert [sample.value for sample in await session.read(registers(3))] == [1003]
