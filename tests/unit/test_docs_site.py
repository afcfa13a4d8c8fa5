"""The documentation site: every link leads somewhere, and nothing is loaded from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import docs_site  # tools/

pytest.importorskip("markdown_it")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of it, as the hub would serve it."""
    target = tmp_path_factory.mktemp("docs")
    docs_site.build(target)
    return target


def test_every_page_of_the_docs_is_in_the_site_with_its_group(site: Path) -> None:
    index = (site / "index.html").read_text(encoding="utf-8")
    for path in sorted((docs_site.ROOT / "docs").rglob("*.md")):
        name = path.relative_to(docs_site.ROOT / "docs").with_suffix(".html").as_posix()
        assert (site / name.replace("README", "index")).is_file()
        assert f'href="{name.replace("README", "index")}"' in index
    for group in ("Tutorials", "How-to", "Reference", "Explanation"):
        assert f"<summary>{group}</summary>" in index


def test_nothing_is_loaded_from_elsewhere_and_no_text_runs_as_script(site: Path) -> None:
    for path in site.rglob("*.html"):
        page = path.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)=\"([^\"]*)\"", page)
        assert all(link == "data:," or (path.parent / link).is_file() for link in loaded), path
        assert re.findall(r"<script(?![^>]*src=)|<style| style=| on[a-z]+=\"", page) == []


def test_links_between_pages_lead_to_files_of_the_site(site: Path) -> None:
    page = (site / "how-to" / "console.html").read_text(encoding="utf-8")
    assert 'href="../how-to/oee.html#stops-and-their-reasons"' in page
    for path in site.rglob("*.html"):
        for link in re.findall(r"<a [^>]*?href=\"([^\"#:]+)(?:#[^\"]*)?\"", path.read_text(encoding="utf-8")):
            assert (path.parent / link).resolve().is_file(), f"{path}: {link}"


def test_the_search_knows_headings_and_text_without_markup(site: Path) -> None:
    text = (site / "search.js").read_text(encoding="utf-8")
    assert '"how-to/console.html#pages"' in text
    assert "<code>" not in text


def test_a_link_that_leads_nowhere_is_named_with_its_page(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text(
        "# One\n\n## Two parts\n\n[up](docs/README.md#away) [in](#two-parts) [out](#no)\n"
    )
    (tmp_path / "docs" / "README.md").write_text(
        "# All\n\n[gone](gone.md) ![no](no.svg) [web](https://example.org/x)\n"
    )
    with pytest.raises(RuntimeError) as raised:
        docs_site.build(tmp_path / "site", tmp_path)
    assert str(raised.value).splitlines()[1:] == [
        "README.md: docs/README.md#away: no such heading",
        "README.md: #no: no such heading",
        "docs/README.md: gone.md: no such file",
        "docs/README.md: no.svg: no such file",
    ]


def test_pictures_are_small_and_each_is_shown_somewhere() -> None:
    folder = docs_site.ROOT / "docs" / "pictures"
    pictures = {path.relative_to(docs_site.ROOT).as_posix(): path for path in folder.iterdir()}
    pages = [docs_site.read_page(source) for source in docs_site.sources()]
    shown = {docs_site._resolve(page, link)[0] for page in pages for link in page.links if link.endswith(".png")}
    assert set(pictures) == {path for path in shown if path.startswith("docs/pictures/")}
    assert all(path.stat().st_size <= 150_000 for path in pictures.values())


def test_anchors_are_those_of_github() -> None:
    assert docs_site.slug("What is it, `really`? (Ä 1.2)") == "what-is-it-really-ä-12"
