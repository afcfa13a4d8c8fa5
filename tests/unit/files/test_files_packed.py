"""Files packed by gzip: read once, from where they were left before they were packed, and within a bound."""

from __future__ import annotations

import asyncio
import gzip
from pathlib import Path

import pytest
from folder_kit import Follower, following

LINES = b"".join(b"%d\n" % number for number in range(1, 5))


async def settled(follower: Follower, looks: int = 8) -> list[object]:
    """The values until files have rested for long enough; each look is a second."""
    return [value for _ in range(looks) for value in await follower.values()]


async def packed_by_gzip(path: Path) -> None:
    """By the program."""
    program = await asyncio.create_subprocess_exec("gzip", str(path))
    assert await program.wait() == 0


async def test_a_packed_file_is_read_once_it_rests_and_never_again(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"v\n" + LINES))
    async with following(tmp_path) as follower:
        assert await follower.values() == [], "it may still be written"
        assert await settled(follower) == [1, 2, 3, 4]
        assert await settled(follower) == []
        position = follower.position
    async with following(tmp_path, resume=position) as follower:
        assert await settled(follower) == []


@pytest.mark.parametrize("is_restarted", [False, True])
async def test_what_was_packed_goes_on_where_it_was_left(tmp_path: Path, is_restarted: bool) -> None:
    """As logrotate does: rename, pack by the real gzip, remove; meanwhile a new file under the old name."""
    path = tmp_path / "a.csv"
    path.write_bytes(b"v\n" + LINES)
    async with following(tmp_path) as follower:
        assert await follower.values() == [1, 2, 3, 4]
        position = follower.position
        with path.open("ab") as stream:
            stream.write(b"5\n6\n")
        path.rename(tmp_path / "a.csv.1")
        await packed_by_gzip(tmp_path / "a.csv.1")
        path.write_bytes(b"v\n7\n")
        if not is_restarted:
            assert sorted(map(float, await settled(follower))) == [5, 6, 7]  # type: ignore[arg-type]
            assert follower.session.take_source_gaps() == 0
            return
    async with following(tmp_path, resume=position) as follower:
        assert sorted(map(float, await settled(follower))) == [5, 6, 7]  # type: ignore[arg-type]
        assert await settled(follower) == []


async def test_one_that_was_read_to_its_end_brings_nothing_when_it_is_packed(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"v\n" + LINES)
    async with following(tmp_path) as follower:
        assert await follower.values() == [1, 2, 3, 4]
        await packed_by_gzip(path)
        assert await settled(follower, 30) == []
        assert follower.session.take_source_gaps() == 0


async def test_a_file_that_is_packed_slowly_is_not_forgotten_meanwhile(tmp_path: Path) -> None:
    """Its inode is another file's by then."""
    path = tmp_path / "a.csv"
    path.write_bytes(b"v\n" + LINES)
    packed = gzip.compress(b"v\n" + LINES + b"5\n")
    async with following(tmp_path) as follower:
        assert await follower.values() == [1, 2, 3, 4]
        inode = path.stat().st_ino
        with (tmp_path / "a.csv.1.gz").open("wb") as stream:
            path.write_bytes(b"v\n9\n")  # the same inode, as if it had been given to a new file
            assert path.stat().st_ino == inode
            for at in range(len(packed)):
                stream.write(packed[at : at + 1])
                stream.flush()
                values = await follower.values()
                assert values == ([9] if at == 0 else [])
        assert await settled(follower) == [5]
        assert await settled(follower, 15) == []


async def test_parts_of_a_large_packed_file_follow_each_other(tmp_path: Path) -> None:
    rows = 60_000
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"v\n" + b"".join(b"%d\n" % n for n in range(rows))))
    async with following(tmp_path) as follower:
        assert await settled(follower) == list(range(rows))


async def test_json_lines_and_a_last_line_without_an_end(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b'{"v": 1}\n{"v": 2}'))
    async with following(tmp_path) as follower:
        assert await settled(follower) == [1, 2]


@pytest.mark.parametrize(
    "raw",
    [
        b"v\n1\n", gzip.compress(b"v\n" + LINES)[:-5], gzip.compress(b"v\n" + LINES)[:-8] + bytes(8), b"\x1f\x8b", b"",
        gzip.compress(b"v\n" + LINES)[:12] + b"\xff" * 20,
    ],
    ids=["not packed", "cut", "wrong check sum", "two bytes", "empty", "garbage"],  # a packed file holds the time
)  # fmt: skip
async def test_a_damaged_packed_file_is_logged_and_the_others_go_on(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "a.csv.gz").write_bytes(raw)
    (tmp_path / "b.csv").write_bytes(b"v\n8\n")
    async with following(tmp_path) as follower:
        assert await settled(follower) == [8]
        (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"v\n9\n"))
        assert await settled(follower) == [9]


async def test_what_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    """A hundred megabytes of zeros in a hundred kilobytes."""
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"v\n" + bytes(100 << 20), 9))
    async with following(tmp_path, unpacked_bytes_max=1 << 20) as follower:
        assert await settled(follower) == []
        assert not follower.bad


async def test_its_columns_are_listed(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"v,w\n1,2\n"))
    async with following(tmp_path) as follower:
        assert [node.name async for node in follower.session.browse()] == ["v", "w"]
