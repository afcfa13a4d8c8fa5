"""An alarm on its way from a server through an edge and a hub into the history, and the acknowledgement back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from cases.node_opcua_peer import counter_server
from write_site import VALID_S, history_of, listed, site

from millstream.client import NotWritten, Plant, connect
from millstream.kernel import NotFoundError

ALARMS, PRESSURE, MEASURE = (f"acme/plant1/boiler:{name}" for name in ("alarms", "pressure", "measure"))
pytestmark = pytest.mark.needs("node-opcua")


def boiler(endpoint: str) -> dict[str, Any]:
    write = {"interval": "50ms"}
    return {
        "name": "boiler", "type": "opcua", "path": "boiler", "sampling_interval": "100ms",
        "config": {"endpoint": endpoint, "security": {"policy": "none"}, "request_timeout": "60s"},
        "tags": [
            {"name": "alarms", "address": "i=2253", "options": {"mode": "events", "event_type": "i=2782"},
             "write": write},
            {"name": "pressure", "address": "nsu=urn:counter;s=pressure", "write": {**write, "maximum": 50}},
            {"name": "measure", "address": "nsu=urn:counter;path=/Objects/boiler/measure",
             "options": {"mode": "method"}, "write": write},
        ],
    }  # fmt: skip


async def alarm_of(plant: Plant, field: str, value: object) -> Any:
    """The newest alarm in the hub's history whose `field` is this."""
    async with asyncio.timeout(60):
        while True:
            with suppress(NotFoundError):  # none has come yet
                found = [e async for e in plant.events("acme/plant1/**", kind="alarm", start="-1h")]
                matching = [event for event in found if event.data.get(field) == value]
                if matching:
                    return matching[-1]
            await asyncio.sleep(0.1)


@asynccontextmanager
async def hub_of(folder: Path) -> AsyncIterator[Plant]:
    """The hub of a running site with the server behind its edge."""
    async with (
        counter_server(folder) as endpoint,
        site(folder, [boiler(endpoint)]),
        connect(node=folder / "hub") as plant,
    ):
        await listed(plant)
        yield plant


async def test_an_alarm_reaches_the_history_and_its_acknowledgement_the_server(tmp_path: Path) -> None:
    async with hub_of(tmp_path) as plant:
        assert (await plant.write(PRESSURE, 15, valid=VALID_S)).read_back == 15
        raised = await alarm_of(plant, "AckedState/Id", False)
        assert (raised.type, raised.data["LimitState/CurrentState"]) == ("opcua.ExclusiveLimitAlarmType", "High")

        value = {"acknowledge": raised.id, "comment": "valve was shut"}
        answer = await plant.write(ALARMS, value, who="ada", valid=VALID_S)
        assert (answer.state, answer.answer) == ("done", {})
        acknowledged = await alarm_of(plant, "AckedState/Id", True)
        assert acknowledged.data["Comment"] == "valve was shut"
        assert acknowledged.data["ConditionId"] == raised.data["ConditionId"]
        with pytest.raises(NotWritten) as caught:
            await plant.write(ALARMS, {"acknowledge": "00" * 16}, who="eve", valid=VALID_S)
        assert (caught.value.code, caught.value.answer.state) == ("MS-2005", "failed")

        measured = await plant.write(MEASURE, 3, who="ada", valid=VALID_S)
        assert measured.answer == {"mean": 0.5, "samples": [3, -1], "begun": "2026-01-02T03:04:05.678Z"}

        told = await history_of(plant, 8)
        assert [(kind, data["who"]) for kind, data in told if kind != "requested" and data["tag"] != PRESSURE] == [
            ("done", "ada"), ("failed", "eve"), ("done", "ada"),
        ]  # fmt: skip
        assert told[3][1]["value"] == value
        assert told[-1][1]["answer"]["samples"] == [3, -1]
        assert (await plant.dead_letters())[0] == []
        async with connect(node=tmp_path / "edge") as edge:
            assert (await edge.dead_letters())[0] == []
