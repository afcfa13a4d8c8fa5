"""The account of a node's streams: what each publisher says it stored, and the recount that proves it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from millstream.client._streams import StoredFrame, Streams, newest
from millstream.kernel import DecodeError
from millstream.protocols.cloudevents import format_time
from millstream.protocols.ledger import (
    CONTRACT,
    WRITER_HEADER,
    LedgerVerifier,
    OriginAccount,
    decode_record,
    is_record_subject,
    parse_stream_source,
)
from millstream.protocols.uns_payload import ARROW_TYPE, decode_block
from millstream.protocols.uns_subject import PREFIX, decode_subject

READ_COUNT = 1000  # messages of one direct get while recounting


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """The newest record of one publisher. `stream` is where it was found; totals count since its stream began."""

    stream: str
    place: str
    node: str
    publisher: str
    batch: int
    total_messages: int
    total_samples: int
    time_ns: int

    def as_dict(self) -> dict[str, Any]:
        """The row as the CLI prints it with --json."""
        return {**asdict(self), "time": format_time(self.time_ns)}


@dataclass(frozen=True, slots=True)
class Ledger:
    """`rows` are the publishers' own records, `accounts` the recount by origin stream (empty when nobody recounted)."""

    rows: Sequence[LedgerRow]
    accounts: Mapping[str, OriginAccount] = field(default_factory=dict)

    @property
    def is_clean(self) -> bool:
        """Nothing missing, repeated or out of order in any recount."""
        return all(account.is_clean for account in self.accounts.values())

    def as_dict(self) -> dict[str, Any]:
        """The ledger as the CLI prints it with --json."""
        return {
            "is_clean": self.is_clean,
            "publishers": [row.as_dict() for row in self.rows],
            "origins": [
                {"origin": name, "is_clean": account.is_clean, **asdict(account)}
                for name, account in sorted(self.accounts.items())
            ],
        }


async def read_rows(streams: Streams) -> Sequence[LedgerRow]:
    """The newest record of every publisher that the node's streams know."""
    frames: list[StoredFrame] = []
    for stream in await streams.of_data():
        subjects = [s for s in await streams.subjects(stream, f"{PREFIX}>") if is_record_subject(s)]
        frames += await streams.last(stream, subjects)
    return sorted(
        (row for frame in newest(frames).values() if (row := _row(frame)) is not None),
        key=lambda row: (row.place, row.node, row.publisher),
    )


def _row(frame: StoredFrame) -> LedgerRow | None:
    try:
        address = decode_subject(frame.subject)
        record = decode_record(frame.payload)
    except DecodeError:
        return None  # somebody else's message on our subject: the recount shows it, a listing need not fail
    if address.contract != CONTRACT or len(address.names) != 2:
        return None
    return LedgerRow(
        frame.stream, str(address.asset), *address.names, record.batch, record.total_messages, record.total_samples,
        record.time_ns,
    )  # fmt: skip


async def recount(streams: Streams) -> Mapping[str, OriginAccount]:
    """Read every message of the node's streams and count again. Cost: all data once over the link.

    At a hub the origins are the edges' streams, in the order in which their messages arrived. A message that was
    stored at the hub itself counts under the hub's own stream.
    """
    verifier = LedgerVerifier()
    for stream in await streams.of_data():
        state = (await streams.info(stream)).get("state", {})
        seq, last_seq = int(state.get("first_seq", 1)), int(state.get("last_seq", 0))
        while seq <= last_seq:
            frames = await streams.range(stream, start_seq=seq, count=READ_COUNT)
            if not frames:
                break
            for frame in frames:
                _feed(verifier, stream, frame)
            seq = frames[-1].seq + 1
    return verifier.accounts


def _feed(verifier: LedgerVerifier, stream: str, frame: StoredFrame) -> None:
    source = frame.headers.get("Nats-Stream-Source")
    try:
        origin, origin_seq = (stream, frame.seq) if source is None else parse_stream_source(source)
        count, is_guest = _samples_count(frame), WRITER_HEADER in frame.headers
        verifier.feed(origin, origin_seq, frame.subject, count, frame.payload, is_guest=is_guest)
    except DecodeError:
        return  # a malformed record counts as none: the next one's totals cover its messages


def _samples_count(frame: StoredFrame) -> int:
    declared = frame.headers.get("Ms-Count")
    if declared is not None and declared.isascii() and declared.isdigit():
        return int(declared)
    if frame.headers.get("Content-Type") == ARROW_TYPE:
        return len(decode_block(frame.payload))
    return 1


def account_from(raw: Mapping[str, Any]) -> OriginAccount:
    """An account from a node's status; unknown fields are left out."""
    known = {name: int(raw[name]) for name in OriginAccount.__slots__ if isinstance(raw.get(name), int)}
    return OriginAccount(**known)
