"""Each simulated device is read by the connector that it is for: values that move or stand still, a wrong clock."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import s7_kit
from modbus_kit import process
from sparkplug_kit import connector, hosting, nats_listener

from millstream.cli import main
from millstream.connectors.bacnet import BacnetConfig, BacnetConnector
from millstream.connectors.ethernet_ip import EtherNetIpConfig, EtherNetIpConnector
from millstream.connectors.files import FilesConfig, FilesConnector
from millstream.connectors.http import HttpConfig, HttpConnector
from millstream.connectors.sql import SqlConfig, SqlConnector
from millstream.connectors.text import TextConfig, TextConnector
from millstream.model import Sample
from millstream.sdk import ConnectorTools, Tag, Write
from millstream.sim import s7_plc

DEADLINE_S = 60.0


@asynccontextmanager
async def device(name: str, *options: str) -> AsyncIterator[Any]:
    """One of `millstream sim`, and what its first line says; it ends by SIGTERM, with status 0."""
    async with process(sys.executable, "-m", "millstream", "sim", "run", name, *options) as (child, ready):
        yield ready
        child.send_signal(signal.SIGTERM)
        async with asyncio.timeout(DEADLINE_S):
            assert await child.wait() == 0


async def changed(read: Callable[[], Awaitable[Any]]) -> None:
    """Read until it is another than at first."""
    first, end = await read(), time.monotonic() + DEADLINE_S
    while await read() == first:
        assert time.monotonic() < end
        await asyncio.sleep(0.1)


async def streamed(session: Any, tags: list[Tag], is_enough: Callable[[list[Sample]], bool]) -> list[Sample]:
    """What a session tells, until it is enough."""
    found: list[Sample] = []
    async with asyncio.timeout(DEADLINE_S), aclosing(session.stream(tags, None)) as batches:
        async for batch in batches:
            found += batch.samples
            if is_enough(found):
                return found
    raise AssertionError


@pytest.mark.parametrize("name", ["s7_plc", "bacnet_controller", "sparkplug_press", "logix_controller", "http_meter"])
def test_more_tags_than_a_device_has_room_for_are_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for count in ("1000000", "-1", "many"):
        assert main(["sim", "run", name, "--port", "1", f"--tags={count}"]) == 2
        assert "expected 0 to" in capsys.readouterr().err


async def test_a_plc_with_a_press() -> None:
    async with device("s7_plc", "--tags", "2000") as ready, s7_kit.opened(ready["port"]) as session:
        assert ready["addresses"] == s7_plc.ADDRESSES
        names = [s7_kit.tag(address) for address in ready["addresses"].values()]
        values = dict(zip(ready["addresses"], [one.value for one in await session.read(names)], strict=True))
        assert (values["running"], values["order"], values["setpoint"]) == (True, "order 17", 250.0)
        assert 140 <= values["force"] <= 220
        many = await session.read([s7_kit.tag(f"DB2.DBW{2 * number}:INT") for number in range(2000)])
        assert len({sample.value for sample in many}) == 2000
        (result,) = await session.write([Write(s7_kit.tag(s7_plc.ADDRESSES["setpoint"]), 260.0)])
        assert result.quality.is_good
        await changed(lambda: s7_kit.values(session, s7_plc.ADDRESSES["strokes"]))
        assert (await s7_kit.values(session, s7_plc.ADDRESSES["setpoint"]))[0][0] == 260.0


async def test_a_plc_whose_values_stand_still_while_its_clock_goes_on() -> None:
    async with device("s7_plc", "--freeze-after", "0s") as ready, s7_kit.opened(ready["port"]) as session:
        first = await s7_kit.values(session, s7_plc.ADDRESSES["strokes"], s7_plc.ADDRESSES["force"])
        began = time.time()
        while time.time() < began + 2:  # in which strokes would have counted
            await changed(lambda: s7_kit.values(session, s7_plc.ADDRESSES["clock"]))
        assert await s7_kit.values(session, s7_plc.ADDRESSES["strokes"], s7_plc.ADDRESSES["force"]) == first


async def test_a_controller_with_a_filler_whose_clock_is_ahead() -> None:
    async with device("logix_controller", "--tags", "20", "--slot", "1", "--clock-offset", "2h") as ready:
        config = {"host": "127.0.0.1", "port": ready["port"], "slot": 1, "timeout": "60s"}
        made = EtherNetIpConnector(EtherNetIpConfig.model_validate(config), ConnectorTools())
        async with made.open() as session:
            tags = [Tag(name, address) for name, address in ready["addresses"].items()]
            values = {sample.tag: sample.value for sample in await session.read(tags)}
            assert (values["running"], values["product"], values["alarm"]) == (True, "cider 0.5 l", True)
            assert 5400 < values["clock"] / 1e6 - time.time() < 9000  # type: ignore[operator]
            await changed(lambda: values_of(session, Tag("t19", "T19"), Tag("bottles", "Bottles")))
            first, second = await values_of(session, Tag("t3", "T3"), Tag("t19", "T19"))
            assert second - first == 16


async def values_of(session: Any, *tags: Tag) -> list[Any]:
    """Values only."""
    return [sample.value for sample in await session.read(list(tags))]


async def test_a_controller_of_an_air_handling_unit() -> None:
    async with device("bacnet_controller", "--tags", "50", "--clock-offset", "2h") as ready:
        config = {"host": "127.0.0.1", "port": ready["port"], "bind": "127.0.0.1/8:0", "timeout": "20s", "cov": False}
        made = BacnetConnector(BacnetConfig.model_validate(config), ConnectorTools())
        async with made.open() as session:
            tags = [Tag(name, address) for name, address in ready["addresses"].items()]
            values = {sample.tag: sample.value for sample in await session.read(tags)}
            assert 16 <= values["supply"] <= 20
            assert values["setpoint"] == 21.0
            ahead_s = datetime.fromisoformat(str(values["clock"])).timestamp() - time.time()
            assert 5400 < ahead_s < 9000
            many = [Tag(f"v{number}", f"analog-value:{100 + number}") for number in range(50)]
            assert len({sample.value for sample in await session.read(many)}) == 50
            await changed(lambda: session.read(many[:1]))


async def test_a_press_as_an_edge_node_is_born_tells_data_and_takes_a_set_point(tmp_path: Path) -> None:
    async with nats_listener(tmp_path) as port, hosting(connector(port)) as host:
        async with device("sparkplug_press", "--port", str(port), "--node", "sim", "--tags", "20") as ready:
            assert ready == {"group": "Plant1", "node": "sim", "device": "axis"}
            place = next(name for name in await tags_of(host, 4) if name.endswith("setpoint")).removesuffix("setpoint")
            await host.sees(**{f"{place}running": True, f"{place}setpoint": 250.0})
            strokes = host.last(f"{place}strokes")
            await until(lambda: host.last(f"{place}strokes") > strokes)
            assert host.last(f"{place}value7") is not None
            (result,) = await host.session.write([Write(Tag("setpoint", "Plant1/sim/axis#setpoint"), 300.0)])
            assert result.quality.is_good, result
            await host.sees(**{f"{place}setpoint": 300.0})
        await until(lambda: isinstance(host.last(f"{place}running"), str))  # it has died: a quality, no value


async def tags_of(host: Any, count: int) -> set[str]:
    """Names that have come, when there are so many."""
    await until(lambda: len({sample.tag for sample in host.samples}) >= count)
    return {sample.tag for sample in host.samples}


async def until(is_so: Callable[[], bool]) -> None:
    """Poll until it is so."""
    end = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < end
        await asyncio.sleep(0.05)


async def test_a_scale_speaks_by_itself_or_when_it_is_asked() -> None:
    pattern = r"^(?P<stable>S|U)[TS],(?P<mode>GS|NT),(?P<weight>[+-] *[0-9.]+) *(?P<unit>kg|g)$"
    base = {"transport": "tcp", "host": "127.0.0.1", "start": "\x02", "ends": ["\x03"], "patterns": [pattern],
            "parse": "pattern", "connect_timeout": "20s", "silence_max": "60s"}  # fmt: skip
    tags = [Tag("weight", "weight:float"), Tag("mode", "mode")]
    for options, more in (("--interval", "50ms"), {}), (("--asked",), {"poll": "SI\r\n", "poll_interval": "100ms"}):
        async with device("text_scale", *options) as ready:
            config = TextConfig.model_validate({**base, "port": ready["port"], **more})
            async with TextConnector(config, ConnectorTools()).open() as session:
                found = await streamed(session, tags, lambda found: len(found) >= 6)
        weights = [float(sample.value) for sample in found if sample.tag == "weight"]  # type: ignore[arg-type]
        assert all(11.5 <= weight <= 12.5 for weight in weights)
        assert {sample.value for sample in found if sample.tag == "mode"} == {"GS"}


async def test_a_test_bench_writes_rows_that_count_on_over_restarts(tmp_path: Path) -> None:
    file = tmp_path / "bench.sqlite"
    config = {"file": str(file), "table": "results", "key": ["id"], "time_columns": ["at"], "poll_interval": "100ms"}
    tags = [Tag("part", "part"), Tag("force", "force"), Tag("result", "result")]
    last_id = 0
    for count in (5, 10):
        async with device("sql_results", "--file", str(file), "--rate", "50") as ready:
            assert ready["table"] == "results"
            assert ready["last_id"] >= last_id
            made = SqlConnector(SqlConfig.model_validate(config), ConnectorTools())
            async with made.open() as session:
                found = await streamed(session, tags, lambda found, count=count: len(found) >= 3 * count)  # type: ignore[misc]
            last_id = count
        parts = [sample.value for sample in found if sample.tag == "part"]
        assert parts[:count] == [f"P{number:06}" for number in range(1, count + 1)]
        assert {sample.value for sample in found if sample.tag == "result"} <= {"OK", "NOK"}


async def test_a_meter_answers_with_json_and_stands_still() -> None:
    async with device("http_meter", "--tags", "3000", "--clock-offset=-1h", "--freeze-after", "3s") as ready:
        config = {"mode": "poll", "url": ready["url"], "timestamp_path": "$.time", "timestamp_unit": "iso"}
        tags = [Tag(address, address) for address in (*ready["addresses"], "status#$.values[2999]")]
        async with HttpConnector(HttpConfig.model_validate(config), ConnectorTools()).open() as session:
            samples = {sample.tag: sample for sample in await session.read([*tags, Tag("none", "nowhere#$.x")])}
            power = samples["status#$.power"]
            assert 9 <= float(power.value) <= 15  # type: ignore[arg-type]
            assert samples["none"].quality.is_bad
            assert power.source_time_ns is not None
            assert 3500e9 < time.time_ns() - power.source_time_ns < 3600e9 + DEADLINE_S * 1e9
            assert float(samples["status#$.values[2999]"].value) > 2999  # type: ignore[arg-type]
            end = time.monotonic() + DEADLINE_S
            while True:  # it goes on answering, with the same numbers
                first, second = [[sample.value for sample in await session.read(tags)] for _ in range(2)]
                if first == second:
                    break
                assert time.monotonic() < end


async def test_a_bench_renames_its_files_and_no_row_is_missed_or_repeated(tmp_path: Path) -> None:
    config = {
        "folder": str(tmp_path), "pattern": "result-*.csv*", "format": "csv", "delimiter": ";", "decimal_mark": ",",
        "time_columns": ["Time"], "poll_interval": "100ms",
    }  # fmt: skip
    tags = [Tag("part", "Part", options={"data_type": "text"}), Tag("force", "Force")]
    written = 0
    for least in (20, 40):  # it goes on behind its own files
        async with device("csv_results", "--folder", str(tmp_path), "--rate", "50", "--rows", "7") as ready:
            assert ready["pattern"] == config["pattern"]
            assert ready["last"] == written
            end = time.monotonic() + DEADLINE_S
            while len(list(tmp_path.glob("*.csv.1"))) * 7 < least:
                assert time.monotonic() < end
                await asyncio.sleep(0.05)
        written = sum(len(file.read_text().splitlines()) - 1 for file in tmp_path.glob("result-*.csv*"))
    async with FilesConnector(FilesConfig.model_validate(config), ConnectorTools()).open() as session:
        found = await streamed(session, tags, lambda found: len(found) >= 2 * written)
    parts = [sample.value for sample in found if sample.tag == "part"]
    assert parts == [f"P{number:06}" for number in range(1, written + 1)]
    assert all(7 <= float(sample.value) <= 13 for sample in found if sample.tag == "force")  # type: ignore[arg-type]
