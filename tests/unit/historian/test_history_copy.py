"""A copy of a history for a backup: all of it, of one moment, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from millstream.historian import HistoryStoreError, copied_files, move_positions, prove_history
from millstream.historian._copy import copy_history
from millstream.historian._store import HistoryStore, Position


def a_store(folder: Path) -> HistoryStore:
    """With a stream's position, and one sealed day of three samples."""
    store = HistoryStore(folder)
    store.open()
    store.set_position(Position("H_INTEGRITY", 5, 42, 7))
    (folder / "days").mkdir()
    cursor = store.cursor()
    cursor.execute(f"COPY (SELECT * FROM range(3)) TO '{folder}/days/d1.parquet' (FORMAT parquet)")
    cursor.execute("INSERT INTO segments VALUES (1, 'days/d1.parquet', 3, NULL)")
    cursor.close()
    return store


def test_a_copy_has_the_database_and_the_sealed_days_while_the_history_goes_on(tmp_path: Path) -> None:
    store = a_store(tmp_path / "history")
    folder = copy_history(store)
    store.set_position(Position("H_INTEGRITY", 5, 50, 8))
    assert copied_files(folder) == ["days/d1.parquet", "hot.duckdb"]
    proof = prove_history(folder)
    assert proof.positions == {"H_INTEGRITY 5": 42}
    assert (proof.sealed_rows, proof.tables["segments"]) == (3, 1)
    store.reopen()  # what a backup that was not ended left is gone then
    assert not folder.exists()
    store.close()


def test_a_restored_stream_goes_on_where_the_history_stands_under_the_time_of_its_new_making(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    store.set_position(Position("H_INTEGRITY", 3, 1000, 1))  # an older generation stays what it is
    store.close()
    move_positions(tmp_path, {"H_INTEGRITY": 9, "H_LOCAL": 9})
    assert prove_history(tmp_path).positions == {"H_INTEGRITY 3": 1000, "H_INTEGRITY 9": 42}


def test_a_copy_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "hot.duckdb").write_bytes(b"not a database" * 1000)
    with pytest.raises(HistoryStoreError, match="cannot be read"):
        prove_history(tmp_path)
