"""A history stays below its bound on disk: the oldest goes first, and what is left answers as before."""

from __future__ import annotations

from pathlib import Path

from history_kit import DAY, T0, TAGS, S, history, rows_of

from millstream.historian import Count
from millstream.historian._bound import DiskBound, SizedDay, choose
from millstream.historian._keep import Gone
from millstream.historian._store import DAY_NS


def days(count: int, rows: int = 20) -> list[S]:
    return [S(TAGS[i % 3], T0 + d * DAY_NS + i, float(i)) for d in range(count) for i in range(rows)]


def test_samples_of_the_oldest_days_go_first_then_rollups_and_what_still_fills_last() -> None:
    made = [SizedDay(day, f"days/{day}", f"rollups/{day}", 100, 10) for day in range(1, 5)]
    made[0] = SizedDay(1, None, "rollups/1", 0, 10)  # its samples went before

    def chosen(excess: int) -> tuple[list[int], list[int]]:
        samples, rest = choose(made, excess, today=4)
        return [day.day for day in samples], [day.day for day in rest]

    assert chosen(0) == chosen(-5) == ([], [])
    assert chosen(1) == chosen(100) == ([2], [])
    assert chosen(101) == ([2, 3], [])
    assert chosen(201) == chosen(210) == ([2, 3], [1])
    assert chosen(230) == ([2, 3], [1, 2, 3])
    assert chosen(231) == chosen(10_000) == ([2, 3], [1, 2, 3, 4])


def test_what_is_dropped_leaves_the_disk_and_what_fits_stays(tmp_path: Path) -> None:
    with history(tmp_path) as made:
        made.add(days(4))
        for day in range(4):
            made.seal(DAY + day)
        assert DiskBound(made.store, 1 << 40).drop(DAY + 4) == []
        assert made.store.oldest_ns() == T0
        gone = DiskBound(made.store, 1).drop(DAY + 4)
        assert len(gone) == 8
        made.sealer.remove(gone)
        assert made.sealer.segments() == []
        assert not [*(tmp_path / "days").glob("*"), *(tmp_path / "rollups").glob("*")]
        assert made.store.oldest_ns() is None


def test_a_day_that_still_fills_takes_samples_after_its_first_ones_were_dropped(tmp_path: Path) -> None:
    with history(tmp_path) as made:
        made.add(days(1))
        made.seal(DAY)
        made.sealer.remove(DiskBound(made.store, 1).drop(DAY))
        made.add(days(1, 6))
        assert made.lapser.drop_late(DAY, Gone()) == 0
        made.seal(DAY)
        assert sum(r["count"] for r in rows_of(made.ask(Count(tags=TAGS)))) == 6


def test_a_database_that_fills_half_of_the_bound_is_sealed_before_its_time(tmp_path: Path) -> None:
    with history(tmp_path) as made:
        made.add(days(2))
        used_bytes = made.store.used_bytes()[1]
        assert DiskBound(made.store, 2 * used_bytes + 2).days_to_seal() == []
        assert DiskBound(made.store, used_bytes).days_to_seal() == [DAY, DAY + 1]
