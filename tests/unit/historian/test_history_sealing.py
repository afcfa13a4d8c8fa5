"""Sealing survives a crash at every step: each sample is in the history once, before, between and after."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet
import pytest
from history_kit import DAY, T0, TAGS, History, S, rows_of

from millstream.historian import Count, Range, Window
from millstream.historian._engine import QueryEngine
from millstream.historian._keep import Gone
from millstream.historian._seal import Sealer
from millstream.historian._store import DAY_NS, HistoryStore
from millstream.historian._tags import TagDictionary


class Crash(BaseException):
    """The process ends here."""


class CrashAt:
    """Ends at the n-th step reached."""

    def __init__(self, number: int) -> None:
        self.left = number
        self.steps: list[str] = []

    def __call__(self, step: str) -> None:
        self.steps.append(step)
        self.left -= 1
        if self.left == 0:
            raise Crash(step)


def samples(count: int, first: int = 0) -> list[S]:
    return [S(TAGS[i % 3], T0 + i * 10**9, float(i)) for i in range(first, first + count)]


def reopened(folder: Path) -> tuple[HistoryStore, Sealer, QueryEngine]:
    store = HistoryStore(folder)
    store.open()
    sealer = Sealer(store)
    return store, sealer, QueryEngine(store, TagDictionary(store.tags()))


def seal(sealer: Sealer, store: HistoryStore) -> None:
    sealed = sealer.write(DAY, store.next_order)
    assert sealed is not None
    sealer.remove(sealer.name(sealed))


def count(engine: QueryEngine) -> int:
    query = Count(tags=TAGS)
    return sum(r["count"] for r in rows_of(engine.answer(query, engine.plan(query))))


@pytest.mark.parametrize("is_late", [False, True])
@pytest.mark.parametrize("at", range(1, 9))
def test_a_crash_at_any_step_leaves_every_sample_once(tmp_path: Path, at: int, is_late: bool) -> None:
    made = History(tmp_path)
    made.add(samples(300))
    total = 300
    if is_late:
        made.seal(DAY)
        made.add(samples(50, 300))
        total = 350
    crash = CrashAt(at)
    sealer = Sealer(made.store, step=crash)
    with pytest.raises(Crash):
        seal(sealer, made.store)
    made.store.close()
    store, sealer, engine = reopened(tmp_path)
    try:
        assert count(engine) == total
        sealer.clean()
        assert count(engine) == total
        named = {str(tmp_path / f) for s in sealer.segments() for f in (s.file, s.rollup) if f}
        assert {str(p) for sub in ("days", "rollups") for p in (tmp_path / sub).glob("*")} == named
        again = sealer.write(DAY, store.next_order)
        if again is not None:
            sealer.remove(sealer.name(again))
        assert count(engine) == total
        assert store.hot_days() == {}
        assert len(store.last.rows()) == 3
    finally:
        store.close()


def test_all_steps_are_crashed_at(tmp_path: Path) -> None:
    made = History(tmp_path)
    made.add(samples(30))
    steps = CrashAt(1000)
    sealer = Sealer(made.store, step=steps)
    sealed = sealer.write(DAY, made.store.next_order)
    assert sealed is not None
    sealer.name(sealed)
    made.store.close()
    assert len(steps.steps) == 8
    assert set(steps.steps) == {"written", "renamed", "synced", "named", "committed"}


def test_rows_that_arrive_while_the_file_is_written_stay_hot(tmp_path: Path) -> None:
    made = History(tmp_path)
    made.add(samples(10))
    sealed = made.sealer.write(DAY, made.store.next_order)
    made.add(samples(5, 10))
    assert sealed is not None
    made.sealer.name(sealed)
    assert made.store.hot_days() == {DAY: 5}
    assert sum(r["count"] for r in rows_of(made.ask(Count(tags=TAGS)))) == 15
    made.store.close()


def test_late_data_is_merged_at_once_and_sealed_again_in_order_with_its_rollup(tmp_path: Path) -> None:
    made = History(tmp_path)
    made.add(samples(10, 20))
    made.seal(DAY)
    made.add(samples(10))
    query = Window(
        tags=TAGS[:1], start_ns=T0, end_ns=T0 + DAY_NS, every_ns=DAY_NS, aggregates=("count", "first", "last")
    )
    before = rows_of(made.ask(query))
    made.seal(DAY)
    assert rows_of(made.ask(query)) == before
    assert before == [{"tag": TAGS[0], "kind": "tag", "timestamp": T0, "count": 7, "first": 0.0, "last": 27.0}]
    assert len(list((tmp_path / "days").glob("*"))) == 1
    made.store.close()


def test_last_values_survive_sealing_and_a_crash(tmp_path: Path) -> None:
    made = History(tmp_path)
    made.add([S(TAGS[0], T0, 2**63 - 1), S(TAGS[1], T0, "text")])
    made.seal(DAY)
    made.add([S(TAGS[1], T0 + 1, "newer")])
    made.store.close()
    store, _, _ = reopened(tmp_path)
    rows = {r.tag_id: r for r in store.last.rows()}
    assert (rows[0].whole, rows[1].text) == (2**63 - 1, "newer")
    store.close()


def test_retention_drops_whole_days_and_keeps_their_rollups(tmp_path: Path) -> None:
    made = History(tmp_path)
    made.add([S(TAGS[0], T0 + d * DAY_NS, float(d)) for d in range(3)])
    for day in range(3):
        made.seal(DAY + day)
    made.lapse(DAY + 2)
    assert [r["value"] for r in rows_of(made.ask(Range(tags=TAGS[:1])))] == [2.0]
    query = Window(tags=TAGS[:1], start_ns=T0, end_ns=T0 + 3 * DAY_NS, every_ns=DAY_NS, aggregates=("count", "mean"))
    assert [r["mean"] for r in rows_of(made.ask(query))] == [0.0, 1.0, 2.0]
    assert len(list((tmp_path / "days").glob("*"))) == 1
    made.store.close()


def test_data_later_than_retention_leaves_the_days_rollup_as_it_is(tmp_path: Path) -> None:
    made = History(tmp_path)
    made.add(samples(30))
    assert made.lapser.drop_late(DAY, Gone()) == 0
    made.seal(DAY)
    made.lapse(DAY + 1)
    made.add(samples(5, 30))
    assert made.lapser.drop_late(DAY, Gone()) == 5
    query = Window(tags=TAGS[:1], start_ns=T0, end_ns=T0 + DAY_NS, every_ns=DAY_NS, aggregates=("count",))
    assert [r["count"] for r in rows_of(made.ask(query))] == [10]
    assert made.store.counters()["expired"] == 5
    made.store.close()


def test_a_file_is_removed_only_when_no_query_that_may_read_it_is_left(tmp_path: Path) -> None:
    made = History(tmp_path)
    with made.engine._reading():
        made.engine.doom(["days/x"])
        assert made.engine.removable() == []
    with made.engine._reading():
        assert made.engine.removable() == ["days/x"]
    made.store.close()


def test_a_rollup_of_many_slices_is_the_rollup_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 10,000 tags the minutes of a day do not fit into memory at once."""
    rollups = []
    for name, rows in (("one", 10**9), ("each tag", 1), ("two tags", 250)):
        monkeypatch.setattr("millstream.historian._seal.SLICE_ROWS", rows)
        made = History(tmp_path / name)
        made.add(samples(300))
        made.add([S(TAGS[0], T0 + 3 * 10**9, 1000.0)])  # a correction
        made.seal(DAY)
        made.add(samples(50, 280))
        made.seal(DAY)
        (segment,) = made.sealer.segments()
        assert segment.rollup is not None
        assert {p.name for p in Path(segment.rollup).parent.iterdir()} == {Path(segment.rollup).name}
        rollups.append(pyarrow.parquet.read_table(segment.rollup).to_pylist())
        made.store.close()
    assert rollups[0] == rollups[1] == rollups[2]
    assert len({row["tag_id"] for row in rollups[0]}) == 3
