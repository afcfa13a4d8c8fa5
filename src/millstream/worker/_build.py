"""From a section of a file to the flow."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from millstream.config import FlowEntry
from millstream.flow import Flow, read_spec
from millstream.flow import build_flow as build

_OF_THE_NODE = {"instances", "start", "step_timeout", "max_memory"}


def build_flow(entry: FlowEntry) -> Flow[Any]:
    """The flow that a section describes. Runs the user's file. Raises ConfigError, NotFoundError."""
    raw = entry.model_dump(mode="json", exclude=_OF_THE_NODE, exclude_none=True)
    if isinstance(entry.idle, float):
        raw["idle"] = f"{round(entry.idle * 1e9)}ns"
    if entry.python is not None:
        folder = str(Path(entry.python.rpartition(":")[0]).parent)
        if folder not in sys.path:
            sys.path.insert(0, folder)  # so that the file can import what lies beside it
    return build(read_spec(raw), Path())
