"""Reads the server's history page by page to fill gaps (OPC 10000-4, 5.10.3; raw values)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from asyncua import ua

from millstream.connectors.opcua._config import OpcUaConfig
from millstream.connectors.opcua._faults import status_name
from millstream.connectors.opcua._following import Followed
from millstream.connectors.opcua._link import Link
from millstream.connectors.opcua._mapping import to_sample
from millstream.connectors.opcua._responses import HistoryPage, ServiceFault
from millstream.model import Sample
from millstream.sdk import ConnectorTools

TAGS_PER_REQUEST_MAX = 10  # with pages of 1,000 values one answer stays below a megabyte
TOGETHER_NS = 2_000_000_000
REREAD_S = 0.1  # a server writes its history some time after it notified the value
_TRANSIENT = {ua.StatusCodes.BadTooManyOperations, ua.StatusCodes.BadTimeout, ua.StatusCodes.BadOutOfMemory}
_NO_DATA = {ua.StatusCodes.BadNoData, ua.StatusCodes.BadNoDataAvailable, ua.StatusCodes.BadBoundNotFound}
_NO_BOUND = datetime(1970, 1, 1, tzinfo=UTC)


class HistoryFiller:
    """Fills the gaps of some tags, a request at a time, so that live data is never held up for long."""

    def __init__(self, link: Link, config: OpcUaConfig, tools: ConnectorTools) -> None:
        self.due_at_ns: int | None = None
        self._link = link
        self._page = config.backfill_page
        self._clock = tools.clock
        self._log = tools.log

    async def step(self, filling: Sequence[Followed]) -> list[Sample] | None:
        """Read one page of some of them; gives what passes now, None when there is nothing to read at present."""
        now_ns = self._clock.monotonic_ns()
        if not filling or (self.due_at_ns is not None and now_ns < self.due_at_ns):
            return None
        self.due_at_ns = None
        chosen = self._choose(filling)
        pages = self._link.responses.history(await self._link.request(self._request(chosen)))
        if isinstance(pages, ServiceFault):
            pages = [HistoryPage(pages.status, [], b"")] * len(chosen)
        passing: list[Sample] = []
        for item, page in zip(chosen, pages, strict=False):
            passing += self._fill(item, page, is_alone=len(chosen) == 1)
        if not passing and all(item.tries or item.end_ns is None for item in filling):
            self.due_at_ns = self._clock.monotonic_ns() + int(REREAD_S * 1e9)
        return passing

    def _choose(self, filling: Sequence[Followed]) -> Sequence[Followed]:
        """Tags whose gaps begin at about the same time share a request; one that has a continuation point is alone."""
        # The least tried first: a tag whose history lags must not keep the others waiting.
        ordered = sorted(filling, key=lambda item: (item.tries, item.newest_ns or 0))
        first = ordered[0]
        if first.continuation:
            return [first]
        limit = min(TAGS_PER_REQUEST_MAX, self._link.limits["history"])
        near = (first.newest_ns or 0) + TOGETHER_NS
        return [item for item in ordered if not item.continuation and (item.newest_ns or 0) <= near][:limit]

    def _fill(self, item: Followed, page: HistoryPage, *, is_alone: bool) -> list[Sample]:
        base = page.status & 0xFFFF0000
        if page.status >> 31 and base not in _NO_DATA:
            item.continuation = b""
            if base in _TRANSIENT:
                return item.fill([], is_last=True)
            self._log.warning("opcua_history_refused", tag=item.tag.key, status=status_name(page.status))
            item.has_history = False
            return item.stop_filling()
        item.continuation = page.continuation
        # Some servers cut at the number asked for and give no continuation point: only a short page is the last.
        is_last = not page.continuation and len(page.values) < self._page
        samples = [to_sample(item.tag.key, value) for value in page.values]
        if is_alone and not is_last and not page.continuation and item.newest_ns == _newest(samples):
            is_last = True  # a full page of one instant: asking again would give the same
        return item.fill(samples, is_last=is_last)

    def _request(self, items: Sequence[Followed]) -> Any:
        """Times are inclusive and in microseconds, so one more on each side is asked for; `Followed` cuts exactly."""
        starts = [item.newest_ns for item in items if item.newest_ns is not None]
        ends = [item.end_ns for item in items]
        now_ns = self._clock.now_ns()
        details = ua.ReadRawModifiedDetails()
        details.IsReadModified = False
        details.StartTime = _moment(min(starts))
        details.EndTime = _moment(max(now_ns if end is None else end for end in ends) + 1000)
        details.NumValuesPerNode = self._page
        details.ReturnBounds = False
        request = ua.HistoryReadRequest()
        request.Parameters.HistoryReadDetails = details
        request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Source
        request.Parameters.ReleaseContinuationPoints = False
        request.Parameters.NodesToRead = [
            ua.HistoryReadValueId(item.node, ContinuationPoint=item.continuation or None) for item in items
        ]
        return request


def _newest(samples: Sequence[Sample]) -> int | None:
    return max((sample.source_time_ns or 0 for sample in samples), default=None)


def _moment(time_ns: int) -> datetime:
    return _NO_BOUND + timedelta(microseconds=time_ns // 1000)
