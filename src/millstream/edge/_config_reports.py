"""What an edge tells its hub of configurations from afar: events of the integrity stream, each once."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import msgspec

from millstream.config import EdgeConfig
from millstream.edge._config_kept import KeptState
from millstream.edge._config_state import Report, SiteState
from millstream.protocols.cloudevents import CloudEvent, encode_event
from millstream.protocols.ledger import position_subject
from millstream.protocols.uns_subject import UnsAddress, encode_subject
from millstream.sdk import Control, Message, Publisher, Stored

TELL_WITHIN_S = 15.0  # what a trial leads to is told together when it is over: a batch costs the server some ms
TELL_PATIENCE_S = 5.0  # so long good news waits for data that it can be stored with; who asks the edge hears at once
ROUTINE = ("received", "applied", "healthy")
EVENT_TYPE = "millstream.config"
AUDIT_TYPE = "millstream.audit.config.refused"
UNSIGNED = "MS-2413"
AUDITED = (
    UNSIGNED, "MS-2401", "MS-2402", "MS-2403", "MS-2404", "MS-2405", "MS-2416", "MS-2417", "MS-2441", "MS-2443",
)  # fmt: skip
"""Somebody may be at work who should not: no `millstream config put` lets these through."""


class ReportTeller:
    """Order of use: `learn`, then `run` beside what makes reports."""

    def __init__(self, local: EdgeConfig, kept: KeptState, publisher: Publisher) -> None:
        self._local = local
        self._kept = kept
        self._publisher = publisher
        self._edge = local.edge.name
        self._subject = position_subject(local.path, self._edge, "integrity", "configuration reports")

    async def learn(self) -> None:
        """Cross off what an earlier life has told. Raises PlantError."""
        record = await self._publisher.last_control(self._subject)
        if record is not None:
            number = msgspec.json.decode(record, type=int)
            if number <= self._kept.state.reports_count:
                await self._kept.cross_off(number)

    async def run(self) -> None:
        """Store what waits to be told; with it, in one batch, how far that is. For ever. Raises PlantError."""
        while True:
            await self._kept.until(_has_reports)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TELL_WITHIN_S):
                    await self._kept.until(lambda state: state.phase == "settled")
            await self._kept.keep()  # a report that is told has its number for good
            reports = self._kept.state.reports
            number = reports[-1].number
            control = Control(self._subject, msgspec.json.encode(number))
            events = [self._event(report, f"{EVENT_TYPE}.{report.what}") for report in reports]
            events += [self._event(report, AUDIT_TYPE) for report in reports if report.code in AUDITED]
            patience_s = 0.0 if _has_bad_news(self._kept.state) else TELL_PATIENCE_S
            await self._until_stored(await self._publisher.submit(events, control, patience_s=patience_s))
            await self._kept.cross_off(number)

    async def _until_stored(self, stored: asyncio.Future[Stored]) -> None:
        """What lies in the queue goes at once when bad news comes behind it."""
        bad_news = asyncio.create_task(self._kept.until(_has_bad_news))
        waits: list[asyncio.Future[Any]] = [stored, bad_news]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if not stored.done():
                await self._publisher.flush()
            await stored
        finally:
            bad_news.cancel()

    def _event(self, report: Report, kind: str) -> Message:
        data: dict[str, Any] = {"edge": self._edge, "runs": self._kept.state.to_run.revision}
        data |= msgspec.to_builtins(report)
        name = f"{self._edge}/{report.number}/{report.time_ns}"
        if kind == AUDIT_TYPE:
            name += "/audit"
        headers, payload = encode_event(
            CloudEvent(name, f"/{self._local.edge.path}", kind, data, report.time_ns, self._edge)
        )
        extra = tuple((key, value) for key, value in headers.items() if key != "Content-Type")
        subject = encode_subject(UnsAddress(self._local.path, "_event", tuple(kind.split("."))))
        return Message(subject, payload, headers["Content-Type"], 0, extra)


def _has_reports(state: SiteState) -> bool:
    return bool(state.reports)


def _has_bad_news(state: SiteState) -> bool:
    return any(report.what not in ROUTINE for report in state.reports)
