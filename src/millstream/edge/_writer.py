"""Writes on an open session: one at a time, never beside a read, read back where the session can."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from millstream.kernel import Clock, PlantError, Unreachable
from millstream.model import BAD_NO_COMMUNICATION, Quality, Value
from millstream.protocols.write_request import is_same
from millstream.sdk import Polled, Session, Tag, Writable, Write, WriteResult

WRITES_WAITING_MAX = 32  # of one connector; more than anyone waits for
WRITE_TIMEOUT_S = 10.0
READ_BACK_PAUSE_S = 0.1


@dataclass(frozen=True, slots=True)
class WriteOutcome:
    """`is_certain` is false when the machine may or may not have taken it. `shown` is the raw value read back, whose
    `shown_quality` is None when it could not be; `agrees` tells whether it is what was written."""

    result: WriteResult
    is_certain: bool = True
    is_sent: bool = True
    shown: Value | None = None
    shown_quality: Quality | None = None
    agrees: bool = True


@dataclass(slots=True)
class WriteJob:
    """One write. `is_due` tells, right before it goes out, whether it still may; `read_back_s` how long the machine may
    take to show it, None: do not look."""

    tag: Tag
    value: Value | None
    is_due: Callable[[], bool]
    read_back_s: float | None
    done: asyncio.Future[WriteOutcome]


def not_sent(reason: str, quality: Quality = BAD_NO_COMMUNICATION) -> WriteOutcome:
    """Nothing reached the machine."""
    return WriteOutcome(WriteResult(quality, reason), is_sent=False)


class SessionWriter:
    """The writes of one connector, over all its sessions. Without a session nothing waits: it is answered at once."""

    def __init__(self, clock: Clock, read_lock: asyncio.Lock) -> None:
        self._clock = clock
        self._read_lock = read_lock
        self._jobs: deque[WriteJob] = deque()
        self._wake = asyncio.Event()
        self._is_open = False

    async def write(self, job: WriteJob) -> WriteOutcome:
        """Queue it and wait for its outcome. Never raises but when cancelled."""
        if not self._is_open:
            return not_sent("the connector has no open session")
        if len(self._jobs) >= WRITES_WAITING_MAX:
            return not_sent("too many writes wait")
        self._jobs.append(job)
        self._wake.set()
        return await job.done

    async def run(self, session: Session) -> None:
        """Serve the session until cancelled. Raises Unreachable when a write is not answered."""
        self._is_open = True
        current: WriteJob | None = None
        try:
            while True:
                while self._jobs:
                    current = self._jobs.popleft()
                    _answer(current, await self._carry_out(session, current))
                    current = None
                self._wake.clear()
                await self._wake.wait()
        finally:
            self._is_open = False
            if current is not None:
                lost = WriteResult(BAD_NO_COMMUNICATION, "the link was lost before the machine answered")
                _answer(current, WriteOutcome(lost, is_certain=False))
            while self._jobs:
                _answer(self._jobs.popleft(), not_sent("the link was lost"))

    async def _carry_out(self, session: Session, job: WriteJob) -> WriteOutcome:
        if not isinstance(session, Writable):
            return not_sent("this connector cannot write")
        async with self._read_lock:
            if job.done.cancelled() or not job.is_due():
                return not_sent("expired while it waited")
            deadline = asyncio.timeout(WRITE_TIMEOUT_S)
            try:
                async with deadline:
                    (result,) = await session.write([Write(job.tag, job.value)])
            except TimeoutError as error:
                if not deadline.expired():
                    raise
                raise Unreachable("no answer to a write", expected=f"{WRITE_TIMEOUT_S:g}s") from error
        if result.quality == BAD_NO_COMMUNICATION:  # sent, and no answer
            return WriteOutcome(result, is_certain=False)
        is_over = not result.quality.is_good or result.answer is not None
        if is_over or job.read_back_s is None or not isinstance(session, Polled):
            return WriteOutcome(result)
        return await self._read_back(session, job, result)

    async def _read_back(self, session: Polled, job: WriteJob, result: WriteResult) -> WriteOutcome:
        """Look until the machine shows the value, or its time for that is over. After a null one look is enough: what
        shows then is not ours."""
        assert job.read_back_s is not None
        wanted = job.value if result.written is None else result.written
        until_ns = self._clock.monotonic_ns() + int(job.read_back_s * 1e9)
        while True:
            async with self._read_lock:
                try:
                    async with asyncio.timeout(WRITE_TIMEOUT_S):
                        (sample,) = await session.read([job.tag])
                except (PlantError, TimeoutError) as error:
                    return WriteOutcome(WriteResult(result.quality, f"written, but not read back: {error}"))
            agrees = job.value is None or (sample.quality.is_good and is_same(wanted, sample.value))
            if agrees or self._clock.monotonic_ns() >= until_ns:
                return WriteOutcome(result, shown=sample.value, shown_quality=sample.quality, agrees=agrees)
            await self._clock.sleep(READ_BACK_PAUSE_S)


def _answer(job: WriteJob, outcome: WriteOutcome) -> None:
    if not job.done.done():
        job.done.set_result(outcome)
