"""The error registry is complete: each code used in the source is explained, and each explained code is used."""

from __future__ import annotations

import re
from pathlib import Path

from millstream.kernel import error_registry

SOURCE = Path(__file__).resolve().parents[2] / "src" / "millstream"
CODE = re.compile(r'"(MS-\d{4})"')


def used_codes() -> set[str]:
    """Codes that stand as string literals in the source."""
    return {code for path in SOURCE.rglob("*.py") for code in CODE.findall(path.read_text(encoding="utf-8"))}


def test_every_code_in_the_source_is_explained() -> None:
    assert used_codes() - set(error_registry()) == set()


def test_every_explained_code_is_used() -> None:
    assert set(error_registry()) - used_codes() == set()


def test_an_entry_says_cause_and_remedy() -> None:
    for entry in error_registry().values():
        assert 5 <= len(entry.title) <= 80, entry.code
        assert len(entry.cause) > 20, entry.code
        assert len(entry.remedy) > 20, entry.code
