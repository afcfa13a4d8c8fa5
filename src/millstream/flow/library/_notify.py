"""Who is to be told of an alarm, and who next while nobody acknowledges it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from pydantic import Field, model_validator

from millstream.flow._model import CancelTimer, Effect, EmitEvent, Event, Flow, Input, SetTimer, TimePolicy, key_of_tag
from millstream.flow._order import in_order
from millstream.flow.library._type import FlowConfig, FlowType, OutputName, nanoseconds
from millstream.protocols.alarm import EVENT_TYPE, NOTIFY_TYPE, PRIORITIES, AlarmNote, Notification, Priority, read_note
from millstream.sdk import Duration

STEPS_MAX = 8
QUIET = ("acknowledged", "cleared", "reset", "shelved", "suppressed", "removed")
"""What ends the escalation of an occurrence."""


class NotifyStep(FlowConfig):
    """One step of an escalation."""

    after: Duration = 0.0
    """So long after the alarm was raised, when nobody has acknowledged it by then."""
    to: tuple[str, ...] = Field(min_length=1, max_length=16)
    """Channels of the sender's file, such as `maintenance-mail`."""


class NotifyRule(FlowConfig):
    """One rule: which alarms, and who is told when."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$")
    """Its name."""
    priority: Priority = "low"
    """Alarms of this priority and above."""
    steps: tuple[NotifyStep, ...] = Field(min_length=1, max_length=STEPS_MAX)
    """Who is told at once, and who later."""
    tell_end: bool = False
    """Those who were told are told, too, when the alarm is over."""

    @model_validator(mode="after")
    def _ascending(self) -> NotifyRule:
        times = [step.after for step in self.steps]
        if times != sorted(set(times)):
            raise ValueError("each step comes later than the one before it")
        return self


class NotifyConfig(FlowConfig):
    """Rules of notification."""

    rules: tuple[NotifyRule, ...] = Field(min_length=1, max_length=7)
    """The rules; each counts for itself."""
    output: OutputName = "notify"
    """Notifications are events `<output>/<rule>` at the alarm's place."""

    @model_validator(mode="after")
    def _plain(self) -> NotifyConfig:
        if "{" in self.output or len({rule.name for rule in self.rules}) < len(self.rules):
            raise ValueError("output is a plain name, and each rule has a name of its own")
        return self


class Watched(msgspec.Struct, array_like=True):
    """When the alarm was raised that is escalated (UTC ns), how it stands, and who was told by which rule."""

    raised_ns: int = 0
    note: AlarmNote | None = None
    told: dict[str, list[str]] = {}


class _Notify:
    """The step."""

    def __init__(self, config: NotifyConfig) -> None:
        self._config = config
        self._rules = {rule.name: rule for rule in config.rules}

    def __call__(self, state: Watched, event: Event) -> tuple[Watched | None, Sequence[Effect]]:
        if event.is_timer:
            rule, _, step = event.timer.partition(" ")
            found = self._rules.get(rule)
            return state, [] if found is None else self._tell(state, event, found, int(step))
        note = read_note(event.value) if event.type.startswith(f"{EVENT_TYPE}.") else None
        if note is None:
            return (state if state.note else None), ()
        if note.change == "raised":
            return self._raised(event, note)
        if state.note is None or note.change not in QUIET:
            return (state if state.note else None), ()
        effects: list[Effect] = [
            CancelTimer(f"{rule.name} {n}") for rule in self._config.rules for n in range(len(rule.steps))
        ]
        state.note = note
        if note.change == "cleared":
            for name, to in state.told.items():
                if name in self._rules and self._rules[name].tell_end:
                    effects.append(self._event(state, event, self._rules[name], "end", to))
            return None, effects
        return state, effects

    def _raised(self, event: Event, note: AlarmNote) -> tuple[Watched, list[Effect]]:
        state, effects = Watched(event.time_ns, note), list[Effect]()
        for rule in self._config.rules:
            is_fitting = note.priority in PRIORITIES[: PRIORITIES.index(rule.priority) + 1]
            for n, step in enumerate(rule.steps):
                if not is_fitting or (note.state != "unacknowledged" and n):  # nobody has to acknowledge it: one step
                    effects.append(CancelTimer(f"{rule.name} {n}"))
                elif step.after:
                    effects.append(SetTimer(f"{rule.name} {n}", event.time_ns + nanoseconds(step.after)))
                else:
                    effects += self._tell(state, event, rule, n)
        return state, effects

    def _tell(self, state: Watched, event: Event, rule: NotifyRule, step: int) -> list[Effect]:
        if state.note is None or step >= len(rule.steps):
            return []
        to = rule.steps[step].to
        state.told[rule.name] = list(dict.fromkeys([*state.told.get(rule.name, ()), *to]))
        return [self._event(state, event, rule, str(step), to)]

    def _event(self, state: Watched, event: Event, rule: NotifyRule, step: str, to: Sequence[str]) -> Effect:
        assert state.note is not None
        place, _, _ = event.key.partition(":")
        id = f"{event.key}/{state.raised_ns}/{rule.name}/{step}"
        what = Notification(id, event.key, rule.name, step, list(to), state.note)
        return EmitEvent(
            f"{place}:{self._config.output}/{rule.name}", NOTIFY_TYPE, msgspec.to_builtins(what), event.time_ns
        )


def _build(name: str, inputs: tuple[Input, ...], config: NotifyConfig, *, version: int, time: TimePolicy) -> Flow[Any]:
    return in_order(
        Flow(name, inputs, _Notify(config), Watched, Watched, key_of_tag, None, ("event",), time, version)
    )  # fmt: skip


NOTIFY = FlowType(
    "notify", NotifyConfig, _build,
    "Says who is to be told of an alarm, and who next while nobody acknowledges it, each once per rule, step and "
    "occurrence. Its inputs are the alarms (`kind: alarm`) of other flows; `millstream notify` sends what it says by "
    "e-mail, webhook and MQTT.",
)  # fmt: skip
