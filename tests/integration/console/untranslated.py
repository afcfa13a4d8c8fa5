"""What stands on a German page in English, or as the bare code of a program: found by the pages' own words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.async_api import Page

WORDS = Path(__file__).resolve().parents[3] / "console" / "src" / "words"
OF_THE_PLANT = frozenset({
    "state", "count", "door", "quality", "downtime", "alarm", "oee", "watch", "rejects", "stops", "setup", "away",
    "aborted", "execute", "production", "closed", "id",
})  # fmt: skip
"""Names and values that the plant of the tests has, which are words of a page, too; and what is one in any language."""
SHOWN = """
() => {
  const found = [];
  const shown = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = shown.nextNode(); node !== null; node = shown.nextNode()) {
    const parent = node.parentElement;
    const isCode = parent.closest("code, small, pre, textarea, .tree .foreign, [translate=no]") !== null;
    if (!isCode && parent.checkVisibility()) found.push(node.data);
  }
  const named = document.querySelectorAll("[aria-label], [placeholder]");
  for (const one of named) found.push(one.ariaLabel ?? one.placeholder);
  return found;
}
"""
"""All texts but codes that stand beside their words, and names in the tree."""
_BARE = re.compile(r"(?<![\w/:.-])(?:millstream\.\w|[a-z]+_[a-z]+)")
_WORD = re.compile(r'(?<![\w"])(\w+): (?:"((?:[^"\\]|\\.)*)"|\'([^\']*)\')')
_CODE = re.compile(r'(?:"([^"]+)"|(\w+)): \["([^"]*)", "([^"]*)"\]')


def _said(language: str) -> dict[str, str]:
    text = (WORDS / f"{language}.ts").read_text(encoding="utf-8")
    return {name: double or single for name, double, single in _WORD.findall(text)}


def codes() -> Iterator[tuple[str, str, str]]:
    """A code, and its words in both languages."""
    for quoted, bare, english, german in _CODE.findall((WORDS / "codes.ts").read_text(encoding="utf-8")):
        yield quoted or bare, english, german


def english_words() -> frozenset[str]:
    """What a page says in English only, and codes that have words."""
    english, german = _said("en"), _said("de")
    every = [*german.values(), *(each for _, _, each in codes())]
    said = [*(english[name] for name in german), *(each for code, one, _ in codes() for each in (code, one))]
    return frozenset(_plain(each) for each in said if "{" not in each) - frozenset(map(_plain, every)) - OF_THE_PLANT


def _plain(text: str) -> str:
    return text.strip().casefold()


async def untranslated(page: Page, english: frozenset[str]) -> list[str]:
    """What is shown now that is one of these, alone or between marks, and what is written as only programs write."""
    parts = {part for text in await page.evaluate(SHOWN) for part in re.split(r"\s[·–]\s|[;:…]\s|\n", f"{text}\n")}
    said = (part for part in parts if '"' not in part)  # of JSON nothing is anybody's word
    return sorted(part for part in said if _plain(part.strip("✓■◌○● ")) in english or _BARE.search(part))


async def speak_german(page: Page, url: str, place: str) -> None:
    """The views that have most to tell, with all that was done before: no word of them is English, none is a code."""
    english = english_words()
    await page.evaluate("localStorage.setItem('millstream.language', 'de')")
    await page.goto(f"{url}/?de#/fleet?view=commands")
    why, machine = (f"{place}{name}".replace("/", "%2F") for name in ("/press:oee/shift/oee", "/saw"))
    views = (
        ("fleet?view=commands", "zurückgerufen"), ("fleet?view=rollouts", "beendet · Stufe"),
        ("fleet?site=away&part=revisions", "zurück zu 2"), ("admin?view=audit", "Unlesbares: verworfen"),
        ("alarms?events=1", "OEE einer Maschine"), (f"shop?why={why}", "bekannter Anteil der Zeit"),
        (f"shop?machine={machine}", "abgebrochen"), ("pipeline", "Stillstände und ihre Gründe"),
    )  # fmt: skip
    for view, text in views:
        await page.evaluate("(view) => (location.hash = view)", f"#/{view}")
        await page.locator("main").get_by_text(text).first.wait_for()
        found = await untranslated(page, english)
        assert found == [], f"{view}: {found}"
    await page.evaluate("localStorage.setItem('millstream.language', 'en')")
    await page.goto(f"{url}/#/admin")
