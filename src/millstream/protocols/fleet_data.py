"""Data that stays at the edges, asked for where it is: pages of a time range, each of them Arrow IPC.

A hub asks one edge for one page after the other on ``millstream.node.<edge>.data``; the edge keeps nothing between two
pages, since the cursor says where the next one begins. Parts of a page come on ``millstream.fleet.answer.<edge>.<id>``
with the header ``Ms-Status``: ``part`` (another part follows), ``more`` (ask again with ``Ms-Cursor``) or ``done``.
They are of the edge's streams, or of the history that it keeps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeVar

import msgspec

from millstream.kernel import DecodeError
from millstream.protocols.uns_pattern import Pattern, contract_of

T = TypeVar("T")
PATTERNS_COUNT_MAX = 16
PATTERN_CHARS_MAX = 512
LAST_NS_MAX = 7 * 86_400 * 10**9
HISTORY_NS_MAX = 100 * 366 * 86_400 * 10**9
AGGREGATES_COUNT_MAX = 16
BYTES_MAX = 1 << 30
BYTES_USUAL = 64 << 20
KINDS = ("tag", "count", "kpi", "state")
STATUS, CURSOR, NODE, ERROR, ROWS, BAD = "Ms-Status", "Ms-Cursor", "Ms-Node", "Ms-Error", "Ms-Rows", "Ms-Bad"
HOLDS_FROM = "Ms-Holds-From"  # UTC ns


class HistoryAsk(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Of the edge's history instead of its streams: samples, or with `every_ns` aggregates of windows (none: those
    that the historian gives). `quality` is "any", "usable" or "good"; left out: the historian's own choice."""

    every_ns: int | None = None
    aggregates: tuple[str, ...] = ()
    quality: Literal["any", "usable", "good"] | None = None


class PageAsk(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One page. Either `last_ns` back from the edge's own clock, or UTC `start_ns` and `end_ns`; with a `cursor` that
    holds which the page before gave."""

    id: str
    patterns: tuple[str, ...]
    kind: str = "tag"
    last_ns: int | None = None
    start_ns: int | None = None
    end_ns: int | None = None
    cursor: str | None = None
    history: HistoryAsk | None = None


class DataQuestion(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a client asks of ``millstream.node.<hub>.fleet_data``. `bytes_max` bounds the whole answer."""

    patterns: tuple[str, ...]
    kind: str = "tag"
    last_ns: int | None = None
    start_ns: int | None = None
    end_ns: int | None = None
    nodes: tuple[str, ...] | None = None
    bytes_max: int = BYTES_USUAL
    deadline_s: float = 10.0
    history: HistoryAsk | None = None

    @property
    def is_windows(self) -> bool:
        """True when the rows are of windows, not of samples."""
        return self.history is not None and self.history.every_ns is not None

    def page(self, id: str, cursor: str | None) -> PageAsk:
        """The question for one edge's next page."""
        return PageAsk(
            id, self.patterns, self.kind, self.last_ns, self.start_ns, self.end_ns, cursor, self.history
        )  # fmt: skip


class NodeAccount(msgspec.Struct):
    """What came of one edge. `truncated`: the bound of bytes cut it; `error`: why it ended early; `holds_from_ns`:
    older data was asked for, and the edge's streams have forgotten what was stored before this time (UTC)."""

    rows: int = 0
    bytes: int = 0
    truncated: bool = False
    error: str | None = None
    holds_from_ns: int | None = None

    def take_holds_from(self, text: str | None) -> None:
        """What the end of a page says of one of the edge's streams."""
        self.holds_from_ns = max(number(text), self.holds_from_ns or 0) or None


def number(text: str | None) -> int:
    """Of a header that somebody else wrote: 0 when it is none."""
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 20 else 0


class DataSummary(msgspec.Struct, frozen=True):
    """The account of one answer: every edge whose place fits the patterns. `is_whole` when none failed or was cut."""

    nodes: Mapping[str, NodeAccount]
    is_whole: bool
    took_ms: float

    @property
    def missing(self) -> list[str]:
        """Edges that are expected and gave nothing, for whatever reason."""
        return [name for name, account in self.nodes.items() if account.error is not None and not account.rows]


class Cursor(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Where the next page begins: which of the edge's streams and filters, the sequence there, and the time range."""

    index: int
    seq: int
    start_ns: int
    end_ns: int


_page = msgspec.json.Decoder(PageAsk)
_question = msgspec.json.Decoder(DataQuestion)
_cursor = msgspec.json.Decoder(Cursor)


def decode_page_ask(payload: bytes) -> PageAsk:
    """What an edge is asked. Raises DecodeError (MS-2210, MS-0580)."""
    ask = _decoded(_page, payload)
    if not 0 < len(ask.id) <= 32 or not ask.id.isalnum() or not ask.id.isascii():
        raise _malformed("an id of letters and digits")
    check_range(ask)
    return ask


def decode_data_question(payload: bytes) -> DataQuestion:
    """What a hub is asked. Raises DecodeError (MS-2210, MS-0580)."""
    question = _decoded(_question, payload)
    check_range(question)
    if not 0 < question.bytes_max <= BYTES_MAX or not 0 < question.deadline_s <= 60:
        raise _malformed(f"at most {BYTES_MAX} bytes and a deadline of up to 60 s")
    return question


def check_range(ask: PageAsk | DataQuestion) -> Sequence[Pattern]:
    """The patterns, once they and the time range are checked. Raises DecodeError."""
    if not 0 < len(ask.patterns) <= PATTERNS_COUNT_MAX or any(len(p) > PATTERN_CHARS_MAX for p in ask.patterns):
        raise _malformed(f"1 to {PATTERNS_COUNT_MAX} patterns")
    if ask.kind not in KINDS:
        raise _malformed(f"a kind: {', '.join(KINDS)}")
    contract_of(ask.kind)
    if ask.last_ns is not None:
        longest_ns = LAST_NS_MAX if ask.history is None else HISTORY_NS_MAX
        if not 0 < ask.last_ns <= longest_ns or ask.start_ns is not None or ask.end_ns is not None:
            raise _malformed("the last seven days at most (of a history more), and no other range beside it")
    elif ask.start_ns is None or ask.end_ns is None or not 0 <= ask.start_ns < ask.end_ns < 2**63:
        raise _malformed("a time range that begins before it ends")
    if ask.history is not None:
        every_ns = ask.history.every_ns
        if (every_ns is not None and not 0 < every_ns < 2**63) or (every_ns is None and ask.history.aggregates):
            raise _malformed("aggregates of windows that are longer than nothing")
        if len(ask.history.aggregates) > AGGREGATES_COUNT_MAX:
            raise _malformed(f"at most {AGGREGATES_COUNT_MAX} aggregates")
    return [Pattern.parse(text) for text in ask.patterns]


def decode_cursor(text: str, count: int) -> Cursor:
    """The cursor of a page among `count` places to read. Raises DecodeError (MS-2210)."""
    try:
        cursor = _cursor.decode(text)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise _malformed("a cursor that a page gave") from error
    if not 0 <= cursor.index < count or cursor.seq < 0 or not 0 <= cursor.start_ns < cursor.end_ns < 2**63:
        raise _malformed("a cursor that a page gave")
    return cursor


def _decoded(decoder: msgspec.json.Decoder[T], payload: bytes) -> T:
    try:
        return decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed("JSON with patterns and a time range", str(error)[:120]) from error


def _malformed(expected: str, got: str | None = None) -> DecodeError:
    return DecodeError("question for data cannot be read", expected=expected, got=got, code="MS-2210")
