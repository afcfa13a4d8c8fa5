"""What a bad device does to its answers, by chance and by a seed: for the fault layer in front of any TCP device."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

TAIL_BYTES_MAX = 8  # cut off an answer, or added to it


class Kind(StrEnum):
    """One way to misbehave."""

    HALF_FRAMES = "half-frames"
    WRONG_LENGTH = "wrong-length"
    DROP = "drop"
    FREEZE = "freeze"
    TORN = "torn"


@dataclass(frozen=True, slots=True)
class Treatment:
    """What is sent instead of an answer, with a pause between the parts. Afterwards silence when `is_frozen`, the end
    of the connection when `is_torn`."""

    parts: tuple[bytes, ...]
    is_frozen: bool = False
    is_torn: bool = False


class Mischief:
    """Treats answers: with `chance` each one gets one of `kinds`. The same seed and answers give the same treatment."""

    def __init__(self, kinds: Collection[Kind], chance: float, seed: int) -> None:
        if not 0 <= chance <= 1:
            raise ValueError(f"chance is {chance:g}, expected 0 to 1")
        self._kinds = sorted(kinds)
        self._chance = chance
        self._random = random.Random(seed)
        self.counts: Counter[Kind] = Counter()

    def treat(self, answer: bytes) -> Treatment:
        """What becomes of one answer (as many bytes as came at once)."""
        # Three draws for each answer, whatever becomes of it, so that one answer does not shift the luck of the rest.
        is_hit, which, where = (self._random.random() for _ in range(3))
        if not self._kinds or is_hit >= self._chance or not answer:
            return Treatment((answer,))
        kind = self._kinds[int(which * len(self._kinds))]
        self.counts[kind] += 1
        at = 1 + int(where * (len(answer) - 1)) if len(answer) > 1 else 1
        if kind is Kind.TORN:
            return Treatment((answer[:at],) if len(answer) > 1 else (), is_torn=True)
        if kind is Kind.HALF_FRAMES:
            return Treatment(tuple(part for part in (answer[:at], answer[at:]) if part))
        if kind is Kind.WRONG_LENGTH:
            return Treatment((self._of_wrong_length(answer, where),))
        return Treatment((), is_frozen=kind is Kind.FREEZE)

    @staticmethod
    def _of_wrong_length(answer: bytes, where: float) -> bytes:
        count = 1 + int(where * (2 * TAIL_BYTES_MAX - 1))
        if count > TAIL_BYTES_MAX or len(answer) < 2:
            return answer + answer[: max(1, count - TAIL_BYTES_MAX)]
        return answer[: max(1, len(answer) - count)]
