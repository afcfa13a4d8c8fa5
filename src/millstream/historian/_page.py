"""Stored messages as answers without a store: what a historian would say of them, decoded where they lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from millstream.historian._answer import Naming, ipc_parts, samples_table
from millstream.historian._decode import StreamDecoder
from millstream.historian._tags import TagDictionary
from millstream.protocols.ledger import LedgerVerifier
from millstream.sdk import Received

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Page:
    """Arrow IPC streams with the columns of a historian's samples; `bad` messages could not be read."""

    parts: Sequence[bytes]
    rows: int
    bad: int


def decode_page(
    messages: Sequence[Received], kind: str, start_ns: int, end_ns: int, *, now_ns: Callable[[], int]
) -> Page:
    """The samples of `messages` (all of one kind) whose time is in the range, in order of arrival."""
    import pyarrow as pa
    import pyarrow.compute as pc

    tags = TagDictionary()
    decoder = StreamDecoder("page", 0, tags=tags, ledger=LedgerVerifier(), now_ns=now_ns)
    decoded = decoder.decode(messages)
    raw = decoded.rows.arrow()
    if bool((decoded.rows.order[1:] < decoded.rows.order[:-1]).any()):  # single samples stand behind the blocks
        raw = raw.sort_by("n")
    times = raw.column("ts").cast(pa.int64())
    raw = raw.filter(pc.and_(pc.greater_equal(times, start_ns), pc.less(times, end_ns)))
    if not len(raw):
        return Page((), 0, len(decoded.bad))
    paths = [entry.path for entry in sorted(tags.dirty(), key=lambda entry: entry.tag_id)]
    return table_page(samples_table(raw, Naming(dict(enumerate(paths)), kind), len(raw)), bad=len(decoded.bad))


def table_page(table: pa.Table, *, bad: int = 0) -> Page:
    """Rows of an answer as a page."""
    metadata = {k: v for k, v in (table.schema.metadata or {}).items() if k != b"truncated"}
    table = table.replace_schema_metadata(metadata)
    return Page(list(ipc_parts(table)) if len(table) else (), len(table), bad)
