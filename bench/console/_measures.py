"""What a page costs: frames, memory, processor time, and what each open page costs the node."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from playwright.async_api import Browser, CDPSession, Page, ViewportSize

FRAME_MS = 1000 / 60
HEAP_READINGS = 5
SETTLED_MS = 4000  # longer than any first picture; one that is later is waited for
WATCH_TASKS = """
new PerformanceObserver((list) => {
  for (const one of list.getEntries()) globalThis.busyUntilMs = one.startTime + one.duration;
}).observe({ type: "longtask" });
"""
_FRAMES = """
(seconds) => new Promise((done) => {
  const times = [];
  const frame = (now) => {
    times.push(now);
    if (now - times[0] < seconds * 1000) requestAnimationFrame(frame);
    else done(times);
  };
  requestAnimationFrame(frame);
})
"""


_FIRST = """
() => new Promise((done) => {
  new PerformanceObserver((list) => done(Math.min(...list.getEntries().map((entry) => entry.renderTime))))
    .observe({ type: "element", buffered: true });
})
"""
_DRAWN = """
(seconds) => new Promise((done) => {
  const some = [...document.querySelectorAll(".wall .value")].filter((_one, at) => at % 25 === 0);
  let count = 0;
  const observer = new MutationObserver((changes) => (count += changes.length));
  for (const one of some) observer.observe(one, { characterData: true, childList: true, subtree: true });
  setTimeout(() => done(count / seconds / some.length), seconds * 1000);
})
"""


async def opening_ms(page: Page) -> tuple[float, float]:
    """When a value was painted first, and when the last task had ended that kept the page from answering for more than
    50 ms, both from its opening. Needs `WATCH_TASKS` in the page. Nothing looks into it until it has settled."""
    await page.wait_for_timeout(SETTLED_MS)
    first_ms = float(await page.evaluate(_FIRST))
    return first_ms, max(first_ms, float(await page.evaluate("globalThis.busyUntilMs ?? 0")))


async def frames(page: Page, seconds: float) -> tuple[float, int, float]:
    """Frames a second, how many of 60 a second were dropped, and the longest in ms."""
    times: list[float] = await page.evaluate(_FRAMES, seconds)
    gaps = [after - before for before, after in itertools.pairwise(times)]
    dropped = sum(max(0, round(gap / FRAME_MS) - 1) for gap in gaps)
    return 1000 * len(gaps) / (times[-1] - times[0]), dropped, max(gaps)


async def drawn_rate(page: Page, seconds: float) -> float:
    """How often a second a value was written into the page: of some cells, as looking at each would cost."""
    return float(await page.evaluate(_DRAWN, seconds))


async def blank_frames(browser: Browser, seconds: float, size: ViewportSize) -> tuple[float, int, float]:
    """Of a page with nothing on it: what the machine itself drops just now."""
    page = await browser.new_page(viewport=size)
    found = await frames(page, seconds)
    await page.close()
    return found


async def held_mb(session: CDPSession) -> float:
    """What the page holds after its rubbish was collected: the least of some readings, as each has some messages that
    are just on their way."""
    found = []
    for _ in range(HEAP_READINGS):
        await session.send("HeapProfiler.collectGarbage")
        found.append(float((await session.send("Runtime.getHeapUsage"))["usedSize"]) / 1e6)
    return min(found)


async def page_cost(seconds: float) -> tuple[float, float]:
    """Shares of a core: of the busiest page's process, and of all of the browser's."""
    processes = [child for child in psutil.Process().children(recursive=True) if "chrom" in child.name()]
    before = {process: cpu_s(process) for process in processes}
    begun_s = time.monotonic()
    await asyncio.sleep(seconds)
    passed_s = time.monotonic() - begun_s
    spent = {process: cpu_s(process) - start_s for process, start_s in before.items()}
    pages = [spent[process] for process in processes if "--type=renderer" in process.cmdline()]
    return max(pages) / passed_s, sum(spent.values()) / passed_s


async def share_of(processes: list[psutil.Process], seconds: float) -> float:
    """What these use of a core, together."""
    before, begun_s = sum(map(cpu_s, processes)), time.monotonic()
    await asyncio.sleep(seconds)
    return (sum(map(cpu_s, processes)) - before) / (time.monotonic() - begun_s)


def cpu_s(process: psutil.Process) -> float:
    """Processor time that it has used."""
    times = process.cpu_times()
    return float(times.user + times.system)
