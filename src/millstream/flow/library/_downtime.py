"""Stops of a machine with their reasons, by rule and by person, put right afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
from pydantic import Field, model_validator

from millstream.flow._expression import Expression
from millstream.flow._model import Effect, Emit, EmitEvent, Event, Flow, Input, TimePolicy
from millstream.flow._order import in_order
from millstream.flow.library._inputs import Inputs, Latest, Names, values_of
from millstream.flow.library._rested import Rested
from millstream.flow.library._type import FlowConfig, FlowType, OutputName, nanoseconds
from millstream.protocols.uns_pattern import Pattern
from millstream.sdk import Duration
from millstream.shop import (
    CATEGORIES,
    DISPUTED,
    MICRO,
    PIECES_MAX,
    STOP_TYPE,
    Category,
    NotAStop,
    OrderSpan,
    Piece,
    StopAsk,
    begin_piece,
    check_stop_ask,
    end_of,
    find_piece,
    give_reason,
    merge_piece,
    order_at,
    piece_at,
    put_order,
    read_order,
    split_piece,
    stop_data,
)

CHANGEOVER = "changeover"
IDS_MAX = 16
TAIL_MIN, TAIL_REST, TAIL_MAX = 4, 16, 48  # pieces of time that stay at hand: the others rest when there are more
CategoryName = Literal["production", "setup", "delay", "idle", "down", "planned", "unknown"]


class ReasonRule(FlowConfig):
    """One rule: the first that holds while the machine stands gives the reason."""

    reason: str = Field(min_length=1, max_length=64)
    """The reason, such as `starved`, `blocked` or `guard-open`."""
    when: str
    """An expression over the names, such as `infeed == 0`."""
    category: CategoryName | None = None
    """What the stop counts as then; left out: what its state does."""


class DowntimeConfig(FlowConfig):
    """How stops are told and what their reasons are."""

    names: Names
    """Short names of the tags; `state` is the machine's state (PackML, ISO 22400 or MTConnect's Execution)."""
    states: Mapping[str, CategoryName] = Field(default_factory=dict)
    """What a state counts as, where it differs from the usual."""
    rules: tuple[ReasonRule, ...] = Field(default=(), max_length=64)
    """Reasons by rule, from top to bottom."""
    categories: Mapping[str, CategoryName] = Field(default_factory=dict)
    """What a stop counts as by its reason: `{changeover: setup, meeting: planned}`."""
    micro: Duration = 60.0
    """A stop shorter than this is a micro-stop: it counts as `delay`, unless somebody gave it a reason."""
    changeover: bool = True
    """A stop in which an order of another product begins (inputs of kind `context`) is a changeover: it counts as
    `setup`."""
    output: OutputName = "downtime"
    """Name of the events at the same place; `<output>/state` is the machine's state as put right, for `oee`."""

    @model_validator(mode="after")
    def _has_state(self) -> DowntimeConfig:
        if "state" not in self.names:
            raise ValueError("names have state")
        if "{" in self.output:
            raise ValueError("output is a plain name")
        return self


class Machine(msgspec.Struct, array_like=True):
    """Newest values by name, the newest pieces of time in order (how many older ones are rested: `_rested`), orders,
    and the newest ids of what was said."""

    values: dict[str, Latest] = {}
    pieces: list[Piece] = []
    orders: list[OrderSpan] = []
    ids: list[str] = []
    rested: dict[str, int] = {}


class Past(msgspec.Struct, array_like=True):
    """The older pieces of time."""

    pieces: list[Piece] = []


class _Downtime:
    """The step."""

    def __init__(self, config: DowntimeConfig, inputs: Inputs) -> None:
        self._config, self._inputs = config, inputs
        self._categories = {**{n: c.value for n, c in CATEGORIES.items()}, **config.states}
        self._by_reason: Mapping[str, str] = {CHANGEOVER: "setup", MICRO: "delay", **config.categories}
        self._rules = [(rule, Expression(rule.when, config.names)) for rule in config.rules]
        self._micro_ns = nanoseconds(config.micro)

    def __call__(self, machine: Machine, event: Event) -> tuple[Machine, Sequence[Effect]]:
        if event.pieces is None or (machine.rested and self._is_newest(machine, event)):
            return machine, self._take(machine, event)
        woken = _RESTED.wake(machine, event.pieces)
        effects = self._take(machine, event)
        _RESTED.rest(machine, event.pieces, 0, woken)
        return machine, effects

    def _is_newest(self, machine: Machine, event: Event) -> bool:
        """It is told of pieces at hand that have others at hand before them; and the oldest one need not go for it."""
        pieces = machine.pieces
        if event.kind in ("cmd", "context") or not TAIL_MIN <= len(pieces) < TAIL_MAX:
            return False
        has_room = machine.rested["pieces"] + len(pieces) < PIECES_MAX
        return event.time_ns > pieces[2].start_ns and (has_room or self._inputs.name(event) != "state")

    def _take(self, machine: Machine, event: Event) -> Sequence[Effect]:
        if event.kind == "cmd":
            return self._asked(machine, event)
        if event.kind == "context":
            return self._ordered(machine, event)
        name = self._inputs.name(event)
        if name is None:
            return ()
        machine.values[name] = Latest(event.value, int(event.quality))
        if name == "state":
            return self._state(machine, event)
        index = piece_at(machine.pieces, event.time_ns)
        if index is not None and machine.pieces[index].is_stop and self._by_rule(machine, index):
            return self._told(machine, event.key, [index])
        return ()

    def _state(self, machine: Machine, event: Event) -> list[Effect]:
        is_bad = event.value is None or event.quality.is_bad
        state = "Unknown" if is_bad else str(event.value)
        category = self._categories.get(state, Category.UNKNOWN.value)
        index, gone = begin_piece(machine.pieces, Piece(event.time_ns, state, category))
        if index is None:
            return []
        effects: list[Effect] = [self._gone(event.key, piece) for piece in gone if piece.is_stop]
        changed = [index]
        if machine.pieces[index].is_stop:
            self._by_rule(machine, index)
        changed += [near for near in (index - 1, index) if near >= 0 and self._settle(machine, near)]
        if index and machine.pieces[index - 1].is_stop:
            changed.append(index - 1)  # it has ended
        return [*effects, *self._told(machine, event.key, sorted(set(changed)))]

    def _gone(self, key: str, piece: Piece, id: str | None = None) -> Effect:
        data = {**stop_data(piece, piece.start_ns, is_removed=True), "revision": piece.revision + 1}
        path = f"{key}:{self._config.output}"
        return EmitEvent(path, STOP_TYPE, {**data, "id": id} if id else data, piece.start_ns)

    def _settle(self, machine: Machine, index: int) -> bool:
        """Once a stop is over: a changeover, a micro-stop, or neither. Whether that is new."""
        piece, end_ns = machine.pieces[index], end_of(machine.pieces, index)
        if not piece.is_stop or not end_ns or piece.by == "person":
            return False
        if self._config.changeover and self._is_changeover(machine, piece.start_ns, end_ns):
            return give_reason(machine.pieces, index, CHANGEOVER, self._by_reason[CHANGEOVER])
        if not piece.reason and end_ns - piece.start_ns < self._micro_ns:
            return give_reason(machine.pieces, index, MICRO, self._by_reason[MICRO])
        return False

    @staticmethod
    def _is_changeover(machine: Machine, start_ns: int, end_ns: int) -> bool:
        before = order_at(machine.orders, start_ns - 1)
        begun = [each for each in machine.orders if start_ns <= each.start_ns <= end_ns]
        return before is not None and any(each.product != before.product for each in begun)

    def _by_rule(self, machine: Machine, index: int) -> bool:
        if machine.pieces[index].reason:
            return False
        values = values_of(machine.values)
        for rule, holds in self._rules:
            if holds(values):
                category = str(rule.category or self._by_reason.get(rule.reason) or "")
                return give_reason(machine.pieces, index, rule.reason, category)
        return False

    def _ordered(self, machine: Machine, event: Event) -> list[Effect]:
        head = f"{event.key}:order/"
        if not event.source.startswith(head):
            return []
        name = event.source.removeprefix(head)
        touched = put_order(machine.orders, name, read_order(name, event.value))
        if touched is None:
            return []
        changed = [
            n for n, piece in enumerate(machine.pieces)
            if piece.start_ns <= touched[1] and (end_of(machine.pieces, n) or touched[1]) >= touched[0]
            and self._settle(machine, n)
        ]  # fmt: skip
        return self._told(machine, event.key, changed)

    def _asked(self, machine: Machine, event: Event) -> list[Effect]:
        ask = check_stop_ask(event.value)
        if ask.id in machine.ids:
            return []
        machine.ids = [*machine.ids, ask.id][-IDS_MAX:]
        try:
            return self._do(machine, event.key, ask)
        except NotAStop as error:
            data = {"action": ask.action, "who": ask.who, "id": ask.id, "reason": str(error)}
            return [EmitEvent(f"{event.key}:{self._config.output}", f"{STOP_TYPE}.refused", data, event.time_ns)]

    def _do(self, machine: Machine, key: str, ask: StopAsk) -> list[Effect]:
        if ask.action == "split":
            return self._told(machine, key, split_piece(machine.pieces, ask), ask.id)
        if ask.action == "merge":
            changed, gone = merge_piece(machine.pieces, ask)
            path, into = f"{key}:{self._config.output}", machine.pieces[changed[0]]
            state = Emit(
                f"{path}/state", into.category.capitalize(), gone.start_ns, "state", revision=gone.revision + 1
            )
            return [self._gone(key, gone, ask.id), state, *self._told(machine, key, changed, ask.id)]
        index = find_piece(machine.pieces, ask.at_ns)
        if not machine.pieces[index].is_stop:
            raise NotAStop(f"it was no stop at this time: {machine.pieces[index].state}")
        category = ask.category or self._by_reason.get(ask.reason, "")  # to clear it, `reason` is empty
        give_reason(machine.pieces, index, ask.reason, category, ask)
        return self._told(machine, key, [index], ask.id)

    def _told(self, machine: Machine, key: str, changed: Sequence[int], id: str | None = None) -> list[Effect]:
        """Each changed piece as an event, and its category as a state from its beginning on."""
        effects: list[Effect] = []
        path = f"{key}:{self._config.output}"
        for index in changed:
            piece = machine.pieces[index]
            state = piece.state if piece.state == DISPUTED else piece.category.capitalize()
            effects.append(Emit(f"{path}/state", state, piece.start_ns, "state", revision=piece.revision))
            if piece.is_stop or piece.revision:
                data = stop_data(piece, end_of(machine.pieces, index))
                effects.append(EmitEvent(path, STOP_TYPE, {**data, "id": id} if id else data, piece.start_ns))
        return effects


def _divide(pieces: list[Piece], _: int) -> tuple[list[Piece], list[Piece]]:
    count = max(0, len(pieces) - TAIL_REST)
    return pieces[:count], pieces[count:]


_RESTED = Rested({"pieces": _divide}, Past)


def _build(
    name: str, inputs: tuple[Input, ...], config: DowntimeConfig, *, version: int, time: TimePolicy
) -> Flow[Any]:
    found = Inputs(config.names, None)
    places = dict.fromkeys("/".join(Pattern.parse(each.pattern).asset) for each in inputs)
    whole = (*inputs, *(Input(f"{place}:{config.output}", "cmd") for place in places))
    step = _Downtime(config, found)
    said = ("event", "state")
    past = None if time.lateness_ns else Past  # what waits for its turn comes to the step without pieces
    return in_order(Flow(name, whole, step, Machine, Machine, found.key, None, said, time, version, piece_type=past))


DOWNTIME = FlowType(
    "downtime", DowntimeConfig, _build,
    "Keeps the stops of a machine with their reasons: by rules over its signals (starved, blocked), changeovers by the "
    "orders, micro-stops, and by people, who also cut and join stops afterwards. Each stop is an event that comes "
    "again when it is put right; `downtime/state` is the machine's state as put right, so that `oee` corrects "
    "its windows.",
)  # fmt: skip
