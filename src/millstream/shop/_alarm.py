"""The life of one alarm after ANSI/ISA-18.2-2016 (IEC 62682), as a state machine. Pure.

Two things are told apart all the time: whether the condition holds, and what people were told and said. While an alarm
is shelved, suppressed by design or out of service nobody is told; its condition is followed all the same, and an alarm
whose condition still holds when that ends is unacknowledged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

import msgspec
from msgspec.structs import replace


class AlarmState(Enum):
    """The states of the standard. `value` is what events call them."""

    NORMAL = "normal"
    UNACKNOWLEDGED = "unacknowledged"
    ACKNOWLEDGED = "acknowledged"
    RETURNED = "returned"  # to normal, and nobody has acknowledged it
    LATCHED = "latched"  # the condition has gone, the alarm stays; unacknowledged
    LATCHED_ACKNOWLEDGED = "latched_acknowledged"  # it stays until it is reset
    SHELVED = "shelved"
    SUPPRESSED = "suppressed"  # by design
    OUT_OF_SERVICE = "out_of_service"


ANNOUNCED = frozenset(
    (AlarmState.UNACKNOWLEDGED, AlarmState.ACKNOWLEDGED, AlarmState.LATCHED, AlarmState.LATCHED_ACKNOWLEDGED)
)
"""States in which the alarm is active for whoever looks at it."""


@dataclass(frozen=True, slots=True)
class AlarmRules:
    """How one alarm behaves. A condition has to hold for `on_ns` before it counts and to be gone for `off_ns` before it
    has returned. `is_latching`: it stays until somebody resets it. Without `needs_acknowledge` nobody has to."""

    on_ns: int = 0
    off_ns: int = 0
    is_latching: bool = False
    needs_acknowledge: bool = True


class Alarm(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One alarm. Times are UTC ns. `holds` is the condition behind its delays, `wants` what it is on its way to since
    `wants_ns` (None: nothing); `since_ns` is when the condition began, of the newest occurrence, `count` how many there
    were. `is_told` says that people know of this occurrence, `shelved_until_ns` 0: not shelved."""

    holds: bool = False
    wants: bool | None = None
    wants_ns: int = 0
    is_told: bool = False
    is_acknowledged: bool = True
    is_latched: bool = False
    shelved_until_ns: int = 0
    is_suppressed: bool = False
    is_out_of_service: bool = False
    since_ns: int = 0
    count: int = 0

    @property
    def is_silent(self) -> bool:
        """Nobody is told now."""
        return self.is_out_of_service or self.is_suppressed or self.shelved_until_ns > 0

    @property
    def state(self) -> AlarmState:
        """Where it stands."""
        if self.is_out_of_service:
            return AlarmState.OUT_OF_SERVICE
        if self.is_suppressed:
            return AlarmState.SUPPRESSED
        if self.shelved_until_ns:
            return AlarmState.SHELVED
        if self.holds:
            return AlarmState.ACKNOWLEDGED if self.is_acknowledged else AlarmState.UNACKNOWLEDGED
        if self.is_latched:
            return AlarmState.LATCHED_ACKNOWLEDGED if self.is_acknowledged else AlarmState.LATCHED
        return AlarmState.NORMAL if self.is_acknowledged else AlarmState.RETURNED

    def due_ns(self, rules: AlarmRules) -> int | None:
        """When `pass_time` has to be called next; None: never."""
        dues = [self.shelved_until_ns] if self.shelved_until_ns else []
        if self.wants is not None:
            dues.append(self.wants_ns + (rules.on_ns if self.wants else rules.off_ns))
        return min(dues, default=None)


Change: TypeAlias = tuple[str, int]
"""What happened and when (UTC ns): raised, returned, cleared, acknowledged, reset, shelved, unshelved, suppressed,
unsuppressed, removed, restored."""
Moved: TypeAlias = tuple[Alarm, Sequence[Change]]


class NotNow(ValueError):
    """What was asked does not fit the state of the alarm."""


def observe(alarm: Alarm, rules: AlarmRules, *, holds: bool, time_ns: int) -> Moved:
    """The condition holds, or does not, from this time on."""
    alarm, changes = pass_time(alarm, rules, time_ns)
    if holds == alarm.holds:
        return replace(alarm, wants=None), changes
    if alarm.wants == holds:
        return alarm, changes
    alarm, more = pass_time(replace(alarm, wants=holds, wants_ns=time_ns), rules, time_ns)
    return alarm, [*changes, *more]


def pass_time(alarm: Alarm, rules: AlarmRules, time_ns: int) -> Moved:
    """Delays and shelves that end by this time."""
    changes: list[Change] = []
    for _ in range(3):  # a delay, a shelf, and the look that finds nothing
        due_ns = alarm.due_ns(rules)
        if due_ns is None or due_ns > time_ns:
            break
        if alarm.shelved_until_ns and due_ns == alarm.shelved_until_ns:
            alarm, more = _spoken(replace(alarm, shelved_until_ns=0), rules, due_ns)
            changes += [("unshelved", due_ns), *more]
        else:
            assert alarm.wants is not None
            alarm, more = _settled(alarm, rules, due_ns)
            changes += more
    return alarm, changes


def acknowledge(alarm: Alarm, rules: AlarmRules, time_ns: int) -> Moved:
    """Somebody has seen it. Raises NotNow when there is nothing to acknowledge."""
    if alarm.is_silent or alarm.is_acknowledged:
        raise NotNow(f"there is nothing to acknowledge: it is {alarm.state.value}")
    is_over = not alarm.holds and not alarm.is_latched
    alarm = replace(alarm, is_acknowledged=True, is_told=not is_over)
    return alarm, [("acknowledged", time_ns), *([("cleared", time_ns)] if is_over else [])]


def reset(alarm: Alarm, rules: AlarmRules, time_ns: int) -> Moved:
    """End a latched alarm. Raises NotNow while its condition holds, it is not acknowledged, or it is not latched."""
    if alarm.state is not AlarmState.LATCHED_ACKNOWLEDGED:
        raise NotNow(f"only a latched alarm that is acknowledged is reset: it is {alarm.state.value}")
    return replace(alarm, is_latched=False, is_told=False), [("reset", time_ns), ("cleared", time_ns)]


def shelve(alarm: Alarm, rules: AlarmRules, time_ns: int, until_ns: int) -> Moved:
    """Let nobody be told until then; again: until another time. Raises NotNow for a time that is over."""
    if until_ns <= time_ns:
        raise NotNow("the shelf would have ended already")
    if alarm.is_out_of_service or alarm.is_suppressed:
        raise NotNow(f"nobody is told of it as it is: {alarm.state.value}")
    return replace(alarm, shelved_until_ns=until_ns), [("shelved", time_ns)]


def unshelve(alarm: Alarm, rules: AlarmRules, time_ns: int) -> Moved:
    """Before its time. Raises NotNow when it is not shelved."""
    if not alarm.shelved_until_ns:
        raise NotNow(f"it is not shelved: it is {alarm.state.value}")
    alarm, more = _spoken(replace(alarm, shelved_until_ns=0), rules, time_ns)
    return alarm, [("unshelved", time_ns), *more]


def suppress(alarm: Alarm, rules: AlarmRules, time_ns: int, *, on: bool) -> Moved:
    """By design, as long as the plant's own logic says so."""
    if on == alarm.is_suppressed:
        return alarm, []
    alarm = replace(alarm, is_suppressed=on)
    if on:
        return alarm, [("suppressed", time_ns)]
    alarm, more = _spoken(alarm, rules, time_ns)
    return alarm, [("unsuppressed", time_ns), *more]


def serve(alarm: Alarm, rules: AlarmRules, time_ns: int, *, on: bool) -> Moved:
    """Take it out of service, or (`on`) put it back. Raises NotNow when it is so already."""
    if on != alarm.is_out_of_service:
        raise NotNow(f"it is {alarm.state.value}")
    alarm = replace(alarm, is_out_of_service=not on)
    if not on:
        return alarm, [("removed", time_ns)]
    alarm, more = _spoken(alarm, rules, time_ns)
    return alarm, [("restored", time_ns), *more]


def _settled(alarm: Alarm, rules: AlarmRules, time_ns: int) -> Moved:
    """A delay has ended: the condition counts as what it has been since."""
    began_ns, holds = alarm.wants_ns, bool(alarm.wants)
    alarm = replace(alarm, holds=holds, wants=None)
    if holds:
        alarm = replace(alarm, since_ns=began_ns, count=alarm.count + 1, is_told=False)
        return _spoken(alarm, rules, time_ns)
    if alarm.is_latched:
        return alarm, [] if alarm.is_silent else [("returned", time_ns)]
    if alarm.is_silent or not alarm.is_told:  # nobody knows of it, so nobody has to say anything to it
        return replace(alarm, is_told=False, is_acknowledged=True), []
    if alarm.is_acknowledged:
        return replace(alarm, is_told=False), [("cleared", time_ns)]
    return alarm, [("returned", time_ns)]


def _spoken(alarm: Alarm, rules: AlarmRules, time_ns: int) -> Moved:
    """Tell people, if there is something to tell and nothing keeps it from them."""
    if alarm.is_silent:
        return alarm, []
    if not alarm.holds and not alarm.is_latched:  # what went while nobody was to be told of it is over
        return replace(alarm, is_told=False, is_acknowledged=True), []
    told = replace(
        alarm, is_told=True, is_acknowledged=not rules.needs_acknowledge, is_latched=rules.is_latching
    )  # fmt: skip
    return told, [("raised", time_ns)] if alarm.holds else []
