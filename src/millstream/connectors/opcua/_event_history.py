"""Reads back the events of a time without a link, where the server keeps them (OPC 10000-11, 6.4.2).

Each notifier is read from the newest event that is stored, page by page, while live ones wait; then a second time: a
server may write its history some time after the event. What was told already is known by the ids of the events.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from asyncua import ua

from millstream.connectors.opcua._config import OpcUaConfig, TagOptions
from millstream.connectors.opcua._events import CONDITION_ID, EventReader, event_filter, event_time_ns
from millstream.connectors.opcua._faults import status_name
from millstream.connectors.opcua._following import Followed
from millstream.connectors.opcua._link import Link, read_request
from millstream.connectors.opcua._responses import HistoryPage, ServiceFault
from millstream.model import Value
from millstream.sdk import ConnectorTools

SETTLE_S = 2.0  # between the two readings: what a server's history may lag behind
AHEAD = timedelta(days=1)  # the server's clock may be ahead of ours
_NO_DATA = {ua.StatusCodes.BadNoData, ua.StatusCodes.BadNoDataAvailable, ua.StatusCodes.BadBoundNotFound}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class _Gap:
    """One notifier whose history is read from `from_ns`; `again_at_ns` (monotonic) is set for the second reading."""

    item: Followed
    options: TagOptions
    from_ns: int
    newest_ns: int
    continuation: bytes = b""
    again_at_ns: int | None = None


class EventFiller:
    """Fills the gaps of notifiers, a page at a time."""

    def __init__(self, link: Link, reader: EventReader, config: OpcUaConfig, tools: ConnectorTools) -> None:
        self._link = link
        self._reader = reader
        self._page = config.backfill_page
        self._clock = tools.clock
        self._log = tools.log
        self._gaps: list[_Gap] = []

    @property
    def is_filling(self) -> bool:
        """Live events have to wait."""
        return any(gap.again_at_ns is None for gap in self._gaps)

    @property
    def due_at_ns(self) -> int | None:
        """When a second reading is due, on the monotonic clock."""
        return min((gap.again_at_ns for gap in self._gaps if gap.again_at_ns is not None), default=None)

    def begin(self, item: Followed, options: TagOptions, from_ns: int) -> None:
        """Read the history of `item`, a notifier, from there on."""
        self._gaps = [gap for gap in self._gaps if gap.item is not item]
        self._gaps.append(_Gap(item, options, from_ns, from_ns))

    async def server_time_ns(self) -> int:
        """UTC ns by the server's clock, by ours if it does not say."""
        node = ua.NodeId(ua.ObjectIds.Server_ServerStatus_CurrentTime)
        values = self._link.responses.values(await self._link.request(read_request([node])))
        stated = values[0].value if isinstance(values, list) and values else None
        return event_time_ns({"Time": stated}) or self._clock.now_ns()

    async def step(self) -> bool:
        """Read one page of one notifier into the reader; False when there is nothing to read now."""
        now_ns = self._clock.monotonic_ns()
        due = (gap for gap in self._gaps if gap.again_at_ns is None or gap.again_at_ns <= now_ns)
        gap = next(due, None)
        if gap is None:
            return False
        pages = self._link.responses.history(await self._link.request(self._request(gap)))
        if isinstance(pages, ServiceFault):
            pages = [HistoryPage(pages.status, [], b"")]
        self._take(gap, pages[0] if pages else HistoryPage(0, [], b""))
        return True

    def _take(self, gap: _Gap, page: HistoryPage) -> None:
        if page.status >> 31 and page.status & 0xFFFF0000 not in _NO_DATA:
            self._log.warning("opcua_event_history_refused", tag=gap.item.tag.key, status=status_name(page.status))
            gap.item.has_event_history = False
            self._gaps.remove(gap)
            return
        before_ns = gap.newest_ns
        for fields in page.events:
            named: Mapping[str, Value | None] = dict(zip(gap.item.event_names, fields, strict=False))
            gap.newest_ns = max(gap.newest_ns, event_time_ns(named) or 0)
            if _is_severe(named, gap.options):  # not each server's history looks at the filter
                self._reader.take(gap.item.tag.key, gap.item.event_names, fields, is_past=True)
        gap.continuation = page.continuation
        if page.continuation:
            return
        gap.from_ns = gap.newest_ns
        # Some servers cut at the number asked for and give no continuation point: only a short page is the last. A full
        # page of one instant would come again for ever.
        if len(page.events) >= self._page and gap.newest_ns > before_ns:
            return
        if gap.again_at_ns is None:
            gap.again_at_ns = self._clock.monotonic_ns() + int(SETTLE_S * 1e9)
        else:
            self._gaps.remove(gap)

    def _request(self, gap: _Gap) -> Any:
        details = ua.ReadEventDetails()
        details.NumValuesPerNode = self._page
        details.StartTime = _moment(gap.from_ns)
        details.EndTime = _moment(self._clock.now_ns()) + AHEAD
        has_conditions = CONDITION_ID in gap.item.event_names
        details.Filter = event_filter(gap.options, gap.item.event_type, with_conditions=has_conditions)
        request = ua.HistoryReadRequest()
        request.Parameters.HistoryReadDetails = details
        request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Source
        request.Parameters.ReleaseContinuationPoints = False
        request.Parameters.NodesToRead = [
            ua.HistoryReadValueId(gap.item.node, ContinuationPoint=gap.continuation or None)
        ]
        return request


def _is_severe(named: Mapping[str, Value | None], options: TagOptions) -> bool:
    severity = named.get("Severity")
    return not isinstance(severity, int) or severity >= options.severity_min


def _moment(time_ns: int) -> datetime:
    return _EPOCH + timedelta(microseconds=time_ns // 1000)
