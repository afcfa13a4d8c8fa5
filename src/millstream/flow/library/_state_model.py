"""The state of each machine by the state model that its template in the context names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
from pydantic import Field, model_validator

from millstream.flow._model import Effect, Emit, EmitEvent, Event, Flow, Input, TimePolicy, key_of_asset
from millstream.flow._order import in_order
from millstream.flow.library._type import FlowConfig, FlowType, OutputName
from millstream.model import BAD, BAD_DATA_UNAVAILABLE, GOOD, Quality
from millstream.shop import MTCONNECT, PACKML_NUMBERS, PACKML_SEEN_STEPS, PACKML_STATES, PACKML_STEPS

UNKNOWN = "Unknown"
ASSET = "asset"
EVENT_TYPE = "millstream.state"
Transitions = Literal["any", "packml", "packml-strict"]
PACKML_STATE = (*PACKML_STATES, UNKNOWN)


class MappingConfig(FlowConfig):
    """What the values of a controller mean in states of PackML."""

    states: Mapping[str, str] = Field(min_length=1, max_length=200)
    """The state by the raw value, a number as text: `{"3": Execute, RUN: Execute, "OFF": Stopped}`."""
    transitions: Transitions | Mapping[str, tuple[str, ...]] = "any"
    """Which state may follow which: `any`, those of `packml` (states that end by themselves may have been missed),
    exactly those (`packml-strict`), or what may follow each state: `{Idle: [Execute], Execute: [Idle, Stopped]}`."""

    @model_validator(mode="after")
    def _known_states(self) -> MappingConfig:
        listed = self.transitions if isinstance(self.transitions, Mapping) else {}
        for state in (*self.states.values(), *listed, *(s for after in listed.values() for s in after)):
            if state not in PACKML_STATE:
                raise ValueError(f"{state!r} is no state of PackML: {', '.join(PACKML_STATE)}")
        return self


BUILT_IN: Mapping[str, MappingConfig] = {
    "packml": MappingConfig(
        states={**{name: name for name in PACKML_STATES}, **{str(n): name for n, name in PACKML_NUMBERS.items()}},
        transitions="packml",
    ),
    "mtconnect": MappingConfig(states=MTCONNECT),
}  # fmt: skip


class StateModelConfig(FlowConfig):
    """Where the raw state comes from, and what it means."""

    of: str = Field(min_length=1, max_length=200)
    """The tag with the raw state at each machine, such as `controller/execution`."""
    mappings: Mapping[str, MappingConfig] = Field(default_factory=dict, max_length=100)
    """Mappings by name; `packml` (names and numbers of ISA-TR88.00.02) and `mtconnect` (Execution) are there."""
    templates: Mapping[str, str] = Field(default_factory=dict, max_length=1000)
    """The mapping of each template of the context: `{lathe: mtconnect, filler: packml}`. A template whose assets have
    the property `state_mapping` needs no line here."""
    mapping: str | None = None
    """The mapping of machines of which the context says nothing; left out: their state is unknown."""
    output: OutputName = "state"
    """Name of the state, at the same place; `<output>/impossible` counts transitions that cannot be."""

    @model_validator(mode="after")
    def _known_mappings(self) -> StateModelConfig:
        known = {*BUILT_IN, *self.mappings}
        for name in (*self.templates.values(), *([self.mapping] if self.mapping is not None else [])):
            if name not in known:
                raise ValueError(f"no such mapping: {name!r}, expected one of {', '.join(sorted(known))}")
        if "{" in self.output:
            raise ValueError("output is a plain name")
        return self


class Modelled(msgspec.Struct, array_like=True):
    """Of one machine: its mapping as the context names it, the newest raw value with its quality, the state that was
    told with its quality, how many transitions could not be, the newest time (UTC ns), and a raw value that means
    nothing, while it stands."""

    mapping: str | None = None
    raw: Any = None
    raw_quality: int = 0
    state: str | None = None
    quality: int = 0
    impossible: int = 0
    time_ns: int = 0
    unmapped: str = ""


class _Model:
    """The step."""

    def __init__(self, config: StateModelConfig) -> None:
        self._config = config
        self._mappings = {**BUILT_IN, **config.mappings}
        self._steps = {name: _steps_of(mapping) for name, mapping in self._mappings.items()}

    def __call__(self, machine: Modelled, event: Event) -> tuple[Modelled, Sequence[Effect]]:
        name = event.source[len(event.key) + 1 :]
        if event.kind == "context":
            return machine, self._take_asset(machine, event) if name == ASSET else ()
        if name != self._config.of:
            return machine, ()
        machine.raw, machine.raw_quality = event.value, int(event.quality)
        return machine, self._judge(machine, event.key, event.time_ns)

    def _take_asset(self, machine: Modelled, event: Event) -> Sequence[Effect]:
        """What the machine is was told, or told anew: its newest raw value may mean another state."""
        mapping = self._named(event.value)
        if mapping == machine.mapping:
            return ()
        machine.mapping, machine.state = mapping, None
        return self._judge(machine, event.key, max(event.time_ns, machine.time_ns)) if machine.time_ns else ()

    def _named(self, asset: Any) -> str | None:
        if not isinstance(asset, Mapping) or asset.get("removed"):
            return None
        properties = asset.get("properties")
        of_asset = properties.get("state_mapping") if isinstance(properties, Mapping) else None
        found = of_asset or self._config.templates.get(str(asset.get("template", "")))
        if found is not None and found not in self._mappings:
            raise ValueError(f"no such mapping: {found!r:.80}, expected one of {', '.join(self._mappings)}")
        return found

    def _judge(self, machine: Modelled, key: str, time_ns: int) -> Sequence[Effect]:
        machine.time_ns = max(time_ns, machine.time_ns)
        path, before = f"{key}:{self._config.output}", machine.state
        state, quality, doubt = self._state(machine)
        effects: list[Effect] = []
        if doubt:
            machine.impossible += 1
            data = {"from": before, "to": state, "raw": machine.raw, "reason": doubt, "count": machine.impossible}
            effects = [
                EmitEvent(path, f"{EVENT_TYPE}.impossible", data, time_ns),
                Emit(f"{path}/impossible", machine.impossible, time_ns, "count"),
            ]  # fmt: skip
        if (state, int(quality)) != (before, machine.quality) or before is None:
            machine.state, machine.quality = state, int(quality)
            effects.append(Emit(path, state, time_ns, "state", quality=quality))
        return effects

    def _state(self, machine: Modelled) -> tuple[str, Quality, str]:
        """The state, its quality, and why it cannot be."""
        name = machine.mapping or self._config.mapping
        if name is None or machine.raw is None or Quality(machine.raw_quality).is_bad:
            return UNKNOWN, BAD_DATA_UNAVAILABLE, ""
        raw = _text(machine.raw)
        state = self._mappings[name].states.get(raw)
        if state is None:
            is_new, machine.unmapped = machine.unmapped != raw, raw
            return UNKNOWN, BAD_DATA_UNAVAILABLE, f"{raw:.80} means nothing in {name}" if is_new else ""
        machine.unmapped = ""
        steps, before = self._steps[name], machine.state
        if (
            steps is None
            or before in (None, UNKNOWN, state)
            or state == UNKNOWN
            or state in steps.get(before or "", ())
        ):
            # what was doubtful stays so until the next transition
            return state, Quality(machine.quality) if before == state else GOOD, ""
        return state, BAD, "no such transition"


def _steps_of(mapping: MappingConfig) -> Mapping[str, Any] | None:
    if isinstance(mapping.transitions, Mapping):
        return mapping.transitions
    return {"any": None, "packml": PACKML_SEEN_STEPS, "packml-strict": PACKML_STEPS}[mapping.transitions]


def _text(raw: Any) -> str:
    """A raw value as mappings name it: 3, 3.0 and "3" are one."""
    if isinstance(raw, bool):
        return "true" if raw else "false"
    return str(int(raw)) if isinstance(raw, float) and raw.is_integer() else str(raw)


def _build(
    name: str, inputs: tuple[Input, ...], config: StateModelConfig, *, version: int, time: TimePolicy
) -> Flow[Any]:
    outputs = ("state", "count", "event")
    return in_order(Flow(name, inputs, _Model(config), Modelled, Modelled, key_of_asset, None, outputs, time, version))


STATE_MODEL = FlowType(
    "state_model", StateModelConfig, _build,
    "Says in which state of PackML (ISA-TR88.00.02) each machine is, by the mapping that its template in the context "
    "names: from the raw values of its controller, or from MTConnect's Execution. A transition that cannot be is told "
    "with a bad quality, as an event (`millstream.state.impossible`), and counted; it is never dropped.",
)  # fmt: skip
