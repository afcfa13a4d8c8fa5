"""Ends steps that do not end: timers of the operating system interrupt the user's code, wherever it is.

Processor time decides, so that a machine that stalls or swaps puts no sound input into quarantine; a step that waits
(it must not: no I/O) is interrupted after many times as long on the wall clock. A step that swallows the interruption
ends the process, after a note that makes the next start reject that input unseen.

Memory is bounded for the whole process. A step that wants more than there is gets a MemoryError; when that leaves room,
only its input was too much. When it does not, what the user's code keeps has filled the process: it commits what came
before and ends, and the next one takes the same input with empty hands. An input that fills two processes is rejected
unseen by the third.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import signal
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from millstream.flow import Absorb, Event, Flow, ProcessFullError, Run

LOOKS = 3  # so many looks at the same call before it is interrupted
WALL_FACTOR = 30
SWALLOWED_MAX = 5
NOTES_MAX = 1000
NOTES_FILE = "stuck.txt"
HUNGRY_FILE = "hungry.txt"
ROOM_SHARE = 8  # of the bound: as much has to be free after a MemoryError, and is kept for a last commit


class StepWatchdog:
    """Watches the user's functions of one process; main thread only. `on_stuck` ends the process; `notes` is the folder
    of the files that tell the next one which event did it."""

    def __init__(self, timeout_s: float, memory_bytes: int, notes: Path, on_stuck: Callable[[], None]) -> None:
        self._timeout_s = timeout_s
        self._room_bytes = memory_bytes // ROOM_SHARE
        self._on_stuck = on_stuck
        self._notes = notes / NOTES_FILE
        self._hungry_notes = notes / HUNGRY_FILE
        self._reserve = b""
        self._hungry = _read(self._hungry_notes)
        self._event: Event | None = None
        self._stuck = frozenset(_read(self._notes))
        self._number = 0
        self._is_inside = False
        self._seen = {signal.SIGPROF: (0, 0), signal.SIGALRM: (0, 0)}
        self._interrupted = (0, 0)

    def start(self) -> None:
        """From here on."""
        self._reserve = bytes(self._room_bytes)
        period_s = self._timeout_s / (LOOKS - 1)
        for number, timer, factor in (
            (signal.SIGPROF, signal.ITIMER_PROF, 1),
            (signal.SIGALRM, signal.ITIMER_REAL, WALL_FACTOR),
        ):
            signal.signal(number, self._look)
            signal.setitimer(timer, period_s * factor, period_s * factor)

    def stop(self) -> None:
        """No more interruptions."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)

    def guard(self, flow: Flow[Any]) -> Flow[Any]:
        """The same flow, with its functions watched."""
        step, key, regroup = flow.step, flow.key, flow.regroup

        def guarded_step(state: Any, event: Event) -> Any:
            self._number += 1
            if self._stuck and _mark(event) in self._stuck:
                raise TimeoutError("a step that swallows its interruption has ended the process for this event")
            if self._hungry and self._hungry.count(_mark(event)) > 1:
                raise MemoryError("this event has filled two processes")
            self._event = event
            self._is_inside = True
            try:
                return step(state, event)
            except MemoryError as error:
                self._is_inside = False
                self._check_room(error)
                raise MemoryError(f"a step wants more memory than there is, {_place_of(error)}") from None
            finally:
                self._is_inside = False

        # What has notes is looked at sample by sample, so that each is told from the others.
        absorb = flow.absorb if not (self._stuck or self._hungry) else None
        return replace(
            flow, step=guarded_step, key=self._guarded(key), absorb=None if absorb is None else self._absorb(absorb),
            regroup=None if regroup is None else self._guarded(regroup),
        )  # fmt: skip

    def _absorb(self, absorb: Absorb[Any]) -> Absorb[Any]:
        """What does not end or wants too much here comes to the step once more, which is told then."""

        def guarded(state: Any, run: Run) -> int:
            self._number += 1
            self._event = Event(run.key, "tag", int(run.time_ns[0]), run.values[0].item(), source=run.source)
            self._is_inside = True
            try:
                return absorb(state, run)
            finally:
                self._is_inside = False

        return guarded

    def _guarded(self, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def guarded(argument: Any) -> Any:
            self._number += 1
            self._is_inside = True
            try:
                return function(argument)
            finally:
                self._is_inside = False

        return guarded

    def _look(self, number: int, frame: FrameType | None) -> None:
        if not self._is_inside:
            return
        which = signal.Signals(number)
        call, looks = self._seen[which]
        looks = looks + 1 if call == self._number else 1
        self._seen[which] = (self._number, looks)
        if looks < LOOKS:
            return
        call, count = self._interrupted
        count = count + 1 if call == self._number else 1
        self._interrupted = (self._number, count)
        if count > SWALLOWED_MAX:
            self._note(self._notes)
            self._on_stuck()
        raise TimeoutError(f"a step ran longer than {self._timeout_s:g} s")

    def _check_room(self, error: MemoryError) -> None:
        """What the failed step held is let go; if there is no room then, the process is of no use any more. Raises
        ProcessFullError."""
        traceback.clear_frames(error.__traceback__)
        gc.collect()
        try:
            bytearray(self._room_bytes)
        except MemoryError:
            self._reserve = b""
            with contextlib.suppress(OSError, MemoryError):
                self._note(self._hungry_notes)
            raise ProcessFullError("its steps keep more in memory than 'max_memory' allows") from None

    def _note(self, notes: Path) -> None:
        if self._event is None:
            return
        marks = [*_read(notes), _mark(self._event)][-NOTES_MAX:]
        notes.parent.mkdir(parents=True, exist_ok=True)
        notes.write_text("\n".join(marks) + "\n", encoding="ascii")


def _place_of(error: MemoryError) -> str:
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}" if frame is not None else ""


def _read(notes: Path) -> list[str]:
    try:
        return notes.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError):
        return []


def _mark(event: Event) -> str:
    parts = (event.key, event.kind, event.source, event.timer, event.time_ns, repr(event.value)[:1000])
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]
