"""The console in a real browser, on a real hub and edge: each page, a cut link, hostile names, and who may see what."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browser import a_page, accessibility_faults, chromium
from console_site import HOSTILE, PLACE, TOKEN, ConsoleSite, console_site

if TYPE_CHECKING:
    from playwright.async_api import Page

pytestmark = pytest.mark.needs("chromium", "playwright", "console")


async def numbers_change(page: Page, row: str) -> None:
    """A row of the tree has another value than a moment ago."""
    cell = page.get_by_role("row", name=row).locator(".value").first
    before = await cell.inner_text()
    await page.wait_for_function(
        "([text, before]) => [...document.querySelectorAll('.row .value')].some(e => e.title !== before && "
        "e.closest('.row').innerText.startsWith(text))",
        arg=[row, before],
    )


async def see_the_plant(page: Page, site: ConsoleSite) -> None:
    """The tree, live; the token is gone from the address."""
    await page.goto(site.page)
    await page.get_by_role("row", name="speed").wait_for()
    assert TOKEN not in page.url
    assert await page.locator(".link").get_attribute("data-state") == "connected"
    await numbers_change(page, "count")
    assert await page.get_by_role("row", name="lost").locator(".look").inner_text() == "bad"
    assert await accessibility_faults(page) == []


async def see_hostile_names(page: Page) -> None:
    """They are text: nothing runs, nothing turns the line around, and long ones are cut."""
    await page.get_by_role("searchbox").fill("hostile")
    await page.get_by_text(HOSTILE, exact=True).first.wait_for()
    text = await page.locator(".tree").inner_text()
    assert "‮" not in text
    assert max(map(len, text.splitlines())) < 200
    assert "9,223,372,036,854,775,807" in text
    await page.get_by_role("row", name=HOSTILE).first.click()
    await page.get_by_role("region", name="Details").wait_for()
    assert await page.evaluate("window.pwned") is None
    assert await page.locator("img").count() == 0


async def see_a_tag(page: Page, site: ConsoleSite) -> None:
    """By a link from elsewhere: value, trend, source."""
    await page.goto(f"{site.url}/#/plant?tag=tag+{PLACE.replace('/', '%2F')}%2Fpress%3Aspeed")
    details = page.get_by_role("region", name="Details")
    await details.locator("canvas").wait_for()
    assert "connector hall" in await details.inner_text()
    assert await accessibility_faults(page) == []
    await page.keyboard.press("Escape")
    await details.wait_for(state="detached")


async def walk_by_keyboard(page: Page) -> None:
    """Down, close a place, open it again."""
    await page.get_by_role("searchbox").fill("")
    tree = page.get_by_role("treegrid")
    await tree.focus()
    await tree.press("Home")
    await tree.press("ArrowLeft")
    await page.get_by_role("row", name="press").wait_for(state="detached")
    await tree.press("ArrowRight")
    await page.get_by_role("row", name="press").wait_for()


async def test_whoever_has_the_token_sees_the_plant(tmp_path: Path) -> None:
    faults: list[str] = []
    async with console_site(tmp_path) as site, chromium() as browser, a_page(browser, faults=faults) as page:
        await see_the_plant(page, site)
        await see_hostile_names(page)
        await see_a_tag(page, site)
        await walk_by_keyboard(page)
    assert faults == []
