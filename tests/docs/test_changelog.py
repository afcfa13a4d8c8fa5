"""The changelog comes from its fragments, and a release moves them."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import changelog  # noqa: E402  (tools/ is no package)


def test_every_fragment_can_be_read() -> None:
    """Each line starts with its kind, or goes on with the line above."""
    assert list(changelog.entries(ROOT / "changes"))


def test_the_log_has_the_place_where_a_release_goes() -> None:
    assert changelog.MARK in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "changes").mkdir()
    (tmp_path / "changes" / "b.md").write_text("Fixed: a thing\nthat broke.\nAdded: another.\n")
    (tmp_path / "changes" / "a.md").write_text("Added: one.\n")
    shutil.copy(ROOT / "CHANGELOG.md", tmp_path)
    return tmp_path


def test_a_release_groups_by_kind_keeps_older_ones_below_and_empties_the_fragments(tree: Path) -> None:
    changelog.release(tree, "0.1.0", "2026-12-01")
    (tree / "changes" / "c.md").write_text("Security: three.\n")
    changelog.release(tree, "0.2.0", "2027-01-01")
    text = (tree / "CHANGELOG.md").read_text().partition(changelog.MARK)[2]
    assert text == (
        "\n## 0.2.0 (2027-01-01)\n\n### Security\n\n- Three.\n"
        "\n## 0.1.0 (2026-12-01)\n\n### Added\n\n- One.\n- Another.\n\n### Fixed\n\n- A thing that broke.\n"
    )
    assert list((tree / "changes").iterdir()) == []
    with pytest.raises(ValueError, match="nothing in changes"):
        changelog.release(tree, "0.3.0", "2027-02-01")


def test_a_line_without_its_kind_is_told_by_file_and_number(tree: Path) -> None:
    (tree / "changes" / "a.md").write_text("\nimproved: something\n")
    with pytest.raises(ValueError, match=r"a\.md:2: expected 'Added"):
        changelog.section(tree / "changes", "x")
