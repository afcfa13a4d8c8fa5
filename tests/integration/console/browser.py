"""Debian's Chromium, driven by Playwright: pages that tell what went wrong in them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import peers  # tools/

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

DEADLINE_MS = 60_000
AXE = Path(__file__).resolve().parents[3] / "console" / "node_modules" / "axe-core" / "axe.min.js"


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """One browser."""
    from playwright.async_api import async_playwright

    program = peers.program_path("chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program)
        try:
            yield browser
        finally:
            await browser.close()


@contextlib.asynccontextmanager
async def a_page(browser: Browser, *, faults: list[str], **options: Any) -> AsyncIterator[Page]:
    """A page in a session of its own. What it throws, what its policy refuses and what it asks of elsewhere are
    `faults`."""
    context = await browser.new_context(**{"locale": "en-GB", "viewport": {"width": 1280, "height": 900}} | options)
    context.set_default_timeout(DEADLINE_MS)
    page = await context.new_page()
    page.on("pageerror", lambda error: faults.append(f"{error}"))
    page.on("console", lambda line: faults.append(line.text) if "Content Security Policy" in line.text else None)
    page.on("request", lambda asked: None if "127.0.0.1" in asked.url else faults.append(f"asked {asked.url[:200]}"))
    try:
        yield page
    finally:
        await context.close()


async def accessibility_faults(page: Page) -> list[str]:
    """What axe finds against WCAG 2.2 A and AA on what is shown now."""
    if not await page.evaluate("typeof axe === 'object'"):
        await page.evaluate(AXE.read_text(encoding="utf-8"))  # by the debugger: the page's policy does not see it
    found = await page.evaluate(
        "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']})"
    )
    return [f"{fault['id']}: {fault['nodes'][0]['html'][:200]}" for fault in found["violations"]]
