"""A value on its way from a hub to a machine: asked for at the hub, carried out at the edge, kept in the history."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from write_site import Site, history_of, listed, site

from millstream.cli import main
from millstream.client import NotWritten, connect
from millstream.kernel import NotFoundError
from millstream.rig import Child

SETPOINT, PUMP, STATUS = "acme/plant1/boiler:setpoint", "acme/plant1/boiler:pump", "acme/plant1/boiler:status"


@dataclass
class Boiler:
    """A site and its simulated boiler."""

    plant: Site
    device: Child


def boiler_document(device_port: int) -> Mapping[str, Any]:
    tags = [
        {"name": "setpoint", "address": "holding:100:float32", "unit": "degC",
         "write": {"minimum": 0, "maximum": 80, "interval": "50ms"}},
        {"name": "pump", "address": "coil:0", "write": {"interval": "50ms"}},
        {"name": "status", "address": "holding:17:uint16"},
    ]  # fmt: skip
    return {
        "name": "boiler", "type": "modbus", "path": "boiler", "sampling_interval": "200ms",
        "config": {"host": "127.0.0.1", "port": device_port}, "tags": tags,
    }  # fmt: skip


@asynccontextmanager
async def boiler_site(folder: Path) -> AsyncIterator[Boiler]:
    device = await Child.start("device", ["millstream.sim.modbus_plant", "--port", "0"], folder)
    try:
        await device.wait_ready()
        async with site(folder, [boiler_document(int(device.ready["port"]))]) as made:
            yield Boiler(made, device)
    finally:
        await device.stop()


async def test_a_value_is_written_from_the_hub_and_the_history_tells_who_did_it(tmp_path: Path) -> None:
    async with boiler_site(tmp_path), connect(node=tmp_path / "hub") as plant:
        await listed(plant)
        assert [(t.tag, t.minimum, t.maximum, t.unit) for t in (await plant.writable())["e1"]] == [
            (PUMP, None, None, None), (SETPOINT, 0, 80, "degC"),
        ]  # fmt: skip
        answer = await plant.write(SETPOINT, 21.3, who="ada", id="one")
        assert (answer.state, round(answer.read_back, 4)) == ("done", 21.3)
        assert (await plant.write(SETPOINT, 21.3, who="ada", id="one")) == answer
        assert (await plant.write(PUMP, True, who="ada")).read_back is True
        with pytest.raises(NotWritten) as caught:
            await plant.write(SETPOINT, 81, who="eve")
        assert (caught.value.code, caught.value.answer.state) == ("MS-2002", "refused")
        with pytest.raises(NotFoundError, match="MS-2001"):
            await plant.write(STATUS, 1)
        async with asyncio.timeout(60):
            while round((await plant.get(SETPOINT)).value, 4) != 21.3:  # type: ignore[arg-type]
                await asyncio.sleep(0.1)
        told = await history_of(plant, 5)
        assert [kind for kind, _ in told] == ["requested", "done", "requested", "done", "refused"]
        assert [(data["who"], data["value"]) for _, data in told[-1:]] == [("eve", 81)]


async def test_a_killed_edge_does_not_write_a_repeated_request_again(tmp_path: Path) -> None:
    async with boiler_site(tmp_path) as made, connect(node=tmp_path / "hub") as plant:
        await listed(plant)
        assert (await plant.write(SETPOINT, 10, id="ten")).state == "done"
        assert (await plant.write(SETPOINT, 20, id="twenty")).state == "done"
        await made.plant.edge.kill()
        await made.plant.start_edge()
        await listed(plant)
        assert (await plant.write(SETPOINT, 10, id="ten")).state == "done"  # as it was, not as it is
        async with asyncio.timeout(60):
            while (await plant.get(SETPOINT)).value != 20:
                await asyncio.sleep(0.1)


async def test_a_device_that_stands_still_leaves_an_honest_answer(tmp_path: Path) -> None:
    async with boiler_site(tmp_path) as made, connect(node=tmp_path / "hub") as plant:
        await listed(plant)
        made.device.signal(signal.SIGSTOP)
        try:
            with pytest.raises(NotWritten) as caught:
                await plant.write(SETPOINT, 33, valid=20)
            assert caught.value.answer.state in ("unknown", "refused")  # refused when the edge had noticed already
        finally:
            made.device.signal(signal.SIGCONT)


async def test_the_command_asks_first_and_tells_what_became_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def say(*words: str) -> tuple[int, str, str]:
        status = await asyncio.to_thread(main, [*words, "--node", str(tmp_path / "edge")])
        said = capsys.readouterr()
        return status, said.out, said.err

    async with boiler_site(tmp_path), connect(node=tmp_path / "edge") as plant:
        await listed(plant)
        status, out, _ = await say("write", "--list")
        assert status == 0
        assert SETPOINT in out
        status, _, err = await say("write", SETPOINT, "40")
        assert status == 2
        assert "--yes" in err
        status, out, _ = await say("write", SETPOINT, "40", "--yes", "--json", "--who", "ada")
        assert (status, json.loads(out)["state"]) == (0, "done")
        status, _, err = await say("write", SETPOINT, "1000", "--yes", "--json")
        assert status != 0
        assert json.loads(err)["error"]["code"] == "MS-2002"
