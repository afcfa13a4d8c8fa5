"""What is kept for how long, by pattern: samples go, rollups stay as long as they shall, others stay whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from history_kit import DAY, HOUR_NS, MINUTE_NS, T0, TAGS, History, S, history, rows_of

from millstream.config import HubConfig
from millstream.historian import Count, Keep, KeepRule, Range, Window
from millstream.historian._keep import NEVER, Gone, KeepBook
from millstream.historian._store import DAY_NS
from millstream.historian._tags import TagEntry
from millstream.protocols.uns_pattern import Pattern

DAY_S = 86_400.0


def rule(path: str, samples_s: float | None, minutes_s: float | None = None, hours_s: float | None = None) -> KeepRule:
    return KeepRule((Pattern.parse(path),), Keep(samples_s, minutes_s, hours_s))


def counts(made: History) -> dict[str, int]:
    return {r["tag"]: r["count"] for r in rows_of(made.ask(Count(tags=TAGS)))}


def windows(made: History, tag: str, every_ns: int) -> list[Any]:
    query = Window(tags=(tag,), start_ns=T0, end_ns=T0 + DAY_NS, every_ns=every_ns, aggregates=("count", "max"))
    return [(r["timestamp"] - T0, r["count"], r["max"]) for r in rows_of(made.ask(query))]


def two_samples_a_tag(made: History) -> None:
    made.add([S(tag, T0 + i * HOUR_NS, float(i)) for tag in TAGS for i in range(2)])
    made.seal(DAY)


RULES = (rule("acme/p1:a", DAY_S, 3 * DAY_S, 5 * DAY_S), rule("acme/**:b", None))


def test_samples_go_first_then_minutes_then_hours_and_other_tags_stay(tmp_path: Path) -> None:
    with history(tmp_path) as made:
        two_samples_a_tag(made)
        keep = Keep(samples_s=10 * DAY_S)
        assert made.lapse(DAY + 1, rules=RULES, keep=keep) == []
        day, hours, minutes = [(0, 2, 1.0)], [(0, 1, 0.0), (HOUR_NS, 1, 1.0)], [(0, 1, 0.0), (HOUR_NS, 1, 1.0)]
        assert len(made.lapse(DAY + 2, rules=RULES, keep=keep)) == 1
        assert counts(made) == {TAGS[1]: 2, TAGS[2]: 2}
        assert windows(made, TAGS[0], MINUTE_NS) == minutes  # of the rollup: the samples are gone
        assert made.lapse(DAY + 2, rules=RULES, keep=keep) == []
        made.lapse(DAY + 4, rules=RULES, keep=keep)
        assert windows(made, TAGS[0], MINUTE_NS) == []
        assert windows(made, TAGS[0], HOUR_NS) == hours
        assert windows(made, TAGS[2], MINUTE_NS) == minutes
        made.lapse(DAY + 6, rules=RULES, keep=keep)
        assert windows(made, TAGS[0], DAY_NS) == []
        made.lapse(DAY + 20, rules=RULES, keep=keep)
        assert counts(made) == {TAGS[1]: 2}  # kept for ever
        assert windows(made, TAGS[2], DAY_NS) == day
        assert made.store.rows_count() == 2
        assert len(list((tmp_path / "days").glob("*"))) == len(list((tmp_path / "rollups").glob("*"))) == 1


def test_late_data_of_a_day_leaves_the_rollups_of_what_is_over(tmp_path: Path) -> None:
    with history(tmp_path) as made:
        two_samples_a_tag(made)
        made.lapse(DAY + 2, rules=RULES)
        made.add([S(TAGS[0], T0 + 5, 100.0), S(TAGS[1], T0 + 5, 100.0)])
        assert made.lapser.drop_late(DAY, Gone()) == 1
        assert made.store.counters()["expired"] == 1
        made.seal(DAY)
        assert windows(made, TAGS[0], DAY_NS) == [(0, 2, 1.0)]
        assert windows(made, TAGS[1], DAY_NS) == [(0, 3, 100.0)]
        assert made.lapser.drop_late(DAY + 1, Gone()) == 0  # not sealed yet: its rollup is still to be made


@pytest.mark.parametrize("is_whole", [False, True])  # beside samples of others, and where only rollups are left
def test_a_tag_that_is_backfilled_into_a_day_whose_samples_are_over_gets_its_rollup(
    tmp_path: Path, is_whole: bool
) -> None:
    kept, keep = (RULES[:1], Keep(0.0)) if is_whole else (RULES, Keep())
    with history(tmp_path) as made:
        two_samples_a_tag(made)
        made.lapse(DAY + 2, rules=kept, keep=keep)
        before = {tag: windows(made, tag, HOUR_NS) for tag in TAGS}
        made.add([S("acme/p1:old", T0 + i, float(i)) for i in range(4)] + [S(TAGS[0], T0 + 1, 99.0)])
        made.tags.mark_corrected(made.tags.intern(TAGS[0]))
        made.add([S(TAGS[0], T0, 98.0)])  # what it corrects is not known any more
        rules = (rule("acme/p1:old", DAY_S), *kept)
        for _ in range(2):
            assert {tag: windows(made, tag, HOUR_NS) for tag in TAGS} == before  # also before it is dropped
            assert made.lapser.drop_late(DAY, Gone()) in (2, 0)
            made.seal(DAY)
            assert {tag: windows(made, tag, HOUR_NS) for tag in TAGS} == before  # beside the samples of the new one
            made.lapse(DAY + 2, rules=rules, keep=keep)
        assert made.store.counters()["expired"] == 2
        assert counts(made) == ({} if is_whole else {TAGS[1]: 2, TAGS[2]: 2})
        assert windows(made, "acme/p1:old", DAY_NS) == [(0, 4, 3.0)]
        assert {tag: windows(made, tag, HOUR_NS) for tag in TAGS} == before


def test_a_corrected_tag_is_answered_from_its_rollup_once_its_samples_are_over(tmp_path: Path) -> None:
    with history(tmp_path) as made:
        made.add([S(TAGS[0], T0, 1.0), S(TAGS[2], T0, 5.0)])
        made.tags.mark_corrected(made.tags.intern(TAGS[0]))
        made.add([S(TAGS[0], T0, 2.0)])
        made.seal(DAY)
        made.lapse(DAY + 2, rules=RULES, keep=Keep())
        assert counts(made) == {TAGS[2]: 1}
        assert windows(made, TAGS[0], DAY_NS) == [(0, 1, 2.0)]
        made.add([S(TAGS[2], T0 + 1, 6.0)])
        made.seal(DAY)  # another tag's late sample
        assert windows(made, TAGS[0], DAY_NS) == [(0, 1, 2.0)]
        assert windows(made, TAGS[2], DAY_NS) == [(0, 2, 6.0)]


def test_a_part_of_a_day_whose_samples_are_over_is_answered_from_its_rollups(tmp_path: Path) -> None:
    """By whole minutes or hours; of one tag beside another one that has its samples, also where both are corrected."""
    with history(tmp_path) as made:
        made.add([S(tag, T0 + i * HOUR_NS + i, float(i)) for tag in TAGS[:2] for i in range(6)])
        made.seal(DAY)
        for is_corrected in (False, True):
            if is_corrected:
                for tag in TAGS[:2]:
                    made.tags.mark_corrected(made.tags.intern(tag))
            made.lapse(DAY + 2, rules=RULES)
            for start_ns, end_ns, expected in (
                (T0 + 2 * HOUR_NS, T0 + DAY_NS, [2, 3, 4, 5]), (T0, T0 + 3 * HOUR_NS, [0, 1, 2]),
                (T0 + 2 * HOUR_NS - 1, T0 + 4 * HOUR_NS + 1, [2, 3]), (T0, T0 + DAY_NS, [0, 1, 2, 3, 4, 5]),
            ):  # fmt: skip
                query = Window(tags=TAGS[:2], start_ns=start_ns, end_ns=end_ns, every_ns=HOUR_NS, aggregates=("last",))
                found = rows_of(made.ask(query))
                for tag in TAGS[:2]:
                    assert [r["last"] for r in found if r["tag"] == tag] == expected, (tag, query, is_corrected)


def test_a_tag_that_is_corrected_later_counts_one_value_a_time_also_on_days_that_are_sealed(tmp_path: Path) -> None:
    with history(tmp_path) as made:
        made.add([S(TAGS[0], T0, 1.0), S(TAGS[0], T0, 2.0)])
        made.seal(DAY)
        assert windows(made, TAGS[0], DAY_NS) == [(0, 2, 2.0)]  # of a plain tag every sample counts
        made.tags.mark_corrected(made.tags.intern(TAGS[0]))
        assert windows(made, TAGS[0], DAY_NS) == [(0, 1, 2.0)]


def test_a_day_that_was_sealed_anew_meanwhile_keeps_its_new_file(tmp_path: Path) -> None:
    with history(tmp_path) as made:
        two_samples_a_tag(made)
        book = KeepBook(Keep(), RULES)
        of_day = book.gone(DAY, book.by_keep(made.tags.find("*", None)), (DAY + 2) * DAY_NS)
        lapsed = made.lapser.write(DAY, of_day)
        assert lapsed is not None
        made.add([S(TAGS[2], T0 + 1, 9.0)])
        made.seal(DAY)
        made.sealer.remove(made.lapser.name(lapsed))
        assert counts(made) == {TAGS[0]: 2, TAGS[1]: 2, TAGS[2]: 3}
        assert len(list((tmp_path / "days").glob("*"))) == 1
        assert made.lapse(DAY + 2, rules=RULES, keep=Keep())
        assert counts(made) == {TAGS[1]: 2, TAGS[2]: 3}


def test_what_a_crash_left_of_dropping_is_removed_at_the_next_start(tmp_path: Path) -> None:
    made = History(tmp_path)
    two_samples_a_tag(made)
    book = KeepBook(Keep(), RULES)
    lapsed = made.lapser.write(DAY, book.gone(DAY, book.by_keep(made.tags.find("*", None)), (DAY + 2) * DAY_NS))
    assert lapsed is not None
    made.store.close()  # before the new file was named
    again = History(tmp_path)
    assert again.sealer.clean() == [lapsed.after[0]]
    assert counts(again) == dict.fromkeys(TAGS, 2)
    again.store.close()


def test_a_correction_stands_in_the_place_of_the_original_which_stays_readable(tmp_path: Path) -> None:
    with history(tmp_path) as made:
        tag = TAGS[0]
        made.add([S(tag, T0, 1.0), S(tag, T0 + 1, 2.0)])
        made.tags.mark_corrected(made.tags.intern(tag))
        made.add([S(tag, T0, 7.0)])
        for _ in range(2):  # hot, then sealed
            assert [r["value"] for r in rows_of(made.ask(Range(tags=(tag,))))] == [7.0, 2.0]
            assert [r["value"] for r in rows_of(made.ask(Range(tags=(tag,), as_recorded=True)))] == [1.0, 7.0, 2.0]
            assert [r["count"] for r in rows_of(made.ask(Count(tags=(tag,), as_recorded=True)))] == [3]
            made.seal(DAY)


def test_the_first_rule_that_fits_decides_and_rollups_outlive_their_samples() -> None:
    book = KeepBook(Keep(DAY_S), (rule("acme/p1:a", 5 * DAY_S, DAY_S), rule("acme/p1", None)))
    entries = [TagEntry(0, "acme/p1:a"), TagEntry(1, "acme/p1:b"), TagEntry(2, "acme/p2:a"), TagEntry(3, "no path")]
    assert [book.of(e).samples_s for e in entries] == [5 * DAY_S, None, DAY_S, DAY_S]
    ends = book.of(entries[0]).ends(20 * DAY_NS)
    assert (ends.samples, ends.minutes, ends.hours) == (15, 15, NEVER)


def test_rules_in_a_hubs_file_are_checked() -> None:
    raw: dict[str, Any] = {"hub": {"name": "h", "data_dir": "x"}}
    entry = {"paths": ["acme/**:v"], "retention": "never", "minute_rollups": "90d"}
    made = HubConfig.model_validate({**raw, "historian": {"rules": [entry]}}).historian
    assert made is not None
    assert (made.rules[0].retention, made.rules[0].minute_rollups, made.rules[0].hour_rollups) == (
        "never", 90 * DAY_S, None
    )  # fmt: skip
    for wrong in ({"paths": []}, {"paths": ["a:b:c"]}, {"paths": ["a"], "retention": "soon"}):
        with pytest.raises(ValueError, match="rules"):
            HubConfig.model_validate({**raw, "historian": {"rules": [wrong]}})
