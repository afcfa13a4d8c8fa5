"""People of two tenants at one hub, each in a browser of its own: what one page can show of the other's."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from client_package import log_in_to_the_example
from login_site import LoginSite
from trust_site import until

if TYPE_CHECKING:
    from playwright.async_api import Page, Route

OF_ACME, OF_BETA = "acme/plant1/line:speed", "beta/hall/saw:speed"
QUESTIONS = ("last?tag={}", "range?tag={}&start=-1h&end=now", "tags?pattern={}", "tree?place={}&open=9&values=true")
WIDE = ("live.uns.v1.acme.>", "live.uns.v1.>", "live.>")
_ASK = "async (path) => { const found = await fetch(path); return [found.status, await found.text()] }"


async def follow_links(page: Page, site: LoginSite, own: str, other: str) -> None:
    """A deep link, a link of the trend and the search lead to the own tag; of the other's there is nothing."""
    details, canvas = page.get_by_role("region", name="Details"), page.locator(".chart canvas")
    for tag, count in ((own, 1), (other, 0)):
        link = f"tag+{quote(tag, safe='')}"
        await page.goto(f"{site.url}/#/trend?tag={link}&span=5min")
        await (canvas if count else page.get_by_text("Choose one or more tags")).first.wait_for()
        assert await canvas.count() == count, tag
        await page.goto(f"{site.url}/#/plant?tag={link}")
        await page.reload()
        await page.locator(".link[data-state=connected]").wait_for()
        await page.get_by_role("row", name="speed").first.wait_for()
        assert await details.count() == count, tag
        await page.keyboard.press("Escape")
        await page.get_by_role("searchbox").fill(tag.partition(":")[0])
        await (page.get_by_role("row", name="speed") if count else page.get_by_text("Nothing fits")).first.wait_for()
        await page.get_by_role("searchbox").fill("")
    await page.get_by_role("row", name="speed").first.wait_for()
    assert other.partition("/")[0] not in await page.get_by_role("treegrid").inner_text()


async def ask_for_it(page: Page, own: str, other: str) -> None:
    """The page's own session: of what is the other's it is told what it is told of what never was."""
    never = f"gamma/{other.partition('/')[2]}"
    for path in QUESTIONS:
        said = {}
        for tag in (own, other, never):
            asked = tag.partition(":")[0] if path.startswith("tree") else tag
            status, text = await page.evaluate(_ASK, f"api/v1/{path.format(quote(asked, safe=''))}")
            said[tag] = (status, text.replace(asked, "X"))
        assert said[own][0] == 200, (path, said)
        assert said[other] == said[never] != said[own], (path, said)


async def hear_what_is_published(page: Page, address: str, site: LoginSite) -> None:
    """A page of beta's that subscribes, with its own credentials, to what is acme's and to all: it hears its own."""
    sent: list[str] = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(_text(frame))))

    async def widen(route: Route) -> None:
        answer = await route.fetch()
        found = await answer.json()
        found["nats"]["live_subjects"] += WIDE
        await route.fulfill(response=answer, json=found)

    await page.route("**/api/v1/session/credentials", widen)
    await log_in_to_the_example(page, address, "beta", "dora")
    line = page.get_by_role("listitem").filter(has_text=re.compile(rf"^{OF_BETA} = \d+$"))
    await line.first.wait_for()
    await until(lambda: all(f"SUB {one} " in "".join(sent) for one in WIDE), "the page has subscribed to all")
    before = await line.first.inner_text()

    async def has_changed() -> bool:
        async with site.site.plant("acme") as plant:
            await plant.publish(OF_ACME, random.randrange(10**6))
        async with site.site.plant("beta") as plant:
            await plant.publish(OF_BETA, random.randrange(10**6))
        return await line.first.inner_text() != before

    await until(has_changed, "a live value of the own plant")
    assert [one for one in await page.get_by_role("listitem").all_inner_texts() if not one.startswith("beta/")] == []


def _text(frame: str | bytes) -> str:
    return frame if isinstance(frame, str) else frame.decode("utf-8", "replace")
