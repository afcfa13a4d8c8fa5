"""Files that grow, are rotated, emptied, replaced and lost."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from folder_kit import following

from millstream.connectors.files import FilesConfig, FilesConnector
from millstream.connectors.files._table import FORGET_LOOKS
from millstream.kernel import DecodeError, Unreachable
from millstream.sdk import ConnectorTools, Position


def append(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8") as stream:
        stream.write(text)


def lines(first: int, count: int) -> str:
    return "".join(f"{i}\n" for i in range(first, first + count))


async def test_what_is_appended_is_read_once_and_half_a_line_waits_for_its_end(tmp_path: Path) -> None:
    append(tmp_path / "a.csv", "v\n1\n2")
    async with following(tmp_path) as follower:
        assert await follower.values() == [1.0]
        assert await follower.values() == []
        append(tmp_path / "a.csv", "3\n4\n")
        assert await follower.values() == [23.0, 4.0]
        assert await follower.values() == []


async def test_half_a_header_waits_too(tmp_path: Path) -> None:
    append(tmp_path / "a.csv", "v,w")
    async with following(tmp_path) as follower:
        assert await follower.look() == []
        append(tmp_path / "a.csv", "x\n1,2\n")
        assert await follower.values() == [1.0]


async def test_a_last_line_without_line_break_is_taken_when_the_file_rests(tmp_path: Path) -> None:
    append(tmp_path / "a.csv", "v\n1\n2")
    async with following(tmp_path, last_line_after="3s") as follower:
        assert await follower.values() == [1.0]
        assert await follower.values() == []
        assert await follower.values() == []
        assert await follower.values() == [2.0]
        append(tmp_path / "a.csv", "\n3\n")
        assert await follower.values() == [3.0]
    assert follower.bad == []


async def test_a_last_line_is_never_taken_when_so_configured(tmp_path: Path) -> None:
    append(tmp_path / "a.csv", "v\n1\n2")
    async with following(tmp_path, last_line_after="0s") as follower:
        assert [await follower.values() for _ in range(5)] == [[1.0], [], [], [], []]


async def test_a_file_that_is_renamed_goes_on_and_its_successor_is_new(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    append(log, "v\n" + lines(0, 3))
    async with following(tmp_path, pattern="a.log*", order="mtime") as follower:
        assert await follower.values() == [0.0, 1.0, 2.0]
        append(log, lines(3, 2))
        log.rename(tmp_path / "a.log.1")
        append(log, "v\n" + lines(5, 2))
        assert sorted(await follower.values()) == [3.0, 4.0, 5.0, 6.0]  # type: ignore[type-var]
        assert await follower.values() == []
        assert follower.session.take_source_gaps() == 0


async def test_a_file_that_is_copied_and_emptied_is_read_once_with_the_tail_in_its_copy(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    append(log, "v\n" + lines(0, 200))
    async with following(tmp_path, pattern="a.log*", rotation="copy") as follower:
        assert len(await follower.values()) == 200
        append(log, lines(200, 10))
        shutil.copy(log, tmp_path / "a.log.1")
        os.truncate(log, 0)
        append(log, "v\n" + lines(210, 5))
        assert sorted(await follower.values()) == [float(i) for i in range(200, 215)]  # type: ignore[type-var]
        assert await follower.values() == []


async def test_a_copy_beside_its_original_is_not_read_twice_whichever_is_seen_first(tmp_path: Path) -> None:
    log = tmp_path / "b.log"
    append(log, "v\n" + lines(0, 20))
    async with following(tmp_path, pattern="*.log*", rotation="copy") as follower:
        await follower.look()
        append(log, lines(20, 5))
        shutil.copy(log, tmp_path / "a.log.1")
        assert await follower.values() == [20.0, 21.0, 22.0, 23.0, 24.0]
        os.truncate(log, 0)
        assert await follower.values() == []


async def test_a_file_that_is_emptied_is_read_from_its_start_and_what_was_lost_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    append(path, "v\n" + lines(0, 3))
    async with following(tmp_path) as follower:
        await follower.look()
        os.truncate(path, 0)
        append(path, "v\n" + lines(7, 1))
        assert await follower.values() == [7.0]
        assert follower.session.take_source_gaps() == 0
        append(path, "8")
        assert await follower.values() == []
        path.write_text("v\n")
        assert await follower.values() == []
        assert follower.session.take_source_gaps() == 1


async def test_a_file_written_anew_beyond_the_old_place_is_told_from_one_that_grew(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    append(path, "v\n" + lines(0, 3))
    async with following(tmp_path) as follower:
        await follower.look()
        os.truncate(path, 0)
        append(path, "v\n" + lines(10, 30))
        assert await follower.values() == [float(i) for i in range(10, 40)]


async def test_another_file_with_the_same_inode_is_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    append(path, "v\n1\n")
    async with following(tmp_path) as follower:
        assert await follower.values() == [1.0]
        path.rename(tmp_path / "b.csv")  # the same inode under another name
        os.utime(tmp_path / "b.csv", ns=(1, 1))  # and another time: so looks a file that was given a freed inode
        assert await follower.values() == [1.0]


async def test_a_file_that_goes_unread_is_counted_as_a_gap(tmp_path: Path) -> None:
    append(tmp_path / "a.csv", "v\n1\n2")
    async with following(tmp_path) as follower:
        await follower.look()
        (tmp_path / "a.csv").unlink()
        gaps = []
        for _ in range(FORGET_LOOKS + 2):
            assert await follower.look() == []
            gaps.append(follower.session.take_source_gaps())
        assert gaps == [0] * FORGET_LOOKS + [1, 0]


async def test_a_file_that_the_list_misses_while_it_is_renamed_goes_on(tmp_path: Path) -> None:
    append(tmp_path / "a.csv", "v\n1\n")
    async with following(tmp_path) as follower:
        assert await follower.values() == [1.0]
        (tmp_path / "a.csv").rename(tmp_path / ".hidden")
        assert await follower.values() == []
        (tmp_path / ".hidden").rename(tmp_path / "b.csv")
        append(tmp_path / "b.csv", "2\n")
        assert await follower.values() == [2.0]


async def test_a_file_that_is_replaced_by_one_with_the_same_content_is_read_again(tmp_path: Path) -> None:
    append(tmp_path / "a.csv", "v\n1\n")
    async with following(tmp_path) as follower:
        assert await follower.values() == [1.0]
        append(tmp_path / "a.tmp", "v\n1\n")  # a second inode while the first is in use
        (tmp_path / "a.tmp").rename(tmp_path / "a.csv")
        assert await follower.values() == [1.0]


@pytest.mark.parametrize(("order", "expected"), [("name", [1.0, 2.0]), ("mtime", [2.0, 1.0])])
async def test_files_are_read_in_their_order(tmp_path: Path, order: str, expected: list[float]) -> None:
    for name, value, time_s in (("a.csv", 1, 2000), ("b.csv", 2, 1000)):
        append(tmp_path / name, f"v\n{value}\n")
        os.utime(tmp_path / name, (time_s, time_s))
    async with following(tmp_path, order=order) as follower:
        assert await follower.values() == expected


async def test_it_goes_on_at_the_stored_place_in_each_file_and_begins_with_the_one_it_stood_in(tmp_path: Path) -> None:
    for name in "bcd":
        append(tmp_path / f"{name}.csv", "v\n" + lines(0, 600))
    async with following(tmp_path) as follower:
        assert len(await follower.values()) == 1800
        last = follower.position
    append(tmp_path / "d.csv", lines(600, 2))
    append(tmp_path / "b.csv", lines(700, 1))
    append(tmp_path / "a.csv", "v\n-1\n")
    async with following(tmp_path, resume=last) as follower:
        assert await follower.values() == [600.0, 601.0, -1.0, 700.0]


async def test_a_folder_that_was_restored_elsewhere_is_known_by_its_names_and_content(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    append(tmp_path / "old" / "a.csv", "v\n" + lines(0, 50))
    async with following(tmp_path / "old") as follower:
        await follower.look()
        position = follower.position
    shutil.copytree(tmp_path / "old", tmp_path / "new")
    append(tmp_path / "new" / "a.csv", "50\n")
    async with following(tmp_path / "new", resume=position) as follower:
        assert await follower.values() == [50.0]


async def test_a_position_of_something_else_is_refused(tmp_path: Path) -> None:
    for raw in (b"7", b'{"files":[["a"]]}', b"\xff"):
        async with following(tmp_path, resume=Position(raw)) as follower:
            with pytest.raises(DecodeError) as caught:
                await follower.look()
        assert caught.value.code == "MS-0307"


async def test_a_folder_that_is_missing_closed_or_too_full_each_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def code(**config: object) -> str:
        model = FilesConfig.model_validate({"folder": str(tmp_path / "in"), **config})
        with pytest.raises(Unreachable) as caught:
            async with FilesConnector(model, ConnectorTools()).open():
                pass
        return caught.value.code

    assert await code() == "MS-1801"
    (tmp_path / "in").mkdir()
    for name in "abc":
        append(tmp_path / "in" / f"{name}.csv", "v\n")
    assert await code(files_max=2) == "MS-1803"

    def refused(_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refused)  # whoever runs this may be root, who is never refused
    assert await code() == "MS-1802"


async def test_what_does_not_match_is_left_alone(tmp_path: Path) -> None:
    for name in ("a.csv", ".hidden.csv", "b.pdf", "c.csv.tmp~"):
        append(tmp_path / name, "v\n1\n")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "nowhere.csv").symlink_to(tmp_path / "gone")
    async with following(tmp_path, pattern="*.[cp]*") as follower:
        assert len(await follower.values()) == 2  # a.csv and c.csv.tmp~, which is CSV by a part of its name
