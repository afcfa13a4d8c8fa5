"""The state of a machine, from its execution and its signals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
from pydantic import Field, model_validator

from millstream.flow._expression import Expression
from millstream.flow._model import CancelTimer, Effect, Emit, Event, Flow, Input, SetTimer, TimePolicy
from millstream.flow._order import in_order
from millstream.flow.library._inputs import Inputs, Latest, Names, values_of
from millstream.flow.library._type import FlowConfig, FlowType, OutputName, OutputPath, nanoseconds
from millstream.sdk import Duration

HOLD = "hold"
VOCABULARIES: Mapping[str, tuple[str, ...]] = {
    # ANSI/ISA-TR88.00.02, the state model of PackML
    "packml": (
        "Clearing", "Stopped", "Starting", "Idle", "Suspended", "Execute", "Stopping", "Aborting", "Aborted",
        "Holding", "Held", "Unholding", "Suspending", "Unsuspending", "Resetting", "Completing", "Complete",
    ),
    # after the time elements of ISO 22400-2: production, set-up, delay, unplanned down, planned busy but no order
    "iso22400": ("Production", "Setup", "Delay", "Down", "Idle"),
}  # fmt: skip


class StateRule(FlowConfig):
    """One rule: the first that holds gives the state."""

    state: str
    """The state's name."""
    when: str
    """An expression over the names, such as `execution == "ACTIVE" and speed > 0`."""
    hold: Duration = 0.0
    """It has to hold so long; then the state counts from when it began."""


class MachineStateConfig(FlowConfig):
    """How the state follows from the signals."""

    names: Names
    """Short names of the tags: `{execution: controller/execution, speed: spindle/speed}`."""
    rules: tuple[StateRule, ...] = Field(min_length=1, max_length=64)
    """From top to bottom; a value that is missing or bad makes a comparison false."""
    otherwise: str = "Unknown"
    """The state when no rule holds."""
    vocabulary: Literal["any", "packml", "iso22400"] = "any"
    """Which names are allowed: those of PackML, those after ISO 22400-2, or any. `otherwise` is free."""
    output: OutputName = "state"
    """Name of the state, at the same place."""
    levels: int | None = Field(default=None, ge=1, le=12)
    """Take the inputs of everything below the place that many levels from the top, written `below/it:name`."""

    @model_validator(mode="after")
    def _known_states(self) -> MachineStateConfig:
        allowed = VOCABULARIES.get(self.vocabulary)
        for rule in self.rules:
            if allowed is not None and rule.state not in allowed:
                raise ValueError(f"{rule.state!r} is no state of {self.vocabulary}: {', '.join(allowed)}")
        return self


class Machine(msgspec.Struct, array_like=True):
    """Values by name; the state that was said; the rule that holds now and since when (UTC ns); the newest time that a
    state was said of, and how often that was put right."""

    values: dict[str, Latest] = {}
    state: str | None = None
    rule: int = -2
    since_ns: int = 0
    said_ns: int = 0
    revision: int = 0


class _Judge:
    def __init__(self, config: MachineStateConfig, inputs: Inputs) -> None:
        self._inputs, self._path = inputs, OutputPath(config.output)
        self._rules = [Expression(rule.when, config.names) for rule in config.rules]
        self._states = [*(rule.state for rule in config.rules), config.otherwise]
        self._holds = [*(nanoseconds(rule.hold) for rule in config.rules), 0]

    def __call__(self, machine: Machine, event: Event) -> tuple[Machine, Sequence[Effect]]:
        if event.is_timer:
            return machine, self._say(machine, event.key)
        name = self._inputs.name(event)
        if name is None:
            return machine, ()
        machine.values[name] = Latest(event.value, int(event.quality))
        values = values_of(machine.values)
        rule = next((i for i, holds in enumerate(self._rules) if holds(values)), -1)
        if rule == machine.rule:
            return machine, ()
        machine.rule, machine.since_ns = rule, event.time_ns
        if self._states[rule] == machine.state:
            return machine, (CancelTimer(HOLD),)
        if self._holds[rule]:
            return machine, (SetTimer(HOLD, event.time_ns + self._holds[rule]),)
        return machine, (CancelTimer(HOLD), *self._say(machine, event.key))

    def _say(self, machine: Machine, key: str) -> Sequence[Effect]:
        """A state counts from its own time on. What was said of a later time is put right with it: it was said when
        what has come late was not known."""
        path, state, since_ns = self._path(key), self._states[machine.rule], machine.since_ns
        machine.state = state
        if since_ns > machine.said_ns:
            machine.said_ns, machine.revision = since_ns, 0
            return (Emit(path, state, since_ns, "state"),)
        machine.revision += 1
        now = Emit(path, state, machine.said_ns, "state", revision=machine.revision)
        return (now,) if since_ns == machine.said_ns else (Emit(path, state, since_ns, "state", revision=1), now)


def _build(
    name: str, inputs: tuple[Input, ...], config: MachineStateConfig, *, version: int, time: TimePolicy
) -> Flow[Any]:
    found = Inputs(config.names, config.levels)
    step = _Judge(config, found)
    return in_order(Flow(name, inputs, step, Machine, Machine, found.key, None, ("state",), time, version))


MACHINE_STATE = FlowType(
    "machine_state", MachineStateConfig, _build,
    "Says in which state a machine is, by rules over its execution and its signals, each time the state changes "
    "(`state`). The first rule that holds counts. A word that comes late, since a link was cut, gives the state from "
    "its own time on, and what was told of a later time is put right; the other signals count as they are by then. "
    "Where that matters give the flow a `lateness`, within which all are put in order first.",
)  # fmt: skip
