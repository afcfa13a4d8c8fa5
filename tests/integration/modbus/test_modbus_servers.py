"""The server of pymodbus, and the simulated plant."""

from __future__ import annotations

import asyncio
import json
import signal
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from modbus_kit import opened, plant, tag, values
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from millstream.connectors.modbus import ModbusConfig, ModbusConnector
from millstream.kernel import ConfigError
from millstream.sdk import ConnectorTools, Tag, Write


def words(raw: bytes) -> list[int]:
    """As registers."""
    return list(struct.unpack(f">{len(raw) // 2}H", raw))


@asynccontextmanager
async def pymodbus_server() -> AsyncIterator[int]:
    """Two units; unit 1 has all four tables, registers 100 to 111 and 200 hold values."""
    holding = [
        SimData(100, values=words(struct.pack(">fdIH", 1.5, -2.5, 0xCAFEF00D, 7)), datatype=DataType.REGISTERS),
        SimData(200, values=words(b"boiler 3"), datatype=DataType.REGISTERS),
    ]
    units = [
        SimDevice(
            1,
            (
                [SimData(0, values=[True, False, True, True], datatype=DataType.BITS)],
                [SimData(0, values=[False, True], datatype=DataType.BITS)],
                holding,
                [SimData(0, values=words(struct.pack(">hH", -5, 6)), datatype=DataType.REGISTERS)],
            ),
        ),
        SimDevice(2, SimData(100, values=[42], datatype=DataType.REGISTERS)),
    ]
    server = ModbusTcpServer(units, address=("127.0.0.1", 0))
    await server.listen()
    try:
        yield server.transport.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    finally:
        await server.shutdown()


async def test_all_tables_of_a_real_server_are_read_with_a_bad_tag_beside_good_ones() -> None:
    async with pymodbus_server() as port, opened(port) as session:
        assert await values(
            session,
            "holding:100:float32", "holding:102:float64", "holding:106:uint32", "holding:108", "holding:150",
            "holding:200:string(8)", "input:0:int16", "input:1", "coil:0:bool[4]", "coil:1", "discrete:1", "40109",
        ) == [
            (1.5, "Good"), (-2.5, "Good"), (0xCAFEF00D, "Good"), (7, "Good"), (None, "BadNodeIdUnknown"),
            ("boiler 3", "Good"), (-5, "Good"), (6, "Good"), ([True, False, True, True], "Good"), (False, "Good"),
            (True, "Good"), (7, "Good"),
        ]  # fmt: skip


async def test_a_tag_may_name_another_unit() -> None:
    async with pymodbus_server() as port, opened(port) as session:
        samples = await session.read([tag("holding:108"), tag("holding:100", unit_id=2)])
        assert [sample.value for sample in samples] == [7, 42]


async def test_values_are_written_to_a_real_server_and_read_back() -> None:
    writes = {"holding:100:float32:CDAB": 8.25, "holding:108": 9, "coil:1": True, "holding:200:string(8)": "kiln"}
    async with pymodbus_server() as port, opened(port) as session:
        results = await session.write([Write(tag(address), value) for address, value in writes.items()])
        assert [result.quality.label for result in results] == ["Good"] * 4
        assert [value for value, _ in await values(session, *writes)] == list(writes.values())
        (result,) = await session.write([Write(tag("holding:108.4"), True)])
        assert result.quality.is_good
        assert await values(session, "holding:108") == [(9 | 16, "Good")]
        (result,) = await session.write([Write(tag("coil:1:bool[2]"), [False, True])])
        assert result.quality.is_good
        assert await values(session, "coil:0:bool[4]") == [([True, False, True, True], "Good")]


async def test_what_cannot_be_written_says_why_and_the_others_are_written() -> None:
    async with pymodbus_server() as port, opened(port) as session:
        results = await session.write(
            [
                Write(tag("input:0"), 1),
                Write(tag("holding:108"), 70000),
                Write(tag("holding:108"), "x"),
                Write(tag("coil:0"), 1),
                Write(tag("holding:150"), 1),
                Write(tag("holding:108"), 5),
            ]
        )
        assert [result.quality.label for result in results] == [
            "BadNotWritable", "BadOutOfRange", "BadTypeMismatch", "BadTypeMismatch", "BadNodeIdUnknown", "Good",
        ]  # fmt: skip
        assert all(result.reason for result in results[:5])


@pytest.mark.parametrize(
    ("address", "options", "config"),
    [
        ("holding:1:flot32", {}, {}),
        ("holding:1", {"unit": 3}, {}),
        ("holding:1", {"unit_id": 256}, {}),
        ("holding:1:uint16[9]", {}, {"registers_count_max": 8}),
        ("holding:9:uint32", {}, {"holes": ["holding:10-12"]}),
    ],
)
def test_a_tag_that_cannot_be_read_is_refused_offline(
    address: str, options: dict[str, int], config: dict[str, object]
) -> None:
    connector = ModbusConnector(ModbusConfig.model_validate({"host": "192.0.2.1", **config}), ConnectorTools())
    with pytest.raises(ConfigError) as caught:
        connector.check_tag(Tag("a", address, options=options))
    assert caught.value.code == "MS-0120"


def test_a_wrong_hole_is_refused_offline() -> None:
    with pytest.raises(ValueError, match="not a Modbus range"):
        ModbusConfig(host="192.0.2.1", holes=("holding",))


async def test_each_answered_poll_of_the_plant_has_its_own_number_and_the_truth_counts_them(tmp_path: Path) -> None:
    truth = tmp_path / "truth.json"
    async with plant("--truth", str(truth), "--paused") as (child, ready), opened(ready["port"]) as session:
        heartbeat = ready["addresses"]["heartbeat"]
        assert await values(session, heartbeat) == [(0, "Good")] * 1
        child.send_signal(signal.SIGUSR2)
        seen: list[int] = []
        async with asyncio.timeout(60):
            while len(seen) < 50:
                ((number, _),) = await values(session, heartbeat)
                seen += [number] if number else []
        assert seen == list(range(1, 51))
        child.send_signal(signal.SIGUSR1)
        async with asyncio.timeout(60):
            while not truth.exists():
                await values(session, "holding:10:float32")
        produced = json.loads(truth.read_text(encoding="utf-8"))
        assert produced == {"produced": {"heartbeat": 50}, "final": True}
        assert await values(session, heartbeat, heartbeat + ":CDAB") == [(50, "Good"), (50 << 16, "Good")]
        child.terminate()
        assert await child.wait() == 0


async def test_the_plant_looks_like_a_boiler_and_takes_setpoints() -> None:
    async with plant() as (_, ready), opened(ready["port"]) as session:
        tags = [Tag(name, address) for name, address in ready["addresses"].items()]
        found = {sample.tag: sample for sample in await session.read(tags)}
        assert all(sample.quality.is_good for sample in found.values())
        assert 170 < found["steam_temperature"].value < 190  # type: ignore[operator]
        assert found["name"].value == "boiler 3"
        refused, taken = await session.write([Write(tags[1], 1.0), Write(Tag("s", "holding:100:float32"), 6.5)])
        assert (refused.quality.is_bad, taken.quality.is_good) == (True, True)
        assert await values(session, "holding:100:float32") == [(6.5, "Good")]
