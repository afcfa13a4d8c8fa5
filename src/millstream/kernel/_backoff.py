"""Exponential back-off with full jitter (from a given random source, so that tests are repeatable)."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(slots=True)
class Backoff:
    """Delays of one supervised thing. `next_s` grows towards `ceiling_s`; `reset` after a success.

    The delay is drawn from [half, whole] of the current step: never zero, never synchronised over a fleet.
    """

    floor_s: float = 0.2
    ceiling_s: float = 30.0
    factor: float = 2.0
    rng: random.Random | None = None  # made when it is first needed: seeding one costs more than most requests
    attempts_count: int = 0

    def next_s(self) -> float:
        """The delay before the next attempt, in seconds."""
        step = min(self.ceiling_s, self.floor_s * self.factor ** min(self.attempts_count, 64))
        self.attempts_count += 1
        self.rng = self.rng or random.Random()
        return step * (0.5 + 0.5 * self.rng.random())

    def reset(self) -> None:
        """The last attempt worked."""
        self.attempts_count = 0
