"""What is wrong with a server, for as long as it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from millstream.kernel import Clock


@dataclass(frozen=True, slots=True)
class ServerAlarm:
    """A condition of the server that a person should know, until it is cleared."""

    code: str
    message: str
    since_ns: int

    def as_dict(self) -> dict[str, object]:
        """As the node's status shows it."""
        return {"code": self.code, "message": self.message, "since_ns": self.since_ns}


class StandingAlarms:
    """One alarm a code. Each change of state is one line of the log."""

    def __init__(self, clock: Clock, log: Callable[[str], None]) -> None:
        self._clock, self._log = clock, log
        self._alarms: dict[str, ServerAlarm] = {}

    def all(self) -> list[ServerAlarm]:
        """Those that stand now."""
        return list(self._alarms.values())

    def set(self, code: str, message: str | None) -> None:
        """It stands from now on with this message, or (None) is over. Other words for one that stands keep its time."""
        if message is None:
            if self._alarms.pop(code, None) is not None:
                self._log(f"{code} is over")
            return
        known = self._alarms.get(code)
        if known is None or known.message != message:
            since_ns = known.since_ns if known is not None else self._clock.now_ns()
            self._alarms[code] = ServerAlarm(code, message, since_ns)
            self._log(message)
