"""Raw data of this edge for whoever asks: one bounded page at a time, read from its streams, as Arrow.
Of its history, where it keeps one, likewise.

Nothing is kept between two pages, and no page costs more than one bounded read: an asker that goes away costs nothing.

A stream knows when a message was stored, a question asks for when its samples were taken. A source's clock may be
ahead, and a block is stored when it is full, or when a connector that was away has caught up; so what is read begins
before the asked range and ends behind it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from millstream.bus import RawConnection, StreamApi, get_batch
from millstream.edge._history_pages import HistoryPages
from millstream.edge._pipeline import CLOCK_AHEAD_NS_MAX
from millstream.edge._questions import Answer, Questions
from millstream.historian import Page, decode_page
from millstream.kernel import Clock, DecodeError, PlantError
from millstream.model import AssetPath
from millstream.protocols.fleet_data import (
    BAD,
    CURSOR,
    ERROR,
    HOLDS_FROM,
    ROWS,
    STATUS,
    Cursor,
    PageAsk,
    check_range,
    decode_cursor,
    decode_page_ask,
)
from millstream.protocols.nats_wire import WireMessage
from millstream.protocols.uns_pattern import Pattern, contract_of, overlap
from millstream.protocols.uns_subject import decode_subject
from millstream.sdk import Received

WAITING_MAX = 64
BATCH_COUNT, BATCH_BYTES = 1000, 256 * 1024  # read at once; as Arrow it is less than twice that
EARLY_NS = CLOCK_AHEAD_NS_MAX  # stored before the range: samples of a clock that is ahead, and not yet flagged for it
LATE_NS = 60 * 10**9  # stored behind the range: read in any case, and on while pages still give samples of the range


@dataclass(frozen=True, slots=True)
class PageEnd:
    """`cursor`: where the next page begins, None after the last. `holds_from_ns`: the stream has forgotten what was
    stored before, though it was asked for."""

    cursor: str | None
    holds_from_ns: int | None = None


class DataDesk:
    """Answers questions for raw data of one edge, one after the other."""

    def __init__(
        self, name: str, place: AssetPath, connection: RawConnection, streams: Callable[[], Sequence[str]], *,
        history: HistoryPages, clock: Clock,
    ) -> None:  # fmt: skip
        """`streams` gives the names of those that hold samples now."""
        self._place = Pattern.parse(place)
        self._connection = connection
        self._api = StreamApi(connection)
        self._streams = streams
        self._history = history
        self._clock = clock
        self._questions = Questions(connection, name, "data", WAITING_MAX)

    def open(self) -> Callable[[], None]:
        """Listen until the returned function is called; `run` answers."""
        return self._questions.open()

    async def run(self) -> None:
        """Answer for ever."""
        await self._questions.run(self.answer)

    async def answer(self, message: WireMessage) -> list[Answer]:
        """The parts of one page, to the asker's reply subject when it gave one, else under this edge's own name."""
        subject = message[2].decode("ascii", "replace")
        try:
            ask = decode_page_ask(message[4])
            subject = subject or self._questions.answer_subject(ask.id)
            page, end = await self.page(ask)
        except PlantError as error:
            told = ((STATUS, "done"), (ERROR, msgspec.json.encode(error.as_dict()).decode()))
            return [Answer(subject, b"", told)] if subject else []
        status = [(STATUS, "done")] if end.cursor is None else [(STATUS, "more"), (CURSOR, end.cursor)]
        if end.holds_from_ns is not None:
            status.append((HOLDS_FROM, str(end.holds_from_ns)))
        last = Answer(
            subject, page.parts[-1] if page.parts else b"", [(ROWS, str(page.rows)), (BAD, str(page.bad)), *status]
        )
        return [*(Answer(subject, part, [(STATUS, "part")]) for part in page.parts[:-1]), last]

    async def page(self, ask: PageAsk) -> tuple[Page, PageEnd]:
        """One page, and what is said at its end. Raises DecodeError, Unreachable."""
        patterns = [p for p in check_range(ask) if overlap(self._place, p)]
        if ask.history is not None:
            if not patterns:
                return Page((), 0, 0), PageEnd(None)
            found, cursor = await self._history.page(ask, patterns, self._begin(ask, 1))
            return found, PageEnd(cursor)
        places = [(stream, pattern) for stream in self._streams() for pattern in patterns]
        if not places:
            return Page((), 0, 0), PageEnd(None)
        at = self._begin(ask, len(places))
        stream, pattern = places[at.index]
        holds_from_ns = await self._holds_from_ns(stream, at) if at.seq == 0 else None
        page, next_seq = await self._read(stream, pattern, patterns[: patterns.index(pattern)], ask.kind, at)
        if next_seq:
            return page, PageEnd(_text(at.index, next_seq, at), holds_from_ns)
        return page, PageEnd(_text(at.index + 1, 0, at) if at.index + 1 < len(places) else None, holds_from_ns)

    async def _read(
        self, stream: str, pattern: Pattern, earlier: Sequence[Pattern], kind: str, at: Cursor
    ) -> tuple[Page, int]:
        """A page of one stream, and the sequence where the next begins, 0 after the last."""
        contract = contract_of(kind)
        found, has_more = await get_batch(
            self._connection, stream, pattern.subject_filter(contract), seq=at.seq,
            since_ns=max(0, at.start_ns - EARLY_NS), count=BATCH_COUNT, bytes_max=BATCH_BYTES,
        )  # fmt: skip
        fitting = [m for m in found if _fits(m, contract, pattern, earlier)]
        page = await asyncio.to_thread(decode_page, fitting, kind, at.start_ns, at.end_ns, now_ns=self._clock.now_ns)
        has_more = has_more and bool(found) and (page.rows > 0 or found[-1].stored_time_ns < at.end_ns + LATE_NS)
        return page, found[-1].seq + 1 if has_more else 0

    async def _holds_from_ns(self, stream: str, at: Cursor) -> int | None:
        """When the oldest message was stored that the stream still holds, where older ones may have been asked for."""
        state = await self._api.state(stream)
        has_forgotten = state.first_seq > 1 and state.messages > 0 and state.first_time_ns > at.start_ns
        return state.first_time_ns if has_forgotten else None

    def _begin(self, ask: PageAsk, count: int) -> Cursor:
        if ask.cursor is not None:
            return decode_cursor(ask.cursor, count)
        if ask.last_ns is not None:
            now_ns = self._clock.now_ns()
            return Cursor(0, 0, max(0, now_ns - ask.last_ns), now_ns)
        assert ask.start_ns is not None
        assert ask.end_ns is not None
        return Cursor(0, 0, ask.start_ns, ask.end_ns)


def _fits(message: Received, contract: str, pattern: Pattern, earlier: Sequence[Pattern]) -> bool:
    """A message that fits two patterns comes once, with the first."""
    try:
        address = decode_subject(message.subject)
    except DecodeError:
        return False
    return address.contract == contract and pattern.matches(address) and not any(p.matches(address) for p in earlier)


def _text(index: int, seq: int, at: Cursor) -> str:
    return msgspec.json.encode(Cursor(index, seq, at.start_ns, at.end_ns)).decode()
