"""Modbus servers of other projects: what is right is read right, and what is wrong never shifts a value."""

from __future__ import annotations

import asyncio
import time

import pytest
from modbus_kit import StartServer, connector_for, tags

from millstream.kernel import Unreachable
from millstream.model import BAD_DECODING_ERROR, BAD_NODE_ID_UNKNOWN, GOOD
from millstream.sdk import Write


@pytest.mark.needs("jsmodbus")
async def test_registers_and_coils_of_jsmodbus_are_read(start_node_device: StartServer) -> None:
    wanted = tags(
        "holding:7", "input:8", "holding:100:float32", "holding:5.0", "coil:0", "coil:1", "coil:2", "discrete:8"
    )
    async with connector_for(start_node_device("jsmodbus_server.js")).open() as session:
        samples = await session.read(wanted)
    assert [s.value for s in samples] == [7, 8, 21.5, True, True, False, True, True]
    assert all(s.quality == GOOD for s in samples)
    assert [s.tag for s in samples] == [t.key for t in wanted]


@pytest.mark.needs("jsmodbus")
async def test_a_short_answer_gives_bad_quality_and_never_a_shifted_value(start_node_device: StartServer) -> None:
    """jsmodbus answers with fewer registers past its end, and pymodbus takes that for a good answer."""
    inside = [f"holding:{n}" for n in range(190, 200)]
    wanted = tags(*inside, "holding:200", "holding:202:float32", "holding:199:uint32")
    async with connector_for(start_node_device("jsmodbus_server.js")).open() as session:
        for _ in range(2):  # the second time by the plan that the first one learnt
            samples = await session.read(wanted)
            assert [s.value for s in samples[:10]] == list(range(190, 200))
            assert [s.value for s in samples[10:]] == [None, None, None]
            assert {s.quality for s in samples[10:]} <= {BAD_DECODING_ERROR, BAD_NODE_ID_UNKNOWN}


@pytest.mark.needs("jsmodbus")
async def test_what_is_written_to_jsmodbus_is_read_back(start_node_device: StartServer) -> None:
    values = {"holding:20:float32:CDAB": 2.5, "holding:30": 513, "holding:32:int64": -5, "coil:3": True}
    wanted = tags(*values)
    async with connector_for(start_node_device("jsmodbus_server.js")).open() as session:
        results = await session.write([Write(tag, values[tag.key]) for tag in wanted])
        assert [r.quality for r in results] == [GOOD] * 4, results
        assert [s.value for s in await session.read(wanted)] == list(values.values())


@pytest.mark.needs("modbus-serial")
async def test_neighbours_share_a_request_to_a_slow_device(start_node_device: StartServer, free_port: int) -> None:
    """Sixty registers in two requests, so a device that takes 100 ms an answer keeps up with two polls a second."""
    start_node_device("modbus_serial_server.js", free_port, 100)
    wanted = tags(*(f"holding:{n}" for n in range(30)), *(f"input:{n}" for n in range(0, 30, 10)))
    async with connector_for(free_port).open() as session:
        start = time.monotonic()
        samples = await session.read(wanted)
        assert time.monotonic() - start < 0.6
    assert [s.value for s in samples] == [*range(1000, 1030), 1000, 1010, 1020]


@pytest.mark.needs("modbus-serial")
async def test_a_refused_block_is_split_until_only_the_refused_registers_are_bad(
    start_node_device: StartServer, free_port: int
) -> None:
    start_node_device("modbus_serial_server.js", free_port, 0)
    wanted = tags(*(f"holding:{n}" for n in range(40, 70, 2)))
    async with connector_for(free_port).open() as session:
        for _ in range(2):
            samples = await session.read(wanted)
            for sample in samples:
                number = int(sample.tag.split(":")[1])
                if 50 <= number < 60:
                    assert (sample.value, sample.quality) == (None, BAD_NODE_ID_UNKNOWN)
                else:
                    assert (sample.value, sample.quality) == (number + 1000, GOOD)


@pytest.mark.needs("modbus-serial")
async def test_a_stall_is_unreachable_once_and_requests_do_not_pile_up(
    start_node_device: StartServer, free_port: int
) -> None:
    """Two seconds an answer against a timeout of a quarter: the read ends in time, and a new session starts clean."""
    start_node_device("modbus_serial_server.js", free_port, 2000)
    connector = connector_for(free_port, timeout="250ms")
    start = time.monotonic()
    for _ in range(2):
        async with connector.open() as session:
            with pytest.raises(Unreachable):
                await session.read(tags(*(f"holding:{n}" for n in range(0, 600, 60))))
    assert time.monotonic() - start < 1.5
    patient = connector_for(free_port, timeout="5s")
    async with patient.open() as session, asyncio.timeout(10):
        assert [s.value for s in await session.read(tags("holding:3"))] == [1003]
