"""Marks of tests name statements that there are, and waivers those that no test shows."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import sparkplug_docs  # noqa: E402  (tools/ is no package)

IDS = [each for chapter in sparkplug_docs.chapters() for each in chapter.ids]


def test_each_statement_stands_there_once() -> None:
    assert len(IDS) == len(set(IDS))


def test_a_mark_names_a_statement_of_the_specification() -> None:
    assert sorted({statement for statement, _ in sparkplug_docs.marks()} - set(IDS)) == []


def test_a_waiver_names_a_statement_that_no_test_shows() -> None:
    shown = {statement for statement, _ in sparkplug_docs.marks()}
    assert sorted(set(sparkplug_docs.waived()) - set(IDS)) == []
    assert sorted(set(sparkplug_docs.waived()) & shown) == []


def test_a_mark_is_seen_and_one_that_is_missing_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "tests" / "unit"
    folder.mkdir(parents=True)
    (folder / "test_x.py").write_text(
        'import pytest\n\n@pytest.mark.tck("tck-id-a", "tck-id-b")\nasync def test_one(): ...\n\ndef test_two(): ...\n'
    )
    assert list(sparkplug_docs.marks(tmp_path)) == [
        ("a", "unit/test_x.py::test_one"),
        ("b", "unit/test_x.py::test_one"),
    ]
