"""From a section of a file to the flow."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from millstream.config import FlowEntry
from millstream.flow import Flow, read_module, read_spec
from millstream.flow import build_flow as build
from millstream.kernel import ConfigError
from millstream.protocols.module import WASM, WHEEL_BYTES_MAX, is_module_digest, module_digest
from millstream.worker._watchdog import WALL_FACTOR

_OF_THE_NODE = {"instances", "start", "step_timeout", "max_memory"}


def build_flow(entry: FlowEntry, modules: Path | None = None, scratch: Path | None = None) -> Flow[Any]:
    """The flow that a section describes. Runs the user's file. `modules` is where modules lie that are named by their
    digest, `scratch` where a wheel is unpacked. Raises ConfigError, NotFoundError."""
    raw = entry.model_dump(mode="json", exclude=_OF_THE_NODE, exclude_none=True)
    if entry.module is not None and is_module_digest(entry.module):
        raw["module"] = str(_proven(entry.module, modules, entry.name))
    if entry.type == WASM:
        raw["module_time"] = entry.step_timeout * WALL_FACTOR
    if isinstance(entry.idle, float):
        raw["idle"] = f"{round(entry.idle * 1e9)}ns"
    if entry.python is not None and entry.module is None:
        folder = str(Path(entry.python.rpartition(":")[0]).parent)
        if folder not in sys.path:
            sys.path.insert(0, folder)  # so that the file can import what lies beside it
    return build(read_spec(raw), Path(), scratch=scratch)


def _proven(digest: str, modules: Path | None, where: str) -> Path:
    """The file of a module, if it is the one: what lies on a disk for long may change."""
    if modules is None:
        raise ConfigError("a module by its digest is run by its node only", where=where, got=digest, code="MS-0710")
    path = modules / digest.removeprefix("sha256:")
    if module_digest(read_module(path, where, WHEEL_BYTES_MAX)) != digest:
        raise ConfigError(
            "the module on this disk is another one", where=where, expected=digest, got=str(path), code="MS-2441",
            next_step="remove the file and put the configuration again",
        )  # fmt: skip
    return path
