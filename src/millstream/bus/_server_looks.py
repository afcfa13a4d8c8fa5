"""How often a supervised server is looked after, and what follows from what is seen. Pure."""

from __future__ import annotations

from dataclasses import dataclass

LOOK_INTERVAL_S = 1.0
WELL_LOOKS = 30  # in a row; from then on it is looked after less often, until somebody doubts it
WELL_INTERVAL_S = 3.0
WELL_HEALTH_LOOKS = 3  # of these one asks for its health: a request of a millisecond
HEALTH_FAILURES_ALARM = 3  # in a row; then people are told
HEALTH_FAILURES_MAX = 10  # in a row; then the server is restarted (a stream frozen by an I/O error needs that)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of one look. `restart`: why the server has to be restarted; `alarm`: what people are told, "" when it is well,
    None when what they were told stays."""

    restart: str | None = None
    alarm: str | None = None


class HealthJudge:
    """From one look to the next, of one process."""

    def __init__(self) -> None:
        self._failures_count = 0
        self._was_full = False

    def judge(self, problem: str | None, *, is_full: bool) -> Verdict:
        """`problem` is None for a healthy server; `is_full`: its disk is, so that a restart would not help."""
        had_room, self._was_full = not self._was_full, is_full
        if problem is not None and not had_room and not is_full:
            return Verdict("the disk has room again")  # streams that met the full disk are frozen until a restart
        if problem is None:
            self._failures_count = 0
            return Verdict(alarm="")
        self._failures_count += not is_full
        return Verdict(
            f"unhealthy: {problem}" if self._failures_count >= HEALTH_FAILURES_MAX else None,
            f"is unhealthy: {problem}" if self._failures_count >= HEALTH_FAILURES_ALARM else None,
        )


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
