"""What the tests of flows share: a case of tests/golden/flow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from millstream.flow import Flow, build_flow, read_lines, read_spec, with_ticks
from millstream.flow._drive import Item

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "flow"


def load(folder: Path) -> tuple[Flow[Any], list[Item]]:
    """The flow of a case and what comes in."""
    flow = build_flow(read_spec(yaml.safe_load((folder / "flow.yaml").read_text("utf-8"))), folder)
    return flow, with_ticks(flow, read_lines((folder / "input.jsonl").read_text("utf-8")))
