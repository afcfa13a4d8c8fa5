"""Windows over event time, as parts of a step: pure, and exact for data that comes late.

A window helper is made once, beside the step; its state is a field of the step's state. `take` gives it each event and
each of its timers, and gets back results and effects:

    hour = Sliding(3600 * SECOND_NS, 60 * SECOND_NS, initial=int, fold=lambda n, e: n + e.value, merge=int.__add__)

    def step(state: Panes[int], event: Event) -> tuple[Panes[int], list[Effect]]:
        results, effects = hour.take(state, event)
        said = [Emit(f"{event.key}:last_hour", r.value, r.end_ns, revision=r.revision) for r in results]
        return state, [*effects, *said]

Bounded lateness is the flow's (`TimePolicy.lateness_ns`): a window closes when the watermark reaches its end. What
comes for a window that is closed corrects it: the result is given again with the next revision, as long as the window
is kept (`keep_ns` behind its end). What comes later still is given as a supplement: a result of its own, marked as
such. Nothing is dropped.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec

from millstream.flow._model import CancelTimer, Effect, Event, SetTimer
from millstream.kernel import ConfigError

A = TypeVar("A")

PANES_MAX = 1500  # of one window; a day in minutes


class Result(msgspec.Struct, Generic[A], frozen=True, gc=False):
    """The content of one window [start_ns, end_ns), UTC ns. `before` is all that came before it, merged.

    Of several with the same start and end the highest `revision` counts. `is_supplement`: only what came too late to
    correct its window; add it. `is_retracted`: this session has become part of another.
    """

    start_ns: int
    end_ns: int
    value: A
    before: A | None = None
    revision: int = 0
    is_supplement: bool = False
    is_retracted: bool = False


class Pane(msgspec.Struct, Generic[A], array_like=True):
    """What fell into one step of a window."""

    start_ns: int
    content: A


class Panes(msgspec.Struct, Generic[A], array_like=True):
    """State of a `Sliding`: panes by time; all that were let go, merged; the newest end that was given, and the time
    before which panes were let go (UTC ns); how often a window that was given was corrected, by its end."""

    panes: list[Pane[A]] = []
    before: A | None = None
    done_ns: int = 0
    gone_ns: int = 0
    revisions: dict[int, int] = {}


class Sliding(Generic[A]):
    """Windows of `size_ns`, one each `every_ns` (without it: one behind the other, "tumbling"), aligned to UTC plus
    `offset_ns`. A window without events gives no result, but a sliding one gives one when it has become empty."""

    def __init__(
        self, size_ns: int, every_ns: int | None = None, *, initial: Callable[[], A], fold: Callable[[A, Event], A],
        merge: Callable[[A, A], A], keep_ns: int = 0, offset_ns: int = 0, timer: str = "window",
    ) -> None:  # fmt: skip
        every = every_ns if every_ns is not None else size_ns
        if every <= 0 or size_ns % every or size_ns // every > PANES_MAX or keep_ns < 0:
            raise ConfigError(
                "not a window", expected=f"a size that is 1 to {PANES_MAX} times its step, nothing negative",
                got=f"{size_ns} ns each {every} ns, kept {keep_ns} ns",
            )  # fmt: skip
        self._size, self._every, self._offset, self._timer = size_ns, every, offset_ns, timer
        self._initial, self._fold, self._merge = initial, fold, merge
        self._trail = 0 if size_ns == every else every  # a sliding window is given once more when it is empty
        self._span = size_ns + self._trail + -(-keep_ns // every) * every  # from a pane's start until it is let go

    def take(self, state: Panes[A], event: Event) -> tuple[list[Result[A]], list[Effect]]:
        """One event, or this window's timer. Other timers are not for it."""
        if event.is_timer:
            if event.timer != self._timer:
                return [], []
            return self._close(state, event.time_ns), self._wake(state)
        start = event.time_ns - (event.time_ns - self._offset) % self._every
        if start < state.gone_ns:
            alone = self._fold(self._initial(), event)
            before = state.before
            state.before = alone if before is None else self._merge(before, alone)
            return [Result(start, start + self._every, alone, is_supplement=True)], []
        panes = state.panes
        at = bisect_left(panes, start, key=_start_of)
        if at == len(panes) or panes[at].start_ns != start:
            panes.insert(at, Pane(start, self._initial()))
        panes[at].content = self._fold(panes[at].content, event)
        return (self._corrected(state, start) if start < state.done_ns else []), self._wake(state)

    def _corrected(self, state: Panes[A], start: int) -> list[Result[A]]:
        results = []
        for end in range(start + self._every, min(start + self._size, state.done_ns) + 1, self._every):
            revision = state.revisions[end] = state.revisions.get(end, 0) + 1
            results.append(self._result(state, end, revision))
        return results

    def _close(self, state: Panes[A], end: int) -> list[Result[A]]:
        if end <= state.done_ns:
            return []
        state.done_ns = end
        result = self._result(state, end, 0)
        state.gone_ns = end - self._span + self._every
        gone = bisect_left(state.panes, state.gone_ns, key=_start_of)
        for pane in state.panes[:gone]:
            state.before = pane.content if state.before is None else self._merge(state.before, pane.content)
        del state.panes[:gone]
        if state.revisions:
            state.revisions = {at: n for at, n in state.revisions.items() if at > state.gone_ns}
        return [result]

    def _result(self, state: Panes[A], end: int, revision: int) -> Result[A]:
        start = end - self._size
        value: A | None = None
        before = state.before
        for pane in state.panes:
            if pane.start_ns >= end:
                break
            if pane.start_ns < start:
                before = pane.content if before is None else self._merge(before, pane.content)
            else:
                value = pane.content if value is None else self._merge(value, pane.content)
        return Result(start, end, value if value is not None else self._initial(), before, revision)

    def _wake(self, state: Panes[A]) -> list[Effect]:
        panes = state.panes
        if state.done_ns:
            end = state.done_ns + self._every
            at = bisect_left(panes, end - self._size - self._trail, key=_start_of)
            if at < len(panes):
                return [SetTimer(self._timer, max(end, panes[at].start_ns + self._every))]
        elif panes:
            return [SetTimer(self._timer, panes[0].start_ns + self._every)]
        return [CancelTimer(self._timer)]


class Span(msgspec.Struct, Generic[A], array_like=True):
    """One session: first and newest event, content, how often it was given, whether it is still open."""

    start_ns: int
    last_ns: int
    content: A
    given: int = 0
    is_open: bool = True


class Sessions(msgspec.Struct, Generic[A], array_like=True):
    """State of a `Session`: spans by time, and the time before which they were let go (UTC ns)."""

    spans: list[Span[A]] = []
    gone_ns: int = 0


class Session(Generic[A]):
    """Events that follow each other in less than `gap_ns` belong together. A result ends with its newest event."""

    def __init__(
        self, gap_ns: int, *, initial: Callable[[], A], fold: Callable[[A, Event], A], merge: Callable[[A, A], A],
        keep_ns: int = 0, timer: str = "session",
    ) -> None:  # fmt: skip
        if gap_ns <= 0 or keep_ns < 0:
            raise ConfigError("not a gap between sessions", got=f"{gap_ns} ns, kept {keep_ns} ns")
        self._gap, self._keep, self._timer = gap_ns, keep_ns, timer
        self._initial, self._fold, self._merge = initial, fold, merge

    def take(self, state: Sessions[A], event: Event) -> tuple[list[Result[A]], list[Effect]]:
        """One event, or this session's timer. Other timers are not for it."""
        if event.is_timer:
            if event.timer != self._timer:
                return [], []
            return self._close(state, event.time_ns), self._wake(state)
        at_ns, spans, gap = event.time_ns, state.spans, self._gap
        first = bisect_right(spans, at_ns - gap, key=_last_of)
        end = bisect_left(spans, at_ns + gap, key=_start_of)
        near = spans[first:end]
        if not near:
            alone = self._fold(self._initial(), event)
            if at_ns < state.gone_ns:
                return [Result(at_ns, at_ns, alone, is_supplement=True)], []
            spans.insert(first, Span(at_ns, at_ns, alone))
            return [], self._wake(state)
        joined, results = self._join(near, event)
        spans[first:end] = [joined]
        return results, self._wake(state)

    def _join(self, near: list[Span[A]], event: Event) -> tuple[Span[A], list[Result[A]]]:
        head = near[0]
        start, last = min(head.start_ns, event.time_ns), max(near[-1].last_ns, event.time_ns)
        results: list[Result[A]] = [
            Result(s.start_ns, s.last_ns, s.content, None, s.given, is_retracted=True)
            for s in near
            if s.given and s.start_ns != start
        ]
        is_open = last != near[-1].last_ns or any(s.is_open for s in near)
        content = head.content
        for other in near[1:]:
            content = self._merge(content, other.content)
        given = head.given if head.start_ns == start else 0
        joined = Span(start, last, self._fold(content, event), given, is_open)
        if not is_open:
            results.append(self._given(joined))
        return joined, results

    def _given(self, span: Span[A]) -> Result[A]:
        span.is_open = False
        span.given += 1
        return Result(span.start_ns, span.last_ns, span.content, None, span.given - 1)

    def _close(self, state: Sessions[A], now_ns: int) -> list[Result[A]]:
        results = [self._given(s) for s in state.spans if s.is_open and s.last_ns + self._gap <= now_ns]
        kept = []
        for span in state.spans:
            if span.is_open or span.last_ns + self._gap + self._keep > now_ns:
                kept.append(span)
            else:
                state.gone_ns = max(state.gone_ns, span.last_ns + self._gap)
        state.spans = kept
        return results

    def _wake(self, state: Sessions[A]) -> list[Effect]:
        if not state.spans:
            return [CancelTimer(self._timer)]
        ends = (s.last_ns + self._gap + (0 if s.is_open else self._keep) for s in state.spans)
        return [SetTimer(self._timer, min(ends))]


def _start_of(span: Any) -> int:
    return int(span.start_ns)


def _last_of(span: Any) -> int:
    return int(span.last_ns)
