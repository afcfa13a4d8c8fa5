"""The simulated controller against our connector with both its libraries, the libraries by themselves, and cpppo."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cases.loopback import served
from cip_kit import opened, tag, values
from pycomm3 import LogixDriver
from pylogix import PLC

import peers  # lives in tools/, which is no package
from millstream.kernel import Unreachable
from millstream.protocols.logix_device import LogixDevice
from millstream.sdk import Write
from millstream.sim._whims import DeviceClock, Freeze
from millstream.sim.logix_controller import ADDRESSES, ControllerServer, Filler

DEADLINE_S = 60.0
AHEAD_S = 7200.0


@asynccontextmanager
async def controller(many: int = 0, slot: int = 2) -> AsyncIterator[int]:
    """In this process. Its values stand still, its clock is ahead. Gives its port."""
    filler = Filler(DeviceClock(AHEAD_S), Freeze(0.0), many)
    device = LogixDevice(filler.tags, lambda: int((time.time() + AHEAD_S) * 1e6), program_name="Filler", slot=slot)
    async with served(ControllerServer(device).serve) as port:
        yield port


@pytest.mark.parametrize("driver", ["pylogix", "pycomm3"])
async def test_our_connector_reads_writes_and_lists_it(driver: str) -> None:
    async with controller(1500) as port:
        with pytest.raises(Unreachable, match="wrong slot"):
            async with opened(port, driver=driver):
                pass
        async with opened(port, driver=driver, slot=2, timeout="60s") as session:
            found = dict(zip(ADDRESSES, await values(session, *ADDRESSES.values()), strict=True))
            assert all(label == "Good" for _, label in found.values()), found
            assert found["product"] == ("cider 0.5 l", "Good")
            assert (found["alarm"][0], found["running"][0], found["target"][0]) == (True, True, 500.0)
            assert len(found["temperatures"][0]) == 8
            assert found["clock"][0] / 1e6 == pytest.approx(time.time() + AHEAD_S, abs=3600)
            many = await values(session, *(f"T{number}" for number in range(1500)))
            assert [value - many[0][0] for value, _ in many] == list(range(1500))
            assert await values(session, "Layers[1,2]", "Layers[3,0]", "Nope", "Recipe.Steps[1].Done") == [
                (6, "Good"), (None, "BadOutOfRange"), (None, "BadNodeIdUnknown"), (False, "Good"),
            ]  # fmt: skip
            wanted = {"Speed_Setpoint": 99.5, "Product": "beer", "Layers[0,1]": 5, "Clock": 1, "Running": False}
            results = await session.write([Write(tag(address), value) for address, value in wanted.items()])
            assert [result.quality.label for result in results] == ["Good"] * 3 + ["BadNotWritable", "Good"]
            assert await values(session, "Speed_Setpoint", "Product", "Layers[0,1]", "Running") == [
                (99.5, "Good"), ("beer", "Good"), (5, "Good"), (False, "Good"),
            ]  # fmt: skip
            nodes = {node.address: node.data_type async for node in session.browse()}
            assert (nodes["Level"], nodes["Temperatures[0]{8}"], nodes["T1499"]) == ("REAL", "REAL", "DINT")
            assert nodes["Program:Main.Step"] == "DINT"


async def test_pycomm3_alone_uploads_its_structures_and_takes_whole_ones_back() -> None:
    def talk(port: int) -> None:
        with LogixDriver(f"127.0.0.1:{port}/1/2") as plc:
            assert plc.info["name"] == "Filler"
            assert plc.info["keyswitch"] == "REMOTE RUN"
            assert set(plc.info["programs"]) == {"Main"}
            recipe = plc.read("Recipe").value
            assert (recipe["Name"], recipe["Sugar"], recipe["Foams"]) == ("cider", True, False)
            assert [step["Time_ms"] for step in recipe["Steps"]] == [400, 800, 1200]
            recipe["Name"], recipe["Foams"], recipe["Steps"][2]["Done"] = "perry", True, True
            assert plc.write(("Recipe", recipe))
            assert plc.read("Recipe").value == recipe
            assert plc.write(("Alarms[3]", True), ("Layers[2,0]{4}", [9, 9, 9, 9]))
            assert plc.read("Alarms[0]{8}").value == [False] * 3 + [True] + [False] * 4
            assert plc.read("Layers[0,0]{12}").value == [*range(8), 9, 9, 9, 9]
            assert plc.get_plc_time().value["microseconds"] / 1e6 == pytest.approx(time.time() + AHEAD_S, abs=3600)
            assert "2105" in plc.read("Layers[5,0]").error

    async with controller() as port:
        await asyncio.to_thread(talk, port)


async def test_pylogix_alone_lists_its_types_and_asks_who_it_is() -> None:
    def talk(port: int) -> None:
        with PLC("127.0.0.1", port=port, slot=2) as plc:
            plc.conn.msg_socket.close()  # which it never does itself
            listed = {each.TagName: each.DataType for each in plc.GetTagList().Value}
            assert (listed["Recipe"], listed["Program:Main.Step"]) == ("Recipe", "DINT")
            fields = {field.TagName: field.DataType for field in plc.UDTByName["Recipe"].Fields}
            assert (fields["Steps"], fields["Name"], fields["Sugar"]) == ("FillStep", "STRING", "BOOL")
            assert plc.Write("Bottles.31", False).Status == "Success"
            assert plc.Write("Alarms[33]", True).Status == "Success"
            assert plc.Read("Alarms[32]", 3).Value == [False, True, False]
            device = plc.GetDeviceProperties().Value
            assert (device.DeviceID, device.Revision) == (14, "32.11")
            assert abs((plc.GetPLCTime(raw=True).Value / 1e6) - time.time() - AHEAD_S) < 3600

    async with controller() as port:
        await asyncio.to_thread(talk, port)


CPPPO = """
import json, sys
from cpppo.server.enip import client
tags = ["Level", "Temperatures[0-7]", "Speed_Setpoint=(REAL)5.5", "Speed_Setpoint", "Nope", "Program:Main.Step"]
found = {}
with client.connector(host="127.0.0.1", port=int(sys.argv[1]), timeout=60) as link:
    for multiple in (0, 400):
        asked = tags if not multiple else [tag for tag in tags if tag != "Nope"]
        run = link.pipeline(operations=client.parse_operations(asked), depth=2, multiple=multiple, timeout=60)
        found[multiple] = [[tag, status, value] for _, tag, _, _, status, value in
                           ((i, d, r, q, s, v) for i, d, q, r, s, v in run)]
print(json.dumps(found))
"""


@pytest.mark.needs("cpppo")
async def test_cpppo_reads_and_writes_it_alone_and_many_in_one_message(tmp_path: Path) -> None:
    script = tmp_path / "client.py"
    script.write_text(CPPPO)
    async with controller(slot=0) as port:  # cpppo's own route
        process = await asyncio.create_subprocess_exec(
            str(peers.venv_python("cpppo")), str(script), str(port), stdout=asyncio.subprocess.PIPE, cwd=tmp_path
        )
        async with asyncio.timeout(DEADLINE_S):
            output, _ = await process.communicate()
    found = json.loads(output)
    for results in found.values():
        values_of = [value for _, status, value in results if not status]
        assert len(values_of[1]) == 8
        assert values_of[2:4] == [True, [5.5]]
    assert [status for _, status, _ in found["0"]] == [0, 0, 0, 0, 5, 0]
