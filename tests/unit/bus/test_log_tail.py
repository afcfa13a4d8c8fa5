"""New lines of a server's log, over lines that are half written and files that are rotated."""

from __future__ import annotations

from pathlib import Path

from millstream.bus._server_log import LogTail


def test_each_line_is_taken_once_also_after_looks_at_an_unchanged_file(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    tail = LogTail(path)
    assert tail.take() == []
    path.write_text("one\ntw", encoding="utf-8")
    assert tail.take() == ["one"]
    assert tail.take() == []
    with path.open("a", encoding="utf-8") as file:
        file.write("o\n")
    assert tail.take() == ["two"]
    assert tail.take() == tail.take() == []
    path.rename(tmp_path / "server.log.1")
    path.write_text("six\ntwo\n", encoding="utf-8")  # as long as the one before
    assert tail.take() == ["six", "two"]
