"""The states of one connector and what follows from each error. Pure: times and chance are given."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from millstream.kernel import (
    AuthError,
    Backoff,
    ConfigError,
    DecodeError,
    FencedError,
    PlantError,
    ProtocolViolation,
    Unreachable,
)

OPENS_WITHOUT_PROGRESS_MAX = 5  # a link that opens and dies that often without a sample is a livelock, not bad luck
TRACEBACK_CHARS_MAX = 8000
_FINAL = (AuthError, ConfigError, FencedError)  # opening again cannot help
_POSITION_UNREADABLE = "MS-0307"


class State(Enum):
    """Where a connector stands. `value` is what status shows."""

    NEW = "new"
    OPENING = "opening"
    UP = "connected"
    WAITING = "waiting"
    DEGRADED = "degraded"
    STOPPED = "stopped"
    ENDED = "ended"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Alarm:
    """A condition that a person should know, until it is cleared."""

    code: str
    message: str
    since_ns: int

    def as_dict(self) -> dict[str, object]:
        """As the node's status shows it."""
        return {"code": self.code, "message": self.message, "since_ns": self.since_ns}


@dataclass(frozen=True, slots=True)
class Retry:
    """Open again after so many seconds. `is_new` is True for the first failure since the link was up: log it."""

    delay_s: float
    is_new: bool


@dataclass(frozen=True, slots=True)
class Halt:
    """Do not open again until a person has acted."""


Decision: TypeAlias = Retry | Halt


class Lifecycle:
    """One connector's state machine. The caller opens, reads and waits; this decides and remembers."""

    def __init__(self, backoff: Backoff) -> None:
        self.state = State.NEW
        self.since_ns = 0
        self.opens_count = 0
        self.failures_count = 0
        self.error: str | None = None
        self.trace: str | None = None
        self.alarm: Alarm | None = None
        self._backoff = backoff
        self._idle_opens = 0
        self._has_progress = False
        self._is_down = False

    @property
    def is_down(self) -> bool:
        """A failure has been told and no sample has come since."""
        return self._is_down

    def opening(self, now_ns: int) -> None:
        """An attempt begins."""
        self._enter(State.OPENING, now_ns)
        self._has_progress = False

    def opened(self, now_ns: int) -> None:
        """The link is there; whether it works shows at the first data."""
        self.opens_count += 1
        self._idle_opens += 1
        if self._idle_opens <= OPENS_WITHOUT_PROGRESS_MAX:
            self._enter(State.UP, now_ns)
        else:
            self._enter(State.DEGRADED, now_ns)

    def progressed(self, now_ns: int) -> bool:
        """Data came. True when this ends a failure: log it."""
        if self._has_progress:
            return False
        self._has_progress = True
        self._idle_opens = 0
        self._backoff.reset()
        was_down, self._is_down = self._is_down, False
        self.error = self.trace = self.alarm = None
        self.failures_count = 0
        if self.state is not State.UP:
            self._enter(State.UP, now_ns)
        return was_down

    def failed(self, error: BaseException, now_ns: int) -> Decision:
        """Opening or the open link failed."""
        self.failures_count += 1
        self.error = str(error) if isinstance(error, PlantError) else f"{type(error).__name__}: {error}"
        is_new = not self._is_down
        self._is_down = True
        if isinstance(error, _FINAL) or (isinstance(error, DecodeError) and error.code == _POSITION_UNREADABLE):
            self._enter(State.STOPPED, now_ns)
            self._raise(error.code, f"stopped: {error}", now_ns)
            return Halt()
        delay_s = self._backoff.next_s()
        if isinstance(error, Unreachable):
            delay_s = max(delay_s, error.retry_after_s)
        elif not isinstance(error, ProtocolViolation | DecodeError):
            self.trace = "".join(traceback.format_exception(error))[-TRACEBACK_CHARS_MAX:]
            self._raise("MS-0205", f"bug in the connector: {self.error}", now_ns)
        if self._idle_opens >= OPENS_WITHOUT_PROGRESS_MAX:
            self._enter(State.DEGRADED, now_ns)
            if self.alarm is None:
                self._raise("MS-0204", f"opened {self._idle_opens} times without any data: {self.error}", now_ns)
        else:
            self._enter(State.WAITING, now_ns)
        return Retry(delay_s, is_new)

    def ended(self, now_ns: int) -> None:
        """The source is at its end."""
        self._enter(State.ENDED, now_ns)
        self.alarm = self.error = None

    def closed(self, now_ns: int) -> None:
        """The node stops; a state that says more stays."""
        if self.state not in (State.STOPPED, State.ENDED):
            self._enter(State.CLOSED, now_ns)

    def _enter(self, state: State, now_ns: int) -> None:
        if state is not self.state:
            self.state, self.since_ns = state, now_ns

    def _raise(self, code: str, message: str, now_ns: int) -> None:
        since_ns = self.alarm.since_ns if self.alarm is not None and self.alarm.code == code else now_ns
        self.alarm = Alarm(code, message, since_ns)
