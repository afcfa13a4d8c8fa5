"""Which test runs where and when (tests/lanes.py)."""

from __future__ import annotations

import random
from itertools import groupby

from lanes import arrange, folder_of

FILES = {
    "tests/unit/kernel/test_a.py": 50, "tests/unit/bus/test_b.py": 61, "tests/property/test_c.py": 9,
    "tests/integration/opcua/test_d.py": 7, "tests/integration/opcua/test_e.py": 8,
    "tests/integration/flow/test_f.py": 11, "tests/integration/bus/test_g.py": 20, "tests/docs/test_h.py": 4,
}  # fmt: skip


def dealt(names: list[str], lanes: int) -> list[list[str]]:
    """What each process gets at first, as pytest-xdist deals it out."""
    found, left = [], [names[index] for index in arrange(names, lanes)]
    for lane in range(lanes):
        size = len(left) // (lanes - lane)
        found.append(left[:size])
        del left[:size]
    return found


def test_folders_stay_together_and_the_quick_ones_come_last() -> None:
    files = list(FILES)
    for seed in range(20):
        random.Random(seed).shuffle(files)
        names = [f"{file}::test_{number}" for file in files for number in range(FILES[file])]
        for lanes in (1, 2, 3, 4):
            parts = dealt(names, lanes)
            assert sorted(name for part in parts for name in part) == sorted(names)
            opcua = [lane for lane, part in enumerate(parts) for name in part if "/opcua/" in name]
            assert len(set(opcua)) == 1, "its shared servers are started once"
            for part in parts:
                is_quick = [name.startswith(("tests/unit/", "tests/property/")) for name in part]
                assert is_quick == sorted(is_quick)
                pieces = [folder for folder, _ in groupby(part, folder_of)]
                assert len(pieces) == len(set(pieces)), "each folder is one piece"


def test_any_few_tests_are_each_there_once() -> None:
    for count in range(12):
        names = [f"tests/integration/flow/test_f.py::test_{number}" for number in range(count)]
        for lanes in (1, 4, 5):
            assert sorted(arrange(names, lanes)) == list(range(count))
