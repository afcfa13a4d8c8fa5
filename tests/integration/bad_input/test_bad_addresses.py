"""A tag whose address the device does not have: one sample of bad quality that says so, and its neighbours go on."""

from __future__ import annotations

import struct
from importlib.resources import files
from pathlib import Path

from bad_devices import asyncua_server
from bad_site import eventually, running_site
from cases.loopback import joined
from cases.shdr_peer import ShdrPeer
from modbus_kit import framed, raw_device

ILLEGAL_ADDRESS = 2
CONNECTORS = """
  - name: opcua
    type: opcua
    path: opcua
    config: {{endpoint: "{opcua}", security: {{policy: none}}, bad_tag_retry: 1h}}
    tags:
      - {{name: good, address: "nsu=urn:test;s=good"}}
      - {{name: no_node, address: "nsu=urn:test;s=nowhere"}}
      - {{name: no_namespace, address: "nsu=urn:of:nobody;s=good"}}
  - name: modbus
    type: modbus
    path: modbus
    sampling_interval: 50ms
    config: {{host: 127.0.0.1, port: {modbus}}}
    tags:
      - {{name: good, address: "holding:0"}}
      - {{name: no_register, address: "holding:5", deadband: {{absolute: 0.1}}}}
  - name: shdr
    type: mtconnect
    path: shdr
    config: {{mode: shdr, host: 127.0.0.1, port: {shdr}, devices_file: "{model}"}}
    tags: [{{name: good, address: Xabs}}, {{name: no_item, address: Xabss}}]
  - name: replay
    type: replay
    path: replay
    config: {{file: day.csv, format: csv}}
    tags: [{{name: good, address: a}}, {{name: no_column, address: b}}]
"""
UNKNOWN = {
    "opcua:no_node": "BadNodeIdUnknown",
    "opcua:no_namespace": "BadNodeIdUnknown",
    "modbus:no_register": "BadNodeIdUnknown",
    "shdr:no_item": "BadNodeIdUnknown",
    "replay:no_column": "BadNodeIdUnknown",
}
GOOD = [f"{name}:good" for name in ("opcua", "modbus", "shdr", "replay")]


async def small_device(request: bytes) -> bytes:
    """A device with the holding registers 0 to 4."""
    start, count = struct.unpack(">HH", request[8:12])
    if start + count > 5:
        return framed(request, bytes([0x83, ILLEGAL_ADDRESS]))
    return framed(request, bytes([3, 2 * count]) + bytes(2 * count))


async def test_an_unknown_address_is_one_bad_sample_and_its_neighbours_go_on(tmp_path: Path) -> None:
    (tmp_path / "day.csv").write_text("time,a\n2026-01-01T00:00:00Z,1.5\n2026-01-01T00:00:00.1Z,2.5\n")
    async with (
        asyncua_server() as (_, _, opcua),
        raw_device(small_device) as modbus,
        joined(ShdrPeer({}, (), pong_ms=None, greeting=b"|Xabs|1.5\n")) as shdr,
    ):
        model = files("millstream.sim") / "data" / "mazak01-devices.xml"
        text = CONNECTORS.format(opcua=opcua, modbus=modbus, shdr=shdr.port, model=model)
        async with running_site(tmp_path, text) as site:
            found = await eventually(
                site, lambda f: all(tag in f for tag in (*UNKNOWN, *GOOD)) and len(f["modbus:good"]) > 5, "every tag"
            )
            assert {tag: [(s.value, s.quality) for s in found[tag]] for tag in UNKNOWN} == {
                tag: [(None, quality)] for tag, quality in UNKNOWN.items()
            }
            for tag in GOOD:
                assert {s.quality for s in found[tag]} == {"Good"}
            for name, count in (("opcua", 2), ("shdr", 1), ("replay", 1)):
                assert site.connector(name)["samples_bad"] == count
                assert site.connector(name)["opens"] == 1
                assert not any("link down" in line for line in site.complaints(name))
            assert len(site.complaints("opcua")) == 2  # once for each tag that the server does not know
            assert site.connector("modbus")["samples_bad"] >= 5  # each poll asks again; the deadband holds it back
            assert site.alarms() == []
