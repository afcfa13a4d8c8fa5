"""A trend of more samples than one answer holds, in a real browser: an extreme of one sample is drawn at each zoom, and
what is there is not asked for again."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx
import numpy as np
from console_site import PLACE, TOKEN, ConsoleSite
from trust_site import until

from millstream.bus import Credentials, GroupCommitPublisher, RawConnection
from millstream.kernel import SystemClock
from millstream.model import Block
from millstream.protocols.uns_payload import ARROW_TYPE, encode_block
from millstream.sdk import Message

if TYPE_CHECKING:
    from playwright.async_api import Page

COUNT, STEP_MS, BLOCK = 110_000, 10, 5000
EARLY, LATE = 60_001, COUNT - 3
WHOLE_MS, NEAR_MS = COUNT * STEP_MS, 80_000
VIEWS = (
    (EARLY, WHOLE_MS, False), (EARLY, NEAR_MS, False), (EARLY, 6000, True), (EARLY, 400, True),
    (EARLY, 3_600_000, False), (LATE, WHOLE_MS, False), (LATE, 6000, False), (LATE, 7 * 86_400_000, False),
)  # fmt: skip
"""Which spike in how many ms, and whether its samples are in the page already."""
HEIGHTS = {EARLY: 50.0, LATE: -50.0}
RANGE = "/api/v1/range?"
SHOWN = "(text) => [...document.querySelectorAll('main td.number')].some(e => e.innerText === text)"
FOUND = """
([share, fromTop, high]) => {
  const canvas = document.querySelector(".chart canvas");
  const [plot, whole] = [document.querySelector(".chart .u-over"), canvas].map((one) => one.getBoundingClientRect());
  const scale = canvas.width / whole.width;
  const [left, top] = [plot.left - whole.left, plot.top - whole.top];
  const [x, y] = [left + share * plot.width - 3, top + fromTop * plot.height];
  const places = [x, y, 6, high * plot.height].map((px) => Math.round(px * scale));
  const picture = canvas.getContext("2d").getImageData(...places);
  const swatch = document.createElement("canvas").getContext("2d");
  swatch.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--s1").trim();
  swatch.fillRect(0, 0, 1, 1);
  const wanted = swatch.getImageData(0, 0, 1, 1).data;
  for (let at = 0; at < picture.data.length; at += 4) {
    const isNear = [0, 1, 2].every((n) => Math.abs(picture.data[at + n] - wanted[n]) < 48);
    if (isNear && picture.data[at + 3] > 128) return true;
  }
  return false;
}
"""


async def see_each_spike(page: Page, site: ConsoleSite) -> None:
    """Of 110,000 samples one is far above and one far below: in all of them (extremes, which the hub worked out, since
    one answer does not hold so many), in samples as they were stored, however near, and in windows of an hour and of a
    week. What is nearer is asked for no more once a spectrum says that samples are there."""
    begin_ms = await _store(site)
    tag = quote(f"tag {PLACE}/fine:wave", safe="")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if RANGE in request.url else None)
    for spike, span_ms, is_there in VIEWS:
        from_ms = begin_ms + max(0, round(spike * STEP_MS - span_ms / 4) if span_ms < WHOLE_MS else 0)
        if span_ms > WHOLE_MS:
            from_ms -= span_ms // 2
        share = (begin_ms + spike * STEP_MS - from_ms) / span_ms
        before = len(asked)
        await page.goto(f"{site.url}/#/trend?tag={tag}&from={from_ms}&to={from_ms + span_ms}&show=spectrum")
        await page.wait_for_function(SHOWN, arg=f"{HEIGHTS[spike]:g}")
        place = [share, 0.0 if HEIGHTS[spike] > 0 else 0.7, 0.3]
        await until(partial(page.evaluate, FOUND, place), f"the spike in {span_ms} ms")
        if span_ms == NEAR_MS:
            await page.get_by_role("img", name="Spectrum of").wait_for()
        assert not is_there or len(asked) == before, "what is nearer was there"


async def _store(site: ConsoleSite) -> int:
    """At the hub, as any client of it does; the time of the first sample."""
    node = json.loads((site.hub.config.hub.data_dir / "node.json").read_text(encoding="utf-8"))
    begin_ns = SystemClock().now_ns() // 10**9 * 10**9 - (COUNT + 6000) * STEP_MS * 10**6
    values = np.sin(np.arange(COUNT) / 300)
    values[list(HEIGHTS)] = list(HEIGHTS.values())
    messages = []
    for first in range(0, COUNT, BLOCK):
        times = begin_ns + np.arange(first, min(first + BLOCK, COUNT), dtype=np.int64) * STEP_MS * 10**6
        block = Block("wave", times, values[first : first + BLOCK])
        payload = encode_block(block, ingest_time_ns=begin_ns)
        subject = f"uns.v1.{PLACE.replace('/', '.')}.fine._tag.wave"
        messages.append(Message(subject, payload, ARROW_TYPE, len(times)))
    credentials = Credentials(node["user"], node["password"])
    async with (
        RawConnection(node["nats_url"], credentials=credentials, name="spikes") as connection,
        GroupCommitPublisher(connection, "H_LOCAL", ledger_subject="uns.v1.acme._ledger.hub.spikes") as publisher,
    ):
        await publisher.submit(messages)
        await publisher.flush()
    await until(partial(_has_all, site, begin_ns), "all of it in the history")
    return begin_ns // 10**6


async def _has_all(site: ConsoleSite, begin_ns: int) -> bool:
    last = {"tag": f"{PLACE}/fine:wave", "start": begin_ns + (COUNT - 1) * STEP_MS * 10**6}
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        answer = await client.get(f"{site.url}/api/v1/range", params=last)
    return answer.is_success and len(answer.json()["data"]) == 1  # a hub that is busy for once is asked again
