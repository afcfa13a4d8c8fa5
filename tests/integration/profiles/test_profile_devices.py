"""Device profiles against simulated devices of their type: each tag of a profile finds its value."""

from __future__ import annotations

import asyncio
import json
import struct
from contextlib import aclosing
from pathlib import Path
from typing import Any

from cases.loopback import joined, served
from cases.rtu_peer import RtuLine, TcpGateway
from cases.text_peer import Listener
from modbus_kit import process
from snap7.server import Server
from snap7.type import SrvArea

import warm
from millstream.config import ConnectorEntry, EdgeConfig, InstalledConnectors, load_edge, profiles_of
from millstream.kernel import free_port
from millstream.model import Sample
from millstream.protocols.logix_device import LogixDevice
from millstream.protocols.logix_tags import BOOL, DINT, TagTable
from millstream.sdk import ConnectorTools
from millstream.sim._whims import Freeze
from millstream.sim.iolink_master import IoLinkMaster
from millstream.sim.logix_controller import ControllerServer
from millstream.sim.modbus_plant import ModbusPlant


def loaded(folder: Path, kind: str, profile: str, config: dict[str, Any]) -> tuple[EdgeConfig, ConnectorEntry]:
    """An edge file that has nothing but the profile and where the device is."""
    entry = {"name": "device", "type": kind, "profile": profile, "config": config}
    path = folder / "edge.yaml"
    path.write_text(json.dumps({"edge": {"name": "e1", "path": "acme", "data_dir": "data"}, "connectors": [entry]}))
    found, findings = load_edge(path, InstalledConnectors())
    assert found is not None, [str(finding) for finding in findings]
    return found, found.connectors[0]


async def read(folder: Path, kind: str, profile: str, config: dict[str, Any]) -> dict[str, Sample]:
    """What the device says, by the tags' names."""
    edge, entry = loaded(folder, kind, profile, config)
    tags = [mapped.tag for mapped in edge.mapped_tags(entry)]
    made: Any = InstalledConnectors()[kind](entry.config, ConnectorTools(tags=tuple(tags)))
    found: dict[str, Sample] = {}
    async with made.open() as session:
        if hasattr(session, "read"):
            found = {sample.tag: sample for sample in await session.read(tags)}
        else:
            async with aclosing(session.stream(tags, None)) as stream:
                while len(found) < len(tags):
                    found |= {sample.tag: sample for sample in (await anext(stream)).samples}
    return {key.removeprefix("acme:"): sample for key, sample in found.items()}


def gateway(registers: dict[int, int], inputs: dict[int, int]) -> TcpGateway:
    """A device at unit 1 behind a gateway; addresses that it does not have are refused."""
    plant = ModbusPlant(is_counting=False, freeze=Freeze(after_s=0.0))
    plant.registers, plant.inputs = registers, inputs
    return TcpGateway(RtuLine({1: plant.answer}))


def words(value: float | str, size_bytes: int = 4) -> list[int]:
    """Registers, the high word first."""
    raw = value.encode().ljust(size_bytes, b"\0") if isinstance(value, str) else struct.pack(">f", value)
    return [int.from_bytes(raw[i : i + 2], "big") for i in range(0, len(raw), 2)]


async def test_each_value_of_an_energy_meter_is_where_its_register_list_says(tmp_path: Path) -> None:
    # Parameter numbers of Eastron's list: register 30001 + 2 * (number - 1), which is address 2 * (number - 1).
    listed = {
        "l1/voltage": 30001, "l2/voltage": 30003, "l3/voltage": 30005, "l1/current": 30007, "l2/power": 30015,
        "l3/apparent_power": 30023, "l1/reactive_power": 30025, "l2/power_factor": 30033, "l3/phase_angle": 30041,
        "total/voltage": 30043, "total/current": 30049, "total/power": 30053, "total/apparent_power": 30057,
        "total/reactive_power": 30061, "total/power_factor": 30063, "frequency": 30071, "energy/import": 30073,
        "energy/export": 30075, "energy/total": 30343, "energy/l3_total": 30363, "neutral/current": 30225,
        "l1/voltage_thd": 30235, "l3/current_thd": 30245, "l1/l2_voltage": 30201,
    }  # fmt: skip
    inputs = dict.fromkeys(range(400), 0)
    for i, number in enumerate(listed.values()):
        inputs |= dict(enumerate(words(100.5 + i), number - 30001))
    async with joined(gateway({}, inputs)) as meter:
        place = {"transport": "rtu_over_tcp", "host": "127.0.0.1", "port": meter.port}
        found = await read(tmp_path, "modbus", "eastron_sdm630", place)
        requests = len(meter.line.requests)
    assert all(sample.quality.is_good for sample in found.values())
    assert {name: found[name].value for name in listed} == {name: 100.5 + i for i, name in enumerate(listed)}
    assert requests <= 6, "neighbours come in one request"
    assert all(request[5] <= 80 for request in meter.line.requests), "the meter answers 80 registers at most"


async def test_a_sunspec_inverter_is_read_with_its_name_plate(tmp_path: Path) -> None:
    registers = dict.fromkeys(range(40000, 40132), 0)
    texts = {40000: ("SunS", 4), 40004: ("Acme", 32), 40020: ("Sun 10", 32), 40044: ("1.2", 16), 40052: ("00042", 32)}
    for first, (text, size_bytes) in texts.items():
        registers |= dict(enumerate(words(text, size_bytes), first))
    registers |= {40070: 113, 40071: 60, 40118: 4, 40121: 1 << 7}
    values = {40072: 14.5, 40088: 230.25, 40092: 9876.5, 40094: 50.0, 40102: 123456.0, 40108: 10000.0, 40110: 41.5}
    for first, value in values.items():
        registers |= dict(enumerate(words(value), first))
    async with joined(gateway(registers, {})) as inverter:
        place = {"transport": "rtu_over_tcp", "host": "127.0.0.1", "port": inverter.port}
        found = await read(tmp_path, "modbus", "sunspec_inverter_float", place)
    assert all(sample.quality.is_good for sample in found.values())
    shown = {name: sample.value for name, sample in found.items() if sample.value not in (0, "")}
    assert shown == {
        "device/mark": "SunS", "device/manufacturer": "Acme", "device/model": "Sun 10", "device/version": "1.2",
        "device/serial_number": "00042", "inverter/model": 113, "inverter/current": 14.5,
        "inverter/voltage_b": 230.25, "inverter/power": 9876.5, "inverter/frequency": 50.0,
        "inverter/energy": 123456.0, "inverter/dc_power": 10000.0, "inverter/cabinet_temperature": 41.5,
        "inverter/state": 4, "inverter/events": 1 << 7,
    }  # fmt: skip


async def test_every_opc_ua_server_tells_how_it_is(tmp_path: Path) -> None:
    async with process(*warm.python("-m", "millstream.sim.opcua_plant", "--port", "0")) as (_, ready):
        config = {
            "endpoint": f"opc.tcp://127.0.0.1:{ready['port']}", "security": {"policy": "none"}
        }  # fmt: skip
        found = await read(tmp_path, "opcua", "server", config)
    assert found["server/state"].value == 0
    good = {name for name, sample in found.items() if sample.quality.is_good}
    assert good >= {f"server/{name}" for name in ("start_time", "time", "manufacturer", "product", "version")}


async def test_a_measuring_sensor_is_read_at_port_one(tmp_path: Path) -> None:
    master = IoLinkMaster()
    async with served(master.serve_client) as port:
        config = {"url": f"http://127.0.0.1:{port}/iolink/v1", "dialect": "json"}
        found = await read(tmp_path, "iolink", "smart_sensor_measuring", config)
    value, switch = found["sensor/value"].value, found["sensor/switch_1"].value
    assert isinstance(value, int)
    assert 350 <= value <= 450
    assert isinstance(switch, bool)
    assert all(sample.quality.is_good for sample in found.values())


async def test_a_scale_is_asked_in_its_own_words(tmp_path: Path) -> None:
    said = {"now": b"S S     100.05 g\r\n"}
    scale = Listener(on_command=lambda asked: said["now"] if asked == b"SI\r\n" else b"ES\r\n")
    async with joined(scale):
        config = {"transport": "tcp", "host": "127.0.0.1", "port": scale.port, "poll_interval": "50ms"}
        found = await read(tmp_path, "text", "mt_sics_scale", config)
        shown = {name: sample.value for name, sample in found.items()}
        assert shown == {"scale/weight": 100.05, "scale/unit": "g", "scale/state": "S"}
        said["now"] = b"S D    -  1.2 kg\r\n"
        found = await read(tmp_path, "text", "mt_sics_scale", config)
        assert (found["scale/weight"].value, found["scale/state"].value) == (-1.2, "D")


async def test_every_bacnet_device_tells_who_it_is_whatever_its_number(tmp_path: Path) -> None:
    async with process(*warm.python("-m", "millstream.sim.bacnet_controller")) as (_, ready):
        config = {"host": "127.0.0.1", "port": ready["port"], "bind": "127.0.0.1/8:0", "timeout": "20s"}
        found = await read(tmp_path, "bacnet", "device", config)
    shown = {name: sample.value for name, sample in found.items() if sample.quality.is_good}
    assert (shown["device/name"], shown["device/vendor_id"], shown["device/status"]) == ("air handling", 999, 0)
    assert shown.keys() >= {"device/model", "device/firmware", "device/protocol_revision"}


async def test_a_logo_has_its_inputs_outputs_and_flags_where_its_manual_says(tmp_path: Path) -> None:
    memory = bytearray(1470)
    memory[1024:1027] = bytes([0b1000_0001, 0, 0b1000_0000])  # I1, I8 and I24
    memory[1064:1067] = bytes([0b10, 0, 0b1000])  # Q2 and Q20
    memory[1104] = 1 << 6
    for place, value in ((1032, 500), (1046, -3), (1072, 777), (1118, 12), (1132, -1000)):
        struct.pack_into(">h", memory, place, value)
    logo, port = Server(log=False), free_port()
    logo.register_area(SrvArea.DB, 1, memory)
    logo.start_to("127.0.0.1", port)
    try:
        found = await read(tmp_path, "s7", "siemens_logo8", {"host": "127.0.0.1", "port": port, "timeout": "20s"})
    finally:
        await asyncio.to_thread(logo.stop)
    assert all(sample.quality.is_good for sample in found.values())
    assert {name: sample.value for name, sample in found.items() if sample.value} == {
        "input/i1": True, "input/i8": True, "input/i24": True, "output/q2": True, "output/q20": True, "flag/m7": True,
        "analog_input/ai1": 500, "analog_input/ai8": -3, "analog_output/aq1": 777, "analog_flag/am1": 12,
        "analog_flag/am8": -1000,
    }  # fmt: skip


async def test_a_micro800_is_asked_for_its_embedded_inputs_and_outputs(tmp_path: Path) -> None:
    tags = TagTable()
    for name, count in (("_IO_EM_DI", 12), ("_IO_EM_DO", 7)):
        for number in range(count):
            tags.add(f"{name}_{number:02}", BOOL, number in (0, 6))
    tags.add("__SYSVA_CYCLECNT", DINT, 4711)
    tags.add("__SYSVA_TCYOVERFLOW", DINT, 2)
    async with served(ControllerServer(LogixDevice(tags, lambda: 0)).serve) as port:
        place = {"host": "127.0.0.1", "port": port, "timeout": "20s"}
        found = await read(tmp_path, "ethernet_ip", "micro800", place)
    assert all(sample.quality.is_good for sample in found.values())
    assert {name: sample.value for name, sample in found.items() if sample.value} == {
        "input/di0": True, "input/di6": True, "output/do0": True, "output/do6": True, "cycle/count": 4711,
        "cycle/overflows": 2,
    }  # fmt: skip


def test_each_profile_that_comes_with_a_connector_is_tried_here() -> None:
    tried = {
        ("modbus", "eastron_sdm630"), ("modbus", "sunspec_inverter_float"), ("opcua", "server"),
        ("iolink", "smart_sensor_measuring"), ("text", "mt_sics_scale"),
        ("bacnet", "device"), ("s7", "siemens_logo8"), ("ethernet_ip", "micro800"),
    }  # fmt: skip
    installed = InstalledConnectors()
    assert {(kind, name) for kind in installed for name in profiles_of(installed[kind])} == tried
