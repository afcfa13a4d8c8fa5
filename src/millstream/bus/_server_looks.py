"""How often a supervised server is looked after. Pure."""

from __future__ import annotations

LOOK_INTERVAL_S = 1.0
WELL_LOOKS = 30  # in a row; from then on it is looked after less often, until somebody doubts it
WELL_INTERVAL_S = 3.0
WELL_HEALTH_LOOKS = 3  # of these one asks for its health: a request of a millisecond


class Looks:
    """Order of use for each look: `interval_s`, `is_due`, `note`."""

    def __init__(self) -> None:
        self._well_count = 0
        self._doubts_count = 0

    def doubt(self) -> bool:
        """Ask at each look for a while; False when that is so already."""
        is_new, self._doubts_count = self._doubts_count == 0, self._doubts_count or WELL_LOOKS
        return is_new

    @property
    def interval_s(self) -> float:
        """Until the next look."""
        return WELL_INTERVAL_S if self._is_calm() else LOOK_INTERVAL_S

    def is_due(self) -> bool:
        """Whether this look asks for its health."""
        is_calm = self._is_calm()
        self._doubts_count = max(0, self._doubts_count - 1)
        return not is_calm or self._well_count % WELL_HEALTH_LOOKS == 0

    def note(self, *, is_well: bool) -> bool:
        """What the look showed; True when it has been well for long now."""
        self._well_count = self._well_count + 1 if is_well else 0
        return self._well_count == WELL_LOOKS

    def _is_calm(self) -> bool:
        return self._well_count > WELL_LOOKS and not self._doubts_count
