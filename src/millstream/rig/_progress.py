"""How a run on this machine speaks while it runs."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console


class Progress:
    """One line a step on standard error, so that standard output stays data."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """Print one line."""
        self._console.print(text)


def percentile(values: Sequence[float], fraction: float) -> float | None:
    """The nearest-rank percentile, None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(fraction * len(ordered)))]
