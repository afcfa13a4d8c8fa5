"""A flow in a file of its own: one entry of a node's `flows:`, for trying it without a node."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from millstream.flow import FlowSpec

FLOW_FILE = "flow.yaml"


def read_flow_file(path: Path) -> FlowSpec:
    """The flow of a folder's flow.yaml, or of a file. Raises ConfigError, NotFoundError."""
    from millstream.config import FlowEntry, parse_size, read_yaml
    from millstream.flow import FlowSpec, read_spec

    raw = read_yaml(path / FLOW_FILE if path.is_dir() else path)
    if isinstance(raw, dict):  # an entry of a node's file: how many processes it has there is no matter here
        of_the_node = FlowEntry.model_fields.keys() - FlowSpec.model_fields.keys()
        raw = {key: value for key, value in raw.items() if key not in of_the_node}
        if isinstance(memory := raw.get("module_memory"), str):
            raw["module_memory"] = parse_size(memory)
    return read_spec(raw)
