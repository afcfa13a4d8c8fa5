"""The console's benchmark ends: a part that hangs, fails or has no time left is told, and the others are kept."""

from __future__ import annotations

import asyncio
import gzip
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from bench._report import Row
from bench.console._bundle import bundle_rows
from bench.console._live import line_through
from bench.console._measures import FRAME_MS, Frames
from bench.console._parts import Part, Stage, run_parts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from bench._nodes import Rig


class Browsers:
    """Counts how many were opened, and how many closed again."""

    def __init__(self) -> None:
        self.opened = self.closed = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        self.opened += 1
        try:
            yield "browser"
        finally:
            self.closed += 1


def stage(fail: str = "") -> Stage:
    async def start(rig: Rig) -> str:
        if fail:
            raise SystemExit(f"bench: {fail}")  # as a scenario that waits in vain
        return "http://127.0.0.1:1/"

    return Stage(start)


def part(name: str, work: Callable[[Any], Any], on: Stage | None = None, limit_s: float = 5.0, **more: Any) -> Part:
    return Part((name,), limit_s, work, on or stage(), **more)


async def ends(_: Any) -> list[Row]:
    return [Row("", "1 s")]


async def hangs(_: Any) -> list[Row]:
    await asyncio.Event().wait()
    return []


async def breaks(_: Any) -> list[Row]:
    raise ValueError("no such | page\nand a long log")


async def test_a_part_that_hangs_or_breaks_says_why_and_the_others_have_their_figures() -> None:
    browsers, told = Browsers(), list[str]()
    parts = [
        part("first", ends), part("hanging", hangs, limit_s=0.05), part("broken", breaks),
        part("without a plant", ends, stage("the plant did not happen within 3 s")), part("last", ends),
    ]  # fmt: skip
    rows = await run_parts(parts, browsers.open, 60.0, told.append)
    assert [(row.measure, row.figure, row.is_met, row.note) for row in rows] == [
        ("first", "1 s", True, ""),
        ("hanging", "not measured", False, "it did not end within 0 s"),
        ("broken", "not measured", False, "no such / page"),
        ("without a plant", "not measured", False, "bench: the plant did not happen within 3 s"),
        ("last", "1 s", True, ""),
    ]
    assert browsers.opened == browsers.closed == 4
    assert "2 of 5, at most 0 s: hanging" in told
    assert sum("not measured" in line for line in told) == 3


async def test_what_a_part_may_take_is_no_more_than_what_is_left_for_all() -> None:
    parts = [part("hanging", hangs, limit_s=60.0), part("late", ends)]
    async with asyncio.timeout(5):
        rows = await run_parts(parts, Browsers().open, 0.05, lambda _: None)
    assert [row.note for row in rows] == ["it did not end within 0 s", "no time was left for it"]
    assert not any(row.is_met for row in rows)


async def test_what_the_machine_lacks_is_no_failure_and_nothing_is_started_for_it() -> None:
    browsers = Browsers()
    (row,) = await run_parts([part("a", breaks, lacks="chromium")], browsers.open, 5.0, lambda _: None)
    assert (row.figure, row.is_met, row.note, browsers.opened) == ("not measured", True, "missing: chromium", 0)


async def test_a_plant_is_stopped_after_its_last_part_and_may_start_beside_another() -> None:
    folders: list[Path] = []
    seen: list[bool] = []

    async def start(rig: Rig) -> str:
        folders.append(rig.folder)
        return "address"

    async def look(_: Any) -> list[Row]:
        await asyncio.sleep(0)
        seen.append(folders[0].exists())
        return [Row("", "")]

    one, other = Stage(start), Stage(start)
    parts = [part("a", look, one, beside=other), part("b", look, one), part("c", look, other)]
    await run_parts(parts, Browsers().open, 5.0, lambda _: None)
    await run_parts([part("a", look, Stage(start), beside=Stage(start))], Browsers().open, 5.0, lambda _: None)
    assert seen[:3] == [True, True, False]
    assert len(folders) == 4
    assert not any(folder.exists() for folder in folders)


@pytest.mark.parametrize(("gaps", "dropped", "worst"), [
    ([1] * 60, 0, 0), ([1, 2, 1], 1, 1), ([3, *[1] * 117], 2, 2), ([2, *[1] * 70, 2, 3], 4, 3), ([1.4] * 40, 0, 0),
])  # fmt: skip
def test_a_turn_to_draw_that_comes_half_a_frame_late_is_a_frame_dropped(
    gaps: list[float], dropped: int, worst: int
) -> None:
    times = [100.0]
    for gap in gaps:
        times.append(times[-1] + gap * FRAME_MS)
    found = Frames.of(times)
    assert (found.dropped, found.worst, found.expected) == (dropped, worst, round(sum(gaps)))
    assert found.longest_ms == pytest.approx(max(gaps) * FRAME_MS)


def test_a_growth_says_how_far_it_may_be_wrong() -> None:
    assert line_through([(n, 5 + 2 * n) for n in range(5)]) == (pytest.approx(2.0), pytest.approx(0.0, abs=1e-9))
    slope, doubt = line_through([(0, 0.0), (1, 1.0), (2, 0.0), (3, 1.0)])
    assert slope == pytest.approx(0.2)
    assert doubt == pytest.approx(2 * (0.8 / 2 / 5) ** 0.5)  # by hand: what is left is 0.8, of two more points than two


def test_files_with_the_chart_library_are_counted_apart(tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    files = {
        "index.html": b"<script src=./assets/index-1.js>", "assets/index-1.js": b"first" * 50,
        "assets/trend-1.js": b"class='uplot'" * 90, "assets/index-1.js.gz": b"packed", "assets/licenses.md": b"words",
    }  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).write_bytes(text)
    without, whole = bundle_rows(tmp_path)
    sizes = {name: len(gzip.compress(text, 9, mtime=0)) for name, text in files.items() if name.endswith(("ml", ".js"))}
    assert without.details["bytes"] == whole.details["bytes"] == sizes
    assert "trend-1.js" in whole.note
    assert without.is_met
    assert whole.is_met
