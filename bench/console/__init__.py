"""The console in a real browser: the first useful picture, and what live tags cost.

    python -m bench console [--json] [--short] [--tags 2000] [--seconds 20] [--throttle 4]

A hub and an edge in one process, whose replay connector says so many tags once a second, and Debian's Chromium without
a screen (software drawing). The first picture is the first value of a tag, from the opening of the address, with the
page's processor slowed down. The cost is the processor time of the page's process while the tree shows the tags. Needs
chromium, playwright and a built console; where they are missing nothing is measured.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import shutil
import statistics
import time
from typing import TYPE_CHECKING, Any

import psutil

from bench._nodes import Rig, open_rig
from bench._report import Row, digest, finish, parser
from millstream.api import is_built

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

ROWS = 60
PICTURES = 3
PICTURE_S_MAX, SHARE_MAX = 1.0, 0.10
WAIT_MS = 60_000
HAS_VALUE = "() => [...document.querySelectorAll('.row .value')].some(e => /[0-9]/.test(e.title))"


def main(argv: list[str]) -> int:
    """Run and print; exit status 1 when a target is missed."""
    options = parser("console", __doc__ or "")
    options.add_argument("--tags", type=int, default=2000)
    options.add_argument("--seconds", type=float, default=20.0, help="how long the cost is measured")
    options.add_argument("--throttle", type=float, default=4.0, help="how many times slower, for the first picture")
    options.add_argument("--chromium", default="chromium", help="the browser's program")
    chosen = options.parse_args(argv)
    if chosen.short:
        chosen.tags, chosen.seconds = 100, 3.0
    program = shutil.which(chosen.chromium)
    lacks = _lacks(program)
    if lacks:
        rows = [Row(measure, "not measured", note=f"missing: {lacks}") for measure in _measures(chosen.tags)]
    else:
        rows = asyncio.run(_measure(str(program), chosen.tags, chosen.seconds, chosen.throttle))
    for row in rows:
        row.is_met |= chosen.short
    return finish("console", argv, rows, chosen)


def _measures(tags: int) -> tuple[str, str]:
    return "first value after opening the page", f"{tags:,} live tags at 1 Hz"


def _lacks(program: str | None) -> str:
    needs = {
        "chromium": program is not None,
        "playwright": importlib.util.find_spec("playwright") is not None,
        "a built console (make console)": is_built(),
    }
    return ", ".join(name for name, is_there in needs.items() if not is_there)


async def _measure(program: str, tags: int, seconds: float, throttle: float) -> list[Row]:
    from playwright.async_api import async_playwright

    async with open_rig() as rig, async_playwright() as playwright:
        address = await _start(rig, tags)
        browser = await playwright.chromium.launch(executable_path=program)
        try:
            pictures = [await _first_picture(browser, address, throttle) for _ in range(PICTURES)]
            share, whole = await _cost(browser, address, tags, seconds)
        finally:
            await browser.close()
    first, live = _measures(tags)
    picture_s = statistics.median(pictures)
    return [
        Row(
            first, f"{picture_s:.2f} s", f"under {PICTURE_S_MAX:g} s", None,
            picture_s < PICTURE_S_MAX, f"median of {PICTURES}, processor slowed down {throttle:g} times",
            digest([tags]),
            {"seconds": pictures, "throttle": throttle},
        ),
        Row(
            live, f"{share:.1%} of a core", f"under {SHARE_MAX:.0%}", None, share < SHARE_MAX,
            f"of the page's process; {whole:.1%} with all of the browser's", digest([tags]),
            {"page": share, "browser": whole, "tags": tags, "seconds": seconds},
        ),
    ]  # fmt: skip


async def _start(rig: Rig, tags: int) -> str:
    """An address that logs in, once all tags are known."""
    names = [f"t{number}" for number in range(tags)]
    lines = [
        ",".join([f"2026-01-01T00:00:{row:02}Z", *(str(row * 7 + number) for number in range(tags))])
        for row in range(ROWS)
    ]
    (rig.folder / "day.csv").write_text("\n".join([",".join(["time", *names]), *lines]) + "\n", encoding="utf-8")
    document: dict[str, Any] = {
        "hub": {"name": "hub", "data_dir": str(rig.folder / "hub")},
        "edge": {"name": "e1", "path": "acme/plant1", "data_dir": str(rig.folder / "edge")},
        "streams": {"integrity": {"max_bytes": "256MiB"}}, "api": {},
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


async def _open(browser: Browser, address: str, throttle: float) -> Page:
    page = await (await browser.new_context(locale="en-GB", viewport={"width": 1280, "height": 900})).new_page()
    page.set_default_timeout(WAIT_MS)
    if throttle > 1:
        session = await page.context.new_cdp_session(page)
        await session.send("Emulation.setCPUThrottlingRate", {"rate": throttle})
    await page.goto(address, wait_until="commit")
    return page


async def _first_picture(browser: Browser, address: str, throttle: float) -> float:
    """Seconds until a value stands there; the page's files are not in its cache."""
    settled = await _open(browser, address, 1.0)  # the plant is there, and the hub has done this once
    await settled.wait_for_function(HAS_VALUE)
    await settled.context.close()
    begun_s = time.monotonic()
    page = await _open(browser, address, throttle)
    await page.wait_for_function(HAS_VALUE)
    found_s = time.monotonic() - begun_s
    await page.context.close()
    return found_s


async def _cost(browser: Browser, address: str, tags: int, seconds: float) -> tuple[float, float]:
    """Shares of a core: of the page's process, and of all of the browser's."""
    page = await _open(browser, address, 1.0)
    await page.wait_for_function(HAS_VALUE)
    await page.get_by_text(f"{tags:,} tags").or_(page.get_by_text(f"{tags} tags")).first.wait_for()
    await asyncio.sleep(2.0)  # what opening costs is not what staying open costs
    processes = [child for child in psutil.Process().children(recursive=True) if "chrom" in child.name()]
    before = {process: _cpu_s(process) for process in processes}
    begun_s = time.monotonic()
    await asyncio.sleep(seconds)
    passed_s = time.monotonic() - begun_s
    spent = {process: _cpu_s(process) - start_s for process, start_s in before.items()}
    pages = [spent[process] for process in processes if "--type=renderer" in process.cmdline()]
    await page.context.close()
    return max(pages) / passed_s, sum(spent.values()) / passed_s


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
