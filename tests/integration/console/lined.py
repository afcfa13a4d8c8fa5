"""All values at once: numbers that are drawn as lines of one text lie in their rows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.async_api import Page

_OWN_SPACING = "* { line-height: 1.5 !important; letter-spacing: .12em !important; word-spacing: .16em !important }"
_SPACE = """
(css) => { const sheet = new CSSStyleSheet(); sheet.replaceSync(css); document.adoptedStyleSheets = [sheet]; }
"""
_CELLS = """
() => [...document.querySelectorAll(".wall .value")].map((own) => {
  const column = own.closest(".column");
  const at = [...column.querySelectorAll(".value")].indexOf(own);
  const [values, ages] = [".values", ".ages"].map((name) => column.querySelector(name).textContent.split("\\n"));
  const found = { line: values[at] ?? "", age: ages[at] ?? "", isDrawn: own.classList.contains("drawn"), offPx: 0 };
  if (!found.line) return found;
  const lastLetter = (node, end) => {
    const range = new Range();
    range.setStart(node, end - 1);
    range.setEnd(node, end);
    return range.getBoundingClientRect();
  };
  const line = lastLetter(column.querySelector(".values").firstChild, values.slice(0, at + 1).join("\\n").length);
  const there = lastLetter(own.firstChild, own.textContent.length);
  return { ...found, offPx: Math.max(Math.abs(line.top - there.top), Math.abs(line.right - there.right)) };
})
"""

_PLACES = """
() => [...document.querySelectorAll("main section")].filter((one) => one.querySelector(".drawn") !== null)
  .map((one) => one.querySelector(".heading .muted").textContent)
"""


async def see_lines_beside_their_rows(page: Page) -> None:
    """Each line lies where the row's own element has the value, also with the spacing that a reader chose (WCAG 2.2,
    1.4.12); what is not good is no line; every row has its age, and every place that of its oldest value."""
    places = await page.evaluate(_PLACES)
    assert [text for text in places if not re.fullmatch(r"oldest value \d+ (s|min|h|d)", text)] == []
    for css in (_OWN_SPACING, ""):
        await page.evaluate(_SPACE, css)
        cells = await page.evaluate(_CELLS)
        assert any(cell["line"] for cell in cells)
        assert [cell for cell in cells if bool(cell["line"]) != cell["isDrawn"] or cell["offPx"] > 1] == []
        assert [cell for cell in cells if not re.fullmatch(r"\d+ (s|min|h|d)|–", cell["age"])] == []
