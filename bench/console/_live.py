"""What an open page costs while live values come: its first picture, its processor time, its memory, and the node's."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import psutil

from bench._nodes import plain_connection
from bench._report import Row
from bench.console._measures import WATCH_TASKS, held_mb, opening_ms, page_cost, shares_of
from bench.console._site import HAS_VALUE, is_whole, open_page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from playwright.async_api import Browser

    from bench.console._parts import Stage

PICTURES, PICTURES_MIN, PICTURES_S = 9, 5, 90.0  # a busy machine has fewer
REST_S = 0.5
PICTURE_S_MAX, SHARE_MAX = 1.0, 0.10
GROWTH_MB_MAX = 20.0
READINGS = 12
NODE_SHARE_MAX = 0.05
HOUR_S = 3600


async def picture_rows(browser: Browser, stage: Stage, chosen: Any) -> list[Row]:
    """The first value, and from when on the page answers at once; the page's files are not in its cache."""
    settled = await open_page(browser, stage.address, 1.0)  # the plant is there, and the hub has done this once
    await settled.wait_for_function(HAS_VALUE)
    await settled.context.close()
    found: list[tuple[float, float]] = []
    begun_s = time.monotonic()
    while len(found) < PICTURES_MIN or (len(found) < PICTURES and time.monotonic() - begun_s < PICTURES_S):
        found.append(await _opening(browser, stage.address, chosen.throttle))
    pictures, ready = ([each[n] / 1000 for each in found] for n in (0, 1))
    picture_s, ready_s = statistics.median(pictures), statistics.median(ready)
    return [
        Row(
            "", f"{picture_s:.2f} s", f"under {PICTURE_S_MAX:g} s", None, picture_s < PICTURE_S_MAX,
            f"processor slowed down {chosen.throttle:g} times; the median of {len(found)}, "
            f"of which the best took {min(pictures):.2f} s and the slowest {max(pictures):.2f} s",
            details={"seconds": pictures, "throttle": chosen.throttle},
        ),
        Row(
            "", f"{ready_s:.2f} s",
            note=f"of the same openings: from then on no task of the page takes longer than 50 ms; the best "
            f"{min(ready):.2f} s, the slowest {max(ready):.2f} s",
            details={"seconds": ready, "throttle": chosen.throttle},
        ),
    ]  # fmt: skip


async def _opening(browser: Browser, address: str, throttle: float) -> tuple[float, float]:
    await asyncio.sleep(REST_S)  # what closing the page before still costs
    page = await open_page(browser, address, throttle, script=WATCH_TASKS)
    found = await opening_ms(page)
    await page.context.close()
    return found


async def cost_rows(browser: Browser, stage: Stage, chosen: Any) -> list[Row]:
    """Of one page its own process; then of several the processes of hub and edge together, so that what pages cause
    anywhere counts."""
    node = psutil.Process(stage.rig.children[0].process.pid)
    processes = [node, *node.children(recursive=True)]
    idle = await shares_of(processes, chosen.seconds)
    async with AsyncExitStack() as stack:
        cost = None
        for _ in range(chosen.pages):
            page = await open_page(browser, stage.address, 1.0)
            stack.push_async_callback(page.context.close)
            await is_whole(page, chosen.tags)
            cost = cost or await page_cost(chosen.seconds)
        busy = await shares_of(processes, chosen.seconds)
    assert cost is not None
    share = (statistics.mean(busy) - statistics.mean(idle)) / chosen.pages
    # Twice the standard error of the difference of two means.
    doubt = 2 * (_error(idle) ** 2 + _error(busy) ** 2) ** 0.5 / chosen.pages
    return [
        Row(
            "", f"{cost.page:.1%} of a core", f"under {SHARE_MAX:.0%}", None, cost.page < SHARE_MAX,
            f"of the page's process in {chosen.seconds:g} s, {cost.page_worst:.1%} in the worst quarter of them; "
            f"{cost.browser:.1%} with all of the browser's",
            details={"cost": cost._asdict(), "tags": chosen.tags, "seconds": chosen.seconds},
        ),
        Row(
            "", f"{max(0.0, share):.1%} of a core", f"under {NODE_SHARE_MAX:.0%}", None, share < NODE_SHARE_MAX,
            f"give or take {doubt:.1%}; hub, edge and their servers: {statistics.mean(idle):.1%} without, "
            f"{statistics.mean(busy):.1%} with {chosen.pages} pages",
            details={"idle": idle, "busy": busy, "pages": chosen.pages},
        ),
    ]  # fmt: skip


def _error(found: Sequence[float]) -> float:
    """The standard error of their mean."""
    return float(statistics.stdev(found) / len(found) ** 0.5)


async def memory_rows(browser: Browser, stage: Stage, tags: int, chosen: Any) -> list[Row]:
    """What is held while messages come: how fast they come does not matter to what is kept of each, so the growth of an
    hour is told from a line through the readings, with how far it may be wrong."""
    page = await open_page(browser, stage.address, 1.0)
    await is_whole(page, tags)
    session = await page.context.new_cdp_session(page)
    found: list[tuple[int, float]] = []
    begun_s = time.monotonic()
    for _ in range(READINGS):
        await asyncio.sleep(chosen.minutes * 60 / READINGS)
        found.append((await _stored(stage), await held_mb(session)))
    passed_s = time.monotonic() - begun_s
    await page.context.close()
    messages, hour = found[-1][0] - found[0][0], chosen.tags * HOUR_S
    growth_mb, doubt_mb = (each * hour for each in line_through(found))
    held = statistics.median(mb for _, mb in found[-READINGS // 3 :])
    return [
        Row(
            "", f"{held + max(0.0, growth_mb):.1f} MB", f"grown by less than {GROWTH_MB_MAX:g} MB", None,
            growth_mb + doubt_mb < GROWTH_MB_MAX,
            f"looked at for {passed_s:.0f} s: {found[0][1]:.2f} MB became {found[-1][1]:.2f} MB in {messages:,} "
            f"messages; for the {hour:,} of an hour of {chosen.tags:,} tags at 1 Hz that is a growth of "
            f"{growth_mb:.1f} MB, give or take {doubt_mb:.1f}",
            details={"held": found, "messages": messages, "growth_mb": growth_mb, "doubt_mb": doubt_mb},
        )
    ]  # fmt: skip


async def _stored(stage: Stage) -> int:
    """The messages that the edge has stored so far; each goes to the page as well."""
    node = json.loads((stage.rig.folder / "edge" / "node.json").read_text(encoding="utf-8"))
    async with plain_connection(node) as connection:
        *_, payload = await connection.request("$JS.API.STREAM.INFO.E_e1_I", b"")
    return int(json.loads(payload)["state"]["last_seq"])


def line_through(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The slope of the least squares through some points, and twice its standard error."""
    mean_x, mean_y = (statistics.mean(point[n] for point in points) for n in (0, 1))
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    if not spread:
        return 0.0, float("inf")
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    left = sum((y - mean_y - slope * (x - mean_x)) ** 2 for x, y in points)
    return slope, 2 * float((left / (len(points) - 2) / spread) ** 0.5)
