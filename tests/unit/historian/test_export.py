"""Exported days hold exactly the rows of the history, once, whatever cuts the export off or comes late."""

from __future__ import annotations

import contextlib
import datetime
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

import duckdb
import pyarrow as pa
import pyarrow.dataset as pa_dataset
import pytest
from history_kit import DAY, T0, TAGS, History, S, history

from millstream.client._export import ExportedDay, ExportPlan, export_days, export_spec
from millstream.historian import Range, decode_query
from millstream.historian._store import DAY_NS
from millstream.kernel import PlantError
from millstream.lake import DeltaLake, Lake, LakeError, ParquetLake, files_below, look_at

FIRST = datetime.date(1970, 1, 1) + datetime.timedelta(days=DAY)
Form = Literal["parquet", "delta"]


@pytest.fixture(scope="module", autouse=True)
def delta_runtime(tmp_path_factory: pytest.TempPathFactory) -> None:
    """delta-rs starts threads and a pair of sockets for the whole process with its first write."""
    spec = export_spec(["none"], "tag", as_recorded=False)
    assert DeltaLake(tmp_path_factory.mktemp("delta") / "first", spec).written(FIRST) is None


@pytest.fixture
def made(tmp_path: Path) -> Iterator[History]:
    """Two days with values of all types, the first sealed, with a correction in it."""
    values: list[Any] = [1.5, 2**53 + 1, True, "on", None, [1, 2], -7, float("inf")]
    with history(tmp_path / "history") as made:
        made.add([S(TAGS[i % 2], T0 + i * 10**9 + 1, value) for i, value in enumerate(values)])
        made.add([S(TAGS[0], T0 + DAY_NS + i, float(i)) for i in range(10)])
        made.add([S(TAGS[2], T0, 1.0)])
        made.tags.mark_corrected(made.tags.intern(TAGS[2]))
        made.add([S(TAGS[2], T0, 2.0)])
        made.seal(DAY)
        yield made


class Export:
    """One export, as often as it is run."""

    def __init__(self, made: History, folder: Path, form: Form, *, as_recorded: bool = False) -> None:
        self.made, self.folder, self.form = made, folder, form
        spec = export_spec(["acme/**"], "tag", as_recorded=as_recorded)
        last = FIRST + datetime.timedelta(days=2)
        self.plan = ExportPlan(TAGS, "tag", FIRST, last, spec, as_recorded)
        self.questions = 0
        self.fails_at: int | None = None

    @property
    def lake(self) -> Lake:
        return (
            DeltaLake(self.folder, self.plan.spec) if self.form == "delta" else ParquetLake(self.folder, self.plan.spec)
        )

    async def ask(self, request: dict[str, Any]) -> pa.Table:
        self.questions += 1
        if self.questions == self.fails_at:
            raise PlantError("the link is gone")
        return self.made.ask(decode_query(json.dumps(request).encode()))

    async def run(self, *, chunk_rows: int = 3) -> list[tuple[str, int]]:
        staging = self.folder.parent / "staging"
        days: list[ExportedDay] = [
            day async for day in export_days(self.ask, self.plan, self.lake, staging, chunk_rows=chunk_rows)
        ]
        assert list(staging.glob("*")) == []
        return [(day.outcome, day.rows) for day in days]

    def rows(self) -> list[tuple[Any, ...]]:
        if self.form == "delta":
            import deltalake

            table = pa.table(deltalake.DeltaTable(str(self.folder)).to_pyarrow_table())
        else:
            table = pa_dataset.dataset(self.folder, partitioning="hive").to_table()
        names = ("time_ns", "tag", "type", "number", "integer", "text", "quality")
        found = sorted(zip(*(table.column(n).to_pylist() for n in names), strict=True), key=repr)
        assert self.form != "delta" or self._as_duckdb_reads_it(names) == found
        return found

    def _as_duckdb_reads_it(self, names: Sequence[str]) -> list[tuple[Any, ...]]:
        """Its files after the log, as the protocol of Delta has it: what was added and not removed. The library that
        wrote them has no part in it."""
        files: set[str] = set()
        for commit in sorted((self.folder / "_delta_log").glob("*.json")):
            for line in commit.read_text(encoding="utf-8").splitlines():
                action = json.loads(line)
                if (added := action.get("add")) is not None:
                    files.add(unquote(added["path"]))
                elif (removed := action.get("remove")) is not None:
                    files.remove(unquote(removed["path"]))
        columns = ", ".join(f'"{name}"' for name in names)
        query = f"SELECT {columns} FROM read_parquet(?)"
        found: list[tuple[Any, ...]] = []
        with duckdb.connect() as connection:
            for path in files:
                found += connection.execute(query, [str(self.folder / path)]).fetchall()
        return sorted(found, key=repr)

    def stored(self, *, as_recorded: bool = False) -> list[tuple[Any, ...]]:
        table = self.made.ask(Range(tags=TAGS, layout="typed", as_recorded=as_recorded))
        times = table.column("timestamp").cast(pa.int64()).to_pylist()
        rest = [table.column(n).to_pylist() for n in ("tag", "type", "number", "integer", "text", "quality")]
        return sorted(zip(times, *rest, strict=True), key=repr)


@pytest.mark.parametrize("form", ["parquet", "delta"])
async def test_an_export_has_exactly_the_rows_and_takes_in_what_comes_late(
    made: History, tmp_path: Path, form: Form
) -> None:
    export = Export(made, tmp_path / "lake", form)
    assert await export.run() == [("written", 9), ("written", 10), ("empty", 0)]
    assert export.rows() == export.stored()
    assert {row[2] for row in export.rows()} == {"float", "int", "bool", "text", "none", "json"}
    assert (T0 + 10**9 + 1, TAGS[1], "int", float(2**53 + 1), 2**53 + 1, None, 0) in export.rows()
    asked = export.questions
    assert await export.run() == [("unchanged", 9), ("unchanged", 10), ("empty", 0)]
    assert export.questions == asked + 3  # one look a day
    made.add([S(TAGS[1], T0 + 5, 99.0)])
    assert await export.run(chunk_rows=1000) == [("written", 10), ("unchanged", 10), ("empty", 0)]
    assert export.rows() == export.stored()


@pytest.mark.parametrize("form", ["parquet", "delta"])
async def test_an_export_that_was_cut_off_goes_on_and_no_row_comes_twice(
    made: History, tmp_path: Path, form: Form
) -> None:
    export = Export(made, tmp_path / "lake", form)
    cut_off = 0
    for question in range(1, 30):  # a link that fails one question later each time
        export.questions, export.fails_at = 0, question
        with contextlib.suppress(PlantError):
            outcome = await export.run()
            break
        cut_off += 1
    assert outcome[0] == ("unchanged", 9)  # of a run that was cut off later
    assert cut_off > 5
    assert export.rows() == export.stored()


async def test_originals_are_exported_when_asked_for_and_a_folder_holds_one_export_only(
    made: History, tmp_path: Path
) -> None:
    for form in ("parquet", "delta"):
        export = Export(made, tmp_path / form, form, as_recorded=True)  # type: ignore[arg-type]
        assert await export.run() == [("written", 10), ("written", 10), ("empty", 0)]
        assert export.rows() == export.stored(as_recorded=True)
        with pytest.raises(LakeError, match="another export") as other:
            await Export(made, tmp_path / form, form).run()  # type: ignore[arg-type]
        assert other.value.code == "MS-0431"


async def test_one_folder_is_not_files_and_a_table_nor_days_of_two_exports(made: History, tmp_path: Path) -> None:
    for form, other in (("parquet", "delta"), ("delta", "parquet")):
        await Export(made, tmp_path / form, form).run()  # type: ignore[arg-type]
        with pytest.raises(LakeError, match="another export") as caught:
            await Export(made, tmp_path / form, other).run()  # type: ignore[arg-type]
        assert caught.value.code == "MS-0431"
    recorded = Export(made, tmp_path / "parquet", "parquet", as_recorded=True)
    recorded.plan = replace(recorded.plan, first=FIRST + datetime.timedelta(days=5))
    recorded.plan = replace(recorded.plan, last=FIRST + datetime.timedelta(days=6))
    with pytest.raises(LakeError, match="another export"):
        await recorded.run()


async def test_of_a_table_an_import_takes_only_the_files_that_are_in_it(made: History, tmp_path: Path) -> None:
    export = Export(made, tmp_path / "lakes" / "a table", "delta")
    await export.run()
    made.add([S(TAGS[1], T0 + 5, 99.0)])
    await export.run()
    assert len(list(export.folder.rglob("*.parquet"))) == 3, "the replaced day is still on the disk"
    files = files_below(tmp_path / "lakes")
    assert sum(look_at(file).rows for file in files) == len(export.stored())


async def test_a_day_of_which_retention_dropped_samples_stays_as_it_was_exported(made: History, tmp_path: Path) -> None:
    export = Export(made, tmp_path / "lake", "parquet")
    await export.run()
    rows = export.rows()
    made.lapse(DAY + 1)
    assert await export.run() == [("kept", 9), ("unchanged", 10), ("empty", 0)]
    assert export.rows() == rows


async def test_a_commit_of_a_delta_table_carries_the_version_so_a_lost_answer_costs_nothing(
    made: History, tmp_path: Path
) -> None:
    import deltalake

    export = Export(made, tmp_path / "lake", "delta")
    await export.run()
    table = deltalake.DeltaTable(str(export.folder))
    assert table.version() == 2  # made, then a commit a day
    told = {entry.get("millstream.day"): entry.get("millstream.version") for entry in table.history(2)}
    assert told == {FIRST.isoformat(): "10", (FIRST + datetime.timedelta(days=1)).isoformat(): "10"}
    # whoever did not hear of the commits looks first
    assert await Export(made, export.folder, "delta").run() == [("unchanged", 9), ("unchanged", 10), ("empty", 0)]
    assert deltalake.DeltaTable(str(export.folder)).version() == 2


async def test_a_broken_file_is_told_by_its_name(made: History, tmp_path: Path) -> None:
    export = Export(made, tmp_path / "lake", "parquet")
    await export.run()
    file = next(export.folder.glob("day=*/samples.parquet"))
    file.write_bytes(b"nothing")
    with pytest.raises(LakeError) as broken:
        await export.run()
    assert (broken.value.code, broken.value.where) == ("MS-0430", str(file))


def test_the_sdk_and_the_commands_load_arrow_only_when_it_is_needed() -> None:
    code = (
        "import sys, millstream.client, millstream.cli._archive, millstream.edge;"
        "assert not {'pyarrow', 'duckdb', 'deltalake'} & set(sys.modules), 'heavy'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
