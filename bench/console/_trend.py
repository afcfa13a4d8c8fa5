"""A trend of a hundred thousand samples: what drawing, moving and zooming it costs the page."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx
import numpy as np

from bench._nodes import Rig, plain_connection, poll
from bench._report import Row
from bench.console._measures import FRAME_MS, blank_frames, frames, page_cost
from bench.console._site import DESK_PX
from millstream.bus import GroupCommitPublisher
from millstream.kernel import SystemClock
from millstream.model import Block
from millstream.protocols.uns_payload import ARROW_TYPE, encode_block
from millstream.sdk import Message

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from playwright.async_api import Browser

PLACE = "acme/plant1/fine"
STREAM = "H_LOCAL"
STEP_MS, BLOCK = 10, 5000
LINES = (1, 4)
KNOWN_S = 60.0
VIEWS_PER_S = 5  # a browser takes no more than 200 changes of the address in a while
DROPPED_RATIO_MAX = 0.02  # beyond what a page with nothing on it drops
_LOADED = (
    "(count) => [...document.querySelectorAll('main td.number')].filter(e => /[0-9]/.test(e.innerText)).length >= count"
)
_MOVE = """
([address, from, to, seconds, perSecond]) => new Promise((done) => {
  const steps = seconds * perSecond;
  let step = 0;
  const next = () => {
    // A half of it from one end to the other, then nearer and nearer to its middle.
    const share = step % perSecond / perSecond;
    const isMoved = Math.floor(step / perSecond) % 2 === 0;
    const width = (to - from) * (isMoved ? 0.5 : 0.5 ** (share * 10));
    const left = isMoved ? from + share * (to - from) / 2 : from + (to - from - width) / 2;
    location.hash = `${address}&from=${Math.round(left)}&to=${Math.round(left + width)}`;
    if (++step < steps) setTimeout(next, 1000 / perSecond);
    else done(step);
  };
  next();
})
"""


async def start_fine(rig: Rig, samples: int) -> int:
    """Store so many samples of each tag at the running hub, until its history has all; the time of the first, in ms."""
    node = json.loads((rig.folder / "hub" / "node.json").read_text(encoding="utf-8"))
    token = (rig.folder / "hub" / "secrets" / "api.token").read_text(encoding="ascii").strip()
    begin_ms = await _store(node, samples)
    asked = {
        "tag": [f"{PLACE}:wave{number}" for number in range(max(LINES))], "format": "json",
        "start": (begin_ms + (samples - 1) * STEP_MS) * 10**6,
    }  # fmt: skip

    async def has_all() -> bool:
        head = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(headers=head, timeout=30) as client:
            answer = await client.get(f"{node['api_url']}/api/v1/range", params=asked)
        return answer.status_code == 200 and len(answer.json()["data"]) == max(LINES)

    await poll(has_all, timeout_s=KNOWN_S, what="the history of the trend", every_s=0.5)
    return begin_ms


async def _store(node: Mapping[str, Any], samples: int) -> int:
    begin_ns = SystemClock().now_ns() // 10**9 * 10**9 - (samples + 6000) * STEP_MS * 10**6
    messages = []
    for number in range(max(LINES)):
        subject = f"uns.v1.{PLACE.replace('/', '.')}._tag.wave{number}"
        values = np.sin(np.arange(samples) / (300 + number)) + np.random.default_rng(number).normal(0, 0.1, samples)
        for first in range(0, samples, BLOCK):
            times = begin_ns + np.arange(first, first + BLOCK, dtype=np.int64) * STEP_MS * 10**6
            payload = encode_block(Block("wave", times, values[first : first + BLOCK]), ingest_time_ns=begin_ns)
            messages.append(Message(subject, payload, ARROW_TYPE, BLOCK))
    async with (
        plain_connection(node) as connection,
        GroupCommitPublisher(connection, STREAM, ledger_subject="uns.v1.acme._ledger.bench.fine") as publisher,
    ):
        await publisher.submit(messages)
        await publisher.flush()
    return begin_ns // 10**6


async def trend_rows(browser: Browser, address: str, begin_ms: int, samples: int, seconds: float) -> list[Row]:
    """Of one tag and of several in one picture."""
    return [
        await _row(browser, address, (begin_ms, begin_ms + (samples - 1) * STEP_MS), seconds, lines) for lines in LINES
    ]


async def _row(browser: Browser, address: str, span_ms: tuple[int, int], seconds: float, lines: int) -> Row:
    before = await blank_frames(browser, seconds / 2, DESK_PX)
    page = await (await browser.new_context(locale="en-GB", viewport=DESK_PX)).new_page()
    tags = "&".join(f"tag={quote(f'tag {PLACE}:wave{number}', safe='')}" for number in range(lines))
    await page.goto(address)
    await page.locator(".link[data-state=connected]").wait_for()
    begin_ms, end_ms = span_ms
    await page.evaluate(f"() => {{ location.hash = '#/trend?{tags}&from={begin_ms}&to={end_ms}'; }}")
    await page.wait_for_function(_LOADED, arg=2 * lines)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/api/v1/range" in request.url else None)
    moving = [f"#/trend?{tags}", begin_ms, end_ms, seconds, VIEWS_PER_S]
    # Counting frames keeps a page busy by itself: what a view costs is measured without it, and frames in a second run.
    steps, cost = await asyncio.gather(page.evaluate(_MOVE, moving), page_cost(seconds))
    _, found = await asyncio.gather(page.evaluate(_MOVE, moving), frames(page, seconds))
    await page.context.close()
    after = await blank_frames(browser, seconds / 2, DESK_PX)
    view_ms, worst_ms = (1000 * share * seconds / steps for share in (cost.page, cost.page_worst))
    nothing = before.dropped + after.dropped
    is_met = view_ms < FRAME_MS and found.dropped - nothing <= DROPPED_RATIO_MAX * 60 * seconds and not asked
    return Row(
        "", f"{view_ms:.1f} ms a picture", f"under {FRAME_MS:.1f} ms, {DROPPED_RATIO_MAX:.0%} dropped", None, is_met,
        f"of the page's processor for each of {VIEWS_PER_S} views a second, moved and zoomed by its address; "
        f"{worst_ms:.1f} ms in the worst quarter of the {seconds:g} s; another run of the same dropped {found.dropped} "
        f"of {found.expected} frames, {found.worst} in the worst second, a page with nothing on it {nothing}; the "
        f"longest took {found.longest_ms:.0f} ms; {len(asked)} questions to the hub",
        details={
            "view_ms": view_ms, "worst_ms": worst_ms, "dropped": found.dropped, "worst_second": found.worst,
            "blank_dropped": nothing, "longest_ms": found.longest_ms, "lines": lines, "questions": len(asked),
        },
    )  # fmt: skip
