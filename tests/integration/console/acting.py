"""Acting on the plant from a real browser: a way through all that a page can do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
from browser import faults_shown
from console_site import HOSTILE, PLACE, TOKEN, ConsoleSite
from untranslated import speak_german

from millstream.client import connect
from millstream.config import load_edge

if TYPE_CHECKING:
    from playwright.async_api import Page

LETTERS = "Dead letters"
FIRST = """connectors:
  - name: boiler
    type: modbus
    config:
      host: 10.0.0.1
      prot: 502
"""


async def api(site: ConsoleSite, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
    """As a program would ask."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(base_url=site.url, headers=headers, timeout=60) as client:
        return await (client.get(path) if body is None else client.post(path, json=body))


async def be_sure(page: Page, yes: str) -> None:
    """What cannot be taken back asks before; the way out has the focus."""
    asked = page.get_by_role("alertdialog")
    await asked.get_by_text("this cannot be taken back").wait_for()
    assert await page.evaluate("document.activeElement.textContent") == "Cancel"
    await asked.get_by_role("button", name=yes, exact=True).click()
    await asked.wait_for(state="detached")


async def repair_a_letter(page: Page, site: ConsoleSite) -> None:
    """Its bytes as they are; a place and a value; sent twice it is stored once; the tag is there."""
    await page.get_by_role("link", name="Pipeline").click()
    letters = page.get_by_role("region", name=LETTERS, exact=True).last
    row = letters.get_by_role("row", name="a frame without a time")
    id = await row.get_by_role("link").inner_text()
    await row.get_by_role("link").click()
    panel = page.get_by_role("region", name=f"Dead letter {id}")
    await panel.get_by_text('{"value": "7"}').wait_for()
    assert await faults_shown(page) == []
    form = panel.get_by_role("form", name="Put right and replay")
    await form.get_by_label("Path").fill(f"{PLACE}/press:repaired")
    await form.get_by_role("button", name="Replay as it is").click()
    await be_sure(page, "Replay as it is")
    await page.get_by_text("[MS-0385]").wait_for()
    await form.get_by_label("Sample").fill("{no json")
    assert await form.get_by_role("button", name="Replay as written here").is_disabled()
    await form.get_by_label("Sample").fill('{"value": 7, "timestamp_ms": 1790000000000}')
    await form.get_by_role("button", name="Replay as written here").click()
    await be_sure(page, "Replay as written here")
    await page.get_by_text(f"Done: {id}").wait_for()
    await row.wait_for(state="detached")
    again = {"id": id, "path": f"{PLACE}/press:repaired", "payload": '{"value": 7, "timestamp_ms": 1790000000000}'}
    assert (await api(site, "/api/v1/dead-letters/replay", again)).status_code == 404
    async with connect(site.hub.config.hub.data_dir) as plant:
        assert (await plant.get(f"{PLACE}/press:repaired")).value == 7
        assert [entry.messages_count for entry in await plant.tags(f"{PLACE}/press:repaired")] == [1]


async def drop_a_letter(page: Page) -> None:
    """Not without a reason; its bytes are shown as bytes."""
    letters = page.get_by_role("region", name=LETTERS, exact=True).last
    row = letters.get_by_role("row", name="not a frame of this protocol")
    await row.get_by_role("link").click()
    form = page.get_by_role("form", name="Put right and replay")
    await page.get_by_text("ff 3c 73 63 72 69 70 74 3e").wait_for()
    drop = form.get_by_role("button", name="Drop for good")
    assert await drop.is_disabled()
    await form.get_by_label("Reason").fill(f"noise {HOSTILE}")
    await drop.press("Enter")
    assert await faults_shown(page) == []
    await page.keyboard.press("Escape")
    assert await drop.evaluate("one => one === document.activeElement"), "whoever was not sure is where they were"
    await drop.click()
    await be_sure(page, "Drop for good")
    await page.get_by_text("No dead letters").wait_for()


async def follow_a_message(page: Page) -> None:
    """From the source's clock to the history."""
    form = page.get_by_role("region", name="Trace", exact=True)
    await form.get_by_label("Message").fill(f"{PLACE}/press:count")
    await form.get_by_role("button", name="Follow").click()
    await form.get_by_role("row", name="H_INTEGRITY").wait_for()


async def write_to_a_machine(page: Page, site: ConsoleSite) -> None:
    """Within its bounds, asked once more, and what the machine shows afterwards."""
    await page.goto(f"{site.url}/#/plant?tag=tag+{PLACE.replace('/', '%2F')}%2Foven%3Asetpoint")
    details = page.get_by_role("region", name="Details")
    await details.get_by_role("button", name="Write").click()
    form = details.get_by_role("form", name="Write")
    await form.get_by_label("New value").fill("81")
    await form.get_by_text("Too large: at most 80.").wait_for()
    await form.get_by_label("New value").fill("42.5")
    await form.get_by_role("button", name="Write…").click()
    sure = form.get_by_role("alertdialog")
    await sure.get_by_text("→ 42.5 °C").wait_for()
    assert await faults_shown(page) == []
    await page.keyboard.press("Enter")  # the way out has the focus, not the way on
    await sure.wait_for(state="detached")
    await form.get_by_role("button", name="Write…").click()
    await sure.get_by_role("button", name="Write now").click()
    await form.get_by_text("The machine shows 42.5.").wait_for()
    await page.keyboard.press("Control+z")  # nothing is written to a machine by the way
    await form.get_by_role("button", name="Write the former value… 20").click()
    await sure.get_by_text("→ 20 °C").wait_for()
    await page.keyboard.press("Enter")
    await sure.wait_for(state="detached")
    await details.get_by_role("button", name="Contract").click()
    await details.get_by_text("No contract holds for this tag.").wait_for()


async def configure_a_site(page: Page) -> None:
    """What is wrong is said by line; help for where the cursor is; a revision, another, back to the first."""
    await page.get_by_role("link", name="Fleet").click()
    await page.get_by_role("link", name="away", exact=True).click()
    document = page.get_by_label("Document")
    await document.fill(FIRST)
    await page.get_by_text("Line 6").wait_for()
    await page.get_by_role("button", name="Line 6").click()
    aside = page.get_by_role("complementary", name="What may stand here")
    await aside.get_by_role("button", name="port", exact=True).wait_for()
    form = page.get_by_role("form", name="Roll out")
    await form.get_by_label("Comment").fill("the first boiler")
    assert await form.get_by_role("button", name="Roll out").is_disabled()
    await document.fill(FIRST.replace("prot", "port"))
    await page.get_by_text("Nothing is wrong with it.").wait_for()
    await page.get_by_role("region", name="Changes").get_by_text("connectors[boiler].config.port").wait_for()
    assert await faults_shown(page) == []
    await page.get_by_text("The site's own file counts so far").wait_for()
    await form.get_by_role("button", name="Roll out").click()  # not before it is said that this is all
    sure = form.get_by_label("All that the site is to run stands here.")
    assert await sure.evaluate("field => field.validity.valueMissing")
    await sure.check()
    await form.get_by_role("button", name="Roll out").click()
    await page.get_by_text("Done: away").wait_for()
    await sure.wait_for(state="detached")  # a revision is replaced by a revision
    await document.fill(FIRST.replace("prot", "port").replace("10.0.0.1", "10.0.0.2"))
    await form.get_by_label("Comment").fill("it has moved")
    await form.get_by_role("button", name="Roll out").click()
    await page.get_by_text("Done: away").wait_for()
    await page.get_by_role("button", name="Undo").click()
    await page.get_by_text("Taken back: away").wait_for()
    await page.wait_for_function("() => document.querySelector('textarea').value.includes('10.0.0.1')")
    await page.get_by_role("link", name="Revisions").click()
    revisions = page.get_by_role("region", name="Revisions")
    await revisions.get_by_role("row", name="it has moved").get_by_role("link").click()
    await page.get_by_role("region", name="Changes of revision 2 against 1").get_by_text('"10.0.0.2"').wait_for()
    await revisions.get_by_role("row", name="takes back away 2").wait_for()
    await revisions.get_by_role("button", name="Back to 2").click()
    await page.get_by_role("form").get_by_label("Comment").fill("it has not")
    await page.get_by_role("form").get_by_role("button", name="Back to 2").click()
    await revisions.get_by_role("row", name="it has not").wait_for()
    await page.get_by_role("link", name="Who set what").click()
    blame = page.get_by_role("region", name="Who set what").get_by_role("row", name="connectors[boiler].config.host")
    await blame.get_by_text("it has not").wait_for()


async def roll_out_and_command(page: Page, site: ConsoleSite) -> None:
    """A roll-out is stopped and ended; a command is done here, and called back where nobody is."""
    started = await api(site, "/api/v1/rollouts/start", {"sites": ["away"], "document": "connectors: []\n"})
    assert started.status_code == 200, started.text
    await page.get_by_role("link", name="Roll-outs").click()
    table = page.get_by_role("region", name="Roll-outs").last
    await table.get_by_role("button", name="Stop").click()
    await table.get_by_text("stopped · stage").wait_for()
    await table.get_by_role("button", name="End").click()
    await be_sure(page, "End")
    await table.get_by_text("ended · stage").wait_for()
    await page.get_by_role("link", name="Commands").click()
    form = page.get_by_role("form", name="Send a command")
    await form.get_by_label("plant1").check()
    await form.get_by_label("away").check()
    await page.route("**/api/v1/commands/send", lambda route: route.abort())
    await form.get_by_role("button", name="Send").click()
    await page.get_by_text("Not known whether it was done").wait_for()
    await page.unroute("**/api/v1/commands/send")
    await form.get_by_role("button", name="Send").click()
    table = page.get_by_role("region", name="Commands").last
    await table.get_by_role("row", name="diagnostics plant1").get_by_text("✓ done").wait_for()
    await table.get_by_role("button", name="Call back: diagnostics away").click()
    await be_sure(page, "Call back")
    await table.get_by_role("row", name="diagnostics away").get_by_text("called back", exact=True).wait_for()
    await watch_a_command(page, site)
    assert await faults_shown(page) == []


async def watch_a_command(page: Page, site: ConsoleSite) -> None:
    """How far it is while it runs, and what has come of it."""
    sent = await api(site, "/api/v1/commands/send", {"type": "polish", "nodes": ["plant1"]})
    assert sent.status_code == 200, sent.text
    row = page.get_by_role("region", name="Commands").last.get_by_role("row", name="polish plant1")
    await row.get_by_text("one side shines").wait_for()
    assert await row.get_by_role("progressbar", name="Progress").get_attribute("value") == "0.5"
    site.polish.gate.set()
    await row.get_by_text("✓ done").wait_for()
    await row.get_by_text('{"sides":2}').wait_for()


async def commission_a_site(page: Page) -> None:
    """It ends in what to do where the keys or the hub's file are, and is waited for."""
    await page.get_by_role("link", name="New site").click()
    await page.get_by_label("Name", exact=True).fill("cologne")
    await page.get_by_role("button", name="Next").click()
    await page.get_by_text("edges: [..., {name: cologne").wait_for()
    await take_the_files(page)
    await page.get_by_text("Waiting for the site.").wait_for()
    assert await faults_shown(page) == []
    await page.get_by_label("Name", exact=True).fill("away")
    await page.get_by_role("button", name="Next").click()
    await page.get_by_role("listitem", name="Tell the hub").get_by_text("done", exact=True).wait_for()


async def take_the_files(page: Page) -> None:
    """An edge file that is right, and a secret that is another each time and goes over no line."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.post_data or ""))
    files = []
    for name in ("cologne.secret", "cologne.yaml"):
        async with page.expect_download() as started:
            await page.get_by_role("button", name=f"Save {name}").click()
        files.append(await (await started.value).path())
    secret = files[0].read_text(encoding="ascii").strip()
    assert len(secret) == 32
    assert secret not in await page.content()
    assert not any(secret in body for body in asked)
    config, findings = load_edge(files[1], {})
    assert config is not None, findings
    assert (config.edge.name, config.edge.path) == ("cologne", "acme/cologne")
    assert config.uplink is not None
    assert config.uplink.secret is not None
    assert await page.get_by_role("button", name="Save cologne.secret").is_disabled()


async def read_the_audit(page: Page) -> None:
    """All of the above stands there, with who and why; words narrow it."""
    await page.get_by_role("link", name="Admin").click()
    await page.get_by_role("link", name="Audit").click()
    rows = page.get_by_role("region", name="Audit").last.locator("tbody tr")
    for type in ("dead_letter.replayed", "dead_letter.dropped", "write.done", "command.cancelled"):
        await rows.filter(has_text=type).first.wait_for()
    await page.get_by_role("searchbox").fill("dropped token@127.0.0.1 noise")
    await page.wait_for_function("() => document.querySelectorAll('main tbody tr').length === 1")
    assert HOSTILE in await rows.inner_text()
    assert await page.evaluate("window.pwned") is None
    assert await faults_shown(page) == []


async def lose_the_session(page: Page, site: ConsoleSite) -> None:
    """In the middle of writing a document: the log-in says so, and then every word is there still."""
    await page.goto(f"{site.url}/#/fleet?site=away")
    await page.get_by_label("Document").fill("connectors: []\n# half a thought")
    await page.get_by_text("Nothing is wrong with it.").wait_for()
    comment = page.get_by_role("form", name="Roll out").get_by_label("Comment")
    await comment.fill("half a reason")
    await page.context.clear_cookies()
    await page.get_by_text("The session is over. Log in again.").wait_for()
    await page.get_by_label("Token of the hub").fill(TOKEN)
    await page.get_by_role("button", name="Log in").click()
    document = page.get_by_label("Document")
    await document.wait_for()
    assert await document.input_value() == "connectors: []\n# half a thought"
    assert await comment.input_value() == "half a reason"


async def act_on_the_plant(page: Page, site: ConsoleSite) -> None:
    """All of it, and that all of it is told."""
    await repair_a_letter(page, site)
    await drop_a_letter(page)
    await follow_a_message(page)
    await write_to_a_machine(page, site)
    await configure_a_site(page)
    await roll_out_and_command(page, site)
    await commission_a_site(page)
    await read_the_audit(page)
    await speak_german(page, site.url, PLACE)
    await lose_the_session(page, site)
