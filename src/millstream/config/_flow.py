"""What a file says of a flow."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    TypeAdapter,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from millstream.config._types import Name, Section, Size
from millstream.kernel import ConfigError, DecodeError, parse_duration_s
from millstream.protocols.cloudevents import parse_time_ns
from millstream.protocols.module import MODULE_FUEL, MODULE_MEMORY_BYTES, WASM, is_module_digest, module_trouble
from millstream.protocols.uns_pattern import KINDS, Pattern
from millstream.sdk import ConfigPath, Duration

FLOWS_COUNT_MAX = 64  # each is at least one process
PARTITIONS_COUNT_MAX = 256
INSTANCES_COUNT_MAX = 32
MODULE_MEMORY_BYTES_MAX = 1 << 30
MODULE_FUEL_MAX = 10**12
_PATH: TypeAdapter[Path] = TypeAdapter(ConfigPath)
FLOW_MEMORY_BYTES_MIN = 64 << 20  # less does not hold the program itself


def _pattern(value: str) -> str:
    try:
        Pattern.parse(value).subject_filter("_tag")
    except DecodeError as error:
        raise ValueError(f"{error.what}, expected {error.expected}") from error
    return value


def _kind(value: str) -> str:
    if value not in KINDS:
        raise ValueError(f"unknown kind of data, expected one of {', '.join(KINDS)}")
    return value


def _start(value: object) -> object:
    if isinstance(value, str) and value not in ("beginning", "now"):
        try:
            parse_time_ns(value)
        except DecodeError as error:
            raise ValueError("expected 'beginning', 'now' or a time such as 2026-01-31T06:00:00Z") from error
    return value


def duration_or_never(value: object) -> object:
    """Seconds from a text; `never` and what is a number or nothing already stays."""
    if value is None or value == "never" or isinstance(value, float):
        return value
    if not isinstance(value, str):
        raise ValueError("expected a duration such as 5s, or never")
    try:
        return parse_duration_s(value)
    except ConfigError as error:
        raise ValueError(f"expected a duration such as 5s, or never, got {value!r:.40}") from error


def _python(value: str, info: ValidationInfo) -> str:
    file, colon, name = value.rpartition(":")
    if colon and name.isidentifier() and all(part.isidentifier() for part in file.split(".")) and file[-3:] != ".py":
        return value  # in a wheel
    if not colon or not file.endswith(".py") or not name.isidentifier():
        raise ValueError("expected a file and what it defines, such as flows/mine.py:flow")
    return f"{_file(file, info)}:{name}"


def _module(value: str, info: ValidationInfo) -> str:
    if value.startswith("sha256:"):
        if not is_module_digest(value):
            raise ValueError("expected sha256: and 64 hexadecimal digits, as `millstream code push` prints them")
        return value
    return str(_file(value, info))


def _file(name: str, info: ValidationInfo) -> Path:
    """From the folder of the file; in a configuration from afar, only where the site lets it look."""
    return _PATH.validate_python(name, context=info.context)


class FlowInput(Section):
    """One input of a flow."""

    pattern: Annotated[str, AfterValidator(_pattern)]
    """Path or pattern: `acme/plant1/press:barrier`, `acme/**:barrier`."""
    kind: Annotated[str, AfterValidator(_kind)] = "tag"
    """`tag`, `event`, `state`, `count`, `kpi`, `alarm`, `cmd` or `ack`."""


_INPUT_SCHEMA = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "properties": {"pattern": {"type": "string"}, "kind": {"enum": list(KINDS)}},
            "required": ["pattern"],
            "additionalProperties": False,
        },
    ]
}


def _input(value: object) -> object:
    return {"pattern": value} if isinstance(value, str) else value


class FlowEntry(Section):
    """One flow: what it reads, what it does, how it is run."""

    name: Name
    """Unique in this node."""
    type: str | None = None
    """A built-in flow, see the page on flows; `wasm`, a module of your own; `model`, a trained one."""
    python: Annotated[str, AfterValidator(_python)] | None = None
    """A flow of your own: `flows/mine.py:flow`, a file and the `Flow` in it; with `module` what is in a wheel:
    `package.module:flow`."""
    module: Annotated[str, AfterValidator(_module)] | None = None
    """Of the type `wasm` the WebAssembly module, `flows/mine.wasm`; of the type `model` the ONNX file; of a flow of
    your own the wheel that it is in. In a configuration from the hub also what lies there, by its digest
    `sha256:...`."""
    module_memory: Annotated[Size, Field(le=MODULE_MEMORY_BYTES_MAX)] = MODULE_MEMORY_BYTES
    """Memory that a module may have in one step."""
    module_fuel: int = Field(default=MODULE_FUEL, ge=1000, le=MODULE_FUEL_MAX)
    """Instructions of a module that one step may take; then its input goes into quarantine. 100 million are about a
    tenth of a second."""
    inputs: tuple[
        Annotated[
            FlowInput,
            BeforeValidator(_input),
            WithJsonSchema(_INPUT_SCHEMA),
        ],
        ...,
    ] = Field(default=(), max_length=1000)
    """Paths or patterns; `{pattern: ..., kind: state}` for what is no tag. Left out: what the flow itself says."""
    version: int = Field(default=1, ge=1, le=1_000_000)
    """Raise it when the step or the state changes: the state is built anew, and nothing is said twice."""
    partitions: int = Field(default=1, ge=1, le=PARTITIONS_COUNT_MAX)
    """Into how many parts the keys are divided: as many instances can share the work. Fixed for a version."""
    instances: int = Field(default=1, ge=0, le=INSTANCES_COUNT_MAX)
    """Worker processes that this node starts; 0: only those that `millstream flow run` starts."""
    start: Annotated[
        str, BeforeValidator(_start), WithJsonSchema({"type": "string", "examples": ["beginning", "now"]})
    ] = "beginning"
    """Where a flow that has no state yet begins: `beginning`, `now`, or a time."""
    lateness: Duration | None = None
    """How much later than newer data a sample may come without being late; left out: what the flow says."""
    idle: Annotated[
        float | Literal["never"] | None,
        BeforeValidator(duration_or_never),
        WithJsonSchema({"type": "string", "examples": ["5s", "never"]}),
    ] = None
    """How long after their time the timers of a silent key fire; `never`: only data moves time; left out: what the flow
    says."""
    step_timeout: Duration = 1.0
    """Processor time that one input may take; then it goes into quarantine."""
    max_memory: Size = 512 << 20
    """Memory of one worker process, beyond what the program itself needs."""
    config: dict[str, Any] = Field(default_factory=dict)
    """The flow type's own configuration."""

    @model_validator(mode="after")
    def _one(self) -> FlowEntry:
        if (self.type is None) == (self.python is None):
            raise ValueError("a flow needs exactly one of 'type' and 'python'")
        trouble = module_trouble(self.type, self.python, self.module)
        if trouble is not None:
            raise ValueError(trouble)
        if self.type is not None and self.type != WASM and not self.inputs:
            raise ValueError("'inputs' is missing: what the flow reads")
        if self.max_memory < FLOW_MEMORY_BYTES_MIN:
            raise ValueError(f"'max_memory' is too small, expected at least {FLOW_MEMORY_BYTES_MIN >> 20}MiB")
        if not 0.01 <= self.step_timeout <= 3600:
            raise ValueError("'step_timeout' is out of range, expected 10ms to 1h")
        return self
