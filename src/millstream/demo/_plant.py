"""The demo's plant: which devices there are, and the configuration files that read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

SITE = "acme/plant1"
PLACE = {"latitude": "50.94", "longitude": "6.96"}  # on the map of the console
EDGE = "plant1"
OPCUA_COUNTERS = 20
OPCUA_UNITS = {
    "spindle_temperature": "degC",
    "coolant_pressure": "bar",
    "spindle_speed": "1/min",
    "vibration_rms": "mm/s",
}
SHDR_SPEED = 20
SHDR_BEGIN_S = 2745  # of the recording: there the machine begins to work, and makes part after part
SHDR_PARTS = "PartCountAct"
SHDR_ITEMS = (
    "adapter_seq",
    "Xabs",
    "Zabs",
    "Cdeg",
    "Fact",
    "total_time",
    "auto_time",
    "cut_time",
    "S2temp",
    "execution",
    SHDR_PARTS,
)
WAVEFORM_CHANNELS = (
    "CUT_Signal", "Current_MainSpindle", "Current_SubSpindle", "Power_MainSpindle", "Power_SubSpindle", "Psition_ERR_X",
    "Psition_ERR_Z", "Speed_MainSpindle", "Speed_SubSpindle", "TOOL_Number",
)  # fmt: skip
WAVEFORM = "turning-cell"


@dataclass(frozen=True, slots=True)
class Device:
    """One simulated device: its process arguments and the file where it keeps its own truth."""

    name: str
    module: str
    arguments: tuple[str, ...] = ()

    def truth_file(self, folder: Path) -> Path:
        """Where the device writes what it produced."""
        return folder / f"{self.name}.truth.json"

    def command(self, folder: Path) -> list[str]:
        """Arguments behind ``python -m``."""
        return [self.module, "--port", "0", *self.arguments, "--paused", "--truth", str(self.truth_file(folder))]


OPCUA = Device("press", "millstream.sim.opcua_plant", ("--tags", str(OPCUA_COUNTERS), "--rate", "10", "--machine"))
MODBUS = Device("boiler", "millstream.sim.modbus_plant")
SHDR = Device(
    "mazak1", "millstream.sim.shdr_adapter", ("--speed", str(SHDR_SPEED), "--begin", str(SHDR_BEGIN_S), "--count-parts")
)
MQTT = Device("scale", "millstream.sim.mqtt_plant", ("--rate", "20"))
DEVICES = (OPCUA, MODBUS, SHDR)


def sample_data(name: str) -> Path:
    """A recording shipped with the package."""
    return Path(str(files("millstream.sim").joinpath("data", name)))


def tag(device: str, name: str) -> str:
    """The path of one of the demo's tags."""
    return f"{SITE}/{device}:{name}"


def hub_document(folder: Path, secret: Path) -> dict[str, Any]:
    """The hub's configuration."""
    return {
        "hub": {"name": "hub", "data_dir": str(folder / "hub")},
        "streams": {"max_bytes": "2GB"},
        "edges": [{"name": EDGE, "path": SITE, "secret": {"file": str(secret)}}],
        "historian": {"max_memory": "128MB"},
        "api": {},
    }


def edge_document(
    folder: Path,
    secret: Path,
    leaf_port: int,
    ready: Mapping[str, Mapping[str, Any]],
    flows: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """The edge's configuration. `ready` is what each device said when it was ready, `flows` what is worked out."""
    return {
        "edge": {"name": EDGE, "path": SITE, "data_dir": str(folder / "edge"), "labels": PLACE},
        "server": {"mqtt_port": 0},
        "uplink": {"url": f"nats://127.0.0.1:{leaf_port}", "secret": {"file": str(secret)}},
        "streams": {"integrity": {"max_bytes": "1GB"}, "throughput": {"max_bytes": "1GB"}},
        "connectors": [
            _opcua(ready[OPCUA.name]), _modbus(ready[MODBUS.name]), _mtconnect(ready[SHDR.name]), _mqtt(), _waveform(),
        ],
        "flows": list(flows),
    }  # fmt: skip


def _opcua(ready: Mapping[str, Any]) -> dict[str, Any]:
    names = {address.rpartition("s=")[2]: address for address in ready["tags"]}
    return {
        "name": OPCUA.name,
        "type": "opcua",
        "path": OPCUA.name,
        "sampling_interval": "50ms",
        "config": {"endpoint": ready["endpoint"], "security": {"policy": "none"}},
        "tags": [
            {"name": name, "address": address} | ({"unit": OPCUA_UNITS[name]} if name in OPCUA_UNITS else {})
            for name, address in names.items()
        ],
    }


def _modbus(ready: Mapping[str, Any]) -> dict[str, Any]:
    addresses = ready["addresses"]
    return {
        "name": MODBUS.name,
        "type": "modbus",
        "path": MODBUS.name,
        "sampling_interval": "100ms",
        "config": {"host": "127.0.0.1", "port": ready["port"]},
        "tags": [
            {"name": "heartbeat", "address": addresses["heartbeat"]},
            {"name": "steam/temperature", "address": addresses["steam_temperature"], "unit": "degC"},
            {"name": "steam/pressure", "address": addresses["steam_pressure"], "unit": "bar"},
        ],
    }


def _mtconnect(ready: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": SHDR.name,
        "type": "mtconnect",
        "path": SHDR.name,
        "config": {
            "mode": "shdr",
            "host": "127.0.0.1",
            "port": ready["port"],
            "devices_file": str(sample_data("mazak01-devices.xml")),
            "sequence_item": "adapter_seq",
        },
        "tags": [{"name": item, "address": item} for item in SHDR_ITEMS],
    }


def _mqtt() -> dict[str, Any]:
    return {
        "name": MQTT.name,
        "type": "mqtt",
        "path": MQTT.name,
        "config": {"source": "stream"},
        "tags": [
            {"name": "count", "address": "scale/count#$.n"},
            {"name": "weight", "address": "scale/weight#$.kg", "unit": "kg"},
        ],
    }


def _waveform() -> dict[str, Any]:
    return {
        "name": WAVEFORM,
        "type": "replay",
        "path": WAVEFORM,
        "durability": "throughput",
        "config": {
            "file": str(sample_data("turning-cell.npz")),
            "format": "waveform",
            "speed": 2,
            "times": "shift",
            "block_duration": "500ms",
        },
        "tags": [{"name": channel, "address": channel} for channel in WAVEFORM_CHANNELS],
    }
