"""Work on a history as a whole: rows of files into it, rollups worked out anew, a copy of it; each with an event that
says who."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import msgspec

from millstream.archive._copies import HistoryCopies
from millstream.archive._events import HistoryEvents
from millstream.bus import RawConnection
from millstream.historian import HistorianService, Reply
from millstream.kernel import Clock, PlantError
from millstream.protocols.history_job import (
    CopyBegin,
    CopyEnd,
    CopyPart,
    ImportPart,
    Job,
    JobAnswer,
    RollupsAgain,
    decode_job,
)


class HistoryJobs:
    """`place` gives where the events stand, such as the enterprise; None: nowhere yet, and nothing is done without its
    event."""

    def __init__(
        self, historian: HistorianService, connection: RawConnection, place: Callable[[], str | None], *, writer: str,
        clock: Clock,
    ) -> None:  # fmt: skip
        self._historian = historian
        self._copies = HistoryCopies(historian)
        self._events = HistoryEvents(connection, place, writer=writer, clock=clock)
        self._clock = clock

    async def answer(self, payload: bytes) -> AsyncIterator[Reply]:
        """One reply, with its error when there is one."""
        try:
            job, rows = decode_job(payload)
            done = await self._do(job, rows)
        except PlantError as error:
            yield Reply(b"", (("Ms-Error", msgspec.json.encode(error.as_dict()).decode()), ("Ms-Status", "done")))
            return
        yield Reply(done, (("Ms-Status", "done"),))

    async def _do(self, job: Job, rows: bytes) -> bytes:
        if isinstance(job, CopyBegin):
            answer = await self._copies.begin()
            if self._events.has_place:
                size = sum(file.bytes for file in answer.files)
                await self._events.tell(f"copy/{answer.id}", "copied", {"who": job.who, "bytes": size})
            return msgspec.json.encode(answer)
        if isinstance(job, CopyPart):
            return await self._copies.part(job)
        if isinstance(job, CopyEnd):
            await self._copies.end()
            return msgspec.json.encode(JobAnswer(0))
        if isinstance(job, ImportPart):
            return msgspec.json.encode(await self._import(job, rows))
        return msgspec.json.encode(JobAnswer(await self._rollups(job)))

    async def _import(self, part: ImportPart, rows: bytes) -> JobAnswer:
        if part.part == 0:
            return JobAnswer(await self._historian.imported_parts(part.id))
        facts = {"id": part.id, "name": part.name, "who": part.who, "kind": part.kind, "parts": part.parts}
        facts |= {"is_correction": part.is_correction}
        if part.part == 1:  # before the first row: what was done must not be without its event
            await self._events.tell(f"{part.id}/begun", "import.begun", facts)
        late = await self._historian.store_import(
            part.id, part.part, rows, part.kind, is_correction=part.is_correction
        )  # fmt: skip
        if part.part == part.parts:
            await self._events.tell(f"{part.id}/done", "import.done", facts)
        return JobAnswer(part.part, late)

    async def _rollups(self, job: RollupsAgain) -> int:
        span = {"first_day": job.first_day, "last_day": job.last_day}
        id = f"rollups/{job.first_day}-{job.last_day}/{self._clock.now_ns()}"
        await self._events.tell(f"{id}/begun", "rollups.begun", {"who": job.who, **span})
        done = 0
        for day in await self._historian.sealed_days():
            if job.first_day <= day <= job.last_day and await self._historian.roll_up_again(day):
                done += 1
        await self._events.tell(f"{id}/done", "rollups.done", {"who": job.who, **span, "days": done})
        return done
