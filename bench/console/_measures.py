"""What a page costs: frames, memory, processor time, and what each open page costs the node."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING, NamedTuple

from bench.console._site import browser_processes

if TYPE_CHECKING:
    import psutil
    from playwright.async_api import Browser, CDPSession, Page, ViewportSize

FRAME_MS = 1000 / 60
HEAP_READINGS = 5
SETTLED_MS = 4000  # longer than any first picture; one that is later is waited for
QUIET_MS = 2000  # without a long task, at the end of what is looked at of an opening
LOOKED_MS_MAX = 12_000
READINGS = 4  # parts of a time, so that its worst is told beside its mean
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
  // The value in the first row of each column: a line of the text that holds all of its good values.
  const first = (text) => text.textContent.split("\\n", 1)[0];
  const texts = [...document.querySelectorAll(".wall .values")].filter((text) => text.firstChild !== null);
  const lines = new Map(texts.map((text) => [text, first(text)]));
  let count = 0;
  const observer = new MutationObserver((changes) => {
    for (const text of new Set(changes.map(({ target }) => target.parentElement ?? target))) {
      const line = first(text);
      if (lines.get(text) !== line) count++;
      lines.set(text, line);
    }
  });
  for (const text of texts) observer.observe(text.firstChild, { characterData: true });
  setTimeout(() => done(count / seconds / texts.length), seconds * 1000);
})
"""


class Frames(NamedTuple):
    """Turns to draw that a page was given. `dropped` are those of 60 a second that it was not, `worst` the most of them
    in one second; `longest_ms` is the longest time between two."""

    rate: float
    dropped: int
    longest_ms: float
    expected: int
    worst: int

    @classmethod
    def of(cls, times_ms: list[float]) -> Frames:
        """From when each turn was. One that comes half a frame late, or more, is a frame dropped."""
        gaps = [after - before for before, after in itertools.pairwise(times_ms)]
        seconds: dict[int, int] = {}
        for at_ms, gap in zip(times_ms[1:], gaps, strict=True):
            second = int((at_ms - times_ms[0]) // 1000)
            seconds[second] = seconds.get(second, 0) + max(0, round(gap / FRAME_MS) - 1)
        span_ms = times_ms[-1] - times_ms[0]
        return cls(
            1000 * len(gaps) / span_ms,
            sum(seconds.values()),
            max(gaps),
            round(span_ms / FRAME_MS),
            max(seconds.values()),
        )


class PageCost(NamedTuple):
    """Shares of a core over some seconds: of the busiest page's process, of all of the browser's, and of the page's in
    the worst of `READINGS` parts of that time."""

    page: float
    browser: float
    page_worst: float


async def opening_ms(page: Page) -> tuple[float, float]:
    """When a value was painted first, and when the last task had ended that kept the page from answering for more than
    50 ms, both from its opening. Needs `WATCH_TASKS` in the page. Nothing looks into it until it has settled; then it
    is looked at until `QUIET_MS` had no such task."""
    await page.wait_for_timeout(SETTLED_MS)
    first_ms = float(await page.evaluate(_FIRST))
    while True:
        now_ms, busy_ms = await page.evaluate("[performance.now(), globalThis.busyUntilMs ?? 0]")
        if now_ms - busy_ms >= QUIET_MS or now_ms > LOOKED_MS_MAX:
            return first_ms, max(first_ms, float(busy_ms))
        await page.wait_for_timeout(QUIET_MS - (now_ms - busy_ms))


async def frames(page: Page, seconds: float) -> Frames:
    """Of a page, for so long."""
    return Frames.of(await page.evaluate(_FRAMES, seconds))


async def drawn_rate(page: Page, seconds: float) -> float:
    """How often a second a value was written into the page: of some cells, as looking at each would cost."""
    return float(await page.evaluate(_DRAWN, seconds))


async def blank_frames(browser: Browser, seconds: float, size: ViewportSize) -> Frames:
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


async def page_cost(seconds: float) -> PageCost:
    """What the pages that are open cost for so long."""
    processes = browser_processes()
    pages = [process for process in processes if "--type=renderer" in process.cmdline()]
    readings = [(time.monotonic(), {process: cpu_s(process) for process in processes})]
    for _ in range(READINGS):
        await asyncio.sleep(seconds / READINGS)
        readings.append((time.monotonic(), {process: cpu_s(process) for process in processes}))
    (begun_s, before), (ended_s, after) = readings[0], readings[-1]
    busiest = max(pages, key=lambda process: after[process] - before[process])
    parts = [
        (later[busiest] - earlier[busiest]) / (later_s - earlier_s)
        for (earlier_s, earlier), (later_s, later) in itertools.pairwise(readings)
    ]
    whole = (sum(after.values()) - sum(before.values())) / (ended_s - begun_s)
    return PageCost((after[busiest] - before[busiest]) / (ended_s - begun_s), whole, max(parts))


async def shares_of(processes: list[psutil.Process], seconds: float) -> list[float]:
    """What these use of a core, together, in each of `READINGS` parts of that time."""
    found = []
    for _ in range(READINGS):
        before, begun_s = sum(map(cpu_s, processes)), time.monotonic()
        await asyncio.sleep(seconds / READINGS)
        found.append((sum(map(cpu_s, processes)) - before) / (time.monotonic() - begun_s))
    return found


def cpu_s(process: psutil.Process) -> float:
    """Processor time that it has used."""
    times = process.cpu_times()
    return float(times.user + times.system)
