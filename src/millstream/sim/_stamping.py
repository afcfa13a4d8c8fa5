"""A stamping press: its strokes, its rejects, and why it stands. Pure; the time comes from outside."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

EXECUTE, STOPPED, IDLE, SUSPENDED, ABORTED, HELD = 6, 2, 4, 5, 9, 11  # StateCurrent of ISA-TR88.00.02
STROKE_S = 0.44
REJECT_RATIO = 0.04
REJECT_CODES = (7, 7, 7, 9)  # burrs, and now and then scratches
SIGNALS = ("execution", "strokes", "rejected", "reject_code", "infeed", "guard_open")

STRAIN_FIRST_S, STRAIN_S, STRAIN_EVERY_S = 3.0, 24.0, 600.0
STRAINED = {"spindle_temperature": 1.6, "coolant_pressure": -1.6}
"""How far a whole strain moves a signal, in its amplitudes."""
QUIET_RATIO = 0.35  # of the amplitude, as long as nothing strains it

Step = tuple[int, float, bool, bool]
"""A state, for how many seconds, whether parts are fed to it, whether its guard is open."""

_FIRST: tuple[Step, ...] = (
    (EXECUTE, 6.0, True, False), (SUSPENDED, 2.5, False, False),
    (EXECUTE, 8.0, True, False), (HELD, 3.0, True, True),
    (EXECUTE, 10.0, True, False), (ABORTED, 4.0, True, False), (STOPPED, 1.0, True, False), (IDLE, 0.5, True, False),
)  # fmt: skip
"""Each kind of stop once in the first minute, for whoever does not look for longer."""


def strain(elapsed_s: float) -> float:
    """How much its cooling is behind, 0 to 1: for half a minute in ten, the first one at once, for whoever does not
    look for longer."""
    since_s = (elapsed_s - STRAIN_FIRST_S) % STRAIN_EVERY_S
    return math.sin(math.pi * since_s / STRAIN_S) ** 2 if since_s < STRAIN_S else 0.0


class Stamping:
    """What the press shows. `changes` is called with rising times, in seconds since it was switched on."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._steps = _steps(rng)
        self._step: Step = next(self._steps)
        self._until_s = self._step[1]
        self._stroke_s = STROKE_S
        self._shown = dict.fromkeys(SIGNALS, -1)
        self._now = {"strokes": 0, "rejected": 0, "reject_code": 0}

    def changes(self, elapsed_s: float) -> dict[str, int]:
        """The signals that are not as they were at the call before; the first time all of them."""
        while elapsed_s >= self._until_s:
            self._step = next(self._steps)
            self._until_s += self._step[1]
            self._stroke_s = max(self._stroke_s, elapsed_s)
        if self._step[0] == EXECUTE and elapsed_s >= self._stroke_s and self._shown["strokes"] >= 0:
            self._stroke_s = max(self._stroke_s + STROKE_S, elapsed_s)
            self._strike()
        state, _, is_fed, is_open = self._step
        self._now |= {"execution": state, "infeed": int(is_fed), "guard_open": int(is_open)}
        changed = {name: self._now[name] for name in SIGNALS if self._now[name] != self._shown[name]}
        self._shown |= changed
        return changed

    def _strike(self) -> None:
        """One part, at times one that is no good; the first look saw none yet, so that none goes uncounted."""
        self._now["strokes"] += 1
        if self._rng.random() < REJECT_RATIO:
            self._now["rejected"] += 1
            self._now["reject_code"] = self._rng.choice(REJECT_CODES)


def _steps(rng: random.Random) -> Iterator[Step]:
    yield from _FIRST
    while True:
        yield EXECUTE, rng.uniform(8.0, 30.0), True, False
        kind = rng.random()
        if kind < 0.5:
            yield SUSPENDED, rng.uniform(1.5, 5.0), False, False
        elif kind < 0.8:
            yield HELD, rng.uniform(2.0, 6.0), True, True
        else:
            yield ABORTED, rng.uniform(3.0, 9.0), True, False
            yield STOPPED, 1.0, True, False
            yield IDLE, 0.5, True, False
