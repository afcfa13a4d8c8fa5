"""Tags over time in a real browser: nearer, along, kept as files, compared, and as the site itself holds them."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import pyarrow as pa
import pytest
from browser import faults_shown
from console_site import PLACE, ConsoleSite
from trust_site import until

if TYPE_CHECKING:
    from playwright.async_api import Page


async def see_a_trend(page: Page, site: ConsoleSite) -> None:
    """Two tags and a state by their address, another by hand, and a zoom that the address holds."""
    tag = f"tag+{PLACE.replace('/', '%2F')}%2F"
    state = f"state{tag.removeprefix('tag')}press%3Astate"
    await page.goto(f"{site.url}/#/trend?tag={tag}press%3Aspeed&tag={tag}press%3Acount&tag={state}&span=5min")
    await page.get_by_label("Add a tag").fill(f"{PLACE}/oven:temperature")
    await page.get_by_label("Add a tag").press("Enter")
    await page.get_by_role("button", name=f"Remove {PLACE}/oven:temperature").wait_for()
    assert "oven%3Atemperature" in page.url
    await page.wait_for_function("() => document.querySelectorAll('main tbody tr').length === 4")
    all_loaded = "() => [...document.querySelectorAll('main tbody td.number')].every(e => e.innerText !== '–')"
    await page.wait_for_function(all_loaded)
    await see_axes_and_bands(page)
    await walk_through_time(page)
    await until(partial(has_zoomed, page), "a zoom")
    await page.get_by_role("button", name="Zoom out").click()
    await page.get_by_role("button", name="Zoom out").wait_for(state="detached")
    await page.wait_for_function(all_loaded)
    async with page.expect_download() as started:
        await page.get_by_role("button", name="Export CSV").click()
    text = (await (await started.value).path()).read_text(encoding="utf-8")
    assert text.startswith("path,time,value,least")
    assert f'"{PLACE}/press:count"' in text
    assert f'"{PLACE}/press:state"' in text
    assert ',"Execute",' in text
    for name, begins in (("Export Parquet", b"PAR1"), ("Export PNG", b"\x89PNG")):
        async with page.expect_download() as started:
            await page.get_by_text(name).click()
        assert (await (await started.value).path()).read_bytes().startswith(begins)
    await page.get_by_label("Compare").select_option("8h")
    await page.get_by_role("cell", name=f"{PLACE}/press:count (8 h earlier)").wait_for()
    await page.get_by_label("Spectrum", exact=True).check()
    await page.get_by_role("heading", name="Spectrum").wait_for()
    await page.get_by_role("button", name="Link to this").click()
    link = await page.get_by_label("Link to this").last.input_value()
    assert "earlier=8h" in link
    assert "from=" in link
    assert await faults_shown(page) == []
    await page.get_by_label("Compare").select_option("")
    await until(partial(is_read_at_the_site, page), "samples as the site holds them")
    assert "source=site" in page.url
    await see_what_comes_late(page, site)


async def see_axes_and_bands(page: Page) -> None:
    """Three units: a choice of lanes, which the address holds; a state has shares; and what stands under the cursor."""
    lanes = page.get_by_label("Each unit in a lane of its own")
    await lanes.check()
    await page.wait_for_url(re.compile("axes=lanes"))
    await page.get_by_role("cell", name="Execute 100 %").wait_for()
    await until(partial(is_read_out, page), "the values under the cursor")
    await lanes.uncheck()
    assert "axes=" not in page.url


async def is_read_out(page: Page) -> bool:
    """The box is made anew while lines come."""
    box = await page.locator(".chart .u-over").bounding_box()
    if box is None:
        return False
    await page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + 50)
    await page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + 50)
    text = await page.locator(".chart .read").inner_text()
    return re.search(r"press:speed\s+-?\d[\d.,]* 1/min.*press:state\s+Execute", text, re.DOTALL) is not None


async def see_what_comes_late(page: Page, site: ConsoleSite) -> None:
    """A past hour stands open, and holds nothing; a value of it that comes now is in the picture, with a word on it."""
    hour_ms, now_ms = 3_600_000, int(await page.evaluate("Date.now()"))
    tag = f"count+{PLACE.replace('/', '%2F')}%2Fpress%3Aparts"
    async with page.expect_response(re.compile("aggregate=mean")):
        await page.goto(f"{site.url}/#/trend?tag={tag}&from={now_ms - 2 * hour_ms}&to={now_ms - hour_ms}")
    cell = page.locator("main tbody td.number").first
    assert await cell.inner_text() == "–"
    await site.plant.publish(f"{PLACE}/press:parts", 17, kind="count", time=(now_ms - 3 * hour_ms // 2) * 10**6)

    async def is_told() -> bool:
        await page.evaluate("dispatchEvent(new Event('focus'))")  # else it is asked for each half minute
        return await page.get_by_text("have come late").count() == 1

    async def is_drawn() -> bool:
        return await cell.inner_text() == "17"

    await until(is_told, "a word that something came late")
    await until(is_drawn, "the value that came late")  # a picture is drawn a few times a second


async def walk_through_time(page: Page) -> None:
    """Without drawing over the picture, as on a phone: nearer, back, forward to where it was, and all of it again."""
    seen: list[tuple[float, ...]] = []
    forward = page.get_by_role("button", name="Forward in time")
    assert await forward.is_disabled()  # it ends now
    for button in (
        page.get_by_role("button", name="Zoom in"),
        page.get_by_role("button", name="Back in time"),
        forward,
    ):
        before = page.url
        await button.click()
        await page.wait_for_url(lambda url, before=before: url != before)
        found = parse_qs(page.url.partition("?")[2])
        seen.append(tuple(float(found[name][0]) for name in ("from", "to")))
    (begin, end), back, again = seen
    assert end - begin == pytest.approx(150_000, abs=2)
    assert back == pytest.approx((begin - 75_000, end - 75_000), abs=2)
    assert again == pytest.approx((begin, end), abs=2)
    await page.get_by_role("button", name="Zoom out").click()


async def is_read_at_the_site(page: Page) -> bool:
    """A site that is slow for once is asked again."""
    box = page.get_by_label("From the site")
    await box.uncheck()
    async with page.expect_response(re.compile("/api/v1/fleet/data.*press%3Acount")) as answered:
        await box.check()
    answer = await answered.value
    if answer.status != 200:
        return False
    table = pa.ipc.open_stream(await answer.body()).read_all()
    return table.num_rows > 0 and table.schema.metadata[b"truncated"] == b"false"


async def has_zoomed(page: Page) -> bool:
    """Draw over the chart, which is made anew while lines come."""
    box = await page.locator(".chart .u-over").bounding_box()
    if box is None:
        return False
    await page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 50)
    await page.mouse.down()
    await page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + 60, steps=4)
    await page.mouse.up()
    return "from=" in page.url
