"""Rows of each format: layouts, bad rows, bounds."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from folder_kit import following
from pydantic import ValidationError

from millstream.connectors.files import FilesConfig, FilesConnector
from millstream.connectors.files._text import LINE_BYTES_MAX
from millstream.kernel import ConfigError
from millstream.model import BAD_DATA_UNAVAILABLE, BAD_NODE_ID_UNKNOWN, BAD_TYPE_MISMATCH, GOOD, Quality, Sample
from millstream.sdk import ConnectorTools, Tag

V = (Tag("v", "v"),)


async def test_a_german_spreadsheet_is_read_with_its_comma_its_zone_and_its_encoding(tmp_path: Path) -> None:
    text = "Prüfprotokoll\nDatum;Zeit;Kraft;Befund\n01.07.2026;12:00:00,5;1,5;gut\n25.12.2026;12:00:00,0;---;\n"
    (tmp_path / "a.csv").write_bytes(text.encode("cp1252"))
    tags = (Tag("force", "Kraft"), Tag("result", "Befund"))
    async with following(
        tmp_path, tags, encoding="cp1252", delimiter=";", decimal_mark=",", skip_lines=1, null_values=["", "---"],
        time_columns=["Datum", "Zeit"], time_format="%d.%m.%Y %H:%M:%S,%f", time_zone="Europe/Berlin",
        when_missing="bad",
    ) as follower:  # fmt: skip
        summer = 1_782_900_000_500_000_000
        winter = 1_798_196_400_000_000_000
        assert await follower.look() == [
            Sample("force", 1.5, GOOD, summer),
            Sample("result", "gut", GOOD, summer),
            Sample("force", None, BAD_DATA_UNAVAILABLE, winter),
            Sample("result", None, BAD_DATA_UNAVAILABLE, winter),
        ]


async def test_a_bad_row_is_a_dead_letter_with_its_line_number_and_its_neighbours_are_good(tmp_path: Path) -> None:
    rows = [b"t,v", b"1,1", b"2", b"x,2", b'3,"2', b"4,\xff", b",5", b"6,\x006", b"7,7"]
    (tmp_path / "a.csv").write_bytes(b"\n".join(rows) + b"\n")
    async with following(tmp_path, V, time_columns=["t"], time_format="s") as follower:
        assert [s.value for s in await follower.look()] == [1.0, 7.0]
    assert [reason.split(":")[0] for _, reason in follower.bad] == [f"line {i} of a.csv" for i in range(3, 9)]
    assert [raw for raw, _ in follower.bad] == [row + b"\n" for row in rows[2:8]]


async def test_a_cell_of_the_wrong_type_is_a_bad_sample_beside_good_ones(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("v,w\nx,1\n2,2\n")
    tags = (Tag("v", "v", options={"data_type": "int"}), Tag("w", "w", options={"data_type": "int"}))
    async with following(tmp_path, tags) as follower:
        assert [(s.value, s.quality) for s in await follower.look()] == [
            (None, BAD_TYPE_MISMATCH),
            (1, GOOD),
            (2, GOOD),
            (2, GOOD),
        ]


async def test_a_line_that_is_too_long_is_one_bad_row_and_the_next_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("v\n1\n" + "7" * (3 * LINE_BYTES_MAX) + "\n2\n")
    async with following(tmp_path) as follower:
        assert await follower.values() == [1.0, 2.0]
    assert len(follower.bad) == 1
    assert len(follower.bad[0][0]) < LINE_BYTES_MAX


async def test_a_file_without_its_time_column_gives_dead_letters_with_that_reason(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("v\n1\n")
    async with following(tmp_path, time_columns=["t"]) as follower:
        assert await follower.look() == []
    assert [reason for _, reason in follower.bad] == [
        "line 1 of a.csv: file has no column t",
        "line 2 of a.csv: file has no column t",
    ]


async def test_a_file_that_lacks_a_tags_column_says_so_once(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("v\n1\n2\n")
    async with following(tmp_path, (*V, Tag("w", "w"))) as follower:
        assert [(s.tag, s.value, s.quality) for s in await follower.look()] == [
            ("w", None, BAD_NODE_ID_UNKNOWN),
            ("v", 1.0, GOOD),
            ("v", 2.0, GOOD),
        ]


async def test_columns_without_a_header_go_by_number(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1,on\n2,off\n")
    async with following(tmp_path, (Tag("v", "1"), Tag("s", "2")), header=False) as follower:
        assert await follower.values() == [1.0, "on", 2.0, "off"]


async def test_the_long_layout_takes_tag_value_and_quality_of_each_row(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "at,tag,value,q\n1,x,1.5,0\n2,y,2,0x80000000\n3,z,3,0\n4,x,5,good\n5,x,,0\n6,x,,2147483648\n"
    )
    tags = (Tag("kx", "x"), Tag("ky", "y"))
    async with following(
        tmp_path, tags, tag_column="tag", value_column="value", quality_column="q", time_columns=["at"], time_format="s"
    ) as follower:
        assert await follower.look() == [
            Sample("kx", 1.5, GOOD, 10**9),
            Sample("ky", 2.0, Quality(0x80000000), 2 * 10**9),
            Sample("kx", None, Quality(0x80000000), 6 * 10**9),
        ]
    assert [reason for _, reason in follower.bad] == ["line 5 of a.csv: quality is no status code, got 'good'"]


async def test_json_lines_are_read_by_member_and_path(tmp_path: Path) -> None:
    rows = '{"a":{"b":[1,2]},"s":"x"}\n[1]\n{"a":\n\n{"s":null}\n{"a b":true,"s":3}\n'
    (tmp_path / "a.jsonl").write_text(rows)
    tags = (Tag("b", "$.a.b[1]"), Tag("s", "s"), Tag("ab", "a b"))
    async with following(tmp_path, tags, format="jsonl") as follower:
        assert await follower.values() == [2, "x", 3, True]
    assert [reason[:18] for _, reason in follower.bad] == ["line 2 of a.jsonl:", "line 3 of a.jsonl:"]


async def test_parquet_keeps_types_and_nanoseconds_and_waits_until_the_file_rests(tmp_path: Path) -> None:
    columns = {
        "t": pa.array([1, 2], pa.timestamp("ns", "UTC")),
        "f": pa.array([1.5, None], pa.float64()),
        "half": pa.array([0.5, 1.5], pa.float16()),
        "i": [7, 8],
        "s": pa.array(["a", "b"]).dictionary_encode(),
        "list": [[1, 2], []],
        "struct": [{"x": 1}, {"x": 2}],
        "d": [Decimal("1.25"), Decimal(0)],
        "day": [dt.date(2026, 1, 1)] * 2,
        "span": pa.array([5, 6], pa.duration("ns")),
        "raw": [b"\x00", b"\xff"],
        "when": pa.array([0, 1_500_000_000], pa.timestamp("ns")),
    }
    names = [name for name in columns if name != "t"]
    pq.write_table(pa.table(columns), tmp_path / "a.parquet", row_group_size=1)
    tags = tuple(Tag(name, name) for name in names)
    async with following(tmp_path, tags, time_columns=["t"], settle_time="2s") as follower:
        assert await follower.look() == []
        assert await follower.look() == []
        found = await follower.look()
        assert await follower.look() == []
    by_tag: dict[str, list[object]] = {}
    for sample in found:
        by_tag.setdefault(sample.tag, []).append(sample.value)
    assert by_tag == {
        "f": [1.5],
        "half": [0.5, 1.5],
        "i": [7, 8],
        "s": ["a", "b"],
        "list": [[1, 2], []],
        "struct": [{"x": 1}, {"x": 2}],
        "d": [1.25, 0.0],
        "day": ["2026-01-01"] * 2,
        "span": [5, 6],
        "raw": [b"\x00", b"\xff"],
        "when": ["1970-01-01T00:00:00+00:00", "1970-01-01T00:00:01.500000+00:00"],
    }
    assert {sample.source_time_ns for sample in found} == {1, 2}


async def test_half_a_parquet_file_is_waited_for_and_a_broken_one_is_one_dead_letter(tmp_path: Path) -> None:
    pq.write_table(pa.table({"v": [1, 2]}), tmp_path / "whole")
    raw = (tmp_path / "whole").read_bytes()
    (tmp_path / "a.parquet").write_bytes(raw[:-10])
    async with following(tmp_path, pattern="*.parquet", settle_time="1s") as follower:
        assert await follower.look() == []
        (tmp_path / "a.parquet").write_bytes(raw)
        assert await follower.look() == []
        assert await follower.values() == [1, 2]
        (tmp_path / "b.parquet").write_bytes(raw[:-10])
        for _ in range(4):
            assert await follower.look() == []
    assert [reason[:17] for _, reason in follower.bad] == ["b.parquet, row 1:"]


async def test_parquet_without_its_time_is_refused_as_a_whole_and_a_row_without_it_alone(tmp_path: Path) -> None:
    pq.write_table(pa.table({"v": [1]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"v": [1, 2], "t": [None, 5]}), tmp_path / "b.parquet")
    async with following(tmp_path, time_columns=["t"], time_format="ns", settle_time="0s") as follower:
        assert [(s.value, s.source_time_ns) for s in await follower.look()] == [(2, 5)]
    assert [reason for _, reason in follower.bad] == [
        "a.parquet: file has no column t",
        "row 1 of b.parquet: row has no time",
    ]


async def test_browse_lists_the_columns(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n")
    (tmp_path / "b.jsonl").write_text('{"y":1,"z":2}\n')
    pq.write_table(pa.table({"p": [1]}), tmp_path / "c.parquet")
    (tmp_path / "d.parquet").write_bytes(b"no")
    async with following(tmp_path) as follower:
        assert {node.address async for node in follower.session.browse()} == {"x", "y", "z", "p"}
        assert [node.data_type async for node in follower.session.browse("p")] == ["int64"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"pattern": "../*.csv"},
        {"time_zone": "Europe/Nowhere"},
        {"tag_column": "t"},
        {"quality_column": "q"},
        {"decimal_mark": ","},
        {"delimiter": ";;"},
        {"files_max": 0},
        {"poll_interval": "0s"},
    ],
)
def test_a_configuration_that_cannot_work_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        FilesConfig.model_validate({"folder": "x", **wrong})


@pytest.mark.parametrize("tag", [Tag("a", " "), Tag("a", "$.x["), Tag("a", "x", options={"data_type": "number"})])
def test_a_tag_that_cannot_be_right_is_refused(tag: Tag) -> None:
    connector = FilesConnector(FilesConfig.model_validate({"folder": "x", "format": "jsonl"}), ConnectorTools())
    with pytest.raises(ConfigError) as caught:
        connector.check_tag(tag)
    assert caught.value.code == "MS-1800"
