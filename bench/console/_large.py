"""A plant of a hundred thousand tags: how soon its page shows a value, finds a tag, and what it holds."""

from __future__ import annotations

import asyncio
import json
import statistics
from typing import TYPE_CHECKING, Any

from bench._nodes import Rig, plain_connection, poll
from bench._report import Row
from bench.console._measures import held_mb
from bench.console._site import DESK_PX
from millstream.bus import GroupCommitPublisher
from millstream.kernel import SystemClock
from millstream.model import GOOD
from millstream.protocols.uns_payload import encode_sample
from millstream.sdk import Message

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

STREAM = "H_LOCAL"
AREA_TAGS, MACHINE_TAGS = 1000, 50  # 20 machines an area
UNIT_MESSAGES = 500
KNOWN_S = 120.0
PICTURE_S_MAX, SEARCH_S_MAX = 1.0, 2.0
PICTURES, SEARCHES = 5, 5
_PLACES = "() => document.querySelectorAll('.row .place').length > 2 && performance.now()"
_FOUND = """
([text, name]) => new Promise((done) => {
  const box = document.querySelector('input[type="search"]');
  const begun = performance.now();
  const look = () => {
    const row = [...document.querySelectorAll('.row')].find((one) => one.textContent.includes(name));
    const isShown = /[0-9]/.test(row?.querySelector('.value')?.textContent ?? "");
    requestAnimationFrame(isShown ? () => done(performance.now() - begun) : look);
  };
  box.value = text;
  box.dispatchEvent(new Event("input", { bubbles: true }));
  look();
})
"""


def name_of(number: int) -> str:
    """Of a tag, unlike that of any other: `t00042`."""
    return f"t{number:05d}"


def subject_of(number: int) -> str:
    """An area of twenty machines with fifty tags each."""
    area, machine = number // AREA_TAGS, number % AREA_TAGS // MACHINE_TAGS
    return f"uns.v1.acme.plant1.area{area}.machine{machine}._tag.{name_of(number)}"


async def start_large(rig: Rig, count: int) -> str:
    """A hub that knows so many tags, each with one value that came over the bus; the address that logs in."""
    document = {
        "hub": {"name": "hub", "data_dir": str(rig.folder / "hub")},
        "streams": {"max_bytes": "512MiB"},
        "api": {},
    }
    _, node = await rig.start_node("hub", document)
    async with plain_connection(node) as connection:
        ledger = "uns.v1.acme._ledger.bench.large"
        async with GroupCommitPublisher(connection, STREAM, ledger_subject=ledger) as publisher:
            now_ns = SystemClock().now_ns()
            for begin in range(0, count, UNIT_MESSAGES):
                numbers = range(begin, min(begin + UNIT_MESSAGES, count))
                await publisher.submit(
                    [
                        Message(
                            subject_of(n),
                            encode_sample(float(n), quality=GOOD, source_time_ns=now_ns, ingest_time_ns=now_ns),
                        )
                        for n in numbers
                    ]
                )
            await publisher.flush()

    async def knows_all() -> bool:
        nonlocal node
        node = json.loads((rig.folder / "hub" / "node.json").read_text(encoding="utf-8"))
        return "api_url" in node and await asyncio.to_thread(_known, rig, str(node["api_url"])) >= count

    await poll(knows_all, timeout_s=KNOWN_S, what=f"the history of {count} tags", every_s=1.0)
    return f"{node['api_url']}/#token={_token(rig)}"


def _token(rig: Rig) -> str:
    return (rig.folder / "hub" / "secrets" / "api.token").read_text(encoding="ascii").strip()


def _known(rig: Rig, url: str) -> int:
    import httpx

    answer = httpx.get(f"{url}/api/v1/tree?limit=0", headers={"Authorization": f"Bearer {_token(rig)}"}, timeout=30)
    return int(answer.json()["count"])


async def large_rows(browser: Browser, address: str, count: int) -> list[Row]:
    """Opened again and again with an empty cache; then each search is for another tag, in an area that is closed."""
    first_s, page, before_mb = [], None, 0.0
    for _ in range(PICTURES):
        if page is not None:
            await page.context.close()
        page = await (await browser.new_context(locale="en-GB", viewport=DESK_PX)).new_page()
        await page.goto(address, wait_until="commit")
        painted = await page.wait_for_function(_PLACES)  # its places are closed: that it has tags stands beside them
        first_s.append(float(await painted.json_value()) / 1000)
    assert page is not None
    session = await page.context.new_cdp_session(page)
    await page.locator(".link[data-state=connected]").wait_for()
    before_mb = await held_mb(session)
    searches = [await _search_s(page, name_of((n + 1) * count // (SEARCHES + 1))) for n in range(SEARCHES)]
    after_mb = await held_mb(session)
    await page.context.close()
    picture_s, search_s = statistics.median(first_s), statistics.median(searches)
    return [
        Row(
            "", f"{picture_s:.2f} s", f"under {PICTURE_S_MAX:g} s", None, picture_s < PICTURE_S_MAX,
            f"processor as it is; the median of {PICTURES}, the slowest {max(first_s):.2f} s; the page holds "
            f"{before_mb:.1f} MB",
            details={"seconds": first_s, "held_mb": before_mb, "tags": count},
        ),
        Row(
            "", f"{search_s:.2f} s", f"under {SEARCH_S_MAX:g} s", None, search_s < SEARCH_S_MAX,
            f"from the last letter to the tag with its value, the median of {SEARCHES}, the slowest "
            f"{max(searches):.2f} s; the page waits 0.3 s for another letter, and holds {after_mb:.1f} MB afterwards",
            details={"seconds": searches, "held_mb": after_mb, "tags": count},
        ),
    ]  # fmt: skip


async def _search_s(page: Page, name: str) -> float:
    found_ms: Any = await page.evaluate(_FOUND, [name, name])
    return float(found_ms) / 1000
