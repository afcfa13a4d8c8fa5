"""Every case of tests/golden/flow gives what is expected, however it is cut into units and wherever it is killed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from golden import GOLDEN, load
from millstream.flow import tidy_lines, verify, write_lines
from millstream.flow.library import FLOW_TYPES

CASES = sorted(path.parent for path in GOLDEN.glob("*/*/flow.yaml"))


def test_every_type_has_a_golden_case() -> None:
    assert {case.parent.name for case in CASES} == set(FLOW_TYPES)
    assert {name: found.name for name, found in FLOW_TYPES.items()} == {name: name for name in FLOW_TYPES}


@pytest.mark.parametrize("case", CASES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_case_gives_what_is_expected_wherever_it_is_killed(case: Path) -> None:
    flow, items = load(case)
    assert len(items) <= 100, "verify would leave out points to kill it at"
    outcome, problems = verify(lambda: load(case)[0], items)
    assert problems == []
    lines = write_lines([outcome])
    assert lines == tidy_lines((case / "expected.jsonl").read_text("utf-8")), "\n".join(lines)
    assert flow.name
