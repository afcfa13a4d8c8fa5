"""The console in a real browser: the first useful picture, and what live tags cost.

    python -m bench console [--json] [--short] [--only TEXT] [--tags 2000] [--seconds 8] [--minutes 0.75]
                            [--throttle 4] [--pages 3] [--large 100000] [--samples 100000] [--limit 360]

In parts, each with a browser of its own and a time within which it ends; one that fails or takes longer has its reason
where its figure would be. Progress is on standard error. `method.md` beside this file, which is also on the page of the
results, says how each figure comes about. Needs chromium, playwright and a built console; what needs one that is
missing is not measured.
"""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import millstream.api
from bench._report import Row, finish, parser
from bench.console._bundle import bundle_rows
from bench.console._large import large_rows, start_large
from bench.console._live import cost_rows, memory_rows, picture_rows
from bench.console._parts import Part, Stage, run_parts, tell_on_stderr
from bench.console._site import open_browser, start_plant
from bench.console._smooth import scrolled_rows, wall_rows
from bench.console._trend import LINES, start_fine, trend_rows
from millstream.api import is_built

if TYPE_CHECKING:
    from playwright.async_api import Browser

FILES = Path(millstream.api.__file__).parent / "console"
FAST_TAGS, FAST_S = 500, 0.1
LIMIT_S = 360.0
MEMORY_MIN = 0.75  # as long as the large plant needs to start beside it


def main(argv: list[str]) -> int:
    """Run and print; exit status 1 when a target is missed."""
    options = parser("console", __doc__ or "")
    options.add_argument("--only", default="", help="parts with a row whose name contains this")
    options.add_argument("--tags", type=int, default=2000)
    options.add_argument("--seconds", type=float, default=8.0, help="how long costs and frames are measured")
    options.add_argument("--minutes", type=float, default=MEMORY_MIN, help="how long the memory is looked at")
    options.add_argument("--pages", type=int, default=3, help="how many are open for what the node pays")
    options.add_argument("--throttle", type=float, default=4.0, help="how many times slower, for the first picture")
    options.add_argument("--large", type=int, default=100_000, help="tags of the large plant")
    options.add_argument("--samples", type=int, default=100_000, help="of each tag of the trend")
    options.add_argument("--limit", type=float, default=LIMIT_S, help="seconds; parts that it ends are not measured")
    options.add_argument("--chromium", default="chromium", help="the browser's program")
    chosen = options.parse_args(argv)
    if chosen.save and chosen.only:
        options.error("--save keeps the whole scenario, so not with --only")
    if chosen.short:
        chosen.tags, chosen.seconds, chosen.pages, chosen.minutes = 100, 3.0, 1, 0.1
        chosen.samples = 10_000
        chosen.large = 12_000  # still more than one list holds
    rows = asyncio.run(_measure(chosen))
    for row in rows:
        row.is_met |= chosen.short
    return finish("console", argv, rows, chosen)


async def _measure(chosen: Any) -> list[Row]:
    program = shutil.which(chosen.chromium)
    lacks = _lacks(program)
    parts = [part for part in _parts(chosen, lacks) if any(chosen.only in measure for measure in part.measures)]
    needed = {id(part.stage) for part in parts}
    parts = [part if id(part.beside) in needed else replace(part, beside=None) for part in parts]
    if lacks:
        return await run_parts(parts, nullcontext, chosen.limit, tell_on_stderr())
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        opens = partial(open_browser, playwright, str(program))
        return await run_parts(parts, opens, chosen.limit + 60 * (chosen.minutes - MEMORY_MIN), tell_on_stderr())


def _lacks(program: str | None) -> str:
    needs = {
        "chromium": program is not None,
        "playwright": importlib.util.find_spec("playwright") is not None,
        "a built console (make console)": is_built(),
    }
    return ", ".join(name for name, is_there in needs.items() if not is_there)


def _parts(chosen: Any, lacks: str) -> list[Part]:
    """Each may take two to three times as long as on two quiet cores."""
    tags, large, seconds = chosen.tags, chosen.large, chosen.seconds
    slow = Stage(partial(start_plant, tags=tags, step_s=1.0))
    fast = Stage(partial(start_plant, tags=FAST_TAGS, step_s=FAST_S))
    many = Stage(partial(start_large, count=large))
    live = f"{FAST_TAGS} live tags at {1 / FAST_S:g} Hz", f"{FAST_TAGS} values in sight at {1 / FAST_S:g} Hz"

    async def files(_: Browser) -> list[Row]:
        return bundle_rows(FILES)

    async def trends(browser: Browser) -> list[Row]:
        begin_ms = await start_fine(many.rig, chosen.samples)
        return await trend_rows(browser, many.address, begin_ms, chosen.samples, seconds)

    pages = [
        Part(
            ("first value after opening the page", "time to interactive"), 150,
            lambda browser: picture_rows(browser, slow, chosen), slow,
        ),
        Part(
            (f"{tags:,} live tags at 1 Hz", "processor of the node for an open page"), 60 + 4 * seconds,
            lambda browser: cost_rows(browser, slow, chosen), slow,
        ),
        Part(live[:1], 45 + 3 * seconds, lambda browser: scrolled_rows(browser, fast, FAST_TAGS, chosen), fast),
        Part(live[1:], 45 + 3 * seconds, lambda browser: wall_rows(browser, fast, FAST_TAGS, FAST_S, chosen), fast),
        Part(
            ("memory after an hour, extrapolated",), 60 + 60 * chosen.minutes,
            lambda browser: memory_rows(browser, fast, FAST_TAGS, chosen), fast, beside=many,
        ),
        Part(
            (f"the tree of {large:,} tags", f"a search in {large:,} tags"), 45,
            lambda browser: large_rows(browser, many.address, large), many,
        ),
        Part(
            tuple(f"a trend of {lines} x {chosen.samples:,} samples" for lines in LINES),
            30 + len(LINES) * (15 + 4 * seconds), trends, many,
        ),
    ]  # fmt: skip
    bundle = Part(
        ("files of the console, gzipped, without charts", "files of the console, gzipped, with charts"), 10, files,
        lacks="" if is_built() else lacks,
    )  # fmt: skip
    return [bundle, *(replace(part, lacks=lacks) for part in pages)]
