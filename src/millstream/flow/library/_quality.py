"""Scrap and rework of a machine with their reasons, by rule and by person, put right afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, model_validator

from millstream.flow._expression import Expression
from millstream.flow._model import Effect, Emit, EmitEvent, Event, Flow, Input, TimePolicy
from millstream.flow._order import in_order
from millstream.flow.library._inputs import Inputs, Latest, check_names, values_of
from millstream.flow.library._quality_kept import DAY_NS, IDS_MAX, MINUTE_NS, Kept, Machine, Minute, Open, Piece
from millstream.flow.library._type import FlowConfig, FlowType, OutputName, nanoseconds, number
from millstream.model import GOOD, UNCERTAIN
from millstream.protocols.uns_pattern import Pattern
from millstream.sdk import Duration
from millstream.shop import (
    REJECT_KINDS,
    REJECT_TYPE,
    Claim,
    MinuteParts,
    NotAReject,
    RejectAsk,
    check_counted,
    check_reject_ask,
    claim_data,
    claim_of,
    counted_data,
    minute_of,
    rejects_by_minute,
    widened,
)

REASON = "reason"
AHEAD_NS = MINUTE_NS  # clocks that differ


class RejectRule(FlowConfig):
    """One rule: the first that holds when a part is rejected gives the reason."""

    reason: str = Field(min_length=1, max_length=64)
    """The reason, such as `scratches`."""
    when: str
    """An expression over the names, such as `code == 7`."""
    kind: Literal["scrap", "rework"] | None = None
    """What the part is then; left out: what its counter says."""


class QualityConfig(FlowConfig):
    """Where parts are rejected and what their reasons are."""

    names: dict[str, str] = Field(default_factory=dict)
    """Short names of the tags below the place: `scrap` and `rework` are totals that only grow, `reason` tells the
    reason at the moment of a reject; others are for the rules. Without any, only people say what was no good."""
    reasons: Mapping[str, str] = Field(default_factory=dict)
    """Reasons by what the tag `reason` shows: `{"7": scratches}`; what is not in it is the reason itself. A 0 or an
    empty text is none."""
    rules: tuple[RejectRule, ...] = Field(default=(), max_length=64)
    """Reasons by rule, from top to bottom, before those of the tag."""
    within: Duration = Field(default=1.0, le=3600)
    """A reason that comes so soon behind its reject counts for it, too."""
    keep: Duration = Field(default=172_800.0, le=172_800)
    """So long people may say something of the past, two days at most; `oee` has a `keep` of its own."""
    output: OutputName = "quality"
    """Name of the events at the same place; `<output>/scrap` and `<output>/rework` are the parts of each minute, for
    `oee`."""

    @model_validator(mode="after")
    def _fits(self) -> QualityConfig:
        if self.names:
            check_names(self.names)
        if "{" in self.output:
            raise ValueError("output is a plain name")
        if self.rules and not set(REJECT_KINDS) & set(self.names):
            raise ValueError("rules need a counter: the names scrap or rework")
        return self


class _Quality:
    """The step."""

    def __init__(self, config: QualityConfig, inputs: Inputs) -> None:
        self._config, self._inputs = config, inputs
        self._rules = [(rule, Expression(rule.when, config.names)) for rule in config.rules]
        self._within_ns, self._keep_ns = nanoseconds(config.within), nanoseconds(config.keep)

    def __call__(self, machine: Machine, event: Event) -> tuple[Machine, Sequence[Effect]]:
        assert event.pieces is not None
        kept = Kept(machine, event.pieces)
        if event.kind == "cmd":
            return machine, self._asked(kept, event)
        name = self._inputs.name(event)
        if name is None:
            return machine, ()
        return machine, self._take(kept, name, event)

    def _take(self, kept: Kept, name: str, event: Event) -> Sequence[Effect]:
        machine = kept.machine
        if name not in REJECT_KINDS:
            machine.values[name] = Latest(event.value, int(event.quality))
            return self._explain(kept, event)
        if event.value is None or event.quality.is_bad:
            return ()
        total, before = number(event.value), machine.totals.get(name)
        if total is None or total < 0:
            raise ValueError(f"not a number from 0 on: {event.value!r:.60}")
        if before is not None and event.time_ns < before[0]:
            return ()  # an older total: the newer one contains it
        machine.values[name] = Latest(event.value, int(event.quality))
        machine.totals[name] = (event.time_ns, total)
        kept.pass_time(event.time_ns, self._keep_ns + DAY_NS)
        if before is None or total == before[1]:
            return ()
        is_anew = total < before[1]
        return self._count(kept, event, name, float(total if is_anew else total - before[1]), is_anew)

    def _count(self, kept: Kept, event: Event, name: str, count: float, is_anew: bool) -> Sequence[Effect]:
        minute_ns = minute_of(event.time_ns)
        piece, minute = kept.minute(minute_ns)
        if is_anew and name not in minute.unsure:
            minute.unsure.append(name)
        kind, reason = self._reason(kept, name)
        minute.add(kind, reason, count)
        kept.put(minute_ns, piece)
        if not reason and count:
            kept.machine.open = [*kept.machine.open, Open(event.time_ns, name, count)][-IDS_MAX:]
        return self._settled(kept, event.key, minute_ns, minute_ns + 1)

    def _explain(self, kept: Kept, event: Event) -> Sequence[Effect]:
        """A reason that comes just behind its reject."""
        machine = kept.machine
        machine.open = [each for each in machine.open if 0 <= event.time_ns - each.time_ns <= self._within_ns]
        if not machine.open:
            return ()
        found = [(each, *self._reason(kept, each.name)) for each in machine.open]
        if not (told := [each for each in found if each[2]]):
            return ()
        machine.open = [each for each, _, reason in found if not reason]
        for each, kind, reason in told:
            piece, minute = kept.minute(minute_of(each.time_ns))
            minute.add(each.name, "", -each.count)
            minute.add(kind, reason, each.count)
            kept.put(minute_of(each.time_ns), piece)
        return self._settled(kept, event.key, told[0][0].time_ns, told[-1][0].time_ns + 1)

    def _reason(self, kept: Kept, name: str) -> tuple[str, str]:
        """Kind and reason of a part that is rejected now; "": nobody knows."""
        values = values_of(kept.machine.values)
        for rule, holds in self._rules:
            if holds(values):
                return rule.kind or name, rule.reason
        shown = values.get(REASON)
        if shown is None or shown == "" or (shown == 0 and str(shown) not in self._config.reasons):
            return name, ""
        text = str(int(shown)) if isinstance(shown, float) and shown.is_integer() else str(shown)
        return name, self._config.reasons.get(text, text)[:64]

    # -- what people say ----------------------------------------------------------------------------------------------

    def _asked(self, kept: Kept, event: Event) -> Sequence[Effect]:
        ask = check_reject_ask(event.value)
        if ask.id in kept.machine.ids:
            return ()
        kept.machine.ids = [*kept.machine.ids, ask.id][-IDS_MAX:]
        path = f"{event.key}:{self._config.output}"
        kept.pass_time(event.time_ns, self._keep_ns + DAY_NS)
        try:
            claim = self._claim(kept, ask, event.time_ns)
        except NotAReject as error:
            data = {"who": ask.who, "id": ask.id, "reason": str(error)}
            return [EmitEvent(path, f"{REJECT_TYPE}.refused", data, event.time_ns)]
        kept.put_claim(claim)
        told = EmitEvent(path, REJECT_TYPE, {**claim_data(claim), "id": ask.id}, claim.start_ns)
        return [told, *self._settled(kept, event.key, claim.start_ns, claim.end_ns)]

    def _claim(self, kept: Kept, ask: RejectAsk, now_ns: int) -> Claim:
        claim = claim_of(ask, kept.claims)
        if claim.start_ns < kept.machine.gone_ns:
            raise NotAReject("it is too long ago: figures of that time are closed")
        if claim.end_ns > now_ns + AHEAD_NS:
            raise NotAReject("it has not happened yet")
        if not kept.has_room(claim):
            raise NotAReject("too much was said of this machine in these days")
        near, start_ns, end_ns = widened(kept.claims.values(), claim.start_ns, claim.end_ns)
        counted = {at: minute.counted() for at, minute in kept.minutes(start_ns, end_ns).items()}
        check_counted(claim, counted, [each for each in near if each.id != claim.id])
        return claim

    # -- what follows -------------------------------------------------------------------------------------------------

    def _settled(self, kept: Kept, key: str, start_ns: int, end_ns: int) -> list[Effect]:
        """What the minutes that it touches come to now, as far as that is new."""
        near, start_ns, end_ns = widened(kept.claims_near(start_ns, end_ns), start_ns, end_ns)
        minutes = kept.minutes(start_ns, end_ns)
        found = rejects_by_minute({at: minute.counted() for at, minute in minutes.items()}, near)
        effects: list[Effect] = []
        for at in sorted(found):
            piece, minute = kept.minute(at)
            new = [*self._parts(key, at, minute, found[at]), *self._lots(key, at, minute, found[at])]
            if new:
                kept.put(at, piece)
                effects += new
        return effects

    def _parts(self, key: str, at_ns: int, minute: Minute, parts: MinuteParts) -> list[Effect]:
        effects: list[Effect] = []
        for kind in REJECT_KINDS:
            value, is_unsure = parts.amounts.get(kind, 0.0), kind in minute.unsure
            before = minute.told.get(kind)
            if (before[:2] if before else (0.0, False)) == (value, is_unsure):
                continue
            revision = before[2] + 1 if before else 0
            minute.told[kind] = (value, is_unsure, revision)
            effects.append(
                Emit(f"{key}:{self._config.output}/{kind}", value, at_ns, quality=UNCERTAIN if is_unsure else GOOD,
                     revision=revision)
            )  # fmt: skip
        return effects

    def _lots(self, key: str, at_ns: int, minute: Minute, parts: MinuteParts) -> list[Effect]:
        effects: list[Effect] = []
        told = {(kind, reason): (count, revision) for kind, reason, count, revision in minute.lots}
        for lot in sorted({*told, *parts.rest}):
            count, before = parts.rest.get(lot, 0.0), told.get(lot, (0.0, -1))
            if count == before[0]:
                continue
            told[lot] = (count, before[1] + 1)
            data = counted_data(at_ns, *lot, count, before[1] + 1)
            effects.append(EmitEvent(f"{key}:{self._config.output}", REJECT_TYPE, data, at_ns))
        minute.lots = [(*lot, *told[lot]) for lot in sorted(told)]
        return effects


def _build(name: str, inputs: tuple[Input, ...], config: QualityConfig, *, version: int, time: TimePolicy) -> Flow[Any]:
    found = Inputs(config.names, None)
    places = dict.fromkeys("/".join(Pattern.parse(each.pattern).asset) for each in inputs)
    whole = (*inputs, *(Input(f"{place}:{config.output}", "cmd") for place in places))
    return in_order(
        Flow(
            name, whole, _Quality(config, found), Machine, Machine, found.key, None, ("event", "count"), time, version,
            piece_type=Piece,
        )
    )  # fmt: skip


QUALITY = FlowType(
    "quality", QualityConfig, _build,
    "Keeps the scrap and rework of a machine with their reasons: from counters, with the reason that a tag shows or a "
    "rule finds at the moment of the reject, and from people, who say how many parts of a stretch of time were no "
    "good and put that right afterwards. Each lot is an event that comes again when it changes; `quality/scrap` and "
    "`quality/rework` are the parts of each minute, with a revision, so that `oee` corrects its windows. A counter "
    "that began anew makes its minute uncertain.",
)  # fmt: skip
