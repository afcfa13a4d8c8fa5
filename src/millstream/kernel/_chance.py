"""The only source of repeatable chance."""

from __future__ import annotations

import random
from typing import TypeAlias

Chance: TypeAlias = random.Random


def seeded(seed: int | str) -> Chance:
    """Chance that is the same again for the same seed, on every machine, as long as only `random()` is drawn."""
    return random.Random(seed)
