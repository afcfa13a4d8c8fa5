"""A null on its way to a building controller: the priority that was taken is given back."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from cases.bacnet_peer import OWN, node_device
from write_site import VALID_S, history_of, listed, site

from millstream.cli import main
from millstream.client import NotWritten, connect

OPERATOR, PROGRAM = "acme/plant1/ahu:operator", "acme/plant1/ahu:program"
pytestmark = pytest.mark.needs("node-bacnet")


def ahu(host: str, port: int) -> dict[str, Any]:
    """One setpoint under two priorities: of the program, and of the operator who stands above it."""
    write = {"minimum": 5, "maximum": 35, "interval": "50ms"}
    return {
        "name": "ahu", "type": "bacnet", "path": "ahu", "sampling_interval": "200ms",
        "config": {"host": host, "port": port, "bind": OWN, "cov": False},
        "tags": [
            {"name": "program", "address": "av:7", "options": {"priority": 15}, "write": write},
            {"name": "operator", "address": "av:7", "options": {"priority": 8}, "write": {**write, "allow_null": True}},
        ],
    }  # fmt: skip


async def test_an_operator_overrides_a_setpoint_and_a_null_gives_it_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with (
        node_device() as device,
        site(tmp_path, [ahu(device.address, device.port)]),
        connect(node=tmp_path / "hub") as plant,
    ):
        await listed(plant)
        assert (await plant.write(PROGRAM, 21, valid=VALID_S)).read_back == 21
        assert (await plant.write(OPERATOR, 30, valid=VALID_S)).read_back == 30
        with pytest.raises(NotWritten) as caught:
            await plant.write(
                PROGRAM, 19, valid=VALID_S
            )  # taken, and covered by the operator's: the answer says what shows
        assert (caught.value.code, caught.value.answer.read_back) == ("MS-2006", 30)
        with pytest.raises(NotWritten) as caught:
            await plant.write(PROGRAM, None, valid=VALID_S)
        assert (caught.value.code, caught.value.answer.state) == ("MS-2010", "refused")
        words = [
            "write",
            OPERATOR,
            "--null",
            "--yes",
            "--valid",
            "50s",
            "--who",
            "ada",
            "--node",
            str(tmp_path / "edge"),
        ]
        assert await asyncio.to_thread(main, words) == 0
        assert "the machine shows 19" in capsys.readouterr().err
        assert await asyncio.to_thread(main, [*words[:3], "5", *words[3:]]) == 2  # a value and --null
        async with asyncio.timeout(60):
            while (await plant.get(OPERATOR)).value != 19:
                await asyncio.sleep(0.1)
        told = await history_of(plant, 9)
        kinds = [kind for kind, _ in told]
        assert kinds == [
            "requested",
            "done",
            "requested",
            "done",
            "requested",
            "failed",
            "refused",
            "requested",
            "done",
        ]
        done = told[-1][1]
        assert (done["tag"], done["value"], done["who"], done["read_back"]) == (OPERATOR, None, "ada", 19)
