"""Alarms of a flow: what is kept of each, what is told, and what people ask. Shared by the types that raise alarms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from millstream.flow._model import CancelTimer, Effect, EmitEvent, Event, Input, SetTimer
from millstream.flow.library._type import FlowConfig, nanoseconds
from millstream.kernel import DecodeError
from millstream.protocols.alarm import EVENT_TYPE, AlarmAsk, AlarmNote, Priority, check_ask
from millstream.protocols.cloudevents import format_time
from millstream.protocols.uns_pattern import Pattern
from millstream.sdk import Duration
from millstream.shop import (
    ANNOUNCED,
    Alarm,
    AlarmRules,
    Change,
    NotNow,
    acknowledge,
    observe,
    pass_time,
    reset,
    serve,
    shelve,
    suppress,
    unshelve,
)

TIMER = "alarm "
IDS_MAX = 16  # of what was asked, to know it again: an edge repeats the newest, if any
NORMAL = Alarm()
_ASKED: Mapping[str, Callable[[Alarm, AlarmRules, int], tuple[Alarm, Sequence[Change]]]] = {
    "acknowledge": acknowledge,
    "reset": reset,
    "unshelve": unshelve,
    "remove": lambda alarm, rules, time_ns: serve(alarm, rules, time_ns, on=False),
    "restore": lambda alarm, rules, time_ns: serve(alarm, rules, time_ns, on=True),
    "comment": lambda alarm, rules, time_ns: (alarm, [("commented", time_ns)]),
}


class AlarmLifeConfig(FlowConfig):
    """How an alarm behaves, whatever its condition."""

    priority: Priority = "medium"
    """`critical`, `high`, `medium` or `low`."""
    on_delay: Duration = 0.0
    """The condition has to hold so long before the alarm is raised."""
    off_delay: Duration = 0.0
    """It has to be gone so long before it has returned to normal."""
    latching: bool = False
    """The alarm stays when its condition has gone, until somebody resets it."""
    acknowledge: bool = True
    """Whether somebody has to acknowledge it."""
    message: str | None = None
    """What it means, for people."""
    response: str | None = None
    """What to do about it."""


class KeptAlarm(msgspec.Struct, array_like=True):
    """An alarm with what raised it and the newest things asked of it."""

    alarm: Alarm = NORMAL
    value: Any = None
    ids: list[str] = []


class AlarmLife:
    """One alarm of a flow, by name; the state of each key is in its `alarms`."""

    def __init__(self, name: str, path: Callable[[str, str], str], config: AlarmLifeConfig, **told: Any) -> None:
        """`path` gives the alarm's path from key and name; `told` are fields of every note: `of`, `limit`, `unit`."""
        self.name, self._path, self._config, self._told = name, path, config, told
        on_ns, off_ns = nanoseconds(config.on_delay), nanoseconds(config.off_delay)
        self._rules = AlarmRules(on_ns, off_ns, config.latching, config.acknowledge)

    def observe(
        self, alarms: dict[str, KeptAlarm], key: str, time_ns: int, *, holds: bool, value: Any = None
    ) -> list[Effect]:
        """The condition, as it is now; `value` is what it was judged by."""
        kept = alarms.get(self.name)
        if kept is None:
            if not holds:
                return []
            kept = alarms[self.name] = KeptAlarm()
        before = kept.alarm
        after, changes = observe(before, self._rules, holds=holds, time_ns=time_ns)
        if holds and (not before.holds or any(change == "raised" for change, _ in changes)):
            kept.value = value
        return self._moved(kept, key, after, changes)

    def suppress(self, alarms: dict[str, KeptAlarm], key: str, time_ns: int, *, on: bool) -> list[Effect]:
        """By design: the plant's own logic says that it means nothing now, or again something."""
        kept = alarms.get(self.name)
        if kept is None:
            if not on:
                return []
            kept = alarms[self.name] = KeptAlarm()
        after, changes = suppress(kept.alarm, self._rules, time_ns, on=on)
        return self._moved(kept, key, after, changes)

    def on_timer(self, alarms: dict[str, KeptAlarm], key: str, time_ns: int) -> list[Effect]:
        """A delay or a shelf has ended."""
        kept = alarms.get(self.name)
        if kept is None:
            return []
        after, changes = pass_time(kept.alarm, self._rules, time_ns)
        return self._moved(kept, key, after, changes, is_timer=True)

    def asked(self, alarms: dict[str, KeptAlarm], event: Event) -> list[Effect]:
        """Somebody asks something of it. Raises DecodeError for what asks nothing."""
        ask = check_ask(event.value)
        kept = alarms.setdefault(self.name, KeptAlarm())
        if ask.id in kept.ids:
            return []
        kept.ids = [*kept.ids, ask.id][-IDS_MAX:]
        passed, early = pass_time(kept.alarm, self._rules, event.time_ns)
        effects = self._moved(kept, event.key, passed, early)
        try:
            if ask.action == "acknowledge" and ask.occurrence not in (0, passed.count):
                raise NotNow(f"occurrence {ask.occurrence} is not the newest, which is {passed.count}")
            if ask.action == "shelve":
                after, changes = shelve(passed, self._rules, event.time_ns, ask.until_ns)
            else:
                after, changes = _ASKED[ask.action](passed, self._rules, event.time_ns)
        except NotNow as error:
            data = {"alarm": event.source, "action": ask.action, "who": ask.who, "id": ask.id, "reason": str(error)}
            refused = EmitEvent(self._path(event.key, self.name), f"{EVENT_TYPE}.refused", data, event.time_ns)
            return [*effects, refused]
        return [*effects, *self._moved(kept, event.key, after, changes, ask)]

    def _moved(
        self, kept: KeptAlarm, key: str, after: Alarm, changes: Sequence[Change], ask: AlarmAsk | None = None, *,
        is_timer: bool = False,
    ) -> list[Effect]:  # fmt: skip
        before_ns = None if is_timer else kept.alarm.due_ns(self._rules)  # a timer that fired is gone
        kept.alarm, due_ns = after, after.due_ns(self._rules)
        effects: list[Effect] = []
        for change, at_ns in changes:
            data = msgspec.to_builtins(self._note(kept, change, ask))
            effects.append(EmitEvent(self._path(key, self.name), f"{EVENT_TYPE}.{change}", data, at_ns, "alarm"))
        if due_ns != before_ns:
            timer = TIMER + self.name
            effects.append(CancelTimer(timer) if due_ns is None else SetTimer(timer, due_ns))
        return effects

    def _note(self, kept: KeptAlarm, change: str, ask: AlarmAsk | None) -> AlarmNote:
        alarm, config = kept.alarm, self._config
        return AlarmNote(
            change, alarm.state.value, config.priority, alarm.count, alarm.state in ANNOUNCED,
            since=format_time(alarm.since_ns) if alarm.since_ns else None, value=kept.value,
            message=config.message, response=config.response,
            until=format_time(alarm.shelved_until_ns) if alarm.shelved_until_ns else None,
            who=ask.who if ask else None, why=ask.why or None if ask else None, id=ask.id if ask else None,
            **self._told,
        )  # fmt: skip


def asks(inputs: Sequence[Input], output: str, levels: int | None, *, depth: int = 1) -> tuple[Input, ...]:
    """Where people ask something of the alarms that a flow with these inputs raises, whose names have `depth` parts.
    Raises DecodeError."""
    found = []
    for each in inputs:
        asset = Pattern.parse(each.pattern).asset
        if levels is not None:
            asset = asset[:levels] if "**" not in asset[:levels] else ("**",)
        found.append(Input(f"{'/'.join(asset)}:{output}{'/*' * depth}", "ack"))
    return tuple(dict.fromkeys(found))


def life_asked(lives: Mapping[str, AlarmLife], output: str, event: Event) -> AlarmLife:
    """The alarm that an event of kind `ack` is for. Raises DecodeError."""
    name = event.source[len(event.key) + 1 :].removeprefix(f"{output}/")
    found = lives.get(name)
    if found is None:
        raise DecodeError(
            "no such alarm", where=event.source, expected=", ".join(lives), got=name, code="MS-2701"
        )  # fmt: skip
    return found
