"""The plant that pages look at, and a page of it in a browser."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import psutil

from bench._nodes import Rig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser, Page, Playwright, ViewportSize

LOOP_S = 60  # then it begins anew, after a second in which nothing is said
WAIT_MS = 60_000
CLOSE_S_MAX = 10.0
SETTLE_S = 2.0
DESK_PX: ViewportSize = {"width": 1280, "height": 900}
WALL_PX: ViewportSize = {"width": 2560, "height": 1600}
HAS_VALUE = "() => [...document.querySelectorAll('.row .value')].some(e => /[0-9]/.test(e.textContent))"


@asynccontextmanager
async def open_browser(playwright: Playwright, program: str) -> AsyncIterator[Browser]:
    """A browser of its own; one that does not want to end is ended, so that it is in nobody's way afterwards."""
    browser = await playwright.chromium.launch(executable_path=program)
    try:
        yield browser
    finally:
        try:
            async with asyncio.timeout(CLOSE_S_MAX):
                await browser.close()
        except TimeoutError:
            for process in browser_processes():
                process.kill()


def browser_processes() -> list[psutil.Process]:
    """Those that were started here."""
    return [child for child in psutil.Process().children(recursive=True) if "chrom" in child.name()]


async def start_plant(rig: Rig, tags: int, step_s: float) -> str:
    """A hub and an edge that says so many tags, each once in so many seconds; the address that logs in."""
    names = [f"t{number}" for number in range(tags)]
    lines = [
        ",".join([f"2026-01-01T00:00:{row * step_s:04.1f}Z", *(str(row * 7 + number) for number in range(tags))])
        for row in range(round(LOOP_S / step_s))
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
    await child.wait_file(rig.folder / "edge" / "node.json")
    token = (rig.folder / "hub" / "secrets" / "api.token").read_text(encoding="ascii").strip()
    return f"{node['api_url']}/#token={token}"


async def open_page(
    browser: Browser, address: str, throttle: float, size: ViewportSize = DESK_PX, script: str = ""
) -> Page:
    """In a context of its own, so with nothing in its cache; `throttle` times slower."""
    page = await (await browser.new_context(locale="en-GB", viewport=size)).new_page()
    page.set_default_timeout(WAIT_MS)
    await page.add_init_script(script)
    if throttle > 1:
        session = await page.context.new_cdp_session(page)
        await session.send("Emulation.setCPUThrottlingRate", {"rate": throttle})
    await page.goto(address, wait_until="commit")
    return page


async def is_whole(page: Page, tags: int) -> None:
    """All of its tags are known, and what opening costs is over: it is not what staying open costs."""
    await page.wait_for_function(HAS_VALUE)
    await page.get_by_text(f"{tags:,} tags").or_(page.get_by_text(f"{tags} tags")).first.wait_for()
    await page.locator(".link[data-state=connected]").wait_for()
    await asyncio.sleep(SETTLE_S)
