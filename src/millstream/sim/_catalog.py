"""The simulated devices by name, for `millstream sim`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SimDevice:
    """One of them. `connector` reads it; `module` has the function ``main(arguments)``."""

    name: str
    connector: str
    summary: str

    @property
    def module(self) -> str:
        """Where it is."""
        return f"millstream.sim.{self.name}"


DEVICES = (
    SimDevice("iolink_master", "iolink", "IO-Link master: a sensor, a valve terminal and a switch, as JSON over HTTP"),
    SimDevice("opcua_plant", "opcua", "OPC UA server: counters and signals with units and history"),
    SimDevice("modbus_plant", "modbus", "Modbus TCP device: a boiler, set points, a heartbeat that counts its polls"),
    SimDevice("shdr_adapter", "mtconnect", "MTConnect adapter: a recorded day of a machine tool, numbered lines"),
    SimDevice(
        "mqtt_plant", "mqtt", "scale that publishes to an MQTT broker, and sends again what was not acknowledged"
    ),
    SimDevice("light_barrier", "mqtt", "light barriers that publish by MQTT and keep a ledger of their parts"),
    SimDevice("s7_plc", "s7", "Siemens PLC: a press in a data block, with a clock"),
    SimDevice(
        "logix_controller", "ethernet_ip", "Logix controller: a filler with arrays, structures and a list of its tags"
    ),
    SimDevice("bacnet_controller", "bacnet", "BACnet/IP controller of an air handling unit, with changes of value"),
    SimDevice("sparkplug_press", "sparkplug", "press as a Sparkplug B edge node at a broker: births, data, commands"),
    SimDevice("text_scale", "text", "scale that speaks lines of text over TCP, by itself or when it is asked"),
    SimDevice("http_meter", "http", "energy meter that answers with JSON over HTTP"),
    SimDevice(
        "csv_results", "files", "test bench that writes CSV files into a folder and renames them when they are full"
    ),
    SimDevice("sql_results", "sql", "test bench that writes its results into SQLite"),
)
