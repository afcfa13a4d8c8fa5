"""In which order the tests run, for processes that each take an equal part of the list from its front.

What is in one folder stays together: servers that its tests share are started once, not once for each file between
which files of other folders came. Each part begins with folders whose tests wait for servers, the longest first, and
ends with quick ones; who is done takes over some of those, so that no process is alone with a long test at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

QUICK = ("tests/unit/", "tests/property/", "tests/simulation/", "tests/architecture/")
SECONDS = {
    "integration/cluster": 420, "integration/historian": 420, "integration/opcua": 380, "conformance": 380,
    "integration/bench": 310, "integration/trust": 265, "integration/flow": 250, "integration/site_config": 250,
    "integration/torture": 250, "integration/forward": 240, "integration/cli": 210, "integration/fleet": 190,
    "integration/console": 190, "docs": 190, "integration/bus": 135, "integration/edge": 100, "integration/demo": 90,
    "integration/mqtt": 90, "integration/sparkplug": 85,
}  # fmt: skip
"""How long a folder took by itself on a busy machine, as the tests' runner shows it at its end; the others: so much for
each test."""
EACH_S = 2.0


def folder_of(name: str) -> str:
    """Of a test by its node id, below `tests`."""
    return name.partition("::")[0].rpartition("/")[0].removeprefix("tests/")


def arrange(names: Sequence[str], lanes: int) -> list[int]:
    """The indices of these tests in the order in which they are to be dealt out to so many processes."""
    folders: dict[str, list[int]] = {}
    quick: list[int] = []
    for index, name in enumerate(names):
        (quick if name.startswith(QUICK) else folders.setdefault(folder_of(name), [])).append(index)
    parts: list[list[int]] = [[] for _ in range(lanes)]
    loads = [0.0] * lanes
    for folder in sorted(folders, key=lambda folder: (-_seconds(folder, folders[folder]), folder)):
        lane = loads.index(min(loads))
        loads[lane] += _seconds(folder, folders[folder])
        parts[lane] += folders[folder]
    # What is dealt out is so many for each, the rest to the last ones: as pytest-xdist does it.
    order: list[int] = []
    rest = iter(_together(names, quick))
    over: list[int] = []
    left = len(names)
    for lane, part in enumerate(parts):
        size = left // (lanes - lane)
        left -= size
        own = over + part
        own, over = own[:size], own[size:]
        order += own
        order += islice(rest, size - len(own))
    return order + over


def _seconds(folder: str, found: Sequence[int]) -> float:
    return SECONDS.get(folder, EACH_S * len(found))


def _together(names: Sequence[str], indices: Iterable[int]) -> list[int]:
    """By folder, the folders in the order of their first tests."""
    first: dict[str, int] = {}
    found = list(indices)
    for index in found:
        first.setdefault(folder_of(names[index]), len(first))
    return sorted(found, key=lambda index: first[folder_of(names[index])])
