"""The simulated press: what it shows in its first minute, and that its numbers fit each other."""

from __future__ import annotations

import itertools
import random

from millstream.shop import PACKML_NUMBERS
from millstream.sim._stamping import ABORTED, EXECUTE, HELD, IDLE, SIGNALS, STOPPED, STROKE_S, SUSPENDED, Stamping


def _watched(seconds: float, step_s: float = 0.1) -> list[tuple[float, dict[str, int]]]:
    press, shown, found = Stamping(random.Random(7)), {}, []
    for n in range(int(seconds / step_s)):
        shown = {**shown, **press.changes(n * step_s)}
        found.append((n * step_s, shown))
    return found


def test_it_tells_all_its_signals_at_first_and_then_only_what_changed() -> None:
    press = Stamping(random.Random(7))
    first = press.changes(0.0)
    assert set(first) == set(SIGNALS)
    assert (first["execution"], first["strokes"], first["rejected"]) == (EXECUTE, 0, 0)
    assert press.changes(0.1) == {}
    assert press.changes(STROKE_S) == {"strokes": 1}


def test_each_kind_of_stop_comes_once_in_the_first_minute() -> None:
    states = {shown["execution"] for _, shown in _watched(45)}
    assert states == {EXECUTE, SUSPENDED, HELD, ABORTED, STOPPED, IDLE}
    assert states <= set(PACKML_NUMBERS)


def test_strokes_come_one_by_one_and_only_while_it_runs() -> None:
    watched = _watched(600)
    for (_, before), (_, now) in itertools.pairwise(watched):
        assert now["strokes"] - before["strokes"] in (0, 1)
        if now["strokes"] > before["strokes"]:
            assert now["execution"] == EXECUTE
        assert 0 <= now["rejected"] - before["rejected"] <= now["strokes"] - before["strokes"]
    run_s = sum(0.1 for _, shown in watched if shown["execution"] == EXECUTE)
    assert 0.9 <= watched[-1][1]["strokes"] * STROKE_S / run_s <= 1.01
    assert 0 < watched[-1][1]["rejected"] < watched[-1][1]["strokes"] / 10


def test_what_it_stands_for_shows_in_its_signals() -> None:
    for _, shown in _watched(600):
        assert (shown["infeed"] == 0) is (shown["execution"] == SUSPENDED)
        assert (shown["guard_open"] == 1) is (shown["execution"] == HELD)
