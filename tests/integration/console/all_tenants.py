"""Who runs the hub, in a browser: how all tenants and their sites are, and nothing of their data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from browser import faults_shown
from login_site import PASSWORD, LoginSite
from untranslated import english_words, untranslated

if TYPE_CHECKING:
    from playwright.async_api import Page

OF_TENANTS = ("last?tag=*", "tree?place=&open=9&values=true", "tags", "status", "ledger", "commands")
_ASK = "async (path) => (await fetch('api/v1/' + path)).status"


async def see_all_tenants(page: Page, site: LoginSite) -> None:
    """pat of the provider: two tenants, one site that is away, no page with a tenant's data, and no link with NATS."""
    sockets: list[str] = []
    page.on("websocket", lambda socket: sockets.append(socket.url))
    await page.goto(site.url)
    for name, text in (("Tenant", "provider"), ("User", "pat"), ("Password", PASSWORD)):
        await page.get_by_label(name, exact=True).fill(text)
    await page.get_by_role("button", name="Log in").click()
    tenants = page.get_by_role("table", name="Tenants")
    await tenants.get_by_role("row", name="acme").get_by_text("0 of 1 linked").wait_for()
    cells = await tenants.get_by_role("row", name="beta").get_by_role("cell").all_inner_texts()
    assert cells[:3] == ["beta", "beta", "✓ up"], cells
    assert cells[3].startswith("0 of 0 linked"), cells
    assert cells[5].endswith("of 1 GiB"), cells
    await page.get_by_text("millstream tenant add NAME").wait_for()
    pages = page.get_by_role("navigation", name="Pages").get_by_role("link")
    assert await pages.all_inner_texts() == ["Fleet", "Admin"]
    buttons = await page.locator("main").get_by_role("button").all_inner_texts()
    assert set(buttons) == {"Copy"}, "what needs the operator's keys is a command"
    assert await faults_shown(page) == []
    await _see_their_sites(page)
    await _keep_its_own_people(page)
    for name in ("plant", "trend", "shop", "alarms", "pipeline"):
        await page.goto(f"{site.url}/#/{name}")
        await page.get_by_text("There is nothing of this for who runs the hub").wait_for()
    assert await page.get_by_role("row").count() == 0
    for path in OF_TENANTS:
        assert await page.evaluate(_ASK, path) == 403, path
    await page.reload()
    await page.get_by_text("There is nothing of this for who runs the hub").wait_for()
    await page.get_by_label("Language", exact=True).select_option("de")
    await page.get_by_role("link", name="Verwaltung").first.click()
    await page.get_by_role("table", name="Mandanten").get_by_role("row", name="acme").get_by_text("läuft").wait_for()
    await page.get_by_text("Sie sind pat, Anbieter, für alle Mandanten").wait_for()
    english = english_words()
    for view, text in (("admin", "0 von 1 verbunden"), ("admin?view=audit", "Sitzung"), ("fleet", "acme/plant1")):
        await page.evaluate("(view) => (location.hash = view)", f"#/{view}")
        await page.locator("main").get_by_text(text).first.wait_for()
        found = await untranslated(page, english)
        assert found == [], f"{view}: {found}"
    assert sockets == []


async def _see_their_sites(page: Page) -> None:
    await page.get_by_role("link", name="acme", exact=True).click()
    row = page.get_by_role("table", name="Sites").get_by_role("row", name="acme/plant1")
    await row.get_by_text("away").wait_for()
    await page.get_by_role("link", name="all tenants").click()
    await page.get_by_label("Question").fill("tenant ==")
    await page.get_by_role("button", name="Ask", exact=True).click()
    await page.get_by_role("alert").get_by_text("the filter cannot be read").wait_for()
    await page.get_by_label("Question").fill('tenant == "acme"')
    await page.get_by_role("button", name="Ask", exact=True).click()
    await page.get_by_text("0 of 1 sites have answered").wait_for()
    assert await faults_shown(page) == []


async def _keep_its_own_people(page: Page) -> None:
    """There is one role, without paths; its audit is the provider's, and no tenant's."""
    await page.get_by_role("link", name="Admin").click()
    await page.get_by_role("link", name="People").click()
    people = page.get_by_role("region", name="People").first
    await people.get_by_role("cell", name="pat", exact=True).wait_for()
    assert await people.get_by_role("row", name="bea").count() == 0
    await people.get_by_role("button", name="Add a person").click()
    form = people.get_by_role("form", name="Add a person")
    await form.get_by_label("User").fill("kim")
    assert await form.get_by_label("Role").locator("option").all_inner_texts() == ["viewer"]
    assert await form.get_by_label("Paths").count() == 0
    await form.get_by_role("button", name="Send").click()
    await people.get_by_role("row", name="kim").wait_for()
    await page.get_by_role("link", name="Audit").click()
    audit = page.get_by_role("table", name="Audit")
    await audit.get_by_role("row", name="audit.session.opened").first.wait_for()
    text = await audit.inner_text()
    assert "kim" in text
    assert "ann" not in text
    assert await faults_shown(page) == []
