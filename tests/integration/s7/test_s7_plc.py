"""A PLC: the C++ server of snap7 and the server of python-snap7."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest
from cases.snap7_peer import Plc, Wire, plc
from s7_kit import Notes, opened, tag, values
from snap7 import Client
from snap7.server import Server
from snap7.type import SrvArea

from millstream.connectors.s7._session import S7Session
from millstream.kernel import Unreachable, free_port
from millstream.sdk import Write

DB1 = struct.pack(">fih2x", 12.5, -7, -3) + b"\x0a\5order" + bytes(5) + b"\x81\x01" + bytes(6)
MEMORY = {"DB": {1: DB1, 3: bytes(600)}, "MK": b"\2\0\1\2", "PE": b"\x80\1", "PA": b"\1\xff"}
needs_snap7 = pytest.mark.needs("node-snap7")


@asynccontextmanager
async def wired(device: Plc) -> AsyncIterator[Wire]:
    """A wire to the PLC that counts what goes over it."""
    wire = Wire(device.port)
    await wire.join()
    try:
        yield wire
    finally:
        await wire.cut()


@needs_snap7
@pytest.mark.parametrize("pdu", [240, 480, 960])
async def test_all_areas_are_read_in_one_request_with_bad_tags_beside_good_ones(pdu: int) -> None:
    async with plc({**MEMORY, "pdu": pdu}) as device, wired(device) as wire, opened(wire.port) as session:
        addresses = (
            "DB1.DBD0:REAL", "DB1.DBD4:DINT", "DB1.DBW8:INT", "DB1.DBB12:STRING[10]", "DB1.DBX24.0:BOOL[9]", "M0.1",
            "MW2", "I0.7", "QB1", "DB9.DBW0", "DB1.DBD200", "DB1.DBB0:STRING[2]",
        )  # fmt: skip
        bits = [True, *[False] * 6, True, True]
        expected = [
            (12.5, "Good"), (-7, "Good"), (-3, "Good"), ("order", "Good"), (bits, "Good"), (True, "Good"),
            (0x0102, "Good"), (True, "Good"), (255, "Good"), (None, "BadNodeIdUnknown"), (None, "BadOutOfRange"),
            (None, "BadDecodingError"),
        ]  # fmt: skip
        assert await values(session, *addresses) == expected
        wire.requests.clear()
        assert await values(session, *addresses) == expected
        assert len(wire.requests) == 1


@needs_snap7
async def test_two_hundred_tags_in_three_data_blocks_need_two_requests_a_scan() -> None:
    blocks = {db: struct.pack(">67f", *(1000.0 * db + i for i in range(67))) for db in (1, 2, 3)}
    tags = [tag(f"DB{1 + i % 3}.DBD{4 * (i // 3)}:REAL") for i in range(200)]
    async with plc({"DB": blocks}) as device, wired(device) as wire, opened(wire.port) as session:
        await session.read(tags)
        wire.requests.clear()
        samples = await session.read(tags)
        assert [sample.value for sample in samples] == [1000.0 * (1 + i % 3) + i // 3 for i in range(200)]
        assert len(wire.requests) == 2


@needs_snap7
async def test_a_missing_block_and_bytes_past_the_end_are_told_once_each_in_words_of_their_own() -> None:
    log = Notes()
    async with plc(MEMORY) as device, opened(device.port, log) as session:
        for _ in range(3):
            found = await values(session, "DB1.DBD0:REAL", "DB1.DBW32", "DB1.DBW36", "DB9.DBW0", "DB9.DBW100", "MB200")
            assert [label for _, label in found] == [
                "Good", "BadOutOfRange", "BadOutOfRange", "BadNodeIdUnknown", "BadNodeIdUnknown", "BadOutOfRange",
            ]  # fmt: skip
    assert len(log.having("DB9: does not exist")) == len(log.having("MS-1202")) == 1
    assert len(log.having("DB1, bytes 32 to 33: beyond the end")) == 1
    assert len(log.having("merkers, bytes 200 to 200: beyond the end")) == 1
    assert len(log.having("MS-1203")) == 3


@needs_snap7
async def test_bytes_past_the_end_do_not_hurt_the_neighbours_they_were_asked_with() -> None:
    async with plc({"DB": {1: bytes(20)}}) as device, wired(device) as wire, opened(wire.port) as session:
        addresses = [f"DB1.DBW{2 * i}" for i in range(40)]
        expected = [(0, "Good")] * 10 + [(None, "BadOutOfRange")] * 30
        assert await values(session, *addresses) == expected
        await values(session, *addresses)
        wire.requests.clear()
        assert await values(session, *addresses) == expected
        assert len(wire.requests) == 2, "one block and thirty single ones, twenty in a request"


@needs_snap7
async def test_a_plc_in_stop_gives_a_quality_of_its_own_until_it_runs_again() -> None:
    """The library's own question for the mode answers "run" whatever the PLC says."""
    log = Notes()
    async with plc(MEMORY) as device, opened(device.port, log, state_interval="1us") as session:
        assert await values(session, "DB1.DBD4:DINT", "M0.1") == [(-7, "Good"), (True, "Good")]
        await device.set_mode("stop")
        client = Client()
        await asyncio.to_thread(client.connect, "127.0.0.1", 0, 1, device.port)
        assert await asyncio.to_thread(client.get_cpu_state) == "S7CpuStatusRun"
        await asyncio.to_thread(client.disconnect)
        for _ in range(2):
            assert await values(session, "DB1.DBD4:DINT", "M0.1") == [(None, "BadOutOfService")] * 2
        await device.set_mode("run")
        assert await values(session, "DB1.DBD4:DINT", "M0.1") == [(-7, "Good"), (True, "Good")]
    assert len(log.having("MS-1209")) == len(log.having("runs again")) == 1


@needs_snap7
async def test_after_a_restart_of_the_plc_the_next_session_reads_what_it_now_holds() -> None:
    async with plc(MEMORY) as device:
        async with opened(device.port) as session:
            assert await values(session, "DB1.DBD4:DINT") == [(-7, "Good")]
            await device.kill()
            with pytest.raises(Unreachable):
                await values(session, "DB1.DBD4:DINT")
            with pytest.raises(Unreachable):
                await values(session, "DB1.DBD4:DINT")
        with pytest.raises(Unreachable):
            async with opened(device.port):
                pass
        device.memory = {"DB": {1: bytes(4) + struct.pack(">i", 8)}}
        await device.start()
        async with opened(device.port) as session:
            assert await values(session, "DB1.DBD4:DINT", "DB1.DBD8") == [(8, "Good"), (None, "BadOutOfRange")]


@needs_snap7
async def test_values_are_written_and_read_back_and_neighbours_stay_as_they_were() -> None:
    writes = {
        "DB3.DBD0:REAL": 8.25, "DB3.DBX4.3": True, "DB3.DBB6:STRING[10]": "kiln",
        "DB3.DBB20:DTL": "2026-01-31T06:30:00", "DB3.DBW40:INT[3]": [1, -2, 3], "M3.7": True, "Q0.1": True,
        "DB3.DBB500:LINT": -(2**63),
    }  # fmt: skip
    async with plc({**MEMORY, "DB": {3: bytes(6) + b"\x0a" + bytes(593)}}) as device, opened(device.port) as session:
        results = await session.write([Write(tag(address), value) for address, value in writes.items()])
        assert [result.quality.label for result in results] == ["Good"] * len(writes)
        assert [value for value, _ in await values(session, *writes)] == list(writes.values())
        found = await values(session, "DB3.DBB4", "DB3.DBB5", "MB3", "QB0", "DB3.DBB6")
        assert [value for value, _ in found] == [8, 0, 0x82, 3, 10]


@needs_snap7
async def test_a_write_that_cannot_be_right_is_refused_alone() -> None:
    async with plc(MEMORY) as device, opened(device.port) as session:
        results = await session.write(
            [
                Write(tag("DB1.DBW8:INT"), 40000),
                Write(tag("DB1.DBW8:INT"), "x"),
                Write(tag("I0.0"), True),
                Write(tag("DB9.DBW0"), 1),
                Write(tag("DB1.DBW200"), 1),
                Write(tag("DB3.DBB0:BYTE[500]"), [1] * 500),
                Write(tag("DB1.DBW8:INT"), 5),
            ]
        )
        assert [result.quality.label for result in results] == [
            "BadOutOfRange", "BadTypeMismatch", "BadNotWritable", "BadNodeIdUnknown", "BadOutOfRange", "BadOutOfRange",
            "Good",
        ]  # fmt: skip
        assert await values(session, "DB1.DBW8:INT", "DB3.DBB0") == [(5, "Good"), (0, "Good")]


@needs_snap7
async def test_the_data_blocks_are_listed_with_their_sizes_as_addresses_that_can_be_read() -> None:
    async with plc(MEMORY) as device, opened(device.port, pdu_bytes=480) as session:
        found = [node async for node in session.browse()]
        assert [(node.name, node.address, node.description) for node in found] == [
            ("DB1", "DB1.DBB0:BYTE[32]", "data block of 32 bytes"),
            ("DB3", "DB3.DBB0:BYTE[462]", "data block of 600 bytes"),
        ]
        assert [node.name async for node in session.browse("db3")] == ["DB3"]
        assert [label for _, label in await values(session, *(node.address for node in found))] == ["Good", "Good"]


@needs_snap7
async def test_a_value_larger_than_one_answer_is_put_together_from_its_parts() -> None:
    text = "".join(chr(0x20AC + i) for i in range(400))
    raw = struct.pack(">HH", 400, 400) + text.encode("utf-16-be")
    async with plc({"DB": {1: raw + b"\7"}, "pdu": 240}) as device, opened(device.port) as session:
        assert await values(session, "DB1.DBB804", "DB1.DBB0:WSTRING[400]", "DB1.DBB0:WSTRING[401]") == [
            (7, "Good"), (text, "Good"), (None, "BadOutOfRange"),
        ]  # fmt: skip


@contextmanager
def python_server(memory: bytearray) -> Iterator[int]:
    """The server of python-snap7 with one data block."""
    server = Server(log=False)
    server.register_area(SrvArea.DB, 1, memory)
    port = free_port()
    server.start_to("127.0.0.1", port)
    try:
        yield port
    finally:
        server.stop()
        server.destroy()


async def read_and_write(session: S7Session) -> None:
    """A value, a missing block, a write."""
    assert await values(session, "DB1.DBD0:REAL", "DB7.DBW0") == [(12.5, "Good"), (None, "BadNodeIdUnknown")]
    (result,) = await session.write([Write(tag("DB1.DBW8:INT"), 99)])
    assert result.quality.is_good
    assert await values(session, "DB1.DBW8:INT") == [(99, "Good")]


async def test_the_server_of_python_snap7_is_read_and_written() -> None:
    with python_server(bytearray(DB1)) as port:
        async with opened(port) as session:
            await read_and_write(session)
