"""A configuration that a page prepares and its author signs elsewhere: keys that sign never come to a browser."""

from __future__ import annotations

import asyncio
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from browser import faults_shown
from login_site import LoginSite

from millstream.cli import main

if TYPE_CHECKING:
    from playwright.async_api import Page

DOCUMENT = "streams:\n  integrity: {max_bytes: 64MiB}\n"
PUT = """
async (ask) => (await fetch('api/v1/configs/put', {
  method: 'POST', headers: {'Content-Type': 'application/json'}, body: JSON.stringify(ask),
})).status
"""


async def sign_what_a_page_prepared(page: Page, site: LoginSite, creds: Path) -> None:
    """The page checks the document, gives it as a file and names the command; what the session itself puts is refused;
    signed by its author it stands there as theirs."""
    await page.goto(f"{site.url}/#/fleet?site=plant1")
    await page.get_by_label("Document").fill(DOCUMENT)
    await page.get_by_text("Nothing is wrong with it.").wait_for()
    form = page.get_by_role("region", name="Roll out")
    assert await faults_shown(page) == []
    ask = {"edge": "plant1", "document": DOCUMENT, "based_on": 0}
    assert await page.evaluate(PUT, ask) == 403
    async with page.expect_download() as started:
        await form.get_by_role("link", name="Save plant1.yaml").click()
    words = shlex.split(await form.locator("code").inner_text())
    file = creds.with_name(words[words.index("put") + 2])
    await (await started.value).save_as(file)
    assert file.read_text(encoding="utf-8") == f"# revision 0 of plant1\n{DOCUMENT}"
    words[words.index(file.name)], words[words.index("NAME.creds")] = str(file), str(creds)
    where = ["--url", site.site.hub.server.url, "--creds", str(creds)]
    assert await asyncio.to_thread(main, [*words[1:], *where]) == 0
    await page.get_by_role("link", name="Revisions").click()
    row = page.get_by_role("region", name="Revisions").get_by_role("row").filter(has_text="signed")
    await row.get_by_text("bea").wait_for()
    assert re.search(r"\bsigned\b", await row.inner_text())
