"""A machine's time in pieces, each with a state, what it counts as and why, put right afterwards by people. Pure.

A piece lasts until the next one begins. Machines begin pieces; people cut them, join them again and give reasons.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec.structs import replace

from millstream.kernel import DecodeError
from millstream.model import TagPath
from millstream.protocols.cloudevents import CloudEvent, format_time
from millstream.protocols.uns_subject import tag_subject
from millstream.shop._oee import Category
from millstream.shop._rejects import top_of

STOP_TYPE = "millstream.stop"
STOP_ASK_TYPE = "millstream.stop.asked"
PIECES_MAX = 1000  # of one machine; the oldest go first
RUNNING = Category.PRODUCTION.value
MICRO = "micro-stop"
StopAction: TypeAlias = Literal["split", "merge", "reason", "clear"]


class Piece(msgspec.Struct, frozen=True, array_like=True):
    """One piece. `category` is a `Category`'s value; `by` says who gave the reason: "", "rule" or "person"; `is_cut`:
    it begins where somebody cut. `revision` counts how often it was put right."""

    start_ns: int
    state: str
    category: str
    reason: str = ""
    by: str = ""
    who: str = ""
    why: str = ""
    is_cut: bool = False
    revision: int = 0

    @property
    def is_stop(self) -> bool:
        """Neither production nor unknown."""
        return self.category not in (RUNNING, Category.UNKNOWN.value)


class StopAsk(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What somebody says of a stop. `at_ns` (UTC) lies in it; for "split" it is where to cut, for "merge" it lies in
    the later of two pieces; "clear" takes its reason back. With a `category` the piece counts as that."""

    id: str
    action: StopAction
    who: str
    at_ns: int
    reason: str = ""
    why: str = ""
    category: str = ""


class NotAStop(ValueError):
    """What was said does not fit the machine's time."""


def find_piece(pieces: Sequence[Piece], time_ns: int) -> int:
    """The piece in which a time lies. Raises NotAStop."""
    index = piece_at(pieces, time_ns)
    if index is None:
        raise NotAStop("nothing is known of the machine at this time")
    return index


def piece_at(pieces: Sequence[Piece], time_ns: int) -> int | None:
    """The piece in which a time lies; None before the first one."""
    index = bisect_right(pieces, time_ns, key=_start_of) - 1
    return index if index >= 0 else None


def end_of(pieces: Sequence[Piece], index: int) -> int:
    """Where a piece ends, UTC ns; 0: it lasts."""
    return pieces[index + 1].start_ns if index + 1 < len(pieces) else 0


def begin_piece(pieces: list[Piece], piece: Piece) -> tuple[int | None, Sequence[Piece]]:
    """The machine is in another state from then on, also where that is told late. Its index, None when nothing is new,
    and pieces that are part of it now, unless people cut there."""
    gone: list[Piece] = []
    at = bisect_right(pieces, piece.start_ns, key=_start_of)
    if at and pieces[at - 1].start_ns == piece.start_ns:
        if pieces[at - 1].state == piece.state:
            return None, gone
        pieces[at - 1] = replace(piece, revision=pieces[at - 1].revision + 1)
        at -= 1
    elif at and pieces[at - 1].state == piece.state:
        return None, gone
    else:
        pieces.insert(at, piece)
    while at + 1 < len(pieces) and pieces[at + 1].state == piece.state and not pieces[at + 1].is_cut:
        gone.append(pieces.pop(at + 1))
    while len(pieces) > PIECES_MAX:
        del pieces[0]
        at -= 1
    return at, gone


def split_piece(pieces: list[Piece], ask: StopAsk) -> Sequence[int]:
    """Cut a stop; the later part has no reason yet. The pieces that are new or changed. Raises NotAStop."""
    index = find_piece(pieces, ask.at_ns)
    piece = pieces[index]
    if not piece.is_stop:
        raise NotAStop(f"it was no stop at this time: {piece.state}")
    if piece.start_ns == ask.at_ns:
        raise NotAStop("it begins there already")
    pieces[index] = replace(piece, revision=piece.revision + 1)
    later = Piece(ask.at_ns, piece.state, piece.category, "", "", ask.who, ask.why, is_cut=True)
    pieces.insert(index + 1, later)
    return (index, index + 1)


def merge_piece(pieces: list[Piece], ask: StopAsk) -> tuple[Sequence[int], Piece]:
    """Join a stop to the one right before it, whose reason counts for both; what is changed, and the piece that is
    gone. Raises NotAStop."""
    index = find_piece(pieces, ask.at_ns)
    if not index or not pieces[index].is_stop or not pieces[index - 1].is_stop:
        raise NotAStop("there is no stop right before it")
    gone = pieces.pop(index)
    before = pieces[index - 1]
    pieces[index - 1] = replace(before, who=ask.who, why=ask.why, revision=before.revision + 1)
    return (index - 1,), gone


def give_reason(pieces: list[Piece], index: int, reason: str, category: str = "", ask: StopAsk | None = None) -> bool:
    """Say why, by what somebody asks or by a rule, which does not overrule a person. Without a reason the one that is
    there is taken back, and a rule may give one again. Whether anything is new."""
    piece = pieces[index]
    if ask is None and piece.by == "person":
        return False
    by, who, why = ("person" if reason else "", ask.who, ask.why) if ask is not None else ("rule", "", "")
    told = replace(piece, reason=reason, by=by, category=category or piece.category, who=who, why=why)
    if told == piece:
        return False
    pieces[index] = replace(told, revision=piece.revision + 1)
    return True


def stop_data(piece: Piece, end_ns: int, *, is_removed: bool = False) -> dict[str, Any]:
    """What is told of a piece; newest of each start counts."""
    data: dict[str, Any] = {
        "start": format_time(piece.start_ns), "end": format_time(end_ns) if end_ns else None,
        "duration_s": (end_ns - piece.start_ns) / 1e9 if end_ns else None, "state": piece.state,
        "category": piece.category, "reason": piece.reason or None, "by": piece.by or None,
        "who": piece.who or None, "why": piece.why or None, "revision": piece.revision,
    }  # fmt: skip
    if is_removed or not piece.is_stop:
        data["removed"] = True
    return data


def stop_ask_event(path: str, ask: StopAsk, time_ns: int) -> tuple[str, CloudEvent]:
    """Where what is said of a stop is stored, and the event. Raises DecodeError."""
    event = CloudEvent(ask.id, "/downtime", STOP_ASK_TYPE, msgspec.to_builtins(ask), time_ns, path)
    return tag_subject(TagPath.parse(path), "_cmd"), event


def check_stop_ask(raw: Any) -> StopAsk:
    """From the data of an event or of a command. Raises DecodeError (MS-2720)."""
    try:
        ask = msgspec.convert(raw, StopAsk)
    except msgspec.ValidationError as error:
        raise _malformed(str(error)) from error
    if not ask.id or not 0 < len(ask.who) <= 128 or len(ask.why) > 1000 or len(ask.reason) > 64:
        raise _malformed("id, who, why or reason is missing or too long")
    if (ask.action == "reason") != bool(ask.reason):
        raise _malformed("to give a reason, and only that, takes a reason")
    if ask.category and ask.category not in {category.value for category in Category}:
        raise _malformed(f"no such category: {ask.category}")
    return ask


@dataclass(frozen=True, slots=True)
class ParetoRow:
    """One reason: how often, for how long, its share of all, and that of it with those before it, 0 to 1."""

    reason: str
    count: int
    seconds: float
    share: float
    cumulative: float


def pareto(stops: Iterable[Mapping[str, Any]], parents: Mapping[str, str] | None = None) -> list[ParetoRow]:
    """Stops as `stop_data` tells them, those that are over, by reason, the longest first; with `parents` (the reason
    above each) by the top of a reason's branch."""
    seconds: dict[str, float] = {}
    counts: dict[str, int] = {}
    for stop in stops:
        if stop.get("duration_s") is None:
            continue
        reason = top_of(str(stop["reason"]), parents or {}) if stop.get("reason") else f"({stop.get('category')})"
        seconds[reason] = seconds.get(reason, 0.0) + float(stop["duration_s"])
        counts[reason] = counts.get(reason, 0) + 1
    whole, running = sum(seconds.values()), 0.0
    found = []
    for reason, spent in sorted(seconds.items(), key=lambda each: (-each[1], each[0])):
        running += spent
        found.append(
            ParetoRow(reason, counts[reason], spent, spent / whole if whole else 0.0, running / whole if whole else 0.0)
        )
    return found


def _start_of(piece: Piece) -> int:
    return piece.start_ns


def _malformed(got: str) -> DecodeError:
    return DecodeError("this says nothing of a stop", expected="action, at_ns, who", got=got[:200], code="MS-2720")
