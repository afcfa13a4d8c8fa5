"""The journal keeps what was put, over a kill in the middle of a line, and for one process."""

from __future__ import annotations

from pathlib import Path

import pytest

from millstream.erp._book import Book, open_book
from millstream.kernel import ConfigError


def test_what_was_put_is_there_again_and_a_line_cut_off_never_was(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "erp.jsonl"
    with open_book(path) as book:
        book.put("a/1", {"n": 1})
        book.put("a/2", 2)
        book.put("a/2", None)
        book.put("b", [3])
        assert path.read_bytes().count(b"\n") == 4
        book.put("b", [3])
        assert path.read_bytes().count(b"\n") == 4, "it stands already"
    with path.open("ab") as file:
        file.write(b'["b",[4')
    with open_book(path) as book:
        assert (book.get("a/1"), book.get("a/2"), book.get("b")) == ({"n": 1}, None, [3])
        assert book.items("a/") == [("1", {"n": 1})]
        assert path.read_bytes().count(b"\n") == 2, "what says nothing any more is gone"


def test_a_long_journal_is_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("millstream.erp._book.LINES_MAX", 3)
    book = Book(tmp_path / "erp.jsonl")
    for number in range(6):
        book.put("a", number)
    assert (tmp_path / "erp.jsonl").read_bytes().count(b"\n") < 4
    assert Book(tmp_path / "erp.jsonl").get("a") == 5


def test_a_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "erp.jsonl").write_text("something\nelse\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="journal"):
        Book(tmp_path / "erp.jsonl")


def test_a_second_process_does_not_get_it(tmp_path: Path) -> None:
    path = tmp_path / "erp.jsonl"
    with open_book(path), pytest.raises(ConfigError, match="another process"), open_book(path):
        raise AssertionError("it was given out twice")
    with open_book(tmp_path / "erp.jsonl") as book:
        assert book.get("a") is None
