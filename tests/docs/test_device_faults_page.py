"""The table of device faults: each connector has a row, each code is its own, and a test of that connector shows it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import millstream
from millstream.config import InstalledConnectors

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "device-faults.md"
KNOWN = tomllib.loads((Path(millstream.__file__).parent / "errors.toml").read_text(encoding="utf-8"))
BY_OTHERS = {  # tests of several connectors, or of a protocol
    "http": ["integration/bad_input/test_bad_certificates.py"],
    "iolink": ["integration/bad_input/test_bad_certificates.py", "unit/protocols/test_iolink_data.py"],
    "mqtt": ["integration/bad_input/test_bad_certificates.py"],
    "mtconnect": ["integration/bad_input/test_bad_certificates.py"],
    "sparkplug": ["integration/bad_input/test_bad_certificates.py"],
}


def rows() -> dict[str, list[str]]:
    """Connector -> its cells."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in cells[1:]}


def words_of(cell: str) -> list[str]:
    """The codes or qualities of a cell."""
    return [] if cell == "-" else re.split(r",\s*", cell)


def test_each_connector_has_a_row() -> None:
    assert sorted(rows()) == sorted(InstalledConnectors())


@pytest.mark.parametrize(("connector", "cells"), rows().items(), ids=list(rows()))
def test_each_fault_has_its_own_name_and_a_test_that_shows_it(connector: str, cells: list[str]) -> None:
    words = [word for cell in cells for word in words_of(cell)]
    assert len(set(words)) == len(words), "two faults have one name"
    assert [word for word in words if word.startswith("MS-") and word not in KNOWN] == []
    tests = [ROOT / "tests" / name for name in BY_OTHERS.get(connector, ())]
    for level in ("integration", "unit"):
        tests += sorted((ROOT / "tests" / level / connector).glob("test_*.py"))
    shown = "\n".join(path.read_text(encoding="utf-8") for path in tests)
    shown = shown.replace("BAD_TYPE_MISMATCH", "BadTypeMismatch")
    assert [word for word in words if word not in shown] == []
    if any("test_bad_certificates" in path.name for path in tests):
        assert f'    "{connector}": {{' in shown
