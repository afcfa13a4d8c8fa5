"""Build the documentation site: the repository's Markdown as pages that load nothing from elsewhere, with a search.

Used by `make docs`, `make demo` and the build of a wheel; the hub serves the result under `/docs/`, and it can be
opened from a disk. markdown-it parses (CommonMark and tables, as GitHub does), Pygments marks code. A link that leads
nowhere is an error, so a site that was built has none.
"""

from __future__ import annotations

import argparse
import html
import importlib.util
import json
import posixpath
import re
import shutil
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from markdown_it.token import Token

ROOT = Path(__file__).resolve().parent.parent
LOOK = Path(__file__).resolve().parent / "docs_site"
TARGET = ROOT / "src" / "millstream" / "api" / "docs"
REQUIREMENTS = ["markdown-it-py>=4,<5", "pygments>=2.19,<3"]
_MODULES = ("markdown_it", "pygments")
GROUPS: Mapping[str, tuple[str, ...]] = {
    "Start": ("README.md", "docs/README.md"),
    "Tutorials": ("docs/tutorials/*.md",),
    "How-to": ("docs/how-to/*.md",),
    "Connectors": ("src/millstream/connectors/*/README.md",),
    "Reference": ("docs/reference/*.md", "examples/**/README.md", "GLOSSARY.md", "CHANGELOG.md"),
    "Explanation": ("docs/explanation/*.md", "ARCHITECTURE.md", "SECURITY.md"),
    "Decisions": ("docs/adr/*.md",),
    "To change it": ("CONTRIBUTING.md", "STYLE.md"),
}
_IMAGES = frozenset({".svg", ".png"})
_MARK = re.compile(r"<[^>]+>")


@dataclass(frozen=True, slots=True)
class Source:
    """One file of the repository, and where its page stands in the site."""

    path: str
    target: str
    group: str


@dataclass(slots=True)
class Page:
    """What was made of a source. `headings` are (level, anchor, text); `links` what it leads to, as written."""

    source: Source
    title: str
    tokens: list[Token]
    headings: list[tuple[int, str, str]] = field(default_factory=list)
    links: list[str] = field(default_factory=list)

    @property
    def anchors(self) -> set[str]:
        """What a link may name behind the `#`."""
        return {anchor for _, anchor, _ in self.headings}


def sources(root: Path = ROOT) -> list[Source]:
    """All pages, group by group."""
    found: dict[str, Source] = {}
    for group, patterns in GROUPS.items():
        for pattern in patterns:
            for path in sorted(root.glob(pattern)):
                name = path.relative_to(root).as_posix()
                if "node_modules" not in path.parts:
                    found.setdefault(name, Source(name, _target(name), group))
    return list(found.values())


def _target(path: str) -> str:
    if path == "docs/README.md":
        return "index.html"
    short = path.removeprefix("docs/").removeprefix("src/millstream/")
    short = short.removesuffix("/README.md") if short.endswith("/README.md") else short.removesuffix(".md")
    return f"{short.lower() if '/' not in short else short}.html"


def slug(text: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    kept = [c for c in text.strip().lower() if c in " -_" or unicodedata.category(c)[0] in "LN"]
    return "".join(kept).replace(" ", "-")


def read_page(source: Source, root: Path = ROOT) -> Page:
    """Parse one file."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": True, "typographer": False}).enable(["table", "strikethrough"])
    tokens = parser.parse((root / source.path).read_text(encoding="utf-8"))
    page = Page(source, source.path, tokens)
    seen: dict[str, int] = {}
    for at, token in enumerate(tokens):
        if token.type == "heading_open":
            text = _plain(tokens[at + 1])
            anchor = slug(text)
            count = seen[anchor] = seen.get(anchor, -1) + 1
            anchor = anchor if count == 0 else f"{anchor}-{count}"
            token.attrSet("id", anchor)
            page.headings.append((int(token.tag[1]), anchor, text))
        for child in token.children or ():
            for name in ("href", "src"):
                if isinstance(link := child.attrGet(name), str):
                    page.links.append(link)
    page.title = next((text for level, _, text in page.headings if level == 1), source.path)
    return page


def _plain(token: Token) -> str:
    return "".join(child.content for child in token.children or () if child.type in ("text", "code_inline"))


def broken_links(pages: Sequence[Page], root: Path = ROOT) -> list[str]:
    """Links into the repository that lead nowhere: no such file, or no such heading in it."""
    by_path = {page.source.path: page for page in pages}
    found = []
    for page in pages:
        for link in page.links:
            if urlsplit(link).scheme:
                continue
            path, anchor = _resolve(page, link)
            if not (root / path).exists():
                found.append(f"{page.source.path}: {link}: no such file")
            elif anchor and path in by_path and anchor not in by_path[path].anchors:
                found.append(f"{page.source.path}: {link}: no such heading")
    return found


def _resolve(page: Page, link: str) -> tuple[str, str]:
    """A link as a path from the root of the repository, and what stands behind its `#`."""
    parts = urlsplit(link)
    path = posixpath.normpath(posixpath.join(posixpath.dirname(page.source.path), unquote(parts.path)))
    return (path if parts.path else page.source.path), unquote(parts.fragment)


def build(target: Path = TARGET, root: Path = ROOT) -> int:
    """Write the site anew, and say how many pages it has. Raises RuntimeError with the links that lead nowhere."""
    pages = [read_page(source, root) for source in sources(root)]
    if broken := broken_links(pages, root):
        raise RuntimeError("links that lead nowhere:\n" + "\n".join(broken))
    shutil.rmtree(target, ignore_errors=True)
    targets = {page.source.path: page.source.target for page in pages}
    index = []
    for page in pages:
        images = _point(page, targets)
        file = target / page.source.target
        file.parent.mkdir(parents=True, exist_ok=True)
        body = _body(page)
        file.write_text(_whole(page, body, pages), encoding="utf-8")
        index += list(_entries(page, body))
        for source in images:
            copy = target / "images" / source
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / source, copy)
    for name in ("site.css", "site.js"):
        shutil.copyfile(LOOK / name, target / name)
    text = json.dumps(index, ensure_ascii=False, separators=(",", ":"))
    (target / "search.js").write_text(f"globalThis.siteIndex={text};\n", encoding="utf-8")
    return len(pages)


def _point(page: Page, targets: Mapping[str, str]) -> list[str]:
    """Let links lead to pages of the site; what is only in the repository becomes text. The images that it shows."""
    images = []
    up = "../" * page.source.target.count("/")
    for token in page.tokens:
        for child in token.children or ():
            for name in ("href", "src"):
                link = child.attrGet(name)
                if not isinstance(link, str) or urlsplit(link).scheme:
                    continue
                path, anchor = _resolve(page, link)
                if path in targets:
                    child.attrSet(name, f"{up}{targets[path]}{f'#{anchor}' if anchor else ''}")
                elif Path(path).suffix in _IMAGES:
                    images.append(path)
                    child.attrSet(name, f"{up}images/{path}")
                else:
                    del child.attrs[name]
                    child.attrSet("title", f"{path}, in the repository")
    return images


def _body(page: Page) -> str:
    from markdown_it import MarkdownIt
    from markdown_it.renderer import RendererHTML

    class Renderer(RendererHTML):
        """Code is marked, and a table can be scrolled."""

        def fence(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
            """A block of code."""
            return _code(tokens[idx].content, tokens[idx].info.strip().split(" ")[0])

        def table_open(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
            """Its beginning."""
            return '<div class="scroll" tabindex="0" role="group" aria-label="Table"><table>\n'

        def table_close(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
            """Its end."""
            return "</table></div>\n"

    parser = MarkdownIt("commonmark", {"html": True}, renderer_cls=Renderer).enable("table")
    return str(parser.renderer.render(page.tokens, parser.options, {}))


def _code(text: str, language: str) -> str:
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    try:
        lexer = get_lexer_by_name(language or "text")
    except ClassNotFound:
        lexer = get_lexer_by_name("text")
    marked = highlight(text, lexer, HtmlFormatter(nowrap=True))
    return f'<pre tabindex="0" role="group" aria-label="Code"><code>{marked}</code></pre>\n'


def _whole(page: Page, body: str, pages: Sequence[Page]) -> str:
    up = "../" * page.source.target.count("/")
    parts = [(anchor, text) for level, anchor, text in page.headings if level == 2]
    here = "".join(f'<li><a href="#{anchor}">{html.escape(text)}</a></li>' for anchor, text in parts)
    template = (LOOK / "page.html").read_text(encoding="utf-8")
    values = {
        "title": html.escape(page.title), "up": up, "body": body, "nav": _navigation(page, pages, up),
        "here": f'<nav class="here" aria-label="On this page"><ul>{here}</ul></nav>' if len(parts) > 1 else "",
    }  # fmt: skip
    return re.sub(r"\{\{(\w+)\}\}", lambda found: values[found[1]], template)


def _navigation(shown: Page, pages: Sequence[Page], up: str) -> str:
    lines = []
    for group in GROUPS:
        mine = [page for page in pages if page.source.group == group]
        is_open = " open" if shown.source.group == group or group == "Start" else ""
        lines.append(f"<details{is_open}><summary>{group}</summary><ul>")
        for page in mine:
            current = ' aria-current="page"' if page is shown else ""
            lines.append(f'<li><a href="{up}{page.source.target}"{current}>{html.escape(page.title)}</a></li>')
        lines.append("</ul></details>")
    return "\n".join(lines)


def _entries(page: Page, body: str) -> Iterator[list[str]]:
    """For the search: address, page, heading and text of each part."""
    parts = re.split(r'<h[1-4] id="([^"]*)">(.*?)</h[1-4]>', body)
    for anchor, heading, text in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        plain = " ".join(html.unescape(_MARK.sub(" ", text)).split())
        yield [f"{page.source.target}#{anchor}", page.title, html.unescape(_MARK.sub("", heading)), plain]


def main() -> int:
    """Build; 1 when that does not work, unless it is only wanted if possible."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--if-possible", action="store_true", help="go on without it where it cannot be built")
    chosen = options.parse_args()
    missing = [name for name in _MODULES if importlib.util.find_spec(name) is None]
    if missing:
        text = f"the documentation is not built: no {', '.join(missing)} here; pip install 'millstream[docs]'"
        sys.stderr.write(text + "\n")
        return 0 if chosen.if_possible else 1
    try:
        count = build()
    except RuntimeError as error:
        sys.stderr.write(f"the documentation is not built: {error}\n")
        return 0 if chosen.if_possible else 1
    sys.stderr.write(f"{count} pages in {TARGET.relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
