"""The console in a real browser: the first useful picture, and what live tags cost.

    python -m bench console [--json] [--short] [--tags 2000] [--seconds 20] [--minutes 2] [--throttle 4] [--pages 3]
                            [--large 100000] [--samples 100000]

A hub and an edge in one process, whose replay connector says so many tags once a second, and Debian's Chromium without
a screen (software drawing). The first picture is the frame in which the first value of a tag was painted, as the
browser itself tells it (Element Timing), from the opening of the address; nothing is in its cache, its processor is
slowed down, and hub, edge and browser share the machine; the median of many counts. The page is interactive once no
task of it takes longer than 50 ms any more. The cost is the processor time of the page's process while the tree shows
the tags; the node's is what its processes use with so many pages open, less what they use with none.

Then 500 tags ten times a second. Memory is what a page holds after its rubbish was collected, read again and again for
minutes in which more messages come than otherwise; growth is told for as many messages as the tags above bring in an
hour. Frames that came too late are counted while the page is scrolled through all rows, and with all values in sight
on a wall's screen, beside those of a page with nothing on it.

At last a hub that knows a hundred thousand tags, each with a value that came over the bus: how soon the tree stands
there, how soon a search shows a tag with its value, and what the page holds. There, too, a trend of a hundred thousand
samples, and one of four such, is moved and zoomed: the processor time of the page's process for each view, and in a
second run of the same the frames that came too late. Needs chromium, playwright and a built console; where they are
missing nothing is measured.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import shutil
import statistics
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import psutil

from bench._nodes import Rig, open_rig
from bench._report import Row, digest, finish, parser
from bench.console._large import large_rows, start_large
from bench.console._measures import (
    WATCH_TASKS,
    blank_frames,
    drawn_rate,
    frames,
    held_mb,
    opening_ms,
    page_cost,
    share_of,
)
from bench.console._trend import LINES, start_fine, trend_rows
from millstream.api import is_built

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page, ViewportSize

ROWS = 60
PICTURES = 15
REST_S = 1.0
PICTURE_S_MAX, SHARE_MAX = 1.0, 0.10
FAST_TAGS, FAST_S = 500, 0.1
DROPPED_RATIO_MAX = 0.02  # beyond what a page with nothing on it drops
GROWTH_MB_MAX = 20.0
READINGS = 12
NODE_SHARE_MAX = 0.05
SCROLL = "() => setInterval(() => document.querySelector('.tree').scrollBy(0, 8), 50)"
WAIT_MS = 60_000
DESK_PX: ViewportSize = {"width": 1280, "height": 900}
WALL_PX: ViewportSize = {"width": 2560, "height": 1600}
DRAWN_RATIO_MIN = 0.9
HOUR_S = 3600
ALL_IN_SIGHT = """
(count) => [...document.querySelectorAll('.wall .value')].filter((one) => {
  const { top, bottom, right } = one.getBoundingClientRect();
  return top >= 0 && bottom <= innerHeight && right <= innerWidth && /[0-9]/.test(one.textContent);
}).length >= count
"""
HAS_VALUE = "() => [...document.querySelectorAll('.row .value')].some(e => /[0-9]/.test(e.textContent))"


def main(argv: list[str]) -> int:
    """Run and print; exit status 1 when a target is missed."""
    options = parser("console", __doc__ or "")
    options.add_argument("--tags", type=int, default=2000)
    options.add_argument("--seconds", type=float, default=20.0, help="how long the cost is measured")
    options.add_argument("--minutes", type=float, default=2.0, help="how long the memory is looked at")
    options.add_argument("--pages", type=int, default=3, help="how many are open for what the node pays")
    options.add_argument("--throttle", type=float, default=4.0, help="how many times slower, for the first picture")
    options.add_argument("--large", type=int, default=100_000, help="tags of the large plant")
    options.add_argument("--samples", type=int, default=100_000, help="of each tag of the trend")
    options.add_argument("--chromium", default="chromium", help="the browser's program")
    chosen = options.parse_args(argv)
    if chosen.short:
        chosen.tags, chosen.seconds, chosen.pages, chosen.minutes = 100, 3.0, 1, 0.1
        chosen.samples = 10_000
        chosen.large = 12_000  # still more than one list holds
    program = shutil.which(chosen.chromium)
    lacks = _lacks(program)
    if lacks:
        rows = [Row(measure, "not measured", note=f"missing: {lacks}") for measure in _measures(chosen)]
    else:
        rows = asyncio.run(_measure(str(program), chosen))
    for row in rows:
        row.is_met |= chosen.short
    return finish("console", argv, rows, chosen)


def _measures(chosen: Any) -> tuple[str, ...]:
    tags, large = chosen.tags, chosen.large
    return (
        "first value after opening the page", "time to interactive", f"{tags:,} live tags at 1 Hz",
        "processor of the node for an open page", "memory after an hour", f"{FAST_TAGS} live tags at {1 / FAST_S:g} Hz",
        f"{FAST_TAGS} values in sight at {1 / FAST_S:g} Hz", f"the tree of {large:,} tags",
        f"a search in {large:,} tags", *(f"a trend of {lines} x {chosen.samples:,} samples" for lines in LINES),
    )  # fmt: skip


def _lacks(program: str | None) -> str:
    needs = {
        "chromium": program is not None,
        "playwright": importlib.util.find_spec("playwright") is not None,
        "a built console (make console)": is_built(),
    }
    return ", ".join(name for name, is_there in needs.items() if not is_there)


async def _measure(program: str, chosen: Any) -> list[Row]:
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program)
        try:
            async with open_rig() as rig:
                address = await _start(rig, chosen.tags, 1.0)
                rows = [
                    *await _picture_rows(browser, address, chosen),
                    await _cost_row(browser, address, chosen),
                    await _node_row(browser, address, rig, chosen),
                ]
            async with open_rig() as rig:
                address = await _start(rig, FAST_TAGS, FAST_S)
                rows.append(await _memory_row(browser, address, chosen))
                rows.append(await _frames_row(browser, address, chosen))
                rows.append(await _wall_row(browser, address, chosen))
            async with open_rig() as rig:
                address = await start_large(rig, chosen.large)
                rows += await large_rows(browser, address, chosen.large)
                rows += await trend_rows(
                    browser, address, await start_fine(rig, chosen.samples), chosen.samples, chosen.seconds
                )
        finally:
            await browser.close()
    for row, measure in zip(rows, _measures(chosen), strict=True):
        row.measure, row.result_hash = measure, digest([chosen.tags])
    return rows


async def _picture_rows(browser: Browser, address: str, chosen: Any) -> list[Row]:
    settled = await _open(browser, address, 1.0)  # the plant is there, and the hub has done this once
    await settled.wait_for_function(HAS_VALUE)
    await settled.context.close()
    found = [await _opening(browser, address, chosen.throttle) for _ in range(PICTURES)]
    pictures, ready = ([each[n] / 1000 for each in found] for n in (0, 1))
    picture_s, ready_s = statistics.median(pictures), statistics.median(ready)
    return [
        Row(
            "", f"{picture_s:.2f} s", f"under {PICTURE_S_MAX:g} s", None, picture_s < PICTURE_S_MAX,
            f"processor slowed down {chosen.throttle:g} times; the median of {PICTURES}, "
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


async def _cost_row(browser: Browser, address: str, chosen: Any) -> Row:
    page = await _open(browser, address, 1.0)
    await _is_whole(page, chosen.tags)
    share, whole = await page_cost(chosen.seconds)
    await page.context.close()
    return Row(
        "", f"{share:.1%} of a core", f"under {SHARE_MAX:.0%}", None, share < SHARE_MAX,
        f"of the page's process; {whole:.1%} with all of the browser's",
        details={"page": share, "browser": whole, "tags": chosen.tags, "seconds": chosen.seconds},
    )  # fmt: skip


async def _memory_row(browser: Browser, address: str, chosen: Any) -> Row:
    """What is held early and late, in messages: how fast they came does not matter to what is kept of each."""
    page = await _open(browser, address, 1.0)
    await _is_whole(page, FAST_TAGS)
    session = await page.context.new_cdp_session(page)
    found: list[tuple[float, float]] = []
    for _ in range(READINGS):
        await asyncio.sleep(chosen.minutes * 60 / READINGS)
        found.append((time.monotonic(), await held_mb(session)))
    await page.context.close()
    third = READINGS // 3
    early, late = found[:third], found[-third:]
    before_mb, after_mb = (statistics.median(mb for _, mb in part) for part in (early, late))
    passed_s = statistics.mean(at for at, _ in late) - statistics.mean(at for at, _ in early)
    messages, hours = passed_s * FAST_TAGS / FAST_S, chosen.tags * HOUR_S
    growth_mb = (after_mb - before_mb) * hours / messages
    return Row(
        "", f"{after_mb + max(0.0, growth_mb):.1f} MB", f"grown by less than {GROWTH_MB_MAX:g} MB", None,
        growth_mb < GROWTH_MB_MAX,
        f"{before_mb:.2f} MB became {after_mb:.2f} MB in {messages:,.0f} messages; an hour of {chosen.tags:,} tags at "
        f"1 Hz has {hours:,}",
        details={"held_mb": [mb for _, mb in found], "messages": messages, "growth_mb": growth_mb},
    )  # fmt: skip


async def _node_row(browser: Browser, address: str, rig: Rig, chosen: Any) -> Row:
    """The processes of hub and edge together, so that what pages cause anywhere counts."""
    node = psutil.Process(rig.children[0].process.pid)
    processes = [node, *node.children(recursive=True)]
    idle = await share_of(processes, chosen.seconds)
    async with AsyncExitStack() as stack:
        for _ in range(chosen.pages):
            page = await _open(browser, address, 1.0)
            stack.push_async_callback(page.context.close)
            await _is_whole(page, chosen.tags)
        busy = await share_of(processes, chosen.seconds)
    share = (busy - idle) / chosen.pages
    return Row(
        "", f"{max(0.0, share):.1%} of a core", f"under {NODE_SHARE_MAX:.0%}", None, share < NODE_SHARE_MAX,
        f"hub, edge and their servers: {idle:.1%} without, {busy:.1%} with {chosen.pages} pages",
        details={"idle": idle, "busy": busy, "pages": chosen.pages},
    )  # fmt: skip


async def _frames_row(browser: Browser, address: str, chosen: Any) -> Row:
    """Not all rows are in sight: the page is scrolled through them."""
    _, before, _ = await blank_frames(browser, chosen.seconds / 2, DESK_PX)
    page = await _open(browser, address, 1.0)
    await _is_whole(page, FAST_TAGS)
    await page.evaluate(SCROLL)
    found = await frames(page, chosen.seconds)
    await page.context.close()
    _, after, _ = await blank_frames(browser, chosen.seconds / 2, DESK_PX)
    return _smooth_row(found, before + after, chosen.seconds, "scrolling")


async def _wall_row(browser: Browser, address: str, chosen: Any) -> Row:
    """All values at once, each in a cell of its own, as on a wall. How often each was drawn stands beside the frames: a
    page that cannot keep up draws less often before it drops any."""
    _, before, _ = await blank_frames(browser, chosen.seconds / 2, WALL_PX)
    page = await _open(browser, address, 1.0, WALL_PX)
    await _is_whole(page, FAST_TAGS)
    await page.get_by_role("link", name="All values").click()
    await page.wait_for_function(ALL_IN_SIGHT, arg=FAST_TAGS)
    found, rate, (share, _) = await asyncio.gather(
        frames(page, chosen.seconds), drawn_rate(page, chosen.seconds), page_cost(chosen.seconds)
    )
    await page.context.close()
    _, after, _ = await blank_frames(browser, chosen.seconds / 2, WALL_PX)
    row = _smooth_row(found, before + after, chosen.seconds, "all of them")
    row.is_met &= rate >= DRAWN_RATIO_MIN / FAST_S
    row.note += f"; each value was drawn {rate:.1f} times a second, for {share:.0%} of a core of the page's process"
    row.details |= {"drawn_per_s": rate, "page": share, "window": WALL_PX}
    return row


def _smooth_row(found: tuple[float, int, float], nothing: int, seconds: float, how: str) -> Row:
    """Frames of a page, beside those that one with nothing on it dropped in the same time, before and afterwards."""
    rate, dropped, longest_ms = found
    is_met = dropped - nothing <= DROPPED_RATIO_MAX * 60 * seconds
    return Row(
        "", f"{rate:.0f} frames/s", f"at most {DROPPED_RATIO_MAX:.0%} dropped", None, is_met,
        f"{how}; {dropped} frames dropped in {seconds:g} s, {nothing} by a page with nothing on it; "
        f"the longest took {longest_ms:.0f} ms",
        details={"dropped": dropped, "blank_dropped": nothing, "longest_ms": longest_ms, "rate": rate},
    )  # fmt: skip


async def _start(rig: Rig, tags: int, step_s: float) -> str:
    """An address that logs in, once all tags are known."""
    names = [f"t{number}" for number in range(tags)]
    lines = [
        ",".join([f"2026-01-01T00:00:{row * step_s:04.1f}Z", *(str(row * 7 + number) for number in range(tags))])
        for row in range(ROWS)
    ]
    (rig.folder / "day.csv").write_text("\n".join([",".join(["time", *names]), *lines]) + "\n", encoding="utf-8")
    document: dict[str, Any] = {
        "hub": {"name": "hub", "data_dir": str(rig.folder / "hub")},
        "edge": {"name": "e1", "path": "acme/plant1", "data_dir": str(rig.folder / "edge")},
        "streams": {"integrity": {"max_bytes": "512MiB"}}, "api": {},
        "connectors": [{
            "name": "hall", "type": "replay", "path": "hall",
            "config": {"file": str(rig.folder / "day.csv"), "loop": True, "times": "shift"},
            "tags": [{"name": name, "address": name} for name in names],
        }],
    }  # fmt: skip
    (rig.folder / "up.yaml").write_text(json.dumps(document), encoding="utf-8")
    child = await rig.start("up", ["millstream", "up", "-c", str(rig.folder / "up.yaml")])
    node = await child.wait_file(rig.folder / "hub" / "node.json")
    while "api_url" not in node:
        await asyncio.sleep(0.1)
        node = json.loads((rig.folder / "hub" / "node.json").read_text(encoding="utf-8"))
    token = (rig.folder / "hub" / "secrets" / "api.token").read_text(encoding="ascii").strip()
    return f"{node['api_url']}/#token={token}"


async def _open(
    browser: Browser, address: str, throttle: float, size: ViewportSize = DESK_PX, script: str = ""
) -> Page:
    page = await (await browser.new_context(locale="en-GB", viewport=size)).new_page()
    page.set_default_timeout(WAIT_MS)
    await page.add_init_script(script)
    if throttle > 1:
        session = await page.context.new_cdp_session(page)
        await session.send("Emulation.setCPUThrottlingRate", {"rate": throttle})
    await page.goto(address, wait_until="commit")
    return page


async def _opening(browser: Browser, address: str, throttle: float) -> tuple[float, float]:
    """As `opening_ms`; the page's files are not in its cache."""
    await asyncio.sleep(REST_S)  # what closing the page before still costs
    page = await _open(browser, address, throttle, script=WATCH_TASKS)
    found = await opening_ms(page)
    await page.context.close()
    return found


async def _is_whole(page: Page, tags: int) -> None:
    """All of its tags are known, and what opening costs is over: it is not what staying open costs."""
    await page.wait_for_function(HAS_VALUE)
    await page.get_by_text(f"{tags:,} tags").or_(page.get_by_text(f"{tags} tags")).first.wait_for()
    await page.locator(".link[data-state=connected]").wait_for()
    await asyncio.sleep(2.0)
