"""A flow whose step is a WebAssembly module: what goes in and out as bytes. docs/reference/wasm.md describes it.

In: MessagePack ``[state, event, config]``; out: ``[state, [effect, ...]]``. The state is the module's own: any
MessagePack value, kept as it comes; nil is none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec

from millstream.flow._model import (
    CancelTimer,
    Effect,
    Emit,
    EmitEvent,
    Event,
    Flow,
    Input,
    Refuse,
    SetTimer,
    TimePolicy,
    key_of_asset,
    key_of_tag,
)
from millstream.flow._sources import StepFailedError
from millstream.flow._wasm import Sandbox
from millstream.kernel import ConfigError
from millstream.model import Quality
from millstream.protocols.module import MODULE_FUEL, MODULE_MEMORY_BYTES, MODULE_TIME_S

ABI = 1
MILLISECOND_NS = 1_000_000
NIL = b"\xc0"
Time = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class ModuleInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a module reads when the section of its flow does not say it."""

    pattern: str
    kind: str = "tag"


class ModuleDescription(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a module says of itself, as JSON. `idle_ms` null: only its own events move its time."""

    abi: int
    inputs: tuple[ModuleInput, ...] = ()
    outputs: tuple[str, ...] = ("count",)
    key: Literal["asset", "tag"] = "asset"
    lateness_ms: Annotated[int, msgspec.Meta(ge=0)] = 0
    idle_ms: Annotated[int, msgspec.Meta(ge=0)] | None = 5000
    version: Annotated[int, msgspec.Meta(ge=1)] = 1
    description: str = ""


class _Said(msgspec.Struct, array_like=True, tag_field="effect", forbid_unknown_fields=True):
    """An effect: an array that begins with what it is."""


class _Emit(_Said, tag="emit"):
    path: str
    value: Any
    time_ns: Time
    kind: str = "count"
    quality: Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)] = 0
    unit: str | None = None
    revision: Annotated[int, msgspec.Meta(ge=0)] = 0


class _Event(_Said, tag="event"):
    path: str
    type: str
    data: Any
    time_ns: Time
    kind: str = "event"


class _SetTimer(_Said, tag="set_timer"):
    name: str
    at_ns: Time


class _CancelTimer(_Said, tag="cancel_timer"):
    name: str


class _Refuse(_Said, tag="refuse"):
    reason: str


_Effect = _Emit | _Event | _SetTimer | _CancelTimer | _Refuse


class _Answer(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    state: msgspec.Raw
    effects: list[_Effect] = []


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Answer).decode


class WasmStep:
    """The step of a module. Raises StepFailedError, as the sandbox does, and MS-0714 for what is no answer."""

    def __init__(self, sandbox: Sandbox, config: Mapping[str, Any], where: str) -> None:
        self._sandbox = sandbox
        self._config = msgspec.Raw(_encode(dict(config)))
        self._where = where

    def __call__(self, state: msgspec.Raw, event: Event) -> tuple[msgspec.Raw | None, Sequence[Effect]]:
        seen = (
            event.key, event.kind, event.time_ns, event.value, int(event.quality), event.source, event.is_late,
            event.timer, event.type, event.unit,
        )  # fmt: skip
        try:
            data = _encode((state, seen, self._config))
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise self._failed(f"the value cannot be given to a module: {error}") from error
        raw = self._sandbox.step(data)
        try:
            answer = _decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise self._failed(f"the module's answer is none: {error}") from error
        effects = [_effect(said, event) for said in answer.effects]
        return (None if bytes(answer.state) == NIL else answer.state), effects

    def _failed(self, what: str) -> StepFailedError:
        return StepFailedError(what, where=self._where, code="MS-0714")


def _effect(said: _Effect, event: Event) -> Effect:
    match said:
        case _Emit():
            quality = Quality(said.quality)
            return Emit(said.path, said.value, said.time_ns, said.kind, quality, said.unit, said.revision)
        case _Event():
            return EmitEvent(said.path, said.type, said.data, said.time_ns, said.kind)
        case _SetTimer():
            return SetTimer(said.name, said.at_ns)
        case _CancelTimer():
            return CancelTimer(said.name)
        case _Refuse():
            return Refuse(event, said.reason)


def read_description(sandbox: Sandbox, where: str) -> ModuleDescription:
    """What a module says of itself. Raises ConfigError (MS-0710)."""
    raw = sandbox.describe()
    try:
        found = msgspec.json.decode(raw, type=ModuleDescription)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(
            "the module cannot be used: what it says of itself is none", where=where, got=str(error)[:120],
            code="MS-0710",
        ) from error  # fmt: skip
    if found.abi != ABI:
        raise ConfigError(
            "the module was built for another interface", where=where, expected=str(ABI), got=str(found.abi),
            code="MS-0710",
        )  # fmt: skip
    return found


def wasm_flow(
    data: bytes, name: str, inputs: tuple[Input, ...] = (), *, config: Mapping[str, Any] | None = None,
    memory_bytes: int = MODULE_MEMORY_BYTES, fuel: int = MODULE_FUEL, time_s: float = MODULE_TIME_S,
) -> Flow[msgspec.Raw]:  # fmt: skip
    """The flow of a module, as it describes itself; `inputs` take the place of what it says. Raises ConfigError:
    MS-0710, MS-0106."""
    sandbox = Sandbox(data, name, memory_bytes=memory_bytes, fuel=fuel, time_s=time_s)
    told = read_description(sandbox, name)
    idle_ns = None if told.idle_ms is None else told.idle_ms * MILLISECOND_NS
    return Flow(
        name=name,
        inputs=inputs or tuple(Input(each.pattern, each.kind) for each in told.inputs),
        step=WasmStep(sandbox, config or {}, name),
        initial=lambda: msgspec.Raw(NIL),
        state_type=msgspec.Raw,
        key=key_of_tag if told.key == "tag" else key_of_asset,
        outputs=told.outputs,
        time=TimePolicy(told.lateness_ms * MILLISECOND_NS, idle_ns),
        version=told.version,
        description=told.description,
    )
