"""``sim``: devices by name, and a fault layer under which a connector gives good values or says what is wrong."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from modbus_kit import opened, process, tag

from millstream.cli import main
from millstream.kernel import ProtocolViolation, Unreachable
from millstream.sim import DEVICES

MILLSTREAM = (sys.executable, "-m", "millstream", "sim")


@asynccontextmanager
async def sim(*words: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, Any]]:
    """A device or the fault layer, as a process."""
    async with process(*MILLSTREAM, *words) as running:
        yield running


def test_the_devices_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sim", "list", "--json"]) == 0
    names = [json.loads(line)["name"] for line in capsys.readouterr().out.splitlines()]
    assert {"opcua_plant", "modbus_plant", "mqtt_plant", "shdr_adapter", "light_barrier"} <= set(names)


def test_an_unknown_device_is_told_with_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sim", "run", "modbus_plnat"]) == 3
    assert "modbus_plant" in capsys.readouterr().err


def test_a_devices_own_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sim", "run", "modbus_plant", "--help"]) == 0
    assert "--freeze-after" in capsys.readouterr().out
    assert main(["sim", "run", "modbus_plant", "--port", "x"]) == 2


@pytest.mark.parametrize("name", [device.name for device in DEVICES])
def test_each_device_may_stand_still_and_have_a_wrong_clock(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sim", "run", name, "--help"]) == 0
    said = capsys.readouterr().out
    for option in ("--freeze-after", "--clock-offset", "--clock-drift"):
        assert option in said


@pytest.mark.parametrize(
    "words",
    [
        ["--to", "nowhere"],
        ["--to", "a:99999"],
        ["--to", "a:1", "--chance", "2"],
        ["--to", "a:1", "--reset-every", "0s"],
    ],
)
def test_a_fault_layer_without_a_place_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sim", "fault", *words]) == 2


async def test_thousands_of_tags_and_values_that_stand_still() -> None:
    device = sim("run", "modbus_plant", "--tags", "3000", "--freeze-after", "0s")
    async with device as (_, ready), opened(ready["port"], timeout="60s") as session:
        tags = [tag(f"holding:{1000 + i}") for i in range(3000)]
        first = [sample.value for sample in await session.read(tags)]
        assert len(set(first)) == 3000, "each tag has a value of its own"
        await asyncio.sleep(1.2)  # in which each would have counted
        assert [sample.value for sample in await session.read(tags)] == first
        assert [sample.value for sample in await session.read([tag("holding:0:uint32")])] == [0]


async def test_a_modbus_device_has_a_clock_that_gains() -> None:
    """A day and a half a second: nobody's clock but this one's."""
    drift = ("--clock-offset", "1h", "--clock-drift", "1.296e11")
    async with sim("run", "modbus_plant", *drift) as (_, ready), opened(ready["port"], timeout="60s") as session:
        first, second = 0, 0
        async with asyncio.timeout(60):
            while second - first < 86_400_000:
                second = int((await session.read([tag("holding:30:uint64")]))[0].value or 0)
                first = first or second
    assert first / 1e3 - time.time() > 3000


async def test_under_faults_a_value_is_right_or_there_is_an_error() -> None:
    """Half frames are no fault to a good client; the others end a session in words, and the next one works."""
    async with sim("run", "modbus_plant", "--tags", "200", "--freeze-after", "0s") as (_, device):
        words = ("--half-frames", "--wrong-length", "--drop", "--freeze", "--chance", "0.2", "--seed", "5", "--json")
        async with sim("fault", "--to", f"127.0.0.1:{device['port']}", *words) as (layer, front):
            tags = [tag(f"holding:{1000 + i}") for i in range(200)]
            async with opened(device["port"], timeout="60s") as session:
                truth = [sample.value for sample in await session.read(tags)]
            good, errors = 0, 0
            async with asyncio.timeout(240):
                while good < 10 or errors < 3:
                    try:
                        async with opened(front["port"], timeout="1s") as session:
                            for _ in range(10):
                                samples = await session.read(tags)
                                for sample, value in zip(samples, truth, strict=True):
                                    assert sample.quality.is_bad or sample.value == value
                                good += all(sample.quality.is_good for sample in samples)
                    except (Unreachable, ProtocolViolation):
                        errors += 1
            layer.send_signal(signal.SIGTERM)
            assert layer.stdout is not None
            told = json.loads(await layer.stdout.readline())
            assert await layer.wait() == 0
    assert sum(told["did"].values()) >= errors
    assert told["connections"] >= errors


async def test_connections_are_cut_again_and_again() -> None:
    async with sim("run", "modbus_plant") as (_, device):
        to = f"127.0.0.1:{device['port']}"
        async with sim("fault", "--to", to, "--reset-every", "300ms", "--slow", "5ms") as (_, front):
            async with asyncio.timeout(120):
                cuts = 0
                while cuts < 3:
                    try:
                        async with opened(front["port"]) as session:
                            while True:
                                assert (await session.read([tag("holding:10:float32")]))[0].quality.is_good
                                await asyncio.sleep(0.01)
                    except Unreachable:
                        cuts += 1


@pytest.mark.parametrize("offset", ["1h", "-1h"])
async def test_a_devices_clock_may_be_wrong(offset: str) -> None:
    async with sim("run", "shdr_adapter", f"--clock-offset={offset}", "--clock-drift", "1000") as (_, ready):
        reader, writer = await asyncio.open_connection("127.0.0.1", ready["port"])
        async with asyncio.timeout(60):
            stamp = (await reader.readline()).decode().partition("|")[0]
        writer.close()
        await writer.wait_closed()
    ahead_s = (datetime.fromisoformat(stamp) - datetime.now(UTC)).total_seconds()
    assert abs(ahead_s - (3600 if offset == "1h" else -3600)) < 120
