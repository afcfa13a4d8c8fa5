"""Frames that a page drops while values come ten times a second, beside those that a page with nothing on it drops."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from bench._report import Row
from bench.console._measures import Frames, blank_frames, drawn_rate, frames, page_cost
from bench.console._site import DESK_PX, WALL_PX, is_whole, open_page

if TYPE_CHECKING:
    from playwright.async_api import Browser

    from bench.console._parts import Stage

DROPPED_RATIO_MAX = 0.02  # beyond what a page with nothing on it drops
DRAWN_RATIO_MIN = 0.9
SCROLL = "() => setInterval(() => document.querySelector('.tree').scrollBy(0, 8), 50)"
ALL_IN_SIGHT = """
(count) => [...document.querySelectorAll('.wall .value')].filter((one) => {
  const { top, bottom, right } = one.getBoundingClientRect();
  return top >= 0 && bottom <= innerHeight && right <= innerWidth && /[0-9]/.test(one.textContent);
}).length >= count
"""


async def scrolled_rows(browser: Browser, stage: Stage, tags: int, chosen: Any) -> list[Row]:
    """Not all rows are in sight: the page is scrolled through them."""
    before = await blank_frames(browser, chosen.seconds / 2, DESK_PX)
    page = await open_page(browser, stage.address, 1.0)
    await is_whole(page, tags)
    await page.evaluate(SCROLL)
    found = await frames(page, chosen.seconds)
    await page.context.close()
    after = await blank_frames(browser, chosen.seconds / 2, DESK_PX)
    return [_smooth_row(found, before.dropped + after.dropped, chosen.seconds, "scrolling")]


async def wall_rows(browser: Browser, stage: Stage, tags: int, step_s: float, chosen: Any) -> list[Row]:
    """All values at once, each in a cell of its own, as on a wall. How often each was drawn stands beside the frames: a
    page that cannot keep up draws less often before it drops any."""
    before = await blank_frames(browser, chosen.seconds / 2, WALL_PX)
    page = await open_page(browser, stage.address, 1.0, WALL_PX)
    await is_whole(page, tags)
    await page.get_by_role("link", name="All values").click()
    await page.wait_for_function(ALL_IN_SIGHT, arg=tags)
    found, rate, cost = await asyncio.gather(
        frames(page, chosen.seconds), drawn_rate(page, chosen.seconds), page_cost(chosen.seconds)
    )
    await page.context.close()
    after = await blank_frames(browser, chosen.seconds / 2, WALL_PX)
    row = _smooth_row(found, before.dropped + after.dropped, chosen.seconds, "all of them")
    row.is_met &= rate >= DRAWN_RATIO_MIN / step_s
    row.note += f"; each value was drawn {rate:.1f} times a second, for {cost.page:.0%} of a core of the page's process"
    row.details |= {"drawn_per_s": rate, "page": cost.page, "window": WALL_PX}
    return [row]


def _smooth_row(found: Frames, nothing: int, seconds: float, how: str) -> Row:
    """Frames of a page, beside those that one with nothing on it dropped in the same time, before and afterwards."""
    is_met = found.dropped - nothing <= DROPPED_RATIO_MAX * 60 * seconds
    return Row(
        "", f"{found.rate:.0f} frames/s", f"at most {DROPPED_RATIO_MAX:.0%} dropped", None, is_met,
        f"{how}; {found.dropped} of {found.expected} frames dropped, {found.worst} in the worst second, {nothing} in "
        f"as long by a page with nothing on it; the longest took {found.longest_ms:.0f} ms",
        details={
            "dropped": found.dropped, "expected": found.expected, "worst_second": found.worst,
            "blank_dropped": nothing, "longest_ms": found.longest_ms, "rate": found.rate,
        },
    )  # fmt: skip
