"""From a section of a file to the flow."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from millstream.config import FlowEntry
from millstream.flow import Flow, Input, TimePolicy
from millstream.kernel import ConfigError, suggest


def flow_types() -> Mapping[str, Any]:
    """The built-in flows by name."""
    return import_module("millstream.flow.library").FLOW_TYPES  # type: ignore[no-any-return]


def build_flow(entry: FlowEntry) -> Flow[Any]:
    """The flow that a section describes. Runs the user's file. Raises ConfigError."""
    inputs = tuple(Input(i.pattern, i.kind) for i in entry.inputs)
    if entry.python is not None:
        return _of_python(entry, _defined(entry), inputs)
    types = flow_types()
    assert entry.type is not None
    if entry.type not in types:
        near = suggest(entry.type, types)
        raise ConfigError(
            f"no flow {entry.type!r:.60}", where=entry.name, next_step=f"did you mean '{near}'?" if near else None
        )
    made: Flow[Any] = types[entry.type].make(
        entry.name, inputs, entry.config, version=entry.version, time=_time(entry, TimePolicy())
    )
    return made


def _of_python(entry: FlowEntry, found: Any, inputs: tuple[Input, ...]) -> Flow[Any]:
    if hasattr(found, "make") and hasattr(found, "Config"):
        time = _time(entry, TimePolicy())
        made: Flow[Any] = found.make(entry.name, inputs, entry.config, version=entry.version, time=time)
        return made
    if not isinstance(found, Flow):
        raise ConfigError(
            "this is no flow", where=str(entry.python), expected="a millstream.flow.Flow", got=type(found).__name__
        )
    if entry.config:
        raise ConfigError("a flow of your own has no 'config'", where=entry.name, next_step="define a FlowType")
    return replace(
        found, name=entry.name, version=entry.version, inputs=inputs or found.inputs, time=_time(entry, found.time)
    )


def _time(entry: FlowEntry, own: TimePolicy) -> TimePolicy:
    idle_ns = own.idle_ns
    if entry.idle == "never":
        idle_ns = None
    elif entry.idle is not None:
        idle_ns = round(float(entry.idle) * 1e9)
    lateness_ns = own.lateness_ns if entry.lateness is None else round(entry.lateness * 1e9)
    return TimePolicy(lateness_ns, idle_ns)


def _defined(entry: FlowEntry) -> Any:
    assert entry.python is not None
    text, _, name = entry.python.rpartition(":")
    module = _load(Path(text), entry)
    if not hasattr(module, name):
        near = suggest(name, vars(module))
        raise ConfigError(f"{name!r} is not defined", where=text, next_step=f"did you mean '{near}'?" if near else None)
    return getattr(module, name)


def _load(path: Path, entry: FlowEntry) -> ModuleType:
    if not path.is_file():
        raise ConfigError("no such file", where=str(path), code="MS-0102")
    module_name = f"millstream_flow_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))  # so that the file can import what lies beside it
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # the user's file; whatever it raises is told with its name
        raise ConfigError(
            f"the file cannot be loaded: {type(error).__name__}: {error}", where=f"{path} (flow {entry.name})"
        ) from error
    return module
