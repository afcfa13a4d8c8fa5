"""Parts that were no good: counted by the machine, with a reason by rule, and put right by what people say. Pure.

What a minute's scrap and rework are follows from all that was counted and all that was said, whatever came first: so
what is said days later gives the same figures as if it had been said at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import msgspec

from millstream.kernel import DecodeError
from millstream.model import TagPath
from millstream.protocols.cloudevents import CloudEvent, format_time, parse_time_ns
from millstream.protocols.uns_subject import tag_subject

REJECT_TYPE = "millstream.reject"
REJECT_ASK_TYPE = "millstream.reject.asked"
MINUTE_NS = 60 * 10**9
SPAN_MAX_NS = 86_400 * 10**9  # of what is said at once: a day
COUNT_MAX = 1e9
REJECT_KINDS = ("scrap", "rework")
SAID_KINDS = (*REJECT_KINDS, "good")
_TAKEN = {"scrap": ("scrap", "rework"), "rework": ("rework", "scrap"), "good": REJECT_KINDS}
Counted: TypeAlias = dict[tuple[str, str], float]
"""Parts by kind and reason ("": nobody knows)."""


class Claim(msgspec.Struct, frozen=True, array_like=True):
    """What somebody says of a stretch of time (UTC ns): so many parts were scrap, rework or, after all, good.

    They are looked for among the parts that were counted with the reason `instead_of` ("": without one); more than
    were counted are rejects that no counter saw. `revision` counts how often it was put right; `count` 0: taken back.
    """

    id: str
    start_ns: int
    end_ns: int
    kind: str
    count: float
    reason: str = ""
    instead_of: str = ""
    who: str = ""
    why: str = ""
    revision: int = 0

    @property
    def adds(self) -> bool:
        """More parts than were counted may be said; where it only says what counted ones were, not."""
        return self.kind != "good" and not self.instead_of


class RejectAsk(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What somebody says of parts, or (with `of`, the id of what was said) how that is put right: what is left out then
    stays as it was."""

    id: str
    who: str
    count: float | None = None
    kind: str = ""
    start_ns: int = 0
    end_ns: int = 0
    reason: str = ""
    instead_of: str = ""
    why: str = ""
    of: str = ""


class NotAReject(ValueError):
    """What was said does not fit what is known of the machine."""


@dataclass(slots=True)
class MinuteParts:
    """Of one minute: what was counted and nobody has said anything of, and all its scrap and rework."""

    rest: Counted
    amounts: dict[str, float] = field(default_factory=dict)


def claim_of(ask: RejectAsk, known: Mapping[str, Claim]) -> Claim:
    """What is claimed now. Raises NotAReject."""
    if not ask.of:
        if ask.id in known:
            raise NotAReject("this was said already")
        return Claim(
            ask.id, ask.start_ns, ask.end_ns, ask.kind, ask.count or 0.0, ask.reason, ask.instead_of, ask.who, ask.why
        )
    before = known.get(ask.of)
    if before is None:
        raise NotAReject(f"nobody has said {ask.of}, or it is too old to be put right")
    return Claim(
        before.id, before.start_ns, before.end_ns, ask.kind or before.kind,
        before.count if ask.count is None else ask.count, ask.reason or before.reason,
        ask.instead_of or before.instead_of, ask.who, ask.why, before.revision + 1,
    )  # fmt: skip


def check_counted(claim: Claim, counted: Mapping[int, Counted], others: Iterable[Claim]) -> None:
    """What only says what counted parts were needs as many, beside what others have said. Raises NotAReject."""
    if claim.adds:
        return
    start_ns, end_ns = minute_of(claim.start_ns), end_of_minute(claim.end_ns)
    left = sum(
        parts.rest.get((kind, claim.instead_of), 0.0)
        for minute, parts in rejects_by_minute(counted, others).items() if start_ns <= minute < end_ns
        for kind in REJECT_KINDS
    )  # fmt: skip
    if claim.count > left:
        of = f"with the reason {claim.instead_of}" if claim.instead_of else "without a reason"
        raise NotAReject(f"{left:g} parts were counted {of} in this time")


def widened(claims: Iterable[Claim], start_ns: int, end_ns: int) -> tuple[list[Claim], int, int]:
    """The claims that have to do with each other in a stretch of time, and the stretch that they reach over."""
    rest, found = list(claims), list[Claim]()
    start_ns, end_ns = minute_of(start_ns), end_of_minute(end_ns)
    while near := [
        each for each in rest if minute_of(each.start_ns) < end_ns and start_ns < end_of_minute(each.end_ns)
    ]:
        found += near
        rest = [each for each in rest if each not in near]
        start_ns = min(start_ns, *(minute_of(each.start_ns) for each in near))
        end_ns = max(end_ns, *(end_of_minute(each.end_ns) for each in near))
    return found, start_ns, end_ns


def rejects_by_minute(counted: Mapping[int, Counted], claims: Iterable[Claim]) -> dict[int, MinuteParts]:
    """What the minutes (UTC ns of their beginning) come to, by what was counted and said. The order of neither
    matters."""
    found = {minute: MinuteParts({key: n for key, n in parts.items() if n}) for minute, parts in counted.items()}
    for claim in sorted(claims, key=lambda each: (each.start_ns, each.end_ns, each.id)):
        _apply(found, claim)
    for parts in found.values():
        for (kind, _), count in parts.rest.items():
            parts.amounts[kind] = parts.amounts.get(kind, 0.0) + count
    return found


def _apply(found: dict[int, MinuteParts], claim: Claim) -> None:
    span = range(minute_of(claim.start_ns), end_of_minute(claim.end_ns), MINUTE_NS)
    minutes = sorted(minute for minute in found if span.start <= minute < span.stop)
    missing = claim.count
    for kind in _TAKEN[claim.kind]:
        key = (kind, claim.instead_of)
        there = [found[minute].rest.get(key, 0.0) for minute in minutes]
        taken = min(missing, sum(there))
        for minute, part in zip(minutes, apportion(taken, there), strict=True):
            if part:
                _move(found[minute], key, claim.kind, part)
        missing -= taken
    if missing > 0 and claim.adds:
        for minute, part in zip(span, apportion(missing, [1.0] * len(span)), strict=True):
            if part:
                amounts = found.setdefault(minute, MinuteParts({})).amounts
                amounts[claim.kind] = amounts.get(claim.kind, 0.0) + part


def _move(parts: MinuteParts, key: tuple[str, str], kind: str, part: float) -> None:
    left = parts.rest[key] - part
    if left > 0:
        parts.rest[key] = left
    else:
        del parts.rest[key]
    if kind != "good":
        parts.amounts[kind] = parts.amounts.get(kind, 0.0) + part


def apportion(amount: float, weights: Sequence[float]) -> list[float]:
    """Divide by weights; whole parts of whole amounts, none above its weight when the amount is not above their sum."""
    total = sum(weights)
    if not total or not amount:
        return [0.0] * len(weights)
    if not (amount.is_integer() and all(each.is_integer() for each in weights)):
        return [amount * each / total for each in weights]
    found, reached, before = list[float](), 0, 0
    for each in weights:
        reached += int(each)
        share = int(amount) * reached // int(total)
        found.append(float(share - before))
        before = share
    return found


def minute_of(time_ns: int) -> int:
    """Where the minute of a time begins."""
    return time_ns - time_ns % MINUTE_NS


def end_of_minute(time_ns: int) -> int:
    """Where the minute ends in which a stretch of time ends."""
    return -(-time_ns // MINUTE_NS) * MINUTE_NS


# -- what is told and asked -------------------------------------------------------------------------------------------


def counted_data(minute_ns: int, kind: str, reason: str, count: float, revision: int) -> dict[str, Any]:
    """What is told of parts of a minute that nobody has said anything of; the newest of each `lot` counts."""
    data: dict[str, Any] = {
        "lot": f"{format_time(minute_ns)} {kind} {reason}".rstrip(), "start": format_time(minute_ns),
        "end": format_time(minute_ns + MINUTE_NS), "kind": kind, "count": count, "reason": reason or None,
        "by": "rule" if reason else None, "who": None, "why": None, "revision": revision,
    }  # fmt: skip
    return data if count else {**data, "removed": True}


def claim_data(claim: Claim) -> dict[str, Any]:
    """What is told of what somebody said."""
    data: dict[str, Any] = {
        "lot": claim.id, "start": format_time(claim.start_ns), "end": format_time(claim.end_ns), "kind": claim.kind,
        "count": claim.count, "reason": claim.reason or None, "by": "person", "who": claim.who,
        "why": claim.why or None, "revision": claim.revision,
    }  # fmt: skip
    if claim.instead_of:
        data["instead_of"] = claim.instead_of
    return data if claim.count else {**data, "removed": True}


def reject_ask_event(path: str, ask: RejectAsk, time_ns: int) -> tuple[str, CloudEvent]:
    """Where what is said of parts is stored, and the event. Raises DecodeError."""
    event = CloudEvent(ask.id, "/quality", REJECT_ASK_TYPE, msgspec.to_builtins(ask), time_ns, path)
    return tag_subject(TagPath.parse(path), "_cmd"), event


def check_reject_ask(raw: Any) -> RejectAsk:
    """From the data of an event or of a command. Raises DecodeError (MS-2722)."""
    try:
        ask = msgspec.convert(raw, RejectAsk)
    except msgspec.ValidationError as error:
        raise _malformed(str(error)) from error
    if not 0 < len(ask.id) <= 128 or not 0 < len(ask.who) <= 128 or len(ask.why) > 1000:
        raise _malformed("id, who or why is missing or too long")
    if len(ask.reason) > 64 or len(ask.instead_of) > 64 or ask.kind not in ("", *SAID_KINDS):
        raise _malformed(f"kind is one of {', '.join(SAID_KINDS)}, a reason has 64 characters at most")
    if ask.count is not None and not (math.isfinite(ask.count) and 0 <= ask.count <= COUNT_MAX):
        raise _malformed(f"count is a number from 0 on, got {ask.count}")
    if ask.of:
        return ask
    if not ask.count or not ask.kind:
        raise _malformed("a count above 0 and a kind are needed")
    if not 0 < ask.end_ns - ask.start_ns <= SPAN_MAX_NS:
        raise _malformed("it ends behind its start, a day later at most")
    return ask


# -- what is read from what was told ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RejectRow:
    """One reason: how many parts, their share of all, and that of it with those before it, 0 to 1."""

    reason: str
    count: float
    share: float
    cumulative: float


def reject_pareto(lots: Iterable[Mapping[str, Any]], parents: Mapping[str, str] | None = None) -> list[RejectRow]:
    """Scrap and rework by reason, the most parts first; with `parents` (the reason above each) by the top of a reason's
    branch."""
    counts: dict[str, float] = {}
    for lot in lots:
        if lot.get("kind") in REJECT_KINDS:
            reason = top_of(str(lot["reason"]), parents or {}) if lot.get("reason") else f"({lot['kind']})"
            counts[reason] = counts.get(reason, 0.0) + float(lot["count"])
    whole, running, found = sum(counts.values()), 0.0, list[RejectRow]()
    for reason, count in sorted(counts.items(), key=lambda each: (-each[1], each[0])):
        running += count
        found.append(RejectRow(reason, count, count / whole, running / whole))
    return found


def top_of(reason: str, parents: Mapping[str, str]) -> str:
    """The reason at the top of its branch."""
    seen = {reason}
    while (above := parents.get(reason, "")) and above not in seen:
        reason = above
        seen.add(reason)
    return reason


def lots_of(told: Iterable[tuple[str, Mapping[str, Any]]], start_ns: int, end_ns: int) -> list[dict[str, Any]]:
    """The newest of each lot that has a part in this time, oldest first, each with its path."""
    newest = {(path, str(data["lot"])): {"path": path, **data} for path, data in told if "lot" in data}
    found = [
        lot for lot in newest.values()
        if not lot.get("removed") and parse_time_ns(lot["start"]) < end_ns and start_ns < parse_time_ns(lot["end"])
    ]  # fmt: skip
    return sorted(found, key=lambda lot: (lot["start"], lot["lot"]))


def _malformed(got: str) -> DecodeError:
    return DecodeError("this says nothing of parts", expected="count, kind, start_ns, end_ns, who", got=got[:200],
                       code="MS-2722")  # fmt: skip
