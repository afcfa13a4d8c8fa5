"""The state of each machine as two of its sources agree on it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
from pydantic import Field, model_validator

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
)
from millstream.flow.library._calendar_windows import late_input
from millstream.flow.library._rested import Rested
from millstream.flow.library._type import FlowConfig, FlowType, OutputName, nanoseconds, number
from millstream.model import BAD_DATA_UNAVAILABLE, GOOD, UNCERTAIN
from millstream.protocols.cloudevents import format_time
from millstream.sdk import Duration
from millstream.shop import (
    CATEGORIES,
    DISPUTED,
    Category,
    Dispute,
    Said,
    agreed,
    as_heard,
    disputes,
    merge_said,
    note_heard,
    put_change,
    put_right,
    settled,
    state_at,
)

ASSET, UNKNOWN = "asset", "Unknown"
RUNS, STANDS = "Production", "Idle"
EVENT_TYPE = "millstream.state"
APART_NS = 60 * 10**9  # a signal that says the same again and again is kept once a minute
CHANGES_MAX = 5000  # of one source within `keep`; the oldest go first
TAIL_REST, TAIL_MAX = 16, 64  # changes of both that stay at hand: the others rest when there are more
TOLD_MAX = 100  # states that one input corrects at once; the rest follow
TOLERANCE, REST, STALE = "tolerance", "rest", "stale"
CategoryName = Literal["production", "setup", "delay", "idle", "down", "planned", "unknown"]
_QUALITIES = {UNKNOWN: BAD_DATA_UNAVAILABLE, DISPUTED: UNCERTAIN}


class SecondConfig(FlowConfig):
    """A second source of the state: another state, a truth value that says whether it produces, or a number."""

    of: str = Field(min_length=1, max_length=200)
    """Its tag at each machine, such as `mtc/execution`, `cycle/active` or `spindle/power`."""
    above: float | None = None
    """Of a number: the machine produces while it is above this."""
    states: Mapping[str, str] = Field(default_factory=dict, max_length=200)
    """Of another state: what its values mean, where they are none that OEE knows: `{"6": Execute, RUN: Execute}`."""
    stale: Duration | None = Field(default=None, ge=0.001)
    """When nothing has come of it for so long it is not known: from then on, until it is heard of again, it speaks
    neither for nor against the state. Longer than the longest time between two of its samples; left out: its last word
    counts, as it must for a tag that is only told when it changes."""

    @model_validator(mode="after")
    def _one_way(self) -> SecondConfig:
        if self.above is not None and self.states:
            raise ValueError("above is for a number, states for names: give one of them")
        return self


class StateCheckConfig(FlowConfig):
    """Which two sources say in which state a machine is, and when they disagree."""

    state: str = Field(default="state", min_length=1, max_length=200)
    """The tag with the machine's state, as `machine_state` or `state_model` say it: PackML, ISO 22400 or MTConnect."""
    seconds: Mapping[str, SecondConfig] = Field(min_length=1, max_length=100)
    """Second sources by name."""
    templates: Mapping[str, str] = Field(default_factory=dict, max_length=1000)
    """The second source of each template of the context: `{lathe: power, filler: execution}`. A template whose assets
    have the property `state_second` needs no line here."""
    second: str | None = None
    """The second source of machines of which the context says nothing; left out: nothing is held against their
    state."""
    tolerance: Duration = 10.0
    """Sources that differ for a shorter time agree: one is later than the other."""
    compare: Literal["running", "category"] = "running"
    """What has to be the same: whether it produces, or what the states count as (production, setup, delay, idle, down,
    planned). A number and a truth value only tell whether it produces."""
    states: Mapping[str, CategoryName] = Field(default_factory=dict)
    """What a state counts as, where it differs from the usual."""
    keep: Duration = Field(default=172_800.0, ge=3600, le=172_800)
    """So long what was told is put right by what comes late, two days at most; what comes later is an event."""
    output: OutputName = "state/agreed"
    """Name of the state, at the same place."""

    @model_validator(mode="after")
    def _fits(self) -> StateCheckConfig:
        for name in (*self.templates.values(), *([self.second] if self.second is not None else [])):
            if name not in self.seconds:
                raise ValueError(f"no such second source: {name!r}, expected one of {', '.join(sorted(self.seconds))}")
        if any(each.of == self.state for each in self.seconds.values()):
            raise ValueError("a second source is another tag than `state`")
        if "{" in self.output:
            raise ValueError("output is a plain name")
        return self


class Checked(msgspec.Struct, array_like=True):
    """Of one machine: the second source that its context names; the newest word of each second source; what the first
    and the second one said, and what was told, in order of time, from `cut_ns` on with the one before it (how many
    older ones are rested: `_rested`); up to when (UTC ns) that is known; what is older than `gone_ns` is not put right
    any more; when a difference will have become a dispute; the stretches of time for which the second one's words
    count; when it is looked whether it is silent; whether that was told."""

    named: str | None = None
    words: dict[str, tuple[int, str]] = {}
    first: list[tuple[int, str]] = []
    second: list[tuple[int, str]] = []
    said: list[Said] = []
    cut_ns: int = 0
    now_ns: int = 0
    gone_ns: int = 0
    due_ns: int = 0
    rested: dict[str, int] = {}
    heard: list[tuple[int, int]] = []
    look_ns: int = 0
    is_silent: bool = False


class Past(msgspec.Struct, array_like=True):
    """The older part of one of the lists."""

    first: list[tuple[int, str]] = []
    second: list[tuple[int, str]] = []
    said: list[Said] = []
    heard: list[tuple[int, int]] = []


class _Check:
    """The step."""

    def __init__(self, config: StateCheckConfig) -> None:
        self._config = config
        self._names: dict[str, list[str]] = {}
        for name, second in config.seconds.items():
            self._names.setdefault(second.of, []).append(name)
        self._categories = {**CATEGORIES, **{name: Category(value) for name, value in config.states.items()}}
        self._tolerance_ns, self._keep_ns = nanoseconds(config.tolerance), nanoseconds(config.keep)

    def __call__(self, machine: Checked, event: Event) -> tuple[Checked, Sequence[Effect]]:
        if event.pieces is None or (machine.rested and self._is_newest(machine, event)):
            return machine, self._take(machine, event)
        woken, machine.cut_ns = _RESTED.wake(machine, event.pieces), 0
        effects = self._take(machine, event)
        self._forget(machine)
        _RESTED.rest(machine, event.pieces, machine.cut_ns, woken)
        return machine, effects

    @staticmethod
    def _is_newest(machine: Checked, event: Event) -> bool:
        """It is told of what is at hand, which is not too much yet."""
        if event.kind == "context" or event.timer == REST or event.time_ns <= machine.cut_ns:
            return False
        return all(
            count < TAIL_MAX
            for count in (len(machine.first) + len(machine.second), len(machine.said), len(machine.heard))
        )

    def _take(self, machine: Checked, event: Event) -> Sequence[Effect]:
        if event.is_timer:
            machine.now_ns = max(machine.now_ns, event.time_ns)
            return [*self._look(machine, event), *self._tell(machine, event.key)]
        name = event.source[len(event.key) + 1 :]
        if event.kind == "context":
            return self._take_asset(machine, event) if name == ASSET else ()
        if name != self._config.state and name not in self._names:
            return ()
        if event.time_ns < machine.gone_ns:
            return (late_input(f"{event.key}:{self._config.output}/late", event),)
        is_new, refused = self._put(machine, name, event)
        machine.now_ns = max(machine.now_ns, event.time_ns)
        refused = [*refused, *self._watch(machine)]
        if not is_new and not (machine.due_ns and machine.now_ns >= machine.due_ns):
            return refused
        return [*refused, *self._tell(machine, event.key)]

    def _put(self, machine: Checked, name: str, event: Event) -> tuple[bool, Sequence[Effect]]:
        """Keep what a source says; whether it is new. What it cannot mean is refused, and says nothing."""
        is_bad = event.value is None or event.quality.is_bad
        if name == self._config.state:
            return put_change(machine.first, event.time_ns, UNKNOWN if is_bad else str(event.value)), ()
        is_new, refused = False, False
        for each in self._names[name]:
            word = "" if is_bad else _word(self._config.seconds[each], event.value)
            if event.time_ns >= machine.words.get(each, (0, ""))[0]:
                machine.words[each] = (event.time_ns, word or "")
            if each == self._second(machine):
                refused = word is None
                apart_ns = APART_NS if word in (RUNS, STANDS) else 0
                is_new = put_change(machine.second, event.time_ns, word or "", apart_ns=apart_ns)
                is_new = self._hear(machine, each, event.time_ns) or is_new
        return is_new, (Refuse(event, f"not a number: {event.value!r:.60}"),) if refused else ()

    # -- silence ------------------------------------------------------------------------------------------------------

    def _stale_ns(self, name: str | None) -> int | None:
        stale = None if name is None else self._config.seconds[name].stale
        return None if stale is None else nanoseconds(stale)

    def _hear(self, machine: Checked, name: str, time_ns: int) -> bool:
        """Note that the second source was heard of. Whether that is new: mostly it only goes on."""
        stale_ns = self._stale_ns(name)
        if stale_ns is None:
            return False
        begin_ns, end_ns = machine.heard[-1] if machine.heard else (0, 0)
        goes_on = begin_ns <= time_ns <= end_ns and end_ns > machine.now_ns
        note_heard(machine.heard, time_ns, time_ns + stale_ns)
        machine.is_silent = machine.is_silent and machine.heard[-1][1] <= max(machine.now_ns, time_ns)
        return not goes_on

    def _watch(self, machine: Checked) -> Sequence[Effect]:
        """Look at it when its last word will be too old; not at each word anew."""
        if not machine.heard or machine.look_ns or machine.is_silent:
            return ()
        machine.look_ns = machine.heard[-1][1]
        return (SetTimer(STALE, machine.look_ns),)

    def _look(self, machine: Checked, event: Event) -> Sequence[Effect]:
        """Tell once that it is silent, else look again later."""
        if event.timer != STALE:
            return ()
        machine.look_ns, name = 0, self._second(machine)
        if not machine.heard:
            return ()
        end_ns, stale_ns = machine.heard[-1][1], self._stale_ns(name)
        if end_ns > machine.now_ns:
            return self._watch(machine)
        if name is None or stale_ns is None or machine.is_silent:
            return ()
        machine.is_silent = True
        second = self._config.seconds[name]
        data = {"of": second.of, "last": format_time(end_ns - stale_ns), "stale_s": second.stale}
        return (EmitEvent(f"{event.key}:{self._config.output}", f"{EVENT_TYPE}.silent", data, end_ns),)

    def _second(self, machine: Checked) -> str | None:
        return machine.named or self._config.second

    def _take_asset(self, machine: Checked, event: Event) -> Sequence[Effect]:
        """What the machine is was told, or told anew: another source may speak against its state, from its newest word
        on."""
        before = self._second(machine)
        machine.named = self._named(event.value)
        after = self._second(machine)
        if after == before:
            return ()
        machine.second = [machine.words[after]] if after in machine.words else []
        machine.heard, machine.is_silent, machine.look_ns, stale_ns = [], False, 0, self._stale_ns(after)
        if stale_ns is not None and machine.second:
            heard_ns = machine.second[0][0]
            machine.heard = [(heard_ns, heard_ns + stale_ns)]
        return [*self._watch(machine), *self._tell(machine, event.key)]

    def _named(self, asset: Any) -> str | None:
        if not isinstance(asset, Mapping) or asset.get("removed"):
            return None
        properties = asset.get("properties")
        of_asset = properties.get("state_second") if isinstance(properties, Mapping) else None
        found = of_asset or self._config.templates.get(str(asset.get("template", "")))
        if found is not None and found not in self._config.seconds:
            raise ValueError(f"no such second source: {found!r:.80}, expected one of {', '.join(self._config.seconds)}")
        return found

    def _differ(self, state: str, word: str) -> bool:
        """What a source does not know it does not say."""
        one, other = (self._categories.get(each, Category.UNKNOWN) for each in (state, word))
        if Category.UNKNOWN in (one, other):
            return False
        if self._config.compare == "category" and word not in (RUNS, STANDS):
            return one is not other
        return (one is Category.PRODUCTION) != (other is Category.PRODUCTION)

    # -- giving -------------------------------------------------------------------------------------------------------

    def _tell(self, machine: Checked, key: str) -> Sequence[Effect]:
        """What is new, and what was told and is not true any more."""
        second = as_heard(machine.second, machine.heard, machine.now_ns)
        states, due_ns = agreed(machine.first, second, self._differ, self._tolerance_ns, machine.now_ns)
        told = put_right(machine.said, states, max(machine.cut_ns, machine.gone_ns), TOLD_MAX)
        before = disputes(machine.said)
        machine.said = merge_said(machine.said, told)
        effects: list[Effect] = [
            Emit(
                f"{key}:{self._config.output}", each.state, each.time_ns, "state",
                _QUALITIES.get(each.state, GOOD), revision=each.revision,
            )
            for each in told
        ]  # fmt: skip
        effects += self._flag(machine, key, before, disputes(machine.said)) if told else ()
        if len(told) == TOLD_MAX:
            effects.append(SetTimer(REST, machine.now_ns))
        if due_ns is not None and due_ns != machine.due_ns:
            effects.append(SetTimer(TOLERANCE, due_ns))
        elif due_ns is None and machine.due_ns:
            effects.append(CancelTimer(TOLERANCE))
        machine.due_ns = due_ns or 0
        return effects

    def _flag(
        self, machine: Checked, key: str, before: Sequence[Dispute], after: Sequence[Dispute]
    ) -> Sequence[Effect]:  # fmt: skip
        """Each dispute once when it is known of, and once when it is over or turns out to be none."""
        effects: list[Effect] = []
        path = f"{key}:{self._config.output}"
        ends = {each.start_ns: each.end_ns for each in before}
        gone = set(ends) - {each.start_ns for each in after}
        name = self._second(machine)
        of = self._config.seconds[name].of if name is not None else None
        for start_ns in sorted(gone):
            data = {"start": format_time(start_ns), "end": None, "duration_s": 0.0, "removed": True}
            effects.append(EmitEvent(path, f"{EVENT_TYPE}.settled", data, start_ns))
        for each in after:
            start = format_time(each.start_ns)
            if each.start_ns not in ends:
                data = {
                    "start": start, "state": state_at(machine.first, each.start_ns), "of": of,
                    "second": state_at(machine.second, each.start_ns), "tolerance_s": self._config.tolerance,
                }  # fmt: skip
                effects.append(EmitEvent(path, f"{EVENT_TYPE}.disputed", data, each.start_ns))
            if each.end_ns is not None and ends.get(each.start_ns) != each.end_ns:
                lasted_s = (each.end_ns - each.start_ns) / 1e9
                data = {"start": start, "end": format_time(each.end_ns), "duration_s": lasted_s}
                effects.append(EmitEvent(path, f"{EVENT_TYPE}.settled", data, each.end_ns))
        return effects

    def _forget(self, machine: Checked) -> None:
        """Let go what nothing puts right any more, and choose what stays at hand: from a time on at which the sources
        agreed, so that it can be judged without the rest."""
        gone_ns = machine.now_ns - self._keep_ns
        for changes in (machine.first, machine.second, machine.heard):
            if len(changes) > CHANGES_MAX:
                gone_ns = max(gone_ns, changes[-CHANGES_MAX + CHANGES_MAX // 10][0])
        calm = settled(machine.first, as_heard(machine.second, machine.heard, machine.now_ns), self._differ)
        if gone_ns > machine.gone_ns:
            found = bisect_right(calm, gone_ns) - 1
            machine.gone_ns = max(machine.gone_ns, calm[found] if found >= 0 else 0)
            for each in (machine.first, machine.second, machine.said, machine.heard):
                del each[: _count_before(each, machine.gone_ns)]
        behind = sorted(time_ns for time_ns, _ in (*machine.first, *machine.second))[-TAIL_REST:]
        found = bisect_right(calm, behind[0]) - 1 if behind else -1
        machine.cut_ns = calm[found] if found >= 0 else 0


def _word(second: SecondConfig, value: Any) -> str | None:
    """What a second source says, as a state; of a truth value or a number whether it produces; None for what should be
    a number."""
    if isinstance(value, bool):
        return RUNS if value else STANDS
    if second.above is not None:
        found = number(value)
        return None if found is None else RUNS if found > second.above else STANDS
    raw = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    return second.states.get(raw, raw)


def _count_before(changes: Sequence[Any], since_ns: int) -> int:
    """How many lie before a time, but for the one that lasts into it."""
    return max(0, bisect_right(changes, since_ns, key=_time_of) - 1)


def _time_of(each: Any) -> int:
    return int(each.time_ns if isinstance(each, Said) else each[0])


def _divide(changes: list[Any], since_ns: int) -> tuple[list[Any], list[Any]]:
    count = _count_before(changes, since_ns)
    return changes[:count], changes[count:]


_RESTED = Rested({"first": _divide, "second": _divide, "said": _divide, "heard": _divide}, Past)


def _build(
    name: str, inputs: tuple[Input, ...], config: StateCheckConfig, *, version: int, time: TimePolicy
) -> Flow[Any]:
    outputs, step = ("state", "event"), _Check(config)
    return Flow(name, inputs, step, Checked, Checked, key_of_asset, None, outputs, time, version, piece_type=Past)


STATE_CHECK = FlowType(
    "state_check", StateCheckConfig, _build,
    "Holds the state of each machine against a second source of it: the state of another protocol, a power or current, "
    "a cycle signal. Where they disagree for longer than a tolerance the state is `Disputed`, from when they began to "
    "disagree: `oee` takes that time as unknown, with a doubt. Each dispute is an event when it is known of "
    "(`millstream.state.disputed`) and when it is over (`millstream.state.settled`). A second source of which nothing "
    "came for `stale` is not known, which is told once (`millstream.state.silent`). What comes late puts right what "
    "was told, and so the figures.",
)  # fmt: skip
