"""Which units behind one address answer. Pure: times are given."""

from __future__ import annotations

from collections.abc import Iterable

from millstream.kernel import Backoff

RETRY_FLOOR_S, RETRY_CEILING_S = 1.0, 30.0  # a silent unit costs the others one `timeout` at each try


class Units:
    """A unit that does not answer is left alone for a growing while, so that it does not hold up the others."""

    def __init__(self, unit_ids: Iterable[int] = ()) -> None:
        self._known = set(unit_ids)
        self._silent: dict[int, tuple[Backoff, int]] = {}

    def add(self, unit_ids: Iterable[int]) -> None:
        """More units that are asked."""
        self._known.update(unit_ids)

    def is_due(self, unit_id: int, now_ns: int) -> bool:
        """Whether the unit may be asked now; when all are silent, that is no matter of units any more."""
        silent = self._silent.get(unit_id)
        return silent is None or now_ns >= silent[1] or self.are_all_silent

    def answered(self, unit_id: int) -> bool:
        """It answered. True when it was silent before."""
        return self._silent.pop(unit_id, None) is not None

    def went_silent(self, unit_id: int, now_ns: int) -> bool:
        """It did not answer. True when this is new."""
        is_new = unit_id not in self._silent
        backoff = Backoff(RETRY_FLOOR_S, RETRY_CEILING_S) if is_new else self._silent[unit_id][0]
        self._silent[unit_id] = (backoff, now_ns + int(backoff.next_s() * 1e9))
        return is_new

    @property
    def are_all_silent(self) -> bool:
        """Nobody answers: the link itself is in doubt."""
        return self._known <= self._silent.keys()
