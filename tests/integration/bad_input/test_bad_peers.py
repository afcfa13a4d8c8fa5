"""Devices that send garbage: the frame is kept, told once, counted; the link is opened again; the others go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from bad_devices import site_with_devices
from bad_site import eventually, running_site, until
from cases.loopback import served

GARBAGE = b"SSH-2.0-OpenSSH_9.2\r\n" + bytes(range(128, 256))
CONNECTOR = {
    "opcua": '{{endpoint: "opc.tcp://127.0.0.1:{port}", security: {{policy: none}}}}',
    "modbus": "{{host: 127.0.0.1, port: {port}}}",
    "mtconnect": '{{mode: agent, url: "http://127.0.0.1:{port}"}}',
    "mqtt": "{{source: broker, host: 127.0.0.1, port: {port}, client_id: e1}}",
}
SAID = {  # enough of it to be told from an answer that is not whole yet
    "opcua": GARBAGE,
    "modbus": GARBAGE,
    "mtconnect": GARBAGE + b"\r\n\r\n",
    "mqtt": bytes([0, 64]) + GARBAGE[:64],
}
ADDRESS = {"opcua": "nsu=urn:test;s=a", "modbus": "holding:0", "mtconnect": "Xabs", "mqtt": "a"}


@asynccontextmanager
async def garbage_server(garbage: bytes) -> AsyncIterator[int]:
    """Answers every first request with garbage, at every connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(garbage)
        await reader.read()

    async with served(serve) as port:
        yield port


@pytest.mark.parametrize("kind", sorted(CONNECTOR))
async def test_a_device_that_sends_only_garbage_is_told_once_and_its_frame_is_kept(tmp_path: Path, kind: str) -> None:
    async with garbage_server(SAID[kind]) as port:
        text = (
            f"  - name: broken\n    type: {kind}\n    path: broken\n    config: {CONNECTOR[kind].format(port=port)}\n"
            f'    tags: [{{name: a, address: "{ADDRESS[kind]}"}}]\n'
        )
        async with running_site(tmp_path, text) as site:
            seen: dict[str, Any] = {}

            def is_failing() -> bool:
                seen.update(site.connector("broken"))
                return seen["frames_quarantined"] >= 2 and seen["state"] in ("waiting", "opening", "degraded")

            await until(is_failing, "tried again")
            assert "[MS-" in seen["error"]
            (line,) = site.complaints("broken")
            assert "link down" in line
            letters = [letter for letter in await site.letters() if letter.source == "broken"]
            assert len(letters) >= 2
            assert letters[0].payload.startswith(SAID[kind][:8])
            found = await site.samples()
            assert [(s.value, s.quality) for s in found["broken:a"]] == [(None, "BadNoCommunication")]


async def test_garbage_between_good_values_costs_nothing_but_itself(tmp_path: Path) -> None:
    async with site_with_devices(tmp_path) as (site, devices):
        devices.shdr.send(GARBAGE + b"\n")
        await devices.publish("odd", GARBAGE)
        answer = devices.answer

        async def garbage_once(request: bytes) -> bytes:
            devices.answer = answer  # type: ignore[method-assign]
            return GARBAGE

        devices.answer = garbage_once  # type: ignore[method-assign]
        await until(lambda: site.connector("modbus")["opens"] == 2, "the Modbus link is opened again")
        await eventually(site, lambda found: len(found["modbus:good"]) == 4, "its value is read again")
        await devices.say_good(site, 2)
        found = await site.samples()
        for name in ("shdr", "mqtt"):
            assert [s.value for s in found[f"{name}:good"]] == [1, 2]
            assert site.connector(name)["opens"] == 1
        values = [(s.value, s.quality) for s in found["modbus:good"]]
        assert values == [(0, "Good"), (1, "Good"), (None, "BadNoCommunication"), (1, "Good"), (2, "Good")]
        assert len(site.complaints("modbus")) == 1
        assert {name: site.connector(name)["frames_quarantined"] for name in ("shdr", "mqtt", "modbus")} == {
            "shdr": 2, "mqtt": 1, "modbus": 1,
        }  # fmt: skip
        kept = {letter.source for letter in await site.letters()}
        assert kept == {"shdr", "mqtt", "modbus"}
        assert site.alarms() == []
