"""How a flow is written down: one entry of `flows:` in a node's file, or the `flow.yaml` of a test."""

from __future__ import annotations

import atexit
import hashlib
import importlib.util
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from millstream.flow._commanded import commanded
from millstream.flow._model import PARTITIONS_MAX, SECOND_NS, Flow, Input, TimePolicy
from millstream.flow._scored_flow import scored_flow
from millstream.flow._wasm_flow import wasm_flow
from millstream.flow._wheel import load_from_wheel
from millstream.flow.library import FLOW_TYPES, FlowType
from millstream.kernel import ConfigError, NotFoundError, suggest
from millstream.protocols.module import (
    MODEL,
    MODULE_BYTES_MAX,
    MODULE_FUEL,
    MODULE_MEMORY_BYTES,
    MODULE_TIME_S,
    WASM,
    module_digest,
    module_trouble,
)
from millstream.sdk import Duration, Strict


def _as_mapping(value: Any) -> Any:
    return {"pattern": value} if isinstance(value, str) else value


class InputSpec(Strict):
    """One input; in YAML either the pattern alone (of tags) or a mapping."""

    pattern: str
    """Paths to read, such as `acme/plant1/**:barrier`."""
    kind: str = "tag"
    """Kind of data: tag, count, kpi, state, event, alarm, cmd, ack."""


class FlowSpec(Strict):
    """One declared flow. What concerns the running of it (instances, start) is not known here."""

    name: str
    """Name of the flow; its state and its outputs carry it."""
    type: str | None = None
    """A built-in type, `wasm` or `model`."""
    python: str | None = None
    """Your own flow: `FILE.py:NAME`, relative to this file; a `Flow`, or a `FlowType` that takes `config`."""
    module: str | None = None
    """For the types `wasm` and `model` the file of the module, relative to this file; for a flow of your own the wheel
    that it is in: then `python` is `package.module:NAME`."""
    module_memory: int = Field(default=MODULE_MEMORY_BYTES, ge=1)
    """Bytes of memory that a module may have in one step."""
    module_fuel: int = Field(default=MODULE_FUEL, ge=1)
    """Instructions of a module that one step may take."""
    module_time: float = Field(default=MODULE_TIME_S, gt=0)
    """Seconds that one step of a module may take."""
    inputs: tuple[Annotated[InputSpec, BeforeValidator(_as_mapping)], ...] = ()
    """What it reads."""
    version: int = Field(default=1, ge=1)
    """A new version builds its state anew."""
    partitions: int = Field(default=1, ge=1, le=PARTITIONS_MAX)
    """Into how many parts its keys are divided."""
    lateness: Duration | None = None
    """How far out of order events may come. Default 0s; for your own flow: what it declares."""
    idle: Duration | str | None = None
    """How long a key must be silent until time goes on without it; `never` for recordings. Default 5s."""
    config: dict[str, Any] = Field(default_factory=dict)
    """What the type knows."""

    @model_validator(mode="after")
    def _one_source(self) -> FlowSpec:
        if (self.type is None) == (self.python is None):
            raise ValueError("a flow needs either type or python")
        trouble = module_trouble(self.type, self.python, self.module)
        if trouble is not None:
            raise ValueError(trouble)
        if isinstance(self.idle, str) and self.idle != "never":
            raise ValueError("idle is a duration or never")
        return self

    def time(self, default: TimePolicy | None = None) -> TimePolicy:
        """The time policy, with the defaults of `default`."""
        policy = default or TimePolicy()
        if self.lateness is not None:
            policy = replace(policy, lateness_ns=round(self.lateness * SECOND_NS))
        if self.idle is not None:
            idle_ns = None if isinstance(self.idle, str) else round(self.idle * SECOND_NS)
            policy = replace(policy, idle_ns=idle_ns)
        return policy


def read_spec(raw: Any) -> FlowSpec:
    """From a plain mapping. Raises ConfigError that names the first wrong key."""
    try:
        return FlowSpec.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"])
        near = suggest(str(first["loc"][-1]), FlowSpec.model_fields) if first["type"] == "extra_forbidden" else None
        raise ConfigError(
            first["msg"].removeprefix("Value error, "), where=place or None, got=repr(first["input"])[:80],
            next_step=f"did you mean {near!r}?" if near else None,
        ) from error  # fmt: skip


def build_flow(
    spec: FlowSpec, folder: Path, types: Mapping[str, FlowType] = FLOW_TYPES, *, scratch: Path | None = None
) -> Flow[Any]:
    """The flow of a declaration; `folder` is where its files are looked for, `scratch` where a wheel is unpacked (left
    out: a folder that goes with this process). Its commands are inputs of it. Raises ConfigError."""
    return commanded(_build(spec, folder, types, scratch))


def _build(spec: FlowSpec, folder: Path, types: Mapping[str, FlowType], scratch: Path | None) -> Flow[Any]:
    inputs = tuple(Input(i.pattern, i.kind) for i in spec.inputs)
    for one in inputs:
        one.filter()  # a wrong pattern is told here
    if spec.type == WASM:
        return _of_module(spec, inputs, folder)
    if spec.type == MODEL:
        data = read_module(folder / str(spec.module), spec.name)
        digest = module_digest(data)
        return scored_flow(data, spec.name, inputs, spec.config, digest, version=spec.version, time=spec.time())
    if spec.type is not None:
        found = types.get(spec.type)
        if found is None:
            near = suggest(spec.type, types)
            raise ConfigError(
                "unknown type of flow", where=spec.name, expected=", ".join(sorted(types)), got=repr(spec.type),
                next_step=f"did you mean {near!r}?" if near else None,
            )  # fmt: skip
        if not inputs:
            raise ConfigError("a flow without inputs", where=spec.name)
        return found.make(spec.name, inputs, spec.config, version=spec.version, time=spec.time())
    own = _own(spec, folder, scratch)
    if isinstance(own, FlowType):
        return own.make(spec.name, inputs, spec.config, version=spec.version, time=spec.time())
    if spec.config:
        raise ConfigError("a Flow takes no config; give a FlowType", where=f"{spec.name}: config")
    return replace(
        own, name=spec.name, inputs=inputs or own.inputs, time=spec.time(own.time),
        version=spec.version if "version" in spec.model_fields_set else own.version,
    )  # fmt: skip


def _of_module(spec: FlowSpec, inputs: tuple[Input, ...], folder: Path) -> Flow[Any]:
    flow = wasm_flow(
        read_module(folder / str(spec.module), spec.name), spec.name, inputs, config=spec.config,
        memory_bytes=spec.module_memory, fuel=spec.module_fuel, time_s=spec.module_time,
    )  # fmt: skip
    version = spec.version if "version" in spec.model_fields_set else flow.version
    return replace(flow, time=spec.time(flow.time), version=version)


def read_module(path: Path, where: str, bytes_max: int = MODULE_BYTES_MAX) -> bytes:
    """The bytes of a module's file, one more than the bound when it is larger. Raises NotFoundError, ConfigError."""
    try:
        with path.open("rb") as file:
            data = file.read(bytes_max + 1)
    except FileNotFoundError as error:
        raise NotFoundError("no such file", where=where, got=str(path)) from error
    except OSError as error:
        raise ConfigError(f"the module cannot be read: {error.strerror}", where=where, got=str(path)) from error
    return data


def _own(spec: FlowSpec, folder: Path, scratch: Path | None) -> Flow[Any] | FlowType:
    file, _, name = str(spec.python).rpartition(":")
    path = folder / file
    if not file or not name.isidentifier():
        raise ConfigError("not a place of a flow", where=spec.name, expected="FILE.py:NAME", got=repr(spec.python))
    if spec.module is not None:
        wheel = folder / spec.module
        if not wheel.is_file():
            raise NotFoundError("no such file", where=spec.name, got=str(wheel))
        found = getattr(load_from_wheel(wheel, file, (scratch or _temporary()) / "wheel", spec.name), name, None)
    elif not path.is_file():
        raise NotFoundError("no such file", where=spec.name, got=str(path))
    else:
        found = getattr(_module(path, spec.name), name, None)
    if not isinstance(found, Flow | FlowType):
        raise ConfigError(
            "not a flow", where=f"{spec.name}: {spec.python}", expected="a Flow or a FlowType",
            got=type(found).__name__ if found is not None else f"no {name} in the file",
        )  # fmt: skip
    return found


def _temporary() -> Path:
    folder = tempfile.mkdtemp(prefix="millstream-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _module(path: Path, where: str) -> Any:
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
    name = f"_flow_{path.stem}_{digest}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError("not a Python file", where=where, got=str(path))
    if (folder := str(path.resolve().parent)) not in sys.path:
        sys.path.insert(0, folder)  # so that the file can import what lies beside it
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # msgspec looks names of types up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # the user's file: whatever it raises is told with its name
        raise ConfigError(f"{path.name} raised {type(error).__name__}: {error}", where=where, got=str(path)) from error
    return module
