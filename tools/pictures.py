"""Draw the pictures of the README and the docs from live demo data: `make screenshots`.

It starts `millstream demo`, opens the console in Chromium without a screen, and writes one picture a page into
docs/pictures. Size, language, colours and time zone are always the same; the values are those of the moment. The
pictures are kept in the repository and looked at like text before they are committed. What a page consists of, a test
holds by its outline (tests/integration/console), since pixels differ from one machine to the next.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.async_api import Page

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures"
BYTES_MAX = 150_000
DEADLINE_MS = 120_000
TREND_S = 40
MOVING = ("acme/plant1/mazak1:Zabs", "acme/plant1/press:coolant_pressure")
SETTLE_MS = 3000  # rates have come twice
WIDTH, HEIGHT = 1280, 720
_ADDRESS = re.compile(r"http://\S+/#token=[\w-]+")


@dataclass(frozen=True, slots=True)
class View:
    """An address of the console, and the text that says that it is whole."""

    route: str
    text: str


VIEWS: Mapping[str, View] = {
    "plant": View("#/plant", "good"),
    "trend": View("", "lowest"),
    "wall": View("#/plant?view=wall", "acme/plant1/press"),
    "shop": View("#/shop", "good parts"),
    "stops": View("#/shop?machine=acme%2Fplant1%2Fpress", "Join to the one before"),
    "why": View("#/shop?why=acme%2Fplant1%2Fpress%3Aoee%2Flive%2Foee", "Fully used"),
    "alarms": View("#/alarms", "the spindle is hot"),
    "fleet": View("#/fleet", "reached"),
    "pipeline": View("#/pipeline", "once and in order"),
}  # fmt: skip
"""Name of the picture -> what it shows; the address of the trend is that of tags that move."""


async def draw(folder: Path) -> list[Path]:
    """Write all pictures into `folder`. Raises RuntimeError without a browser or a console."""
    from playwright.async_api import async_playwright

    program = shutil.which("chromium")
    if program is None:
        raise RuntimeError("no chromium here, expected Debian's package of this name")
    folder.mkdir(parents=True, exist_ok=True)
    demo = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "millstream", "demo", "--for", "5min", cwd=ROOT,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        address = await _address(demo)
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=program)
            page = await browser.new_page(
                viewport={"width": WIDTH, "height": HEIGHT}, locale="en-GB", color_scheme="light", timezone_id="UTC",
            )  # fmt: skip
            page.set_default_timeout(DEADLINE_MS)
            await page.goto(address)
            await page.locator(".link[data-state=connected]").wait_for()
            made = [await _draw_one(page, address.partition("#")[0], name, folder) for name in VIEWS]
            await browser.close()
            return made
    finally:
        if demo.returncode is None:
            demo.terminate()
        await demo.communicate()


async def _address(demo: asyncio.subprocess.Process) -> str:
    assert demo.stdout is not None
    async for line in demo.stdout:
        if found := _ADDRESS.search(line.decode(errors="replace")):
            return found[0]
    raise RuntimeError("the demo ended without an address; is the console built (make console)?")


async def _draw_one(page: Page, base: str, name: str, folder: Path) -> Path:
    view = VIEWS[name]
    await page.goto(base + (view.route or await _trend(page)))
    await page.locator("main").get_by_text(view.text).first.wait_for()
    await page.wait_for_timeout(SETTLE_MS)
    path = folder / f"{name}.png"
    await page.screenshot(path=path)
    return path


async def _trend(page: Page) -> str:
    """An axis of the lathe and the press's coolant, as far as the demo has run."""
    await page.wait_for_timeout(TREND_S * 1000)
    until_ms = int(await page.evaluate("Date.now()"))
    tags = "&".join(f"tag=tag+{path.replace('/', '%2F').replace(':', '%3A')}" for path in MOVING)
    return f"#/trend?{tags}&from={until_ms - TREND_S * 1000}&to={until_ms}"


def main() -> int:
    """Draw, and say what is too large for a repository."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--folder", type=Path, default=PICTURES)
    made = asyncio.run(draw(options.parse_args().folder))
    for path in made:
        size = path.stat().st_size
        sys.stderr.write(f"{path}: {size:,} bytes{' (too large)' if size > BYTES_MAX else ''}\n")
    return int(any(path.stat().st_size > BYTES_MAX for path in made))


if __name__ == "__main__":
    sys.exit(main())
