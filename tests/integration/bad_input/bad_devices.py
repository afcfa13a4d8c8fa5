"""Four devices that say whatever a test wants, each with a tag `odd` for it and a tag `good` that goes on beside it.

Modbus, SHDR and MQTT take raw bytes; OPC UA takes a Variant, written by asyncua's own server.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from asyncua import Server, ua
from bad_site import Site, eventually, running_site
from cases.loopback import joined
from cases.mosquitto_peer import published, publisher
from cases.shdr_peer import ShdrPeer
from modbus_kit import framed, raw_device

from millstream.kernel import free_port

CONNECTORS = """
  - name: opcua
    type: opcua
    path: opcua
    sampling_interval: 20ms
    config: {{endpoint: "{opcua}", security: {{policy: none}}}}
    tags: [{{name: odd, address: "nsu=urn:test;s=odd"}}, {{name: good, address: "nsu=urn:test;s=good"}}]
  - name: modbus
    type: modbus
    path: modbus
    sampling_interval: 50ms
    config: {{host: 127.0.0.1, port: {modbus}}}
    tags:
      - {{name: odd, address: "holding:0:float32", deadband: {{absolute: 0.001}}}}
      - {{name: text, address: "holding:2:string(4)", deadband: {{absolute: 0.001}}}}
      - {{name: good, address: "holding:10:uint16", deadband: {{absolute: 0.001}}}}
  - name: shdr
    type: mtconnect
    path: shdr
    config: {{mode: shdr, host: 127.0.0.1, port: {shdr}}}
    tags: [{{name: odd, address: odd, options: {{data_type: {shdr_type}}}}}, {{name: good, address: good}}]
  - name: mqtt
    type: mqtt
    path: mqtt
    config: {{source: stream, timestamp_path: $.t, timestamp_unit: ns}}
    tags: [{{name: odd, address: "odd#$.v", options: {{data_type: {mqtt_type}}}}}, {{name: good, address: good}}]
"""
NAMES = ("opcua", "modbus", "shdr", "mqtt")


@dataclass
class Devices:
    """All four. `registers` is the Modbus device's memory; `shdr` speaks to every client."""

    server: Server
    index: int
    shdr: ShdrPeer
    registers: bytearray = field(default_factory=lambda: bytearray(64))
    mqtt: paho.Client | None = None

    async def write(self, name: str, value: Any, kind: ua.VariantType, time: Any = None) -> None:
        """A new value of an OPC UA variable, with a source time if it matters."""
        data = ua.DataValue(ua.Variant(value, kind), SourceTimestamp=time)
        result = await self.server.write_attribute_value(ua.NodeId(name, self.index), data)
        assert result is None or result.is_good(), result

    async def publish(self, topic: str, *payloads: bytes) -> None:
        """Messages of the MQTT device, each acknowledged."""
        assert self.mqtt is not None
        await published(self.mqtt, topic, *payloads)

    async def say_good(self, site: Site, number: int) -> None:
        """Every device gives its good tag a number, which must arrive: the odd one next to it did no harm."""
        await self.write("good", number, ua.VariantType.Int64)
        self.registers[20:22] = struct.pack(">H", number)
        self.shdr.send(f"|good|{number}\n".encode())
        await self.publish("good", str(number).encode())
        await eventually(
            site,
            lambda found: all(number in [s.value for s in found.get(f"{name}:good", [])] for name in NAMES),
            f"{number} of each device's good tag",
        )

    async def answer(self, request: bytes) -> bytes:
        """The Modbus device: read holding registers."""
        start, count = struct.unpack(">HH", request[8:12])
        data = bytes(self.registers[2 * start : 2 * (start + count)])
        return framed(request, bytes([3, len(data)]) + data)


@asynccontextmanager
async def asyncua_server() -> AsyncIterator[tuple[Server, int, str]]:
    """A foreign OPC UA server with `odd` and `good`."""
    server = Server()
    await server.init()
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    endpoint = f"opc.tcp://127.0.0.1:{free_port()}"
    server.set_endpoint(endpoint)
    index = await server.register_namespace("urn:test")
    number = ua.NodeId(ua.ObjectIds.Number)  # what `odd` is said to be; without a value its first may have any type
    for name, value, kind in (("odd", ua.Variant(), number), ("good", ua.Variant(0, ua.VariantType.Int64), None)):
        node, browse_name = ua.NodeId(name, index), ua.QualifiedName(name, index)
        await server.nodes.objects.add_variable(node, browse_name, value, datatype=kind)
    async with server:
        yield server, index, endpoint


@asynccontextmanager
async def site_with_devices(folder: Path, *, odd_type: str = "float") -> AsyncIterator[tuple[Site, Devices]]:
    """An edge that reads all four devices; each has given the number 1 already."""
    async with AsyncExitStack() as stack:
        server, index, endpoint = await stack.enter_async_context(asyncua_server())
        shdr = await stack.enter_async_context(joined(ShdrPeer({}, (), pong_ms=None)))
        devices = Devices(server, index, shdr)
        modbus = await stack.enter_async_context(raw_device(lambda request: devices.answer(request)))
        text = CONNECTORS.format(opcua=endpoint, modbus=modbus, shdr=shdr.port, shdr_type=odd_type, mqtt_type=odd_type)
        site = await stack.enter_async_context(running_site(folder, text, extra="server: {mqtt_port: 0}"))
        settings = site.node.server.settings
        assert site.node.server.mqtt_credentials is not None
        assert settings.mqtt_port is not None
        devices.mqtt = await stack.enter_async_context(
            publisher(settings.mqtt_port, *site.node.server.mqtt_credentials)
        )
        async with asyncio.timeout(60):
            while not all(site.connector(name)["state"] == "connected" for name in NAMES) or not shdr.writers:
                await asyncio.sleep(0.02)
        await devices.say_good(site, 1)
        yield site, devices
