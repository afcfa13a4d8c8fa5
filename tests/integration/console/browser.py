"""Debian's Chromium, driven by Playwright: pages that tell what went wrong in them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import peers  # tools/

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page, ViewportSize

DEADLINE_MS = 60_000
DESK: ViewportSize = {"width": 1280, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}
SIZING_TRIES = 30
TARGET_PX = 24  # WCAG 2.2, 2.5.8
AXE = Path(__file__).resolve().parents[3] / "console" / "node_modules" / "axe-core" / "axe.min.js"

_ALL_RULES = (
    """runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'], rules: {'target-size': {enabled: true}}"""
)
_COLOURS = (
    "runOnly: {type: 'rule', values: ['color-contrast', 'link-in-text-block']}"  # what differs in the other colours
)
_AGE = re.compile(r"\d s\b")
_ACTIONS = Path(__file__).with_name("actions.js").read_text(encoding="utf-8")


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
    context = await browser.new_context(**{"locale": "en-GB", "viewport": DESK} | options)
    context.set_default_timeout(DEADLINE_MS)
    page = await context.new_page()
    page.on("pageerror", lambda error: faults.append(f"{error}"))
    page.on("console", lambda line: faults.append(line.text) if "Content Security Policy" in line.text else None)
    page.on("request", lambda asked: None if "127.0.0.1" in asked.url else faults.append(f"asked {asked.url[:200]}"))
    try:
        yield page
    finally:
        await context.close()


async def accessibility_faults(page: Page, options: str = _ALL_RULES) -> list[str]:
    """What axe finds against WCAG 2.2 A and AA on what is shown now."""
    if not await page.evaluate("typeof axe === 'object'"):
        await page.evaluate(AXE.read_text(encoding="utf-8"))  # by the debugger: the page's policy does not see it
    found = await page.evaluate(f"axe.run(document, {{resultTypes: ['violations'], {options}}})")
    return [f"{fault['id']}: {fault['nodes'][0]['html'][:200]}" for fault in found["violations"]]


async def faults_shown(page: Page) -> list[str]:
    """What is wrong with what is shown now, as it is and on a phone."""
    return [*await accessibility_faults(page), *await spoken_faults(page), *await phone_faults(page)]


async def spoken_faults(page: Page) -> list[str]:
    """What a screen reader would say each second, since an age stands in it; and a page without a first heading."""
    said = await page.locator("[role=status]:not(.link), [role=alert]").all_text_contents()
    heads = await page.evaluate(
        "[...document.querySelectorAll('h1, h2, h3')].filter((one) => one.checkVisibility()).map((one) => one.tagName)"
    )
    skips = [f"{one} before {two}" for one, two in pairwise(heads) if (one, two) == ("H1", "H3")]
    is_headed = heads[:1] == ["H1"] and heads.count("H1") == 1
    return (
        [f"chatty: {text}" for text in said if _AGE.search(text)] + skips + ([] if is_headed else [f"heads: {heads}"])
    )


async def phone_faults(page: Page) -> list[str]:
    """The same page in the window of a phone: nothing is lost, nothing lies aside, a finger meets all of it, and axe
    finds nothing, in light and dark. Afterwards the page is as it was."""
    size = page.viewport_size
    assert size is not None
    before = {one["name"] for one in (await page.evaluate(_ACTIONS))["actions"] if not one["isRow"]}
    await page.set_viewport_size(PHONE)
    try:
        faults = [*await _misfits(page, before), *await accessibility_faults(page)]
        theme = await page.evaluate("document.documentElement.dataset.theme")
        for name in ("dark", theme):
            await page.evaluate("(name) => (document.documentElement.dataset.theme = name)", name)
            faults += await accessibility_faults(page, _COLOURS) if name != theme else []
    finally:
        await page.set_viewport_size(size)
    return [f"on a phone: {fault}" for fault in faults]


async def _misfits(page: Page, wanted: set[str]) -> list[str]:
    """What is missing there, too small, or aside of the screen. The page may need a moment for its new size."""
    faults: list[str] = []
    for _ in range(SIZING_TRIES):
        await page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
        shown = await page.evaluate(_ACTIONS)
        missing = wanted - {one["name"] for one in shown["actions"]}
        faults = [f"missing: {name}" for name in missing]
        for one in shown["actions"]:
            is_small = min(one["width"], one["height"]) < TARGET_PX - 0.5 and not one["isWithinText"]
            faults += [f"{one['width']:.0f} x {one['height']:.0f} px: {one['name']}"] if is_small else []
            faults += [f"aside: {one['name']}"] if one["isAside"] else []
        faults += [f"scrolls sideways: {shown['wide']}"] if shown["wide"] is not None else []
        if not faults:
            break
    return faults
