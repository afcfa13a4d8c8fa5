"""Replay: files of every kind, time bases, pace, and bad input. Pace is tested in virtual time."""

from __future__ import annotations

import asyncio
import gzip
import json
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from millstream.connectors.replay import ReplayConfig, ReplayConnector, ReplayPosition
from millstream.kernel import ConfigError, DecodeError
from millstream.model import BAD_NODE_ID_UNKNOWN
from millstream.sdk import Batch, ConnectorTools, Position, Tag
from millstream.sdk.testing import LoopClock, run_virtual

ROOT = Path(__file__).resolve().parents[3]
MAZAK = ROOT / "src" / "millstream" / "sim" / "data" / "mazak01.txt.gz"
CELL = ROOT / "src" / "millstream" / "sim" / "data" / "turning-cell.npz"
OKUMA = ROOT / "tests" / "data" / "okuma.txt.gz"
START_NS = 1_700_000_000_000_000_000


def connector(clock: LoopClock | None = None, **options: Any) -> ReplayConnector:
    """A replay connector with these options."""
    config = ReplayConfig.model_validate(options)
    return ReplayConnector(config, ConnectorTools(clock=clock) if clock else ConnectorTools())


async def replay(
    source: ReplayConnector, *addresses: str, resume: Position | None = None, batches_max: int | None = None
) -> list[Batch]:
    """All batches, or the first `batches_max`."""
    found: list[Batch] = []
    tags = [Tag(address, address) for address in addresses]
    async with source.open() as session, aclosing(session.stream(tags, resume)) as stream:
        async for batch in stream:
            found.append(batch)
            if batches_max is not None and len(found) >= batches_max:
                break
    return found


async def arrivals(source: ReplayConnector, *addresses: str) -> list[tuple[float, Any]]:
    """Loop time and value of each sample (or block length)."""
    loop, found = asyncio.get_running_loop(), []
    async with source.open() as session:
        started = loop.time()
        async with aclosing(session.stream([Tag(a, a) for a in addresses], None)) as stream:
            async for batch in stream:
                found += [(loop.time() - started, sample.value) for sample in batch.samples]
                found += [(loop.time() - started, len(block)) for block in batch.blocks]
    return found


class Inline:
    """`asyncio.to_thread` without threads, which a loop in virtual time cannot wait for."""

    @staticmethod
    async def to_thread(function: Any, *arguments: Any) -> Any:
        """Call it here."""
        return function(*arguments)


@pytest.fixture
def without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio, "to_thread", Inline.to_thread)


def csv_file(folder: Path, *rows: str) -> str:
    """A CSV file with header t,a,b."""
    path = folder / "day.csv"
    path.write_text("\n".join(["t,a,b", *rows]) + "\n", encoding="utf-8")
    return str(path)


async def test_the_whole_mazak_excerpt_is_replayed_with_its_own_times() -> None:
    batches = await replay(connector(file=str(MAZAK), speed="max"), "Xabs", "execution", "servo_cond")
    samples = [sample for batch in batches for sample in batch.samples]
    text = gzip.decompress(MAZAK.read_bytes()).decode()
    expected = sum(line.split("|")[1] in ("Xabs", "execution", "servo_cond") for line in text.splitlines())
    assert len(samples) == expected
    assert not [batch.frames_bad for batch in batches if batch.frames_bad]
    first = next(sample for sample in samples if sample.tag == "Xabs")
    assert first.source_time_ns is not None
    assert 1_528_282_800e9 <= first.source_time_ns < 1_528_288_800e9  # 2018-06-06, 11:00 to 12:40 UTC


async def test_the_okumas_backward_clock_is_kept() -> None:
    batches = await replay(connector(file=str(OKUMA), speed="max"), "Z4load", "@ASSET@")
    samples = [sample for batch in batches for sample in batch.samples]
    times = [sample.source_time_ns or 0 for sample in samples]
    assert any(later < earlier for earlier, later in pairwise(times))
    assert sum(sample.tag == "@ASSET@" for sample in samples) == 118


async def test_the_turning_cell_comes_in_blocks_of_its_rate() -> None:
    source = connector(file=str(CELL), times="shift", speed="max", block_duration="500ms")
    blocks = [block for batch in await replay(source, "Power_SubSpindle", "Time") for block in batch.blocks]
    assert len(blocks) == 2 * 50
    assert {len(block) for block in blocks} == {500}
    power = [block for block in blocks if block.tag == "Power_SubSpindle"]
    times = np.concatenate([block.source_time_ns for block in power])
    assert set(np.diff(times)) == {1_000_000}
    recorded = np.load(CELL)["Power_SubSpindle"]
    np.testing.assert_array_equal(np.concatenate([np.asarray(block.values) for block in power]), recorded)


@pytest.mark.usefixtures("without_threads")
def test_ten_times_the_speed_takes_a_tenth_of_the_time(tmp_path: Path) -> None:
    file = csv_file(tmp_path, "0,1,", "10,2,", "20,3,", "21,4,")
    source = connector(LoopClock(), file=file, time_unit="s", speed=10)
    times = [round(at, 2) for at, _ in run_virtual(arrivals(source, "a"))]
    assert times == [0.0, 1.0, 2.0, 2.1]


@pytest.mark.usefixtures("without_threads")
def test_a_waveform_block_comes_when_its_last_sample_was_taken() -> None:
    source = connector(LoopClock(), file=str(CELL), times="shift", speed=5, block_duration="1s")
    found = run_virtual(arrivals(source, "Time"))
    assert [round(at, 2) for at, _ in found] == [round(0.2 * (i + 1), 2) for i in range(25)]


@pytest.mark.usefixtures("without_threads")
def test_a_long_pause_is_cut_and_a_step_back_does_not_wait(tmp_path: Path) -> None:
    file = csv_file(tmp_path, "0,1,", "86400,2,", "86395,3,", "86397,4,")
    source = connector(LoopClock(), file=file, time_unit="s", pause_max="5s")
    assert [(round(at), value) for at, value in run_virtual(arrivals(source, "a"))] == [(0, 1), (5, 2), (5, 3), (5, 4)]


@pytest.mark.usefixtures("without_threads")
def test_shifted_times_begin_now_and_scale_with_the_speed(tmp_path: Path) -> None:
    file = csv_file(tmp_path, "1000,1,", "1010,2,")
    source = connector(LoopClock(START_NS), file=file, time_unit="s", times="shift", speed=10)
    samples = [sample for batch in run_virtual(replay(source, "a")) for sample in batch.samples]
    assert [sample.source_time_ns for sample in samples] == [START_NS, START_NS + 1_000_000_000]


@pytest.mark.usefixtures("without_threads")
def test_a_loop_goes_on_in_time_without_a_repeat(tmp_path: Path) -> None:
    file = csv_file(tmp_path, "0,1,", "1,2,")
    source = connector(LoopClock(START_NS), file=file, time_unit="s", times="shift", loop=True)
    samples = [sample for batch in run_virtual(replay(source, "a", batches_max=6)) for sample in batch.samples]
    assert [sample.value for sample in samples] == [1.0, 2.0] * 3
    assert [((sample.source_time_ns or 0) - START_NS) / 1e9 for sample in samples] == [0, 1, 2, 3, 4, 5]


@pytest.mark.usefixtures("without_threads")
def test_a_short_interruption_is_caught_up_and_a_long_one_is_not(tmp_path: Path) -> None:
    file = csv_file(tmp_path, *(f"{i},{i}," for i in range(4000)))
    options: dict[str, Any] = {"file": file, "time_unit": "s", "times": "shift"}

    async def interrupted(pause_s: float) -> float:
        clock = LoopClock(START_NS)
        first = await replay(connector(clock, **options), "a", batches_max=3)
        await clock.sleep(pause_s)
        rest = await replay(connector(clock, **options), "a", resume=first[-1].position, batches_max=10)
        return (clock.now_ns() - (rest[-1].samples[-1].source_time_ns or 0)) / 1e9

    assert run_virtual(interrupted(600)) < 1.5
    assert run_virtual(interrupted(7200)) > 7000


async def test_a_changed_file_is_replayed_from_its_start(tmp_path: Path) -> None:
    file = csv_file(tmp_path, "0,1,", "1,2,")
    source = connector(file=file, time_unit="s", speed="max")
    (first,) = await replay(source, "a")
    csv_file(tmp_path, "0,7,", "1,8,", "2,9,")
    again = await replay(source, "a", resume=first.position)
    assert [sample.value for batch in again for sample in batch.samples] == [7.0, 8.0, 9.0]
    assert first.position is not None
    assert await replay(connector(file=file, time_unit="s", speed="max"), "a", resume=again[-1].position) == []


async def test_a_position_of_something_else_is_refused(tmp_path: Path) -> None:
    source = connector(file=csv_file(tmp_path, "0,1,"), time_unit="s")
    for raw in (b"", b"\xff", b"{}", b"[1]", json.dumps({"digest": 1, "row": "x"}).encode()):
        with pytest.raises(DecodeError, match="position"):
            await replay(source, "a", resume=Position(raw))
    position = ReplayPosition("d", 1, 2, 3)
    assert ReplayPosition.decode(position.encode()) == position


async def test_broken_records_are_kept_with_their_reason(tmp_path: Path) -> None:
    path = tmp_path / "day.csv"
    path.write_bytes(b"t,a,b\n1,1,x\n1,2\nsoon,3,x\n\xff\xfe,4,x\n\n2,,5\n")
    batches = await replay(connector(file=str(path), time_unit="s", speed="max"), "a", "b")
    frames = [frame for batch in batches for frame in batch.frames_bad]
    assert [raw for raw, _ in frames] == [b"1,2", b"soon,3,x", b"\xff\xfe,4,x"]
    assert all(reason for _, reason in frames)
    assert [(s.tag, s.value) for b in batches for s in b.samples] == [("a", 1.0), ("b", "x"), ("b", 5.0)]


async def test_broken_json_lines_are_kept_with_their_reason(tmp_path: Path) -> None:
    path = tmp_path / "day.jsonl"
    bad = ['{"tag":1,"value":1}', "{", '{"tag":"a"}', '{"tag":"a","value":null}', '{"tag":"a","value":1,"quality":-1}']
    bad.append('{"tag":"a","value":1,"time":"soon"}')
    good = ['{"tag":"a","value":1}', '{"tag":"a","value":null,"quality":2147483648}']
    path.write_text("\n".join(bad + good) + "\n", encoding="utf-8")
    batches = await replay(connector(file=str(path), speed="max"), "a")
    assert [raw.decode() for batch in batches for raw, _ in batch.frames_bad] == bad
    assert [(s.value, s.quality, s.source_time_ns) for b in batches for s in b.samples] == [
        (1, 0, None),
        (None, 0x80000000, None),
    ]


async def test_a_line_without_end_is_one_broken_record(tmp_path: Path) -> None:
    path = tmp_path / "day.jsonl"
    path.write_bytes(b"x" * (3 << 20) + b'\n{"tag":"a","value":1}\n')
    batches = await replay(connector(file=str(path), speed="max"), "a")
    assert [len(raw) for batch in batches for raw, _ in batch.frames_bad] == [1 << 20]
    assert [s.value for b in batches for s in b.samples] == [1]


async def test_an_unknown_tag_is_said_once_with_bad_quality(tmp_path: Path) -> None:
    source = connector(file=csv_file(tmp_path, "0,1,"), time_unit="s", speed="max")
    first, second = await replay(source, "a", "nope")
    assert [(s.tag, s.quality) for s in first.samples] == [("nope", BAD_NODE_ID_UNKNOWN)]
    assert [s.tag for s in second.samples] == ["a"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("missing.csv", None),
        ("cut.txt.gz", gzip.compress(b"2026-01-01T00:00:00Z|a|1\n" * 10_000)[:-40]),
        ("no.npz", b"not a zip"),
        ("no.npy", b"\x93NUMPY\x01\x00broken"),
        ("no.txt.gz", b"no gzip"),
    ],
)
async def test_a_file_that_cannot_be_replayed_is_one_clear_error(
    name: str, content: bytes | None, tmp_path: Path
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        await replay(connector(file=str(path), times="shift", rate_hz=1), "a")
    assert caught.value.code == "MS-0104"
    assert str(path) in str(caught.value)


async def test_a_missing_time_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'when'"):
        await replay(connector(file=csv_file(tmp_path, "0,1,"), time_column="when", time_unit="s"), "a")


async def test_arrays_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "cell.npz"
    np.savez(path, a=np.zeros(3), b=np.zeros(4), rate_hz=np.array(1.0))
    with pytest.raises(ConfigError, match="does not fit"):
        await replay(connector(file=str(path), times="shift"), "a")
    np.savez(path, a=np.zeros(3))
    with pytest.raises(ConfigError, match="does not fit"):
        await replay(connector(file=str(path), times="shift"), "a")


async def test_pickled_arrays_are_never_run(tmp_path: Path) -> None:
    path = tmp_path / "evil.npz"
    np.savez(path, a=np.array([{"x": 1}], dtype=object), rate_hz=np.array(1.0))
    with pytest.raises(ConfigError, match="not a waveform"):
        await replay(connector(file=str(path), times="shift"), "a")


async def test_columns_of_a_plain_array_are_channels(tmp_path: Path) -> None:
    path = tmp_path / "cell.npy"
    np.save(path, np.arange(6.0).reshape(3, 2))
    source = connector(file=str(path), rate_hz=1000, start_time="2026-01-01T00:00:00Z", speed="max")
    (batch,) = await replay(source, "1")
    (block,) = batch.blocks
    assert np.asarray(block.values).tolist() == [1.0, 3.0, 5.0]
    assert block.source_time_ns.tolist() == [1_767_225_600_000_000_000 + i * 1_000_000 for i in range(3)]


@pytest.mark.parametrize(
    "options",
    [
        {"file": "a.csv", "loop": True},
        {"file": "a.csv", "loop": True, "times": "shift", "speed": "max"},
        {"file": "a.bin"},
        {"file": "a.npz"},
        {"file": "a.npz", "start_time": "soon"},
        {"file": "a.npz", "times": "shift", "block_duration": "0s"},
        {"file": "a.csv", "speed": 0},
        {"file": "a.csv", "speed": float("nan")},
        {"file": "a.csv", "pause_max": 5},
    ],
)
def test_a_configuration_that_cannot_work_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ReplayConfig.model_validate(options)


async def test_browse_lists_what_is_in_the_file(tmp_path: Path) -> None:
    source = connector(file=csv_file(tmp_path, "0,1,on"), time_unit="s")
    async with source.open() as session:
        assert [(n.address, n.data_type) async for n in session.browse()] == [("a", "float"), ("b", "str")]
        assert [n.address async for n in session.browse("b")] == ["b"]
