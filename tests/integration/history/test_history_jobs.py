"""Files come into a hub's history once, whatever cuts the import off, and leave an event that says who."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import warm
from millstream.bus import RawConnection
from millstream.client import Archive, Plant, connect
from millstream.client._archive import _check
from millstream.client._history import Historian
from millstream.config import HubConfig
from millstream.hub import HubNode
from millstream.kernel import DecodeError, PlantError, SystemClock
from millstream.lake import LakeError, look_at, parts_of
from millstream.protocols.contract import Contract
from millstream.protocols.history_job import PART_ROWS, ImportPart, decode_job, encode_job, job_subject
from millstream.protocols.nats_wire import parse_headers

DEADLINE_S = 60.0
ROWS = 2 * PART_ROWS + 500  # three parts
DAY = datetime.datetime(2026, 1, 31, tzinfo=datetime.UTC)


@contextlib.asynccontextmanager
async def hub(folder: Path) -> AsyncIterator[HubNode]:
    """A hub with a history and an edge that never comes."""
    config = HubConfig.model_validate(
        {
            "hub": {"name": "h1", "data_dir": folder / "hub"}, "streams": {"max_bytes": "64MiB"},
            "edges": [{"name": "e1", "path": "acme/e1"}],
        }
    )  # fmt: skip
    async with HubNode(config) as node:
        task = asyncio.ensure_future(node.run())
        try:
            yield node
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def write_csv(file: Path, rows: int) -> None:
    at = [(DAY + datetime.timedelta(seconds=i)).isoformat().replace("+00:00", "Z") for i in range(rows)]
    lines = [f"acme/e1/old:{'abc'[i % 3]},{at[i]},{i}" for i in range(rows)]
    file.write_text("\n".join(["tag,time,value", *lines, ""]), encoding="utf-8")


async def values(plant: Plant) -> list[Any]:
    table = await plant.history("acme/e1/old", "2026-01-31", "2026-02-01")
    return sorted(table.column("value").to_pylist())


async def imported(plant: Plant, path: Path, **how: Any) -> list[tuple[int, bool]]:
    return [(file.rows, file.is_new) async for file in plant.archive.import_files(path, **how)]


async def events(plant: Plant) -> list[str]:
    """The types of the audit's events, once the historian has the last of them."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            table = await plant.event_history("acme", "-1h", type="millstream.history.*")
            found = table.column("type").to_pylist() if len(table) else []
            if "millstream.history.rollups.done" in found:
                assert all(json.loads(data)["who"] for data in table.column("data").to_pylist())
                return [str(kind) for kind in found]
            await asyncio.sleep(0.05)


async def test_a_file_is_imported_once_and_goes_on_where_it_was_cut_off(tmp_path: Path) -> None:
    file, lake = tmp_path / "old.csv", tmp_path / "lake"
    write_csv(file, ROWS)
    async with hub(tmp_path) as node, connect(tmp_path / "hub") as plant:
        await send_first_part(node, plant, file)
        assert len(await values(plant)) == PART_ROWS
        assert await imported(plant, file) == [(ROWS, True)]
        assert await values(plant) == list(range(ROWS))
        assert await imported(plant, file) == [(ROWS, False)]
        await check_refusals(plant, tmp_path)
        # what an export wrote is another file of the same rows: as a correction it adds nothing to what counts
        days = [day async for day in plant.archive.export(lake, "acme/e1/old", start="2026-01-31", end="2026-02-01")]
        assert [(day.outcome, day.rows) for day in days] == [("written", ROWS)]
        assert await imported(plant, lake, is_correction=True) == [(ROWS, True)]
        assert await values(plant) == list(range(ROWS))
        recorded = await plant.history("acme/e1/old", "2026-01-31", "2026-02-01", as_recorded=True)
        assert len(recorded) == 2 * ROWS
        assert node.historian is not None
        assert await node.historian.seal(int(DAY.timestamp()) // 86_400)
        assert await plant.archive.roll_up("2026-01-01", "2026-02-10") == 1
        every = await plant.history("acme/e1/old", "2026-01-31", "2026-02-01", every="1d", aggregate="count")
        assert sum(every.column("count").to_pylist()) == ROWS
        kinds = await events(plant)
        assert kinds.count("millstream.history.import.done") >= 2
        await check_command(tmp_path, file)


class CutOff:
    """A link that is cut when the second part of a file is to be sent."""

    def __init__(self, connection: RawConnection) -> None:
        self._connection = connection
        self._count = 0

    async def request(self, subject: str, payload: bytes, *, timeout_s: float) -> Any:
        """As a client's link."""
        self._count += 1
        if self._count == 3:  # after the question how far it is, and the first part
            raise ConnectionError("cut off")
        answer = await self._connection.request(subject, payload, timeout_s=timeout_s)
        return SimpleNamespace(headers=parse_headers(answer[3]), payload=answer[4])


async def send_first_part(node: HubNode, plant: Plant, file: Path) -> None:
    """What an import that was cut off has done; the next one must find it by the content."""
    async with node.server.connect("client") as connection:
        link: Any = CutOff(connection)
        archive = Archive(Historian(link, None), link, plant.fleet.whom, SystemClock())
        with pytest.raises(ConnectionError):
            assert [made async for made in archive.import_files(file)]


async def check_refusals(plant: Plant, folder: Path) -> None:
    file = folder / "wrong.csv"
    write_csv(file, PART_ROWS)
    with file.open("a", encoding="utf-8") as end:
        end.write("no path at all,2026-01-31T00:00:00Z,1\n")
    with pytest.raises(DecodeError, match="nothing of the file is imported"):
        await imported(plant, file)  # and the first part is not in: what the history holds is counted below
    for text, what in (
        ("a,b\n1,2\n", "columns"), ("tag,time,value\nacme/e1:x,noon,1\n", "not a time"),
        ("tag,time,value\nno path at all,1,1\n", "."), ("tag,time,value\nacme/e1:x,9223372036854775807,1\n", "kept"),
    ):  # fmt: skip
        file.write_text(text, encoding="utf-8")
        with pytest.raises(Exception, match=what) as refused:  # the hub's errors come as PlantError
            await imported(plant, file)
        assert getattr(refused.value, "code", "").startswith("MS-0"), refused.value


async def check_command(folder: Path, file: Path) -> None:
    command = warm.command("history", "import", "--node", str(folder / "hub"), str(file))
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=120, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"{ROWS} rows  was in already" in done.stdout


async def test_a_contract_says_for_how_long_and_its_change_is_an_event_and_holds_at_once(tmp_path: Path) -> None:
    file = tmp_path / "old.csv"
    write_csv(file, 30)  # of some months ago

    def contract(retention: str) -> Contract:
        return Contract("old-a", "tag", ("acme/e1/old:a",), retention=retention)

    async with hub(tmp_path) as node, connect(tmp_path / "hub") as plant:
        assert await imported(plant, file) == [(30, True)]
        assert (await plant.publish_contract(contract("never")))[0] == "new"
        historian = node.historian
        assert historian is not None
        await historian.look_at_contracts()
        with pytest.raises(PlantError, match=r"a breaking change.*retention: never is now 30d"):
            await plant.publish_contract(contract("30d"))
        await plant.publish_contract(contract("30d"), is_breaking_allowed=True)
        await historian.maintain()
        await historian.maintain()  # the first one sealed the day
        assert sorted(await values(plant)) == [n for n in range(30) if n % 3]
        file.write_text(
            "tag,time,value\nacme/e1/old:a,2026-01-31T00:00:01.5Z,1\nacme/e1/old:b,2026-01-31T00:00:01.5Z,2\n"
        )
        assert [each.late async for each in plant.archive.import_files(file)] == [1]  # of b the samples are there
        async with asyncio.timeout(DEADLINE_S):
            while len(told := await plant.event_history("acme", "-1h", type="millstream.history.retention.*")) < 2:
                await asyncio.sleep(0.05)
    data = [json.loads(text) for text in told.column("data").to_pylist()]
    assert [(each["before"], each["after"]) for each in data] == [
        (None, {"retention": "never"}),
        ({"version": 1, "retention": "never"}, {"retention": "30d"}),
    ]


def test_parts_of_a_parquet_file_do_not_depend_on_its_groups(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pa_parquet

    table = pa.table(
        {
            "tag": ["acme/p:x"] * 100,
            "time": list(range(100)),
            "value": [float(i) if i % 7 else None for i in range(100)],
        }
    )
    found = []
    for group in (7, 100):
        file = tmp_path / f"{group}.parquet"
        pa_parquet.write_table(table, file, row_group_size=group)
        found.append(list(parts_of(look_at(file), 30)))
    assert found[0] == found[1]
    assert [len(pa.ipc.open_stream(part).read_all()) for part in found[0]] == [30, 30, 30, 10]
    assert list(parts_of(look_at(tmp_path / "7.parquet"), 30, skip=2)) == found[0][2:]
    assert pa.ipc.open_stream(found[0][0]).read_all().column("quality").to_pylist()[:2] == [0x80000000, 0]


def test_quality_in_a_file_is_a_code_or_what_people_call_it(tmp_path: Path) -> None:
    import pyarrow as pa

    file = tmp_path / "old.csv"
    given = ["", "good", "Bad", "uncertain", "2147811328"]
    file.write_text("tag,time,value,quality\n" + "".join(f"acme:t,{n},1.5,{word}\n" for n, word in enumerate(given)))
    (part,) = parts_of(look_at(file), 100)
    codes = pa.ipc.open_stream(part).read_all().column("quality").to_pylist()
    assert codes == [0, 0, 0x80000000, 0x40000000, 0x80050000]
    for wrong in ("fine", "-1", "4294967296"):
        file.write_text(f"tag,time,value,quality\nacme:t,1,1.5,{wrong}\n")
        with pytest.raises(DecodeError, match=f"not a quality.*{wrong}"):
            list(parts_of(look_at(file), 100))
    file.write_text("tag,time,value\nacme:t,1\n")
    with pytest.raises(LakeError, match="cannot be read"):
        look_at(file)


@pytest.mark.parametrize(
    ("header", "wrong", "column", "got"),
    [
        ("tag,time,value,quality", "acme:t,7,1.5,fine", "quality", "'fine'"),
        ("tag,time,value", "acme:t,noon,1.5", "time", "'noon'"),
        ("tag,time,value", "acme:t,9223372036854775807,1.5", "time", "9223372036854775807"),
        ("tag,time,value", "no path,7,1.5", "tag", "'no path'"),
        ("tag,time_ns,type,number,integer,text,quality", "acme:t,7,float,,,,-5", "quality", "-5"),
        ("tag,time_ns,type,number,integer,text,quality", "acme:t,7,int,1.0,,,0", "integer", "None"),
        ("tag,time_ns,type,number,integer,text,quality", "acme:t,7,real,1.0,,,0", "type", "'real'"),
    ],
)
def test_a_wrong_row_is_named_by_file_row_and_column(
    tmp_path: Path, header: str, wrong: str, column: str, got: str
) -> None:
    """Behind the first part of the file, so that rows are counted over parts; row 1 is the first below the names."""
    ok = "acme:t,7,float,1.5,,,0" if "time_ns" in header else "acme:t,7,1.5" + ",good" * header.count("quality")
    file = tmp_path / "old.csv"
    file.write_text("\n".join([header, *[ok] * (PART_ROWS + 2), wrong, ok, ""]))
    with pytest.raises(DecodeError, match="nothing of the file is imported") as refused:
        _check(look_at(file), "tag")
    error = refused.value
    assert error.where == f"{file}, row {PART_ROWS + 3}, column {column}"
    assert (error.got, bool(error.expected)) == (got, True)


def test_a_question_that_is_malformed_is_refused() -> None:
    ok = ImportPart("0" * 32, "x.csv", "me", 1, 2)
    assert decode_job(encode_job(ok, b"rows\nmore")) == (ok, b"rows\nmore")
    assert job_subject("h1") == "millstream.node.h1.history_job"
    for wrong in (b"", b"{}", b"[]", encode_job(ImportPart("../x", "x", "me", 1, 2)), encode_job(
        ImportPart("0" * 32, "x", "me", 3, 2)
    ), b'{"job":"rollups","who":"x","first_day":5,"last_day":1}'):  # fmt: skip
        with pytest.raises(DecodeError) as refused:
            decode_job(wrong)
        assert refused.value.code == "MS-0433"
