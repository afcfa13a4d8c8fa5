"""Pages that follow from the code are fresh, and their examples load."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import docs_gen  # noqa: E402  (tools/ is no package)
from millstream.config import InstalledConnectors, load_any  # noqa: E402


@pytest.mark.parametrize("page", sorted(docs_gen.PAGES), ids=lambda page: page.name)
def test_a_generated_page_is_fresh(page: Path) -> None:
    """Run tools/docs_gen.py when this fails."""
    assert page.read_text(encoding="utf-8") == docs_gen.PAGES[page]()


def test_a_page_that_is_missing_or_edited_is_stale_and_is_written_again(tmp_path: Path) -> None:
    pages = {tmp_path / "sub" / page.name: partial(str, f"what {page} says\n") for page in docs_gen.PAGES}
    assert docs_gen.stale(pages) == list(pages)
    docs_gen.write(pages)
    assert docs_gen.stale(pages) == []
    first = next(iter(pages))
    first.write_text(first.read_text(encoding="utf-8") + "by hand\n", encoding="utf-8")
    assert docs_gen.stale(pages) == [first]
    docs_gen.write(pages)
    assert docs_gen.stale(pages) == []


@pytest.mark.parametrize("role", sorted(docs_gen.EXAMPLES))
def test_the_examples_of_the_page_load(role: str, tmp_path: Path) -> None:
    """With the installed connectors."""
    path = tmp_path / "config.yaml"
    path.write_text(docs_gen.EXAMPLES[role], encoding="utf-8")
    config, findings = load_any(path, InstalledConnectors())
    assert [str(f) for f in findings] == []
    assert config is not None


@pytest.mark.parametrize(
    "sample", sorted((ROOT / "src/millstream/connectors").glob("*/sample.yaml")), ids=lambda p: p.parent.name
)
def test_the_sample_of_each_connector_loads(sample: Path, tmp_path: Path) -> None:
    """Under the edge that the samples are written for."""
    entries = "".join(f"  {line}\n" for line in sample.read_text(encoding="utf-8").splitlines())
    body = entries if entries.lstrip().startswith("- ") else entries.replace("  connectors:\n", "", 1)
    path = tmp_path / "config.yaml"
    path.write_text(f"edge: {{name: e1, path: acme/plant1, data_dir: data}}\nconnectors:\n{body}", encoding="utf-8")
    config, findings = load_any(path, InstalledConnectors())
    assert [str(f) for f in findings] == []
    assert config is not None
