"""Two sources of one machine's state, held against one another: where they disagree, neither is believed. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import msgspec

DISPUTED = "Disputed"
"""The state of a machine of which two sources say what cannot both be. It counts as unknown."""
Change: TypeAlias = "tuple[int, str]"
Stretch: TypeAlias = "tuple[int, int]"
Differ: TypeAlias = Callable[[str, str], bool]
"""Whether what the first and the second source say cannot both be; "": that one says nothing."""


class Said(msgspec.Struct, frozen=True, array_like=True):
    """A state that was told from a time on (UTC ns), and how often what was told of this time was put right."""

    time_ns: int
    state: str
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Dispute:
    """From when to when (UTC ns; None: it lasts) the sources disagree."""

    start_ns: int
    end_ns: int | None


def agreed(
    first: Sequence[Change], second: Sequence[Change], differ: Differ, tolerance_ns: int, now_ns: int
) -> tuple[list[Change], int | None]:
    """The machine's state by both, each a list of (UTC ns, what it says) in order: that of the first source, but
    `DISPUTED` where they differ for `tolerance_ns` or longer, from the beginning of that on. With when a difference
    that lasts will have become one, if it has not yet."""
    found: list[Change] = []
    due_ns = None
    spans = _spans(first, second, differ)
    for index, (start_ns, states, is_odd) in enumerate(spans):
        is_last = index + 1 == len(spans)
        end_ns = now_ns if is_last else spans[index + 1][0]
        if is_odd and end_ns - start_ns >= tolerance_ns:
            _append(found, (start_ns, DISPUTED))
            continue
        if is_odd and is_last:
            due_ns = start_ns + tolerance_ns
        for each in states:
            _append(found, each)
    return found, due_ns


def settled(first: Sequence[Change], second: Sequence[Change], differ: Differ) -> list[int]:
    """Times at which one of them said something and they did not differ: what lies behind can be judged without what
    lies before."""
    both = _both(first, second)
    return [time_ns for time_ns, state, word in both if state is None or not differ(state, word or "")]


def put_right(said: Sequence[Said], states: Sequence[Change], since_ns: int, count_max: int) -> list[Said]:
    """What is to be told so that `states` is what was told from `since_ns` on: all between the first and the last
    difference, also what stands there already, for a reader who has joined equal states. The earliest `count_max` of
    it; asked again with these, the rest."""
    both = _both([(each.time_ns, each.state) for each in said], states)
    late = [(time_ns, old, new) for time_ns, old, new in both if time_ns >= since_ns and new is not None]
    wrong = [index for index, (_, old, new) in enumerate(late) if old != new]
    if not wrong:
        return []
    revisions = {each.time_ns: each.revision + 1 for each in said}
    behind = late[wrong[0] : wrong[-1] + 2]  # with where both are the same again
    return [Said(time_ns, new or "", revisions.get(time_ns, 0)) for time_ns, _, new in behind][:count_max]


def merge_said(said: Sequence[Said], told: Sequence[Said]) -> list[Said]:
    """What was told, with what was told just now in its place."""
    return sorted({each.time_ns: each for each in (*said, *told)}.values(), key=_said_at)


def disputes(said: Sequence[Said]) -> list[Dispute]:
    """The times in dispute among what was told."""
    found: list[Dispute] = []
    since_ns = None
    for each in said:
        if each.state == DISPUTED:
            since_ns = each.time_ns if since_ns is None else since_ns
        elif since_ns is not None:
            found.append(Dispute(since_ns, each.time_ns))
            since_ns = None
    return found if since_ns is None else [*found, Dispute(since_ns, None)]


def state_at(changes: Sequence[Change], time_ns: int) -> str:
    """What a source says at a time; "" before its first word."""
    at = bisect_right(changes, time_ns, key=_time_of)
    return changes[at - 1][1] if at else ""


def put_change(changes: list[Change], time_ns: int, state: str, *, apart_ns: int = 0) -> bool:
    """Keep what a source says from a time on, also what comes late; whether it is another word than stood there. The
    same word again is kept too, since another one may still come in between, unless it comes sooner than `apart_ns`
    behind the one before it."""
    at = bisect_right(changes, time_ns, key=_time_of)
    before = changes[at - 1] if at else None
    if before is not None and before[1] == state:
        if time_ns - before[0] >= max(apart_ns, 1):
            changes.insert(at, (time_ns, state))
        return False
    if before is not None and before[0] == time_ns:  # the same moment again: what came last counts
        changes[at - 1] = (time_ns, state)
    else:
        changes.insert(at, (time_ns, state))
    return True


def note_heard(heard: list[Stretch], time_ns: int, until_ns: int) -> None:
    """Keep that a source was heard of, also late: its word counts until then. `heard` is a list of stretches (begin,
    end) in order, which neither meet nor overlap."""
    at = to = bisect_left(heard, time_ns, key=_end_of)
    while to < len(heard) and heard[to][0] <= until_ns:
        time_ns, until_ns, to = min(time_ns, heard[to][0]), max(until_ns, heard[to][1]), to + 1
    heard[at:to] = [(time_ns, until_ns)]


def as_heard(changes: Sequence[Change], heard: Sequence[Stretch], now_ns: int) -> Sequence[Change]:
    """What a source says, as far as it was heard of: "" from where a stretch ends to where the next one begins. What it
    said before the first of them stands."""
    marks: list[Change] = []
    for (_, end_ns), (begin_ns, _) in pairwise(heard):
        marks += [(end_ns, ""), (begin_ns, state_at(changes, begin_ns))]
    if heard and heard[-1][1] <= now_ns:
        marks.append((heard[-1][1], ""))
    return sorted({**dict(changes), **dict(marks)}.items()) if marks else changes


def _end_of(stretch: Stretch) -> int:
    return stretch[1]


def _both(first: Sequence[Change], second: Sequence[Change]) -> list[tuple[int, str | None, str | None]]:
    """What each of them says, whenever one of them says something; None before its first word."""
    found: list[tuple[int, str | None, str | None]] = []
    one = other = None
    at = to = 0
    while at < len(first) or to < len(second):
        is_first = to == len(second) or (at < len(first) and first[at][0] <= second[to][0])
        time_ns = first[at][0] if is_first else second[to][0]
        if at < len(first) and first[at][0] == time_ns:
            one, at = first[at][1], at + 1
        if to < len(second) and second[to][0] == time_ns:
            other, to = second[to][1], to + 1
        found.append((time_ns, one, other))
    return found


def _spans(
    first: Sequence[Change], second: Sequence[Change], differ: Differ
) -> list[tuple[int, list[Change], bool]]:  # fmt: skip
    """Stretches in which they differ, and in which they do not, with the states of the first one in them."""
    spans: list[tuple[int, list[Change], bool]] = []
    for time_ns, state, word in _both(first, second):
        if state is None:
            continue
        is_odd = differ(state, word or "")
        if not spans or spans[-1][2] != is_odd:
            spans.append((time_ns, [], is_odd))
        spans[-1][1].append((time_ns, state))
    return spans


def _append(found: list[Change], change: Change) -> None:
    if not found or found[-1][1] != change[1]:
        found.append(change)


def _time_of(change: Change) -> int:
    return change[0]


def _said_at(said: Said) -> int:
    return said.time_ns
