"""The connector with the simulated master as a process of its own, as a user runs it."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from millstream import sim
from millstream.cli import main
from millstream.config import InstalledConnectors, load_edge
from millstream.connectors.iolink import IoLinkConfig, IoLinkConnector
from millstream.kernel import AuthError, ConfigError, PlantError, ProtocolViolation, Unreachable
from millstream.model import BAD_DATA_UNAVAILABLE, BAD_DECODING_ERROR, BAD_NO_COMMUNICATION, GOOD
from millstream.sdk import ConnectorTools, Tag, Write
from millstream.sim.iolink_master import IoLinkMaster

WAIT_S = 60.0
DIALECTS = ("json", "iotcore")


def connector(port: int, dialect: str, **config: Any) -> IoLinkConnector:
    path = "/iolink/v1" if dialect == "json" else ""
    fields = {"url": f"http://127.0.0.1:{port}{path}", "dialect": dialect, **config}
    return IoLinkConnector(IoLinkConfig.model_validate(fields), ConnectorTools())


@asynccontextmanager
async def served(master: IoLinkMaster) -> AsyncIterator[int]:
    server = await asyncio.start_server(master.serve_client, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await master.drop_clients()


@asynccontextmanager
async def raw_server(answer: bytes) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_the_simulated_master_is_a_program_whose_addresses_work(dialect: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "millstream.sim.iolink_master", stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(WAIT_S):
            hello = json.loads(await process.stdout.readline())
        names = [name for name in hello["addresses"] if not (dialect == "iotcore" and name == "gate")]
        tags = [Tag(name, hello["addresses"][name]) for name in names]
        async with connector(hello["port"], dialect).open() as session:
            found = {sample.tag: sample for sample in await session.read(tags)}
        assert 350 <= int(str(found["temperature"].value)) <= 450
        assert 20 <= int(str(found["velocity"].value)) <= 180
        assert found["product"].value == "TempVib 4"
        assert found["empty"].quality == BAD_NO_COMMUNICATION
        assert all(sample.quality.is_good for name, sample in found.items() if name != "empty")
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(WAIT_S):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_an_output_is_written_bit_by_bit_and_comes_back(dialect: str) -> None:
    master = IoLinkMaster(outputs=b"\x00\xf0")
    async with served(master) as port, connector(port, dialect).open() as session:
        out = Tag("out", "port2:out:bool@3"), Tag("high", "port2:out:uint8@8"), Tag("all", "port2:out")
        results = await session.write([Write(out[0], True), Write(out[1], 5)])
        assert [result.quality for result in results] == [GOOD, GOOD]
        assert master.outputs == b"\x05\xf8"
        assert [s.value for s in await session.read([Tag("in", "port2:in"), *out])] == [
            b"\x05\xf8",
            True,
            5,
            b"\x05\xf8",
        ]
        refused = await session.write([
            Write(out[1], 256), Write(out[0], 1), Write(out[2], b"\1"), Write(Tag("in", "port2:in:bool@0"), True),
            Write(Tag("none", "port3:out"), b"\0"),
        ])  # fmt: skip
        assert all(result.quality.is_bad and result.reason for result in refused)
        assert master.outputs == b"\x05\xf8"
        await master.drop_clients()


async def test_events_come_once_and_in_order() -> None:
    master = IoLinkMaster()
    async with served(master) as port, connector(port, "json").open() as session:
        tags = [Tag("events", "port1:events")]

        async def codes() -> list[int]:
            (sample,) = await session.read(tags)
            assert isinstance(sample.value, list)
            return [event["code"] for event in sample.value if isinstance(event, dict)]  # type: ignore[misc]

        master.raise_event(16912, "too hot")
        master.raise_event(36000, "short circuit")
        assert await codes() == [16912, 36000]
        assert await codes() == []
        master.raise_event(16912, "too hot", mode="DISAPPEARS")
        assert await codes() == [16912]


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_one_read_takes_no_more_requests_than_it_must(dialect: str) -> None:
    master = IoLinkMaster()
    async with served(master) as port, connector(port, dialect).open() as session:
        tags = [Tag(f"b{i}", f"port1:in:bool@{i}") for i in range(16)]
        tags += [Tag(name, f"port1:{name}") for name in ("product_name", "vendor_id", "device_id", "serial_number")]
        before = master.requests_count
        await session.read(tags)
        assert master.requests_count - before == {"json": 2, "iotcore": 1}[dialect]


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_sensor_without_its_probe_and_one_with_less_data_are_bad_beside_good_ones(
    dialect: str,
) -> None:
    master = IoLinkMaster(is_probe_connected=False)
    async with served(master) as port, connector(port, dialect).open() as session:
        tags = [
            Tag("smart", "port1:in:int16@16", options={"smart_sensor": True}), Tag("plain", "port1:in:int16@16"),
            Tag("beyond", "port2:in:int16@16"), Tag("good", "port1:in:uint12@4"),
        ]  # fmt: skip
        samples = await session.read(tags)
    assert [sample.quality for sample in samples] == [BAD_DATA_UNAVAILABLE, GOOD, BAD_DECODING_ERROR, GOOD]
    assert samples[1].value == 32764


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_browse_lists_the_ports_with_a_device(dialect: str) -> None:
    async with served(IoLinkMaster()) as port, connector(port, dialect, ports=5).open() as session:
        nodes = [node async for node in session.browse()]
    assert {node.groups for node in nodes} == {("port1", "TempVib 4"), ("port2", "Valves 16")}
    assert {node.address for node in nodes if node.name == "in"} == {"port1:in", "port2:in"}


FAULTS = {
    "no_json": (b"HTTP/1.1 200 X\r\nContent-Length: 6\r\n\r\n<html>", ProtocolViolation, "MS-1652"),
    "other": (b"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n", ProtocolViolation, "MS-1652"),
    "login": (b"HTTP/1.1 401 X\r\nContent-Length: 0\r\n\r\n", AuthError, "MS-1651"),
    "ill": (b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n", Unreachable, "MS-1650"),
    "half": (b"HTTP/1.1 200 X\r\nContent-Length: 60\r\n\r\n{", Unreachable, "MS-1650"),
    "silent": (b"", Unreachable, "MS-1650"),
    "huge": (b"HTTP/1.1 200 X\r\nContent-Length: 2000000\r\n\r\n" + b"1" * 2_000_000, ProtocolViolation, "MS-1652"),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_each_fault_has_its_own_code(name: str) -> None:
    answer, kind, code = FAULTS[name]
    async with raw_server(answer) as port:
        with pytest.raises(PlantError) as caught:
            async with connector(port, "json").open():
                pass
    assert (type(caught.value), caught.value.code) == (kind, code)


async def test_a_password_is_sent_and_never_shown(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret")
    async with raw_server(b"HTTP/1.1 401 X\r\nContent-Length: 0\r\n\r\n") as port:
        with pytest.raises(AuthError) as caught:
            async with connector(port, "json", user="operator", secret={"file": str(tmp_path / "secret")}).open():
                pass
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong", [{"url": "192.0.2.1"}, {"url": "http://u:p@x"}, {"user": "x"}, {"ports": 0}, {"dialect": "mqtt"}]
)
def test_a_configuration_that_cannot_work_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        IoLinkConfig.model_validate({"url": "http://x/iolink/v1", **wrong})


def test_a_tag_that_the_dialect_cannot_read_is_refused() -> None:
    wrong = [("json", "data:/x"), ("json", "port1"), ("iotcore", "Pump:in"), ("iotcore", "port1:events")]
    for dialect, address in wrong:
        with pytest.raises(ConfigError) as caught:
            connector(1, dialect).check_tag(Tag("a", address))
        assert caught.value.code == "MS-1653"
    with pytest.raises(ConfigError):
        connector(1, "json").check_tag(Tag("a", "port1:in", options={"x": 1}))


IODD_FOLDER = Path(sim.__file__).parent / "data" / "iodd"


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_parameters_are_read_by_index(dialect: str) -> None:
    expected = {
        "port1:isdu:18:text": "TempVib 4", "port1:isdu:18": b"TempVib 4", "port1:isdu:24:text": "***",
        "port1:isdu:60.1:int16@0": 800, "port1:isdu:60.2:int16@0": -100, "port1:isdu:60:int16@16": 800,
    }  # fmt: skip
    missing = ["port1:isdu:61", "port1:isdu:60.3", "port3:isdu:18", "port1:isdu:60.1:int32@0"]
    async with served(IoLinkMaster()) as port, connector(port, dialect).open() as session:
        tags = [Tag(address, address) for address in (*expected, "port1:in", *missing)]
        for tag in tags:
            connector(port, dialect).check_tag(tag)
        samples = {sample.tag: sample for sample in await session.read(tags)}
        assert {address: samples[address].value for address in expected} == expected
        assert samples["port1:in"].quality == GOOD
        assert all(samples[address].quality.is_bad and samples[address].value is None for address in missing)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_parameters_are_written_where_the_device_takes_them(dialect: str) -> None:
    master = IoLinkMaster()
    async with served(master) as port, connector(port, dialect).open() as session:
        good = {"port1:isdu:60.1:int16@0": -7, "port1:isdu:60:int16@0": 90, "port1:isdu:24:text": "öfen 3"}
        results = await session.write([Write(Tag(address, address), value) for address, value in good.items()])
        assert [result.quality for result in results] == [GOOD] * 3
        assert master.limits == [b"\xff\xf9", b"\x00\x5a"]
        assert master.application_tag == "öfen 3".encode()
        samples = await session.read([Tag(address, address) for address in good])
        assert [sample.value for sample in samples] == list(good.values())
        refused: dict[str, Any] = {
            "port1:isdu:60.1:int16@0": 40_000, "port1:isdu:60.2:int16@0": "x", "port1:isdu:60.1": b"123",
            "port1:isdu:24:text": "x" * 300, "port1:isdu:24": b"12345678", "port1:isdu:18:text": "another name",
            "port1:isdu:61": b"1", "port3:isdu:24:text": "x", "port1:product_name": "x",
        }  # fmt: skip
        results = await session.write([Write(Tag(address, address), value) for address, value in refused.items()])
        assert all(result.quality.is_bad and result.reason for result in results)
        assert results[0].quality.label == "BadOutOfRange"
        assert results[1].quality.label == "BadTypeMismatch"
        assert results[5].quality.label == "BadNotWritable"
        assert (master.limits, master.application_tag) == ([b"\xff\xf9", b"\x00\x5a"], "öfen 3".encode())
        await master.drop_clients()


@pytest.mark.parametrize(
    "address", ["port1:isdu", "port1:isdu:x", "port1:isdu:70000", "port1:isdu:1.300", "port1:isdu:1:x"]
)
def test_a_parameter_without_a_number_is_refused(address: str) -> None:
    with pytest.raises(ConfigError) as caught:
        connector(1, "json").check_tag(Tag("a", address))
    assert caught.value.code == "MS-1653"


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_described_device_lists_its_fields(dialect: str) -> None:
    async with served(IoLinkMaster()) as port:
        async with connector(port, dialect, iodd_folder=str(IODD_FOLDER)).open() as session:
            nodes = {node.address: node async for node in session.browse()}
        temperature = nodes["port1:in:int16@16"]
        assert (temperature.name, temperature.unit, temperature.factor) == ("Temperature", "°C", 0.1)
        assert nodes["port1:in:bool@0"].name == "Switching signal"
        assert "port1:in" not in nodes
        assert "port2:in" in nodes, "without a description it is bytes"
        async with connector(port, dialect, iodd_folder="/nowhere").open() as session:
            with pytest.raises(ConfigError, match="iodd_folder"):
                [node async for node in session.browse()]


async def test_it_is_mapped_with_units_and_scales(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    async with served(IoLinkMaster()) as port:
        config = json.dumps({"url": f"http://127.0.0.1:{port}/iolink/v1", "iodd_folder": str(IODD_FOLDER)})
        Path("edge.yaml").write_text(
            "edge: {name: e1, path: acme/plant1, data_dir: data}\n"
            f"connectors: [{{name: sensors, type: iolink, config: {config}}}]\n"
        )
        words = ["onboard", "edge.yaml", "--observe", "0.5", "--out", "new.yaml"]
        assert await asyncio.to_thread(main, words) == 0, capfd.readouterr().err
        assert await asyncio.to_thread(main, ["browse", "edge.yaml"]) == 0
        assert "scale: {factor: 0.1}" in capfd.readouterr().out
    found, findings = load_edge(Path("new.yaml"), InstalledConnectors())
    assert not findings
    assert found is not None
    tags = {tag.address: tag for tag in found.connectors[0].tags}
    temperature = tags["port1:in:int16@16"]
    assert temperature.scale is not None
    assert (temperature.unit, temperature.scale.factor, temperature.scale.offset) == ("degC", 0.1, 0.0)
