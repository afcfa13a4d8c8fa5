"""Stored messages to rows: the hot path of ingest.

One-sample JSON is decoded a list at a time; whatever is odd falls back to one message at a time, so that one poison
payload costs its neighbours nothing. What cannot be decoded becomes a dead letter with its reason; its samples are
counted in the ledger all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby, islice

import msgspec
import numpy as np

from millstream.historian._columns import TIME_MAX_NS, TIME_MIN_NS, to_columns
from millstream.historian._events import EventRow, event_row
from millstream.historian._ports import DeadLetter
from millstream.historian._query import EVENT_KINDS, SAMPLE_KINDS
from millstream.historian._rows import Rows, join_rows
from millstream.historian._tags import TagDictionary
from millstream.kernel import DecodeError, NotFoundError, PlantError
from millstream.protocols.ledger import WRITER_HEADER, LedgerVerifier, parse_stream_source
from millstream.protocols.uns_payload import ARROW_TYPE, JSON_TYPE, SampleRecord, decode_block, decode_sample
from millstream.protocols.uns_subject import decode_subject
from millstream.sdk import Received

ROUTES_COUNT_MAX = 1_000_000  # remembered subjects; then they are looked up anew
RUN_MESSAGES_MIN = 8  # below it, taking them one by one is cheaper
_LEDGER, _META, _OTHER, _BAD, _EVENT = -1, -2, -3, -4, -5  # an event of tag n: _EVENT - n
_SOURCE = b"\r\nNats-Stream-Source:"
_WRITER = f"\r\n{WRITER_HEADER}:".encode()
_COUNT = b"\r\nMs-Count:"
_TYPE = b"\r\nContent-Type:"
_REVISION = b"\r\nMs-Revision:"
_KINDS = {f"_{kind}": kind for kind in (*SAMPLE_KINDS, *EVENT_KINDS)}
_lines = msgspec.json.Decoder(SampleRecord)


@dataclass(slots=True)
class Decoded:
    """What one list of messages holds."""

    rows: Rows
    events: list[EventRow] = field(default_factory=list)
    messages: int = 0
    repeats: int = 0
    others: int = 0
    bad: list[DeadLetter] = field(default_factory=list)
    origins: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Taken:
    """What is kept of one list: one-sample messages with their tag and place of arrival, and blocks."""

    singles: list[Received] = field(default_factory=list)
    tag_ids: list[int] = field(default_factory=list)
    orders: list[int] = field(default_factory=list)
    blocks: list[Rows] = field(default_factory=list)
    order: int = 0

    def add(self, messages: Sequence[Received], tag_ids: Sequence[int]) -> None:
        """One-sample messages, next in order."""
        self.singles += messages
        self.tag_ids += tag_ids
        self.orders += range(self.order, self.order + len(messages))
        self.order += len(messages)


@lru_cache(maxsize=4096)
def _name(raw: bytes) -> str:
    return raw.partition(b":")[0].decode("ascii", "replace")


def _field(headers: bytes, name: bytes) -> bytes | None:
    at = headers.find(name)
    if at < 0:
        return None
    at += len(name)
    return headers[at : headers.find(b"\r\n", at)].strip()


def origin_of(headers: bytes) -> tuple[str, int] | None:
    """The stream and sequence that a sourced message had at its origin, or None. Raises DecodeError."""
    at = headers.find(_SOURCE)
    if at < 0:
        return None
    at += len(_SOURCE)
    line = headers[at : headers.find(b"\r\n", at)]
    parts = line.split(None, 2)
    if len(parts) >= 2 and parts[1].isdigit():
        return _name(parts[0]), int(parts[1])
    return parse_stream_source(line.decode("utf-8", "replace"))


class StreamDecoder:
    """Decodes the messages of one generation of one stream, feeding `ledger` on the way.

    A message that the ledger knows as a repeat is left out: a hub that lost its tail sources it again, under other
    sequences.
    """

    def __init__(
        self,
        stream: str,
        generation: int,
        *,
        tags: TagDictionary,
        ledger: LedgerVerifier,
        now_ns: Callable[[], int],
    ) -> None:
        self._stream = stream
        self._generation = generation
        self._tags = tags
        self._ledger = ledger
        self._now_ns = now_ns
        self._routes: dict[str, int] = {}

    def decode(self, messages: Sequence[Received]) -> Decoded:
        """All `messages`, in stream order. Never raises for what is in them."""
        out = Decoded(join_rows([]), messages=len(messages))
        taken = _Taken()
        known = self._routes
        routes = [r if (r := known.get(m[0])) is not None else self._route(m[0]) for m in messages]
        # Nearly all are one sample of a known tag; records and the like stand between runs of those.
        begin = 0
        for end in [i for i, route in enumerate(routes) if route < 0] + [len(routes)]:
            run = messages[begin:end]
            if len(run) < RUN_MESSAGES_MIN or not self._take_run(run, routes[begin:end], taken, out):
                for message, route in zip(run, routes[begin:end], strict=True):
                    self._take(message, route, taken, out)
            if end < len(routes):
                self._take(messages[end], routes[end], taken, out)
            begin = end + 1
        if taken.singles:
            taken.blocks.append(self._singles(taken, out))
        if taken.blocks:
            out.rows = join_rows(taken.blocks, is_ordered=True)
        return out

    def _take_run(self, run: Sequence[Received], routes: list[int], taken: _Taken, out: Decoded) -> bool:
        """A run of one-sample messages, as far as their headers tell; False when those tell something else."""
        sources = self._sources(run)
        if sources is None:
            return False
        begin = 0
        for origin, seqs in sources:
            end = begin + len(seqs)
            out.origins.add(origin)
            follow = seqs[-1] - seqs[0] == len(seqs) - 1 and seqs == list(range(seqs[0], seqs[-1] + 1))
            if follow and self._ledger.feed_run(origin, seqs[0], len(seqs)):
                taken.add(run[begin:end], routes[begin:end])
            else:
                for seq, message, route in zip(seqs, run[begin:end], routes[begin:end], strict=True):
                    if self._ledger.feed(origin, seq, message.subject, 1, message.payload):
                        taken.add([message], [route])
                    else:
                        out.repeats += 1
            begin = end
        return True

    def _sources(self, run: Sequence[Received]) -> list[tuple[str, list[int]]] | None:
        """Where they come from: origins in order, each with the sequences there; None when a message has another header
        than its origin."""
        headers = [m[2] for m in run if m[2] is not None]
        if not headers:
            return [(self._stream, [m.seq for m in run])]
        joined = b"".join(headers)
        count = len(run)
        if len(headers) != count or joined.count(b"\r\n") != 3 * count:
            return None
        tokens = joined.split()
        width = len(tokens) // count
        if len(tokens) != width * count or tokens[0::width].count(b"NATS/1.0") != count:
            return None
        if tokens[1::width].count(b"Nats-Stream-Source:") != count:
            return None
        try:
            seqs = list(map(int, tokens[3::width]))
        except ValueError:
            return None
        names = tokens[2::width]
        if names.count(names[0]) == count:
            return [(_name(names[0]), seqs)]
        rest = iter(seqs)
        return [(_name(name), list(islice(rest, len(list(group))))) for name, group in groupby(names)]

    def _take(self, message: Received, route: int, taken: _Taken, out: Decoded) -> None:
        """One message of any kind."""
        headers, subject = message.headers, message.subject
        origin, seq, count, is_arrow = self._stream, message.seq, 1, False
        try:
            if headers is not None:
                origin, seq, count, is_arrow = self._scan(headers, origin, seq)
            out.origins.add(origin)
            if is_arrow and route >= 0:
                block = self._block(message, origin, seq, count, route, taken.order, out)
                if block is not None:
                    self._look_for_revision(headers, route)
                    taken.blocks.append(block)
                    taken.order += len(block)
                return
            is_guest = headers is not None and _WRITER in headers
            if not self._ledger.feed(origin, seq, subject, max(count, 0), message.payload, is_guest=is_guest):
                out.repeats += 1
            elif route >= 0:
                self._look_for_revision(headers, route)
                taken.add([message], [route])
            elif route <= _EVENT:
                out.events.append(event_row(message, _EVENT - route))
            elif route != _LEDGER:
                self._beside(route, message, out)
        except PlantError as error:
            self._refuse(message, error, out)

    def _look_for_revision(self, headers: bytes | None, tag_id: int) -> None:
        if headers is not None and _REVISION in headers:
            self._tags.mark_corrected(tag_id)

    def _route(self, subject: str) -> int:
        if len(self._routes) >= ROUTES_COUNT_MAX:
            self._routes.clear()
        try:
            address = decode_subject(subject)
            kind = _KINDS.get(address.contract)
            if kind is not None:
                tag_id = self._tags.intern(str(address.tag), kind)
                route = _EVENT - tag_id if kind in EVENT_KINDS else tag_id
            else:
                route = {"_ledger": _LEDGER, "_meta": _META}.get(address.contract, _OTHER)
        except (DecodeError, NotFoundError):
            route = _BAD
        self._routes[subject] = route
        return route

    @staticmethod
    def _scan(headers: bytes, origin: str, seq: int) -> tuple[str, int, int, bool]:
        found = origin_of(headers)
        if found is not None:
            origin, seq = found
        count, is_arrow = 1, False
        if b"Ms-Count:" in headers:
            text = _field(headers, _COUNT)
            count = int(text) if text is not None and text.isdigit() and len(text) < 18 else 1
        elif b"Content-Type:" in headers:
            count = -1  # an Arrow block without a count: its rows decide
        if b"Content-Type:" in headers:
            is_arrow = _field(headers, _TYPE) == ARROW_TYPE.encode()
        return origin, seq, count if is_arrow or count >= 0 else 1, is_arrow

    def _block(
        self,
        message: Received,
        origin: str,
        seq: int,
        count: int,
        tag_id: int,
        order: int,
        out: Decoded,
    ) -> Rows | None:
        rows, fault = None, None
        try:
            rows = _block_rows(message.payload, tag_id, order)
        except DecodeError as error:
            fault = error
        if count < 0:
            count = len(rows) if rows is not None else 1
        if not self._ledger.feed(origin, seq, message.subject, count, message.payload):
            out.repeats += 1
            return None
        if fault is not None:
            raise fault
        return rows

    def _beside(self, route: int, message: Received, out: Decoded) -> None:
        if route == _BAD:
            decode_subject(message.subject)  # raises with the reason, but for a full dictionary
            raise NotFoundError("tag dictionary is full", got=message.subject)
        if route == _META:
            text = message.payload.decode("utf-8", "replace")
            try:
                msgspec.json.decode(message.payload, type=dict)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise DecodeError(f"not a tag description: {error}", got=text[:80], code="MS-0302") from error
            self._tags.describe(message.subject, text)
        else:
            out.others += 1

    def _refuse(self, message: Received, error: PlantError, out: Decoded) -> None:
        kind = _field(message.headers or b"", _TYPE)
        out.bad.append(
            DeadLetter(
                message.payload,
                str(error),
                error.code,
                f"{self._stream}:{self._generation}:{message.seq}",
                message.subject,
                JSON_TYPE if kind is None else kind.decode("ascii", "replace"),
                self._now_ns(),
            )
        )

    def _singles(self, taken: _Taken, out: Decoded) -> Rows:
        payloads = [m[1] for m in taken.singles]
        records = _decode_lines(payloads)
        faults: dict[int, DecodeError] = {}
        if records is None:
            records = _decode_each(payloads, faults)
        rows = _record_rows(records, payloads, taken.tag_ids, taken.orders, faults)
        for index in sorted(faults):
            self._refuse(taken.singles[index], faults[index], out)
        return rows


def _decode_lines(payloads: list[bytes]) -> list[SampleRecord] | None:
    """All at once, or None when they must be taken one by one.

    The decoder skips blanks and takes several values a line, so a malformed payload could shift its neighbours. The
    count of borders rules that out: between ``}``, newline and ``{`` no JSON text can continue, so each payload is
    one whole value.
    """
    joined = b"\n".join(payloads)
    borders = len(payloads) - 1
    if joined.count(b"}\n{") != borders or joined.count(b"\n") != borders or joined[:1] != b"{" or joined[-1:] != b"}":
        return None
    try:
        records = _lines.decode_lines(joined)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return records if len(records) == len(payloads) else None


_NOTHING = SampleRecord(0, None, 0, 0, 0x80000000)


def _decode_each(payloads: list[bytes], faults: dict[int, DecodeError]) -> list[SampleRecord]:
    records = []
    for index, payload in enumerate(payloads):
        try:
            records.append(decode_sample(payload))
        except DecodeError as error:
            faults[index] = error
            records.append(_NOTHING)
    return records


def _record_rows(
    records: list[SampleRecord],
    payloads: list[bytes],
    tag_ids: list[int],
    orders: list[int],
    faults: dict[int, DecodeError],
) -> Rows:
    values = [r.value for r in records]
    times = [
        r.timestamp_ns if r.timestamp_ns is not None else r.ingest_ns or r.timestamp_ms * 1_000_000 for r in records
    ]
    quality = [r.quality for r in records]
    _check_each(records, payloads, values, quality, times, faults)
    if faults:
        keep = [i for i in range(len(records)) if i not in faults]
        values, times, quality = [values[i] for i in keep], [times[i] for i in keep], [quality[i] for i in keep]
        tag_ids, orders = [tag_ids[i] for i in keep], [orders[i] for i in keep]
    columns = to_columns(values)
    return Rows(
        np.array(tag_ids, np.uint32),
        np.array(times, np.int64),
        np.array(orders, np.int64),
        np.array(quality, np.uint32),
        columns.kind,
        columns.value,
        columns.whole,
        columns.text,
    )


def _check_each(
    records: list[SampleRecord],
    payloads: list[bytes],
    values: list[object],
    quality: list[int],
    times: list[int],
    faults: dict[int, DecodeError],
) -> None:
    """The rules of `decode_sample`, applied only where a look at the whole shows that something is odd."""
    types = set(map(type, values))
    if dict in types or list in types or type(None) in types or not 0 <= min(quality) <= max(quality) <= 0xFFFFFFFF:
        for index, value in enumerate(values):
            if index in faults or (type(value) not in (dict, list, type(None)) and 0 <= quality[index] <= 0xFFFFFFFF):
                continue
            try:
                values[index] = decode_sample(payloads[index]).value
            except DecodeError as error:
                faults[index] = error
    if not TIME_MIN_NS <= min(times) <= max(times) < TIME_MAX_NS:
        for index, time_ns in enumerate(times):
            if not TIME_MIN_NS <= time_ns < TIME_MAX_NS:
                faults.setdefault(index, _bad_time(time_ns))


def _bad_time(time_ns: int) -> DecodeError:
    return DecodeError("sample time cannot be kept", expected="years 1678 to 2261", got=f"{time_ns} ns", code="MS-0321")


def _block_rows(payload: bytes, tag_id: int, order: int) -> Rows:
    block = decode_block(payload)
    n = len(block)
    if n and not TIME_MIN_NS <= int(block.time_ns.min()) <= int(block.time_ns.max()) < TIME_MAX_NS:
        raise _bad_time(int(block.time_ns.min() if block.time_ns.min() < TIME_MIN_NS else block.time_ns.max()))
    try:
        columns = to_columns(block.values)
    except (KeyError, TypeError, ValueError) as error:
        raise DecodeError(f"Arrow block holds values of a type that no tag has: {error}", code="MS-0303") from error
    quality = block.quality if block.quality is not None else np.zeros(n, np.uint32)
    return Rows(
        np.full(n, tag_id, np.uint32),
        block.time_ns,
        np.arange(order, order + n),
        quality,
        columns.kind,
        columns.value,
        columns.whole,
        columns.text,
    )
