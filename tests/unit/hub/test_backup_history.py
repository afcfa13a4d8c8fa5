"""The history in a backup: what has not changed is not sent again, and nothing else is taken for it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from millstream.hub._backup_history import _is_linked
from millstream.hub._backup_manifest import FileEntry

DAY = b"a sealed day" * 100


def an_entry(content: bytes = DAY) -> FileEntry:
    return FileEntry("history/days/d1.parquet", len(content), hashlib.sha256(content).hexdigest())


def test_a_file_that_an_earlier_backup_has_gets_a_second_name(tmp_path: Path) -> None:
    before, now = tmp_path / "before", tmp_path / "now"
    before.write_bytes(DAY)
    assert _is_linked(before, now, an_entry())
    before.unlink()  # the earlier backup may go
    assert now.read_bytes() == DAY


@pytest.mark.parametrize("content", [None, DAY[:-1], b"A" + DAY[1:]])
def test_a_file_that_is_missing_cut_or_changed_there_is_asked_of_the_hub(tmp_path: Path, content: bytes | None) -> None:
    before, now = tmp_path / "before", tmp_path / "now"
    if content is not None:
        before.write_bytes(content)
    assert not _is_linked(before, now, an_entry())
    assert not now.exists()
