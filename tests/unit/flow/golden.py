"""What the tests of flows share: a case of tests/golden/flow, and one flow run in every way there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from millstream.flow import Flow, Kills, Outcome, build_flow, drive, drive_all, read_lines, read_spec, with_ticks
from millstream.flow._drive import Item

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "flow"


def load(folder: Path) -> tuple[Flow[Any], list[Item]]:
    """The flow of a case and what comes in."""
    flow = build_flow(read_spec(yaml.safe_load((folder / "flow.yaml").read_text("utf-8"))), folder)
    return flow, with_ticks(flow, read_lines((folder / "input.jsonl").read_text("utf-8")))


def assert_survives_kills(flow: Flow[Any], items: list[Item]) -> Outcome:
    """The outputs are the same in units of any size, and when it is killed at each point with a torn commit."""
    once = drive(flow, items)
    said, refused = once.said(), once.refused()
    for size in (1, 2, 3, 7):
        assert drive(flow, items, unit_items=size).said() == said, f"units of {size}"
    for index in range(len(items)):
        for torn in (0, 1, 2):
            again = drive(flow, items, unit_items=1 + index % 4, kills=Kills({index: torn}))
            assert again.said() == said, f"killed behind item {index} with {torn} outputs of the unit stored"
            assert again.refused() == refused, f"killed behind item {index}"
    everywhere = drive(flow, items, unit_items=2, kills=Kills({i: i % 3 for i in range(len(items))}))
    assert everywhere.said() == said, "killed behind each item"
    for partitions in (2, 5):
        apart = [line for one in drive_all(flow, items, partitions) for line in one.said()]
        assert sorted(_without_partition(apart)) == sorted(_without_partition(said)), f"{partitions} partitions"
    return once


def _without_partition(said: list[Any]) -> list[Any]:
    """Outputs of ticks are numbered by partition, and every output names its partition: neither belongs to the data."""
    kept = ("Content-Type", "Ms-Revision", "ce-type", "ce-time", "ce-subject")
    return [(subject, payload, [h for h in headers if h[0] in kept]) for subject, payload, headers in said]
