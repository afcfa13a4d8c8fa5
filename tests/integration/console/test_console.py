"""The console in a real browser, on a real hub and edge: each page, a cut link, hostile names, and who may see what."""

from __future__ import annotations

import json
import random
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest
from acting import act_on_the_plant
from all_tenants import see_all_tenants
from browser import DESK, PHONE, a_page, accessibility_faults, chromium, faults_shown, spoken_faults
from client_package import see_the_example_page, the_example
from console_site import HOSTILE, PLACE, TOKEN, ConsoleSite, console_site
from lined import see_lines_beside_their_rows
from login_site import PASSWORD, LoginSite, login_site
from outlines import check_outline
from signing import sign_what_a_page_prepared
from spikes import see_each_spike
from tenants_apart import OF_ACME, OF_BETA, ask_for_it, follow_links, hear_what_is_published
from trending import see_a_trend
from trust_site import until
from untranslated import english_words, untranslated

from millstream.kernel import SystemClock
from millstream.protocols.cloudevents import format_time
from millstream.shop import Fact

if TYPE_CHECKING:
    from playwright.async_api import Browser, Locator, Page, Route

ENGLISH = {
    "Plant": "temperature", "Shop floor": "producing", "Trend": "Choose one or more tags", "Alarms": "Events, too",
    "Fleet": "acme/away", "Pipeline": "not a frame of this protocol", "Admin": "one plant and no people",
}  # fmt: skip
GERMAN = {
    "Anlage": "temperature", "Fertigung": "produziert", "Verlauf": "Wählen Sie Messstellen",
    "Alarme": "Auch Ereignisse", "Standorte": "acme/away",
    "Datenweg": "not a frame of this protocol", "Verwaltung": "eine Anlage und keine Personen",
}  # fmt: skip
LOOKED_AT_ELSEWHERE = {"Plant", "Trend", "Alarms", "Pipeline", "Admin"}  # in light colours
COUNT = re.compile("^count ")
KEY_S_MAX, HEAP_BYTES_MAX = 0.5, 200e6  # of 0.05 s and 46 MB
pytestmark = pytest.mark.needs("chromium", "playwright", "console")


async def numbers_change(page: Page, row: str) -> None:
    """A row of the tree has another value than a moment ago."""
    cell = page.get_by_role("row", name=re.compile(f"^{row} ")).locator(".value").first
    before = await cell.inner_text()
    await page.wait_for_function(
        "([text, before]) => [...document.querySelectorAll('.row .value')].some(e => e.textContent !== before && "
        "e.closest('.row').innerText.startsWith(text))",
        arg=[row, before],
    )


async def see_the_plant(page: Page, site: ConsoleSite) -> None:
    """The tree, live; the token is gone from the address."""
    await page.goto(site.page)
    await page.get_by_role("row", name="speed").wait_for()
    assert TOKEN not in page.url
    await page.locator(".link[data-state=connected]").wait_for()
    await numbers_change(page, "count")
    assert await page.get_by_role("row", name="lost").locator(".look").inner_text() == "bad"
    assert await faults_shown(page) == []
    await page.set_viewport_size(PHONE)
    await page.get_by_text("Menu", exact=True).click()
    await page.get_by_role("button", name="Log out").wait_for()
    assert await accessibility_faults(page) == []
    await page.set_viewport_size(DESK)


async def see_hostile_names(page: Page) -> None:
    """They are text: nothing runs, nothing turns the line around, and long ones are cut."""
    await page.get_by_role("searchbox").fill("hostile")
    await page.get_by_text(HOSTILE, exact=True).first.wait_for()
    await page.get_by_text("9,223,372,036,854,775,807").wait_for()
    text = await page.locator(".tree").inner_text()
    assert "‮" not in text
    assert max(map(len, text.splitlines())) < 200
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
    await details.get_by_role("button", name="Pin").click()
    pinned = page.get_by_role("navigation", name="Pinned")
    await pinned.get_by_role("link", name="press:speed").wait_for()
    await page.reload()
    await page.wait_for_function("() => /\\d 1\\/min/.test(document.querySelector('.pins')?.innerText)")
    assert await faults_shown(page) == []
    await page.keyboard.press("Escape")
    await details.wait_for(state="detached")
    await page.get_by_role("button", name="No longer pinned: press:speed").click()
    await pinned.wait_for(state="detached")
    await page.get_by_role("link", name=f"Details: {PLACE}/saw", exact=True).click()
    await details.get_by_role("row", name="door").get_by_text("closed").wait_for()
    assert await details.get_by_role("link", name="Stops").get_attribute("href") == "#/shop?machine=acme%2Fplant1%2Fsaw"
    assert "saw%3Adoor" in str(await details.get_by_role("link", name="Open in trend").get_attribute("href"))
    assert await faults_shown(page) == []
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


async def see_all_values(page: Page) -> None:
    """Each in a cell of its own, live and by place; what is not good says so; each leads to its tag."""
    await page.get_by_role("link", name="All values").click()
    press = page.get_by_role("region", name=f"{PLACE}/press", exact=True)
    cell = press.get_by_role("link", name=COUNT).locator(".value")
    before = await cell.inner_text()
    await page.wait_for_function(
        "before => [...document.querySelectorAll('.wall a')].some(e => e.innerText.startsWith('count') && "
        "/[0-9]/.test(e.innerText) && e.querySelector('.value').innerText !== before)",
        arg=before,
    )
    await press.get_by_role("link", name="lost").get_by_text("bad").wait_for()
    assert await press.get_by_role("link", name="lost").locator(".value").get_attribute("data-look") == "bad"
    assert await faults_shown(page) == []
    await see_lines_beside_their_rows(page)
    await press.get_by_text(re.compile(r"^oldest value \d+ \w+$")).wait_for()
    await page.get_by_role("searchbox").fill("speed")
    await press.get_by_role("link", name=COUNT).wait_for(state="detached")
    await press.get_by_role("link", name="speed").click()
    await page.get_by_role("region", name="Details").get_by_role("heading", name="speed").wait_for()
    await page.get_by_role("searchbox").fill("")
    await page.get_by_role("link", name="All values").click()
    await page.get_by_role("link", name="As a tree").click()
    await page.get_by_role("row", name=COUNT).wait_for()


async def see_what_has_not_changed(page: Page, site: ConsoleSite) -> None:
    """A state of ten minutes ago holds while its machine is there, and is stale as soon as that is unplugged; both ages
    stand in the details."""
    await page.goto(f"{site.url}/#/plant?tag=state+{PLACE.replace('/', '%2F')}%2Fsaw%3Adowntime%2Fstate")
    details = page.get_by_role("region", name="Details")
    await details.get_by_text(re.compile(r"^ · source heard \d s ago$")).wait_for()
    said = await details.inner_text()
    assert re.search(r"good · \d+ min · source heard", said), said
    site.unplugged.set()
    await details.get_by_text("source gone").wait_for()
    assert re.search(r"stale · \d+ min · source gone", await details.inner_text())
    await page.get_by_role("row", name="downtime/state").get_by_text("stale", exact=True).wait_for()
    await page.get_by_role("row", name="door").get_by_text("bad", exact=True).wait_for()
    site.unplugged.clear()
    await details.get_by_text("good", exact=True).wait_for()
    await page.keyboard.press("Escape")


async def explain_a_stop(page: Page) -> None:
    """It is cut, half of it gets a reason, that shows in the Pareto; joined again it is one, which has none before."""
    await page.get_by_role("article", name=f"{PLACE}/saw").get_by_role("link", name="Stops of").click()
    panel = page.get_by_role("region", name=f"Stops of {PLACE}/saw", exact=True)
    stops = panel.get_by_role("region", name="Stops", exact=True).locator("tbody tr")
    await stops.get_by_text("30 min", exact=True).wait_for()
    order = panel.get_by_role("region", name="Orders").get_by_role("row", name="4711")
    await order.get_by_text("lid").wait_for()
    await stops.get_by_role("button", name="Split").click()
    form = panel.get_by_role("form")
    await form.get_by_label("Cut at").wait_for()
    assert await faults_shown(page) == []
    await form.get_by_role("button", name="Split").click()
    await stops.get_by_text("15 min", exact=True).nth(1).wait_for()
    await undo_by_keyboard(page, stops)
    await stops.get_by_role("button", name="Split").click()
    await form.get_by_role("button", name="Split").click()
    await stops.get_by_text("15 min", exact=True).nth(1).wait_for()
    await stops.nth(0).get_by_role("button", name="Reason").click()
    await form.get_by_label("Reason").fill("meeting")
    await form.get_by_label("Counts as").select_option("planned")
    await form.get_by_role("button", name="Save the reason").click()
    pareto = panel.get_by_role("region", name="Where the time went").get_by_role("row", name="meeting")
    await pareto.get_by_text("50 %").first.wait_for()
    assert "token@127.0.0.1" in await stops.nth(0).inner_text()
    await stops.nth(0).get_by_role("button", name="Join").click()
    await stops.get_by_text("30 min", exact=True).wait_for()
    await stops.get_by_role("button", name="Join").click()
    await panel.get_by_text("[MS-2721]").wait_for()
    await panel.get_by_label("Span").select_option("-8h")
    await until(partial(has_dragged, page), "a part of the stop is chosen")
    await form.get_by_label("Reason").fill("jam")
    await form.get_by_role("button", name="Save the reason").click()
    await stops.filter(has_text="jam").wait_for()
    assert await stops.count() == 3
    await page.get_by_role("button", name="Undo").click()
    await page.get_by_text("Taken back: Reason").wait_for()
    await stops.get_by_text("30 min", exact=True).wait_for()
    assert "jam" not in await stops.inner_text()


async def undo_by_keyboard(page: Page, stops: Locator) -> None:
    """The focus is where it was before the form; Ctrl+Z takes the last act back, but in a field it is the field's."""
    split = stops.nth(0).get_by_role("button", name="Split")
    assert await page.evaluate("document.activeElement.textContent") == "Split"
    await split.press("Enter")
    await page.get_by_role("form").get_by_label("Remark").press("Control+z")
    await page.keyboard.press("Escape")
    assert await stops.count() == 2
    assert await accessibility_faults(page) == []
    await page.keyboard.press("Control+z")
    await page.get_by_text("Taken back: Split").wait_for()
    await stops.get_by_text("30 min", exact=True).wait_for()
    await page.get_by_role("button", name="Undo").wait_for(state="detached")


async def say_what_was_no_good(page: Page) -> None:
    """Nobody counts here: a person says it, puts it right, takes it back, and each stands there with its reason."""
    panel = page.get_by_role("region", name=f"Stops of {PLACE}/saw", exact=True)
    lots = panel.get_by_role("region", name="Scrap and rework").locator("tbody tr")
    await lots.get_by_text("No scrap and no rework in this time.").wait_for()
    await panel.get_by_role("button", name="Say what was no good").click()
    form = panel.get_by_role("form", name="Say what was no good")
    await form.get_by_label("Parts").fill("0")
    await form.get_by_text("How many parts: more than 0.").wait_for()
    await form.get_by_role("button", name="Send").click()
    assert await form.count() == 1, "nothing is not sent"
    await form.get_by_label("Parts").fill("12")
    await form.get_by_label("Reason", exact=True).fill("scratches")
    assert await faults_shown(page) == []
    await form.get_by_role("button", name="Send").click()
    row = lots.filter(has_text="scratches")
    await row.get_by_text("12", exact=True).wait_for()
    assert "token@127.0.0.1" in await row.inner_text()
    await row.get_by_role("button", name="Put right").click()
    form = panel.get_by_role("form")
    await form.get_by_label("Parts").fill("10")
    await form.get_by_label("Counts as").select_option("rework")
    await form.get_by_label("Remark").fill(f"counted again {HOSTILE}")
    await form.get_by_role("button", name="Send").click()
    await row.get_by_text("10", exact=True).wait_for()
    assert "rework" in await row.inner_text()
    assert HOSTILE in await row.inner_text()
    pareto = panel.get_by_role("region", name="Where the parts went").get_by_role("row", name="scratches")
    await pareto.get_by_text("100 %").first.wait_for()
    await row.get_by_role("button", name="Take back").click()
    await row.wait_for(state="detached")
    assert await page.evaluate("document.activeElement !== document.body"), "a row that is gone takes no focus along"
    await page.get_by_role("button", name="Undo").click()
    await row.get_by_text("10", exact=True).wait_for()
    await row.get_by_role("button", name="Take back").click()
    await row.wait_for(state="detached")
    await page.locator(".undo").get_by_role("button", name="Close").click()
    await page.locator(".undo button").first.wait_for(state="detached")


async def has_dragged(page: Page) -> bool:
    """Over the middle of the stop; the picture is drawn anew now and then."""
    stop = page.locator("svg.act-on rect[y='27']")
    await stop.scroll_into_view_if_needed()
    box = await stop.bounding_box()
    if box is None or box["width"] < 30:  # still that of a longer span
        return False
    middle = box["y"] + box["height"] / 2
    await page.mouse.move(box["x"] + box["width"] * 0.3, middle)
    await page.mouse.down()
    await page.mouse.move(box["x"] + box["width"] * 0.7, middle, steps=3)
    await page.mouse.up()
    return await page.get_by_role("form").count() == 1


async def ask_why(page: Page) -> None:
    """A figure says what it is made of."""
    await page.get_by_role("article", name=f"{PLACE}/press").get_by_role("link", name="82 %").click()
    panel = page.get_by_role("region", name=f"Why: {PLACE}/press:oee/shift/oee", exact=True)
    await panel.get_by_text("setting up 10 min").wait_for()
    await panel.get_by_text(HOSTILE).wait_for()
    waterfall = panel.get_by_role("region", name="From the planned time to what was used")
    await waterfall.get_by_role("row", name="Fully used").get_by_text("50 min").wait_for()
    assert await faults_shown(page) == []
    await panel.get_by_role("button", name="Close").click()
    await panel.wait_for(state="detached")


async def see_each_page(page: Page, site: ConsoleSite) -> None:
    """What stands on each, and that axe has nothing against it: in both languages, light and dark."""
    english = english_words()
    await page.get_by_label("Language").select_option("de")
    await page.get_by_label("Darstellung").select_option("dark")
    for name, text in GERMAN.items():
        await page.get_by_role("link", name=name, exact=True).click()
        await page.locator("main").get_by_text(text).first.wait_for()
        assert await accessibility_faults(page) == [], name
        found = await untranslated(page, english)
        assert found == [], f"{name}: {found}"
    await page.get_by_label("Sprache").select_option("en")
    await page.get_by_label("Appearance").select_option("light")
    for name, text in ENGLISH.items():
        await page.get_by_role("link", name=name, exact=True).click()
        await page.locator("main").get_by_text(text).first.wait_for()
        assert name in LOOKED_AT_ELSEWHERE or await faults_shown(page) == [], name
        assert await spoken_faults(page) == [], name
        await check_outline(page, name)


async def see_the_shop_floor(page: Page, site: ConsoleSite) -> None:
    """State in words, OEE, parts that go on; an order that is told now stands there without being asked for."""
    await page.get_by_role("link", name="Shop floor").click()
    tile = page.get_by_role("article", name=f"{PLACE}/press")
    await tile.locator(".state").get_by_text("producing").wait_for()
    await tile.get_by_text("82 %").wait_for()
    await page.get_by_role("article", name=f"{PLACE}/oven").locator(".state").get_by_text("down").wait_for()
    await tile.get_by_text("No order runs.").wait_for()
    order = {"start": format_time(SystemClock().now_ns() - 10**9), "product": "cup"}
    await site.plant.context.put([Fact(f"{PLACE}/press:order/4713", "order", order)])
    await tile.get_by_text("4713", exact=True).wait_for()
    saw = page.get_by_role("article", name=f"{PLACE}/saw")
    await saw.get_by_text("4711", exact=True).wait_for()
    await saw.get_by_text(re.compile(r"^60 of 5,000 good parts · \d+ (s|min)$")).wait_for()
    assert await saw.get_by_role("progressbar").evaluate("one => one.value / one.max") == 60 / 5000
    more = [{"order": "4711", "product": "lid", "produced": 70, "rejected": 2}]
    start = format_time(SystemClock().now_ns() - 3600 * 10**9)
    told = {"window": "live", "start": start, "orders": more}
    await site.plant.event(f"{PLACE}/saw:oee/live", "millstream.oee", told)
    await saw.get_by_text("68 of 5,000 good parts").wait_for(
        timeout=30_000
    )  # heard: it is asked for once a minute only
    await see_a_place_and_what_it_is_made_of(page)
    states = page.get_by_role("group", name="Machines by state")
    await states.get_by_role("link", name="1 down").click()
    await tile.wait_for(state="detached")
    assert await page.get_by_role("article").count() == 1
    await states.get_by_role("link", name="Show all 3").click()
    await tile.wait_for()
    await page.get_by_role("button", name="Full screen").click()
    await page.get_by_role("button", name="Leave full screen").click()  # of the wall: nothing but the machines
    await page.get_by_role("button", name="Full screen", exact=True).wait_for()
    assert await page.evaluate("document.fullscreenElement") is None


async def see_a_place_and_what_it_is_made_of(page: Page) -> None:
    """The OEE of all its machines; why it is that leads to the machine, and its tile to the trend."""
    place = page.get_by_role("article", name=PLACE, exact=True)
    await place.get_by_role("link", name="71 %").click()
    why = page.get_by_role("region", name=f"Why: {PLACE}:oee/shift/oee")
    below = why.get_by_role("table", name="Places and machines below")
    await below.get_by_role("row", name=f"{PLACE}/press").get_by_text("10 min").wait_for()
    assert await faults_shown(page) == []
    await below.get_by_role("link", name=f"{PLACE}/press").click()
    why = page.get_by_role("region", name=f"Why: {PLACE}/press:oee/shift/oee")
    await why.get_by_text("82 %").first.wait_for()
    await why.get_by_role("button", name="Close").click()
    await place.get_by_role("link", name=f"Open in trend: {PLACE}").click()
    await page.get_by_role("img", name=f"Values of {PLACE}:oee/shift/oee over time").wait_for()
    await page.get_by_role("link", name="Shop floor").click()


async def see_an_alarm(page: Page) -> None:
    """It stands there by its words."""
    await page.get_by_role("link", name="Alarms").click()
    row = page.get_by_role("region", name="Alarms", exact=True).get_by_role("row", name=f"{PLACE}:temperature")
    await row.get_by_text("unacknowledged").wait_for()
    assert HOSTILE in await row.inner_text()
    assert await row.locator("svg").count() == 1


async def act_on_alarms(page: Page) -> None:
    """What nobody keeps is refused and says why; an alarm of a flow is acknowledged, shelved, taken back, remarked on,
    and its history tells who and why."""
    table = page.get_by_role("region", name="Alarms", exact=True)
    await table.get_by_role("button", name=f"Acknowledge: {PLACE}:temperature").click()
    await page.get_by_text(f"Refused: {PLACE}:temperature").wait_for()
    assert "[MS-2702]" in await page.locator(".told").inner_text()
    alarm = f"{PLACE}/press:alarm/many"
    row = table.get_by_role("row", name=alarm)
    waiting = page.get_by_role("navigation", name="Pages").get_by_role("status")
    await waiting.get_by_text("Alarms that wait for somebody: 2. The most urgent: critical.").wait_for()
    await row.get_by_role("button", name="Acknowledge").click()
    await row.get_by_text("acknowledged", exact=True).wait_for()
    await waiting.get_by_text("Alarms that wait for somebody: 1.").wait_for()
    await row.get_by_role("button", name="Shelve").click()
    form = page.get_by_role("form", name=f"Shelve: {alarm}")
    assert await faults_shown(page) == []
    await form.get_by_label("How long").select_option("30min")
    await form.get_by_role("button", name="Shelve").click()
    assert await form.count() == 1, "without a reason it is not sent"
    await form.get_by_label("Reason").fill(f"sensor {HOSTILE}")
    await form.get_by_role("button", name="Shelve").click()
    await row.get_by_text("until").wait_for()
    await row.get_by_role("button", name="Unshelve").click()
    await row.get_by_text("until").wait_for(state="detached")
    await page.get_by_role("button", name="Undo").click()
    await row.get_by_text("until").wait_for()
    told = page.get_by_role("region", name="History").get_by_text(
        re.compile("token@127.0.0.1: takes back [0-9a-f]{32}")
    )
    await told.wait_for()
    await row.get_by_role("button", name="Unshelve").click()
    await row.get_by_text("until").wait_for(state="detached")
    await row.get_by_role("button", name="Comment").click()
    await page.get_by_role("form").get_by_label("Reason").fill("third time")
    await page.get_by_role("form").get_by_label("Reason").press("Enter")
    history = page.get_by_role("region", name="History")
    await history.get_by_text("token@127.0.0.1: third time").first.wait_for()
    assert await page.evaluate("window.pwned") is None


async def see_gaps(page: Page) -> None:
    """What the hub's recount misses stands there by its sequences."""
    account = {
        "messages": 8, "samples": 8, "records": 1, "gaps": 4, "repeats": 0, "out_of_order": 0, "surplus": 0,
        "samples_missing": 4, "unrecorded": 0, "first_seq": 1, "last_seq": 30, "is_clean": False,
        "missing": [[7, 9], [21, 21]],
    }  # fmt: skip
    body = json.dumps({"origins": {"E_lossy_I": account}})
    await page.route("**/api/v1/ledger", lambda route: route.fulfill(body=body, content_type="application/json"))
    await page.get_by_role("link", name="Pipeline").click()
    await page.get_by_text("Origins that are not complete: 1 of ").wait_for()
    rows = await page.get_by_role("region", name="Gaps").locator("tbody tr").all_inner_texts()
    assert [row.split("\t") for row in rows] == [["E_lossy_I", "21", "1"], ["E_lossy_I", "7 – 9", "3"]]
    await page.unroute("**/api/v1/ledger")
    await page.get_by_text("once and in order").wait_for()


async def find_a_site(page: Page) -> None:
    """On the map, by keyboard."""
    await page.get_by_role("link", name="Fleet").click()
    chart = page.get_by_role("group", name="Map of the sites")
    await chart.get_by_role("link", name="plant1: reached").focus()
    await page.keyboard.press("Enter")
    await page.wait_for_url(re.compile("site=plant1"))
    await page.go_back()
    await chart.get_by_role("link", name="plant1: reached").wait_for()


async def ask_all_sites(page: Page) -> None:
    """The live query, and what it says of a site that is not there."""
    await page.get_by_role("link", name="Fleet").click()
    query = page.get_by_role("region", name="Ask all sites").first
    await query.get_by_label("Question").fill('link.state != "x"')
    await query.get_by_label("Facts").fill("os.name")

    async def has_answered() -> bool:  # a site that is slow for once counts as silent
        await query.get_by_role("button", name="Ask").click()
        await query.get_by_text("sites have answered").wait_for()
        return await query.get_by_text("1 of 2 sites have answered").count() == 1

    await until(has_answered, "the site that is there answers")
    await query.get_by_text('{"os":{"name"').wait_for()
    await page.get_by_role("region", name="Not answered").get_by_role("row", name="away").wait_for()
    await query.get_by_label("Question").fill("link.state ==")
    await query.get_by_role("button", name="Ask").click()
    await query.get_by_role("alert").wait_for()


async def lose_the_link(page: Page, site: ConsoleSite) -> None:
    """A cut is told at once, and heals by itself."""
    await page.get_by_role("link", name="Plant", exact=True).click()
    await page.get_by_role("row", name=COUNT).wait_for()
    site.websocket.cut()
    await page.get_by_text("No connection: values are old").wait_for()
    site.websocket.restore()
    await page.locator(".link[data-state=connected]").wait_for()
    await page.get_by_text("No connection: values are old").wait_for(state="detached")
    await numbers_change(page, "count")


async def answer_tags(plant: dict[str, int], route: Route) -> None:
    """A list of all has the first of each place; a search finds one more."""
    pattern = parse_qs(urlsplit(route.request.url).query)["pattern"][0]
    found = [{"tag": "far/away:deep", "kind": "tag", "description": None}] if pattern == "*deep*" and plant else []
    await route.fulfill(body=json.dumps({"tags": found, "truncated": False}), content_type="application/json")


async def answer_tree(plant: dict[str, int], route: Route) -> None:
    """Two levels, the lower of which has so many tags; one answer has ten thousand."""
    asked = {name: values[0] for name, values in parse_qs(urlsplit(route.request.url).query).items()}
    place, count = asked.get("place", ""), sum(plant.values())
    many = min(10_000, int(asked.get("limit", "10000"))) if place in plant else 0
    tags = [{"tag": f"{place}:t{number}", "kind": "tag", "description": None} for number in range(many)]
    places = [{"path": path, "count": count, "is_whole": path == "a"} for path in ("a", "a/b") if plant]
    body = json.dumps({"count": count, "places": places, "tags": tags, "last": {}})
    await route.fulfill(body=body, content_type="application/json")


async def see_what_is_odd(browser: Browser, site: ConsoleSite, faults: list[str]) -> None:
    """A panel whose clock is a day ahead, a plant with nothing in it, one with more than a list holds, a hub away."""
    async with a_page(browser, faults=faults) as page:
        await page.add_init_script("const real = Date.now; Date.now = () => real() + 86_400_000")
        await page.goto(site.page)
        await page.get_by_text("clock of this device is off by 1 d").wait_for()
        row = page.get_by_role("row", name=COUNT)
        await row.get_by_text("good").wait_for()
        assert " h" not in await row.inner_text()
        plant: dict[str, int] = {}
        await page.route("**/api/v1/tags?*", partial(answer_tags, plant))
        await page.route("**/api/v1/tree?*", partial(answer_tree, plant))
        await page.reload()
        await page.get_by_text("No tags yet.").wait_for()
        assert await accessibility_faults(page) == []
        plant["a/b"] = 100_000
        await page.reload()
        await page.get_by_text("The first 10,000 are shown").wait_for()
        await page.get_by_role("status").get_by_text("100,000 tags").wait_for()
        assert await page.get_by_role("row").count() < 200  # of ten thousand
        await type_in_a_large_plant(page, "deep")
        await page.get_by_role("row", name="deep").wait_for()
        await page.route("**/api/v1/session/credentials", lambda route: route.abort())
        await page.reload()
        await page.get_by_text("The hub does not answer").wait_for()
        await page.unroute("**/api/v1/session/credentials")
        await page.get_by_text("The hub does not answer").wait_for(state="detached")
        await page.get_by_role("row", name="deep").wait_for()


async def type_in_a_large_plant(page: Page, text: str) -> None:
    """Ten thousand tags are known: a key costs the page no more than people bear, and they are no burden to a panel."""
    session = await page.context.new_cdp_session(page)
    await session.send("Performance.enable", {"timeDomain": "threadTicks"})

    async def measured() -> dict[str, float]:
        return {one["name"]: one["value"] for one in (await session.send("Performance.getMetrics"))["metrics"]}

    before = (await measured())["TaskDuration"]
    await page.get_by_role("searchbox").press_sequentially(text)
    await page.get_by_text("The first 10,000 are shown").wait_for()
    after = await measured()
    assert (after["TaskDuration"] - before) / len(text) < KEY_S_MAX, "processor time of a key"
    assert after["JSHeapUsedSize"] < HEAP_BYTES_MAX


async def look_from_the_edge(browser: Browser, site: ConsoleSite, faults: list[str]) -> None:
    """The same pages at the site itself, live and from its own history while the hub is away; people only look."""
    site.uplink.cut()
    async with a_page(browser, faults=faults) as page:
        await page.goto(f"{site.edge_url}/#token={TOKEN}")
        await page.locator(".link[data-state=connected]").wait_for()
        await numbers_change(page, "count")
        assert await page.get_by_role("link", name="Fleet").count() == 0
        await page.get_by_role("row", name=COUNT).click()
        await page.get_by_role("region", name="Details").locator(".chart canvas").wait_for()
        await page.get_by_role("link", name="Alarms").click()
        await page.get_by_text("Your role (viewer) may look, not act.").wait_for()
        await page.get_by_role("link", name="Shop floor").click()
        await page.get_by_role("link", name=f"Stops of {PLACE}/press").click()
        panel = page.get_by_role("region", name=f"Stops of {PLACE}/press")
        await panel.get_by_text("are kept at the hub").wait_for()
        await panel.get_by_role("img", name=f"{PLACE}/press over time").wait_for()
        await page.get_by_role("link", name="Pipeline").click()
        await page.get_by_role("region", name="Connectors").get_by_text("hall").first.wait_for()
        assert await accessibility_faults(page) == []
    site.uplink.restore()


async def log_out(page: Page, site: ConsoleSite) -> None:
    """Then nothing is shown, a wrong token is refused, and the right one lets in."""
    await page.get_by_role("button", name="Log out").click()
    field = page.get_by_label("Token of the hub")
    await field.fill("not-the-token-of-this-hub")
    await page.get_by_role("button", name="Log in").click()
    await page.get_by_role("alert").wait_for()
    assert await faults_shown(page) == []
    await field.fill(TOKEN)
    await page.get_by_role("button", name="Log in").click()
    await page.get_by_role("row", name=COUNT).wait_for()


async def test_whoever_has_the_token_sees_the_plant(tmp_path: Path) -> None:
    faults: list[str] = []
    async with console_site(tmp_path) as site, chromium() as browser, a_page(browser, faults=faults) as page:
        await see_the_plant(page, site)
        await see_hostile_names(page)
        await see_a_tag(page, site)
        await walk_by_keyboard(page)
        await see_all_values(page)
        await see_what_has_not_changed(page, site)
        await see_the_shop_floor(page, site)
        await explain_a_stop(page)
        await say_what_was_no_good(page)
        await ask_why(page)
        await see_each_page(page, site)
        await see_an_alarm(page)
        await act_on_alarms(page)
        await see_a_trend(page, site)
        await see_each_spike(page, site)
        await see_gaps(page)
        await find_a_site(page)
        await ask_all_sites(page)
        await act_on_the_plant(page, site)
        await lose_the_link(page, site)
        await see_what_is_odd(browser, site, faults)
        await log_out(page, site)
        await look_from_the_edge(browser, site, faults)
    assert faults == []


async def fill_in(page: Page, user: str, password: str, tenant: str = "acme") -> None:
    """The log-in of somebody."""
    for name, text in (("Tenant", tenant), ("User", user), ("Password", password)):
        await page.get_by_label(name, exact=True).fill(text)
    await page.get_by_role("button", name="Log in").click()


async def log_in(page: Page, site: LoginSite) -> None:
    """With a wrong password first."""
    await page.goto(site.url)
    await fill_in(page, "ann", "not hers")
    await page.get_by_role("alert").get_by_text("wrong name, password or code").wait_for()
    await page.get_by_label("Password", exact=True).fill(PASSWORD)
    await page.get_by_role("button", name="Log in").click()
    await page.get_by_role("row", name="speed").wait_for()


async def values_come(page: Page, site: LoginSite) -> None:
    """What is published now is seen without asking for it."""
    cell = page.get_by_role("row", name="speed").locator(".value")
    before = await cell.inner_text()

    async def has_changed() -> bool:
        async with site.site.plant("acme") as plant:
            await plant.publish("acme/plant1/line:speed", random.randrange(10**6))
        return await cell.inner_text() != before

    await until(has_changed, "a live value")


async def read_in_utc(page: Page) -> None:
    """Local time, which is UTC + 5:30 here, until UTC is chosen by keyboard; that is kept."""
    await page.get_by_role("row", name="speed").click()
    details = page.get_by_role("region", name="Details")
    shown = details.locator("dd").first

    async def offset_min() -> int:
        local, utc = re.findall(r"(\d\d):(\d\d):\d\d", await shown.inner_text())
        return (int(local[0]) * 60 + int(local[1]) - int(utc[0]) * 60 - int(utc[1])) % 1440

    assert await offset_min() == 330
    await page.get_by_label("Times", exact=True).focus()
    await page.keyboard.press("U")
    await details.locator("dd").filter(has_text=re.compile(r"^\S+, \S+ UTC ")).first.wait_for()
    assert await offset_min() == 0
    await page.reload()
    await details.locator("dd").filter(has_text=re.compile(r"^\S+, \S+ UTC ")).first.wait_for()
    await page.keyboard.press("Escape")
    await details.wait_for(state="detached")


async def stay_apart(browser: Browser, page: Page, site: LoginSite, example: str, faults: list[str]) -> None:
    """ann of acme and dora of beta, both open at once: neither page gets at the other's plant."""
    async with a_page(browser, faults=faults) as other:
        await other.goto(site.url)
        await fill_in(other, "dora", PASSWORD, "beta")
        await other.get_by_role("row", name="speed").wait_for()
        for one, own, foreign in ((page, OF_ACME, OF_BETA), (other, OF_BETA, OF_ACME)):
            await ask_for_it(one, own, foreign)
            await follow_links(one, site, own, foreign)
    async with a_page(browser, faults=faults) as wide:
        await hear_what_is_published(wide, example, site)


async def only_look(page: Page) -> None:
    """A viewer has nothing to press, and whoever asks all the same is refused."""
    await page.get_by_role("link", name="Alarms").click()
    await page.get_by_text("Your role (viewer) may look, not act.").wait_for()
    ask = {"path": "acme/plant1/line:alarm/hi", "action": "acknowledge"}
    status = await page.evaluate(
        "async (ask) => (await fetch('api/v1/alarms/ask', {method: 'POST', headers: {'Content-Type': "
        "'application/json'}, body: JSON.stringify(ask)})).status",
        ask,
    )
    assert status == 403
    await page.get_by_role("link", name="Plant", exact=True).click()
    await page.get_by_role("row", name="speed").wait_for()


async def see_a_flood(page: Page, site: LoginSite) -> None:
    """Ten alarms are none; one more is, and what comes again and again stands first."""
    raised = {"state": "unacknowledged", "change": "raised", "priority": "high", "is_active": True, "message": "hot"}

    async def rise(*names: str) -> None:
        async with site.site.plant("acme") as plant:
            for name in names:
                await plant.event(f"acme/plant1/line:alarm/{name}", "millstream.alarm.raised", raised)

    await rise("jam", "jam", *(f"a{number}" for number in range(8)))
    await page.get_by_role("link", name="Alarms").click()
    await page.get_by_label("Events, too").check()  # a program's are events; those of flows are alarms, shown alike
    await page.get_by_role("row").filter(has_text="alarm/a7").first.wait_for()
    flood = page.get_by_role("region", name="Flood of alarms: acme/plant1", exact=True)
    assert await flood.count() == 0
    await rise("late")
    await flood.get_by_text("11 were raised in ten minutes").wait_for()
    first = flood.locator("tbody tr").first
    assert (await first.inner_text()).split("\t")[:4] == ["2 high", "hot", "acme/plant1/line:alarm/jam", "2"]
    assert await faults_shown(page) == []


async def keep_people(page: Page, site: LoginSite) -> None:
    """An administrator adds somebody, whose password is shown this once and good; takes out ann, not herself; and sees
    what only the operator's keys can do, with the command for it."""
    await page.goto(f"{site.url}/#/admin")
    await fill_in(page, "bea", PASSWORD)
    people = page.get_by_role("region", name="People").first
    await people.get_by_role("button", name="Add a person").click()
    form = people.get_by_role("form", name="Add a person")
    await form.get_by_label("User").fill("cem")
    await form.get_by_label("Role").select_option("engineer")
    await form.get_by_label("Paths").fill("acme/plant1")
    await form.get_by_role("button", name="Send").click()
    told = people.get_by_role("region", name="For cem: shown this once")
    password = await told.locator("code.large").inner_text()
    assert await faults_shown(page) == []
    await told.get_by_role("button", name="Close").click()
    async with site.http() as client:
        found = await client.post("/api/v1/login", json={"tenant": "acme", "user": "cem", "password": password})
        assert (found.status_code, found.json()["role"], found.json()["paths"]) == (200, "engineer", ["acme/plant1"])
    assert await people.get_by_role("button", name="Take out: bea").count() == 0
    await page.get_by_role("link", name="Sites and credentials").click()
    await page.get_by_text("millstream user revoke NAME --tenant acme").wait_for()
    await page.goto(f"{site.url}/#/fleet?view=newSite")
    await page.get_by_label("Name", exact=True).fill("cologne")
    await page.get_by_role("button", name="Next").click()
    await page.get_by_text("millstream site add cologne --tenant acme --place acme/cologne").wait_for()
    assert await faults_shown(page) == []
    await page.get_by_role("link", name="Admin").click()
    await people.get_by_role("button", name="Take out: ann").click()
    await people.get_by_role("form", name="Take ann out?").get_by_role("button", name="Take out").click()
    await people.get_by_role("row", name="ann").wait_for(state="detached")


async def test_a_person_sees_its_paths_only_keeps_on_over_new_credentials_and_is_out_when_removed(
    tmp_path: Path,
) -> None:
    faults: list[str] = []
    renewals: list[str] = []
    async with (
        login_site(
            tmp_path, "acme", "beta", origins=(), credentials="10s", admins=["acme/bea", "provider/pat"]
        ) as site,
        chromium() as browser,
        a_page(browser, faults=faults, timezone_id="Asia/Kolkata") as page,
    ):
        site.site.operator.join_file("acme", "plant1")
        creds = site.site.operator.user("acme", "bea", "engineer", paths=("acme/plant1",))
        await site.site.taken()
        await site.publish("acme", "acme/plant1/line:speed", "acme/plant2/line:power")
        await site.add("acme", "ann", paths=("acme/plant1",))
        await site.add("acme", "bea", "commander")
        await site.publish("beta", OF_BETA)
        await site.add("beta", "dora", "commander")
        await site.add("provider", "pat")
        page.on("request", lambda asked: renewals.append(asked.url) if "credentials" in asked.url else None)
        await log_in(page, site)
        assert await page.get_by_role("row", name="power").count() == 0
        assert await page.evaluate("async () => (await fetch('api/v1/last?tag=acme/plant2/line:power')).status") == 404
        assert await page.evaluate("document.cookie") == ""
        await read_in_utc(page)
        await only_look(page)
        await values_come(page, site)
        await see_a_flood(page, site)
        await page.get_by_role("link", name="Plant", exact=True).click()
        seen = len(renewals)
        await until(lambda: len(renewals) > seen, "the page asks for its next credentials")
        await values_come(page, site)
        async with the_example(site, tmp_path / "example") as example:
            async with a_page(browser, faults=faults) as other:
                await see_the_example_page(other, example, site)
            await stay_apart(browser, page, site, example, faults)
        async with a_page(browser, faults=faults) as other:
            await see_all_tenants(other, site)
        await page.get_by_role("link", name="Admin").click()
        await page.get_by_text("Only administrators change people").wait_for()
        async with a_page(browser, faults=faults) as other:
            await keep_people(other, site)
            await sign_what_a_page_prepared(other, site, creds)
        await page.get_by_text("The session is over. Log in again.").wait_for()
    assert faults == []
