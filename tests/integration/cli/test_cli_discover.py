"""``discover`` against real devices on this machine: what is there is found, what is not is only counted."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from cases.bacnet_peer import cov_device, node_device
from cases.cpppo_peer import controller
from cases.loopback import served
from discover_kit import discover, nonsense
from modbus_kit import plant, process

import warm
from millstream.cli import main
from millstream.kernel import free_port


async def test_units_servers_and_what_is_neither(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    opcua = process(*warm.python("-m", "millstream.sim.opcua_plant", "--port", "0", "--tags", "1"))
    async with plant("--port", "0") as (_, modbus), opcua as (_, server), nonsense() as odd:
        closed = free_port()
        status, found, said = await discover(
            capfd, "127.0.0.1",
            "--look-for", f"modbus:{modbus['port']},{odd},{closed}/1-3",
            "--look-for", f"opcua:{server['port']},{odd},{closed}",
        )  # fmt: skip
        assert status == 0, said
        units = [d for d in found["devices"] if d["type"] == "modbus"]
        assert f"127.0.0.1:{modbus['port']}/1" in {d["where"] for d in units}
        assert units[0]["config"] == {"host": "127.0.0.1", "port": modbus["port"], "unit_id": 1}
        (ua,) = [d for d in found["devices"] if d["type"] == "opcua"]
        assert ua["name"] == "Millstream simulated plant"
        assert ua["config"] == {"endpoint": f"opc.tcp://127.0.0.1:{server['port']}", "security": {"policy": "none"}}
        assert {(o["type"], o["where"]) for o in found["odd"]} == {
            ("modbus", f"127.0.0.1:{odd}"), ("opcua", f"127.0.0.1:{odd}"),
        }  # fmt: skip
        assert found["silent"] == 2
        assert found["sent"]["OPC UA GetEndpoints"] == 1
        assert found["sent"]["connection"] == 6
        assert "hosts asked: 1" in said
        # What is found becomes a file that passes.
        words = ("127.0.0.1", "--look-for", f"modbus:{modbus['port']}/1", "--look-for", f"opcua:{server['port']}")
        capfd.readouterr()
        assert await asyncio.to_thread(main, ["discover", *words, "--timeout", "30", "--yaml"]) == 0
        file = tmp_path / "found.yaml"
        file.write_text(capfd.readouterr().out)
        assert await asyncio.to_thread(main, ["check", str(file)]) == 0, capfd.readouterr().out
        assert await asyncio.to_thread(main, ["probe", str(file)]) == 0, capfd.readouterr().out


@pytest.mark.needs("cpppo")
async def test_a_logix_controller_says_who_it_is(capfd: pytest.CaptureFixture[str]) -> None:
    async with controller("SPEED=REAL") as peer, nonsense() as odd:
        status, found, said = await discover(capfd, "127.0.0.1", "--look-for", f"ethernet_ip:{peer.port},{odd}")
        assert status == 0, said
        (device,) = found["devices"]
        assert device["name"] == "Mixer 4"
        assert device["config"] == {"host": "127.0.0.1", "port": peer.port}
        assert int(device["facts"]["vendor_id"]) > 0
        assert [o["where"] for o in found["odd"]] == [f"127.0.0.1:{odd}"]


@pytest.mark.parametrize("kind", ["cov", pytest.param("node", marks=pytest.mark.needs("node-bacnet"))])
async def test_a_bacnet_device_says_its_number_and_name(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    async with cov_device() if kind == "cov" else node_device() as peer:
        status, found, said = await discover(capfd, peer.address, "--look-for", f"bacnet:{peer.port}")
        assert status == 0, said
        (device,) = found["devices"]
        assert device["config"]["device_id"] == (999 if kind == "cov" else 1234)
        assert device["name"]
        assert found["sent"]["BACnet Who-Is"] == 1
        status, found, said = await discover(
            capfd, peer.address, "--look-for", f"bacnet:{peer.port + 1}", "--timeout", "0.5"
        )
        assert (status, found["silent"]) == (3, 1)


async def test_nothing_there_is_told_by_the_status(capfd: pytest.CaptureFixture[str]) -> None:
    status, found, _ = await discover(capfd, "127.0.0.1", "--look-for", f"opcua:{free_port()}")
    assert (status, found["devices"], found["silent"]) == (3, [], 1)


async def test_a_dry_run_sends_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    touched = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        touched.set()

    async with served(serve) as port:
        status, said, note = await discover(capfd, "127.0.0.1", "--look-for", f"modbus:{port}/1-3", "--dry-run")
    assert status == 0
    assert said == {"ask": [{"type": "modbus", "where": f"127.0.0.1:{port}", "units": [1, 2, 3]}]}
    assert "nothing was sent" in note
    assert not touched.is_set()


@pytest.mark.parametrize(
    "words", [[], ["127.0.0.1"], ["--look-for", "opcua:4840"], ["10.0.0.0/8", "--look-for", "opcua:4840"]]
)
def test_without_a_range_on_the_command_line_nothing_is_asked(
    words: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["discover", *words]) == 2
    assert "MS-2100" in capfd.readouterr().err
