"""What each page consists of, as a screen reader has it: its parts with their names, without what the plant says.

Kept in outlines.txt and reviewed like text. Pixels differ with fonts and machines; this does not.
`MILLSTREAM_OUTLINES=write pytest tests/integration/console` writes it anew.
"""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from trust_site import until

if TYPE_CHECKING:
    from playwright.async_api import Page

KEPT = Path(__file__).with_name("outlines.txt")
IS_WRITTEN = os.environ.get("MILLSTREAM_OUTLINES") == "write"
SHOWN = frozenset({
    "navigation", "main", "heading", "region", "treegrid", "columnheader", "searchbox", "textbox", "combobox",
    "checkbox", "button", "link", "form", "group", "figure", "complementary",
})  # fmt: skip
OF_THE_PLANT = frozenset({
    "cell", "gridcell", "rowheader", "article", "status", "alert", "listitem", "option", "group",
})  # fmt: skip
_LINE = re.compile(r'( *)- (?:\'|)([a-z]+)(?: "((?:[^"\\]|\\.)*)")?')


def outline(snapshot: str) -> list[str]:
    """The parts of an aria snapshot, indented as they lie in each other. What the plant says has any number of rows."""
    found: list[str] = []
    within: list[int] = []  # depths of the shown parts around
    skipped: int | None = None
    for line in snapshot.splitlines():
        match = _LINE.match(line)
        if match is None or (skipped is not None and len(match[1]) > skipped):
            continue
        depth, role, name = len(match[1]), match[2], match[3]
        skipped = depth if role in OF_THE_PLANT else None
        within = [one for one in within if one < depth]
        if role in SHOWN:
            found.append(f"{'  ' * len(within)}{role}{f' {_masked(name)}' if name else ''}")
            within.append(depth)
    return found


def _masked(name: str) -> str:
    return re.sub(r"\d[\d.,:/]*", "#", name)


def kept() -> dict[str, list[str]]:
    """Page -> its outline."""
    parts = re.split(r"^# (.*)\n", KEPT.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {name: text.splitlines() for name, text in zip(parts[::2], parts[1::2], strict=True)}


async def check_outline(page: Page, name: str) -> None:
    """The page becomes what is kept of it."""
    found: list[str] = []
    pages = kept() if KEPT.exists() else {}

    async def fits() -> bool:
        found[:] = outline(await page.locator("main").aria_snapshot())
        return found == pages.get(name)

    if IS_WRITTEN:
        await page.wait_for_timeout(3000)
        await fits()
        pages[name] = list(found)
        text = "".join("\n".join([f"# {one}", *lines]) + "\n" for one, lines in pages.items())
        KEPT.write_text(text, encoding="utf-8")
        return
    try:
        await until(fits, f"the outline of {name}")
    except AssertionError:
        raise AssertionError("\n".join(difflib.unified_diff(pages.get(name, []), found, "kept", "shown"))) from None
