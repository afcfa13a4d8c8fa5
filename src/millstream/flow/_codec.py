"""Between messages and what a step sees. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from millstream.flow._clock import AHEAD, excess_ns
from millstream.flow._facts import BlockFacts, Fact
from millstream.flow._model import Emit, EmitEvent, Event
from millstream.kernel import DecodeError
from millstream.model import GOOD, Quality, TagPath
from millstream.protocols.cloudevents import CloudEvent, decode_event, encode_event
from millstream.protocols.nats_wire import parse_headers
from millstream.protocols.trace_context import TRACEPARENT, next_span
from millstream.protocols.uns_payload import (
    ARROW_TYPE,
    BlockRecord,
    decode_block,
    decode_sample,
    encode_sample,
    encode_value,
)
from millstream.protocols.uns_subject import tag_subject
from millstream.sdk import Message, Received

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

FLOW_HEADER = "Ms-Flow"
"""Which flow made a message: ``<name>/<version>/<partition>``."""
INPUT_HEADER = "Ms-Flow-In"
"""From what: ``<stream>:<sequence>:<n>``, the n-th output of that input, or ``tick:<ns>:<n>``."""
REVISION_HEADER = "Ms-Revision"
"""On a corrected result: how many times it was corrected."""
EVENT_KINDS = ("event", "alarm", "cmd", "ack", "context")  # these contracts carry CloudEvents, all others samples
_ARROW_MARK = ARROW_TYPE.encode()


def decode_facts(kind: str, received: Received, *, is_run: bool = False) -> Sequence[Fact]:
    """What a message holds; with `is_run` a block of numbers as `BlockFacts`. Raises DecodeError."""
    if kind in EVENT_KINDS:
        event = decode_event(parse_headers(received.headers).values, received.payload)
        time_ns = event.time_ns if event.time_ns is not None else received.stored_time_ns
        return [Fact(time_ns, event.data, GOOD, None, event.type)]
    if received.headers and _ARROW_MARK in received.headers:
        block = decode_block(received.payload)
        if is_run and len(block) and not isinstance(block.values, list):
            return BlockFacts(block, _times(block), block.values)
        times, values = _times(block).tolist(), block.values
        plain = values if isinstance(values, list) else values.tolist()
        qualities = block.quality.tolist() if block.quality is not None else None
        return [
            Fact(time_ns, plain[i], Quality(qualities[i]) if qualities else GOOD, block.unit, "")
            for i, time_ns in enumerate(times)
        ]
    record = decode_sample(received.payload)
    quality = Quality(record.quality) if record.quality else GOOD
    time_ns = record.time_ns
    if record.clock == AHEAD:
        time_ns -= excess_ns(time_ns - record.ingest_ns)
    return [Fact(time_ns, record.value, quality, record.unit, "")]


def _times(block: BlockRecord) -> npt.NDArray[np.int64]:
    """Of its samples, as far as its clock is believed: else the newest stands where the block was taken."""
    if block.clock != AHEAD:
        return block.time_ns
    return block.time_ns - excess_ns(int(block.time_ns.max()) - block.ingest_ns)


def encode_fact(event: Event, arrival_ns: int) -> tuple[str, bytes]:
    """Subject and payload of one input again, without the headers of an event. Raises DecodeError."""
    subject = tag_subject(TagPath.parse(event.source), f"_{event.kind}")
    if event.kind in EVENT_KINDS:
        return subject, encode_value(event.value)
    payload = encode_sample(
        event.value, quality=event.quality, source_time_ns=event.time_ns, ingest_time_ns=arrival_ns, unit=event.unit
    )
    return subject, payload


def header_in(block: bytes, name: str) -> str:
    """The value of one header of a message; empty when it has none."""
    mark = b"\r\n" + name.encode() + b": "
    at = block.find(mark)
    return block[at + len(mark) : block.find(b"\r\n", at + len(mark))].decode() if at >= 0 else ""


class OutputEncoder:
    """Turns what a step emits into messages; remembers the subjects. Raises DecodeError for a bad path or value."""

    def __init__(self, flow: str) -> None:
        self._flow = flow
        self._subjects: dict[tuple[str, str], str] = {}
        self.traceparent = ""  # of the input that is being taken

    def encode(self, output: Emit | EmitEvent, origin: str, ingest_ns: int) -> Message:
        """The message of one output. `origin` is the value of its input header; `ingest_ns` when the input arrived."""
        subject = self._subjects.get((output.kind, output.path)) or self._subject(output.kind, output.path)
        marks: tuple[tuple[str, str], ...] = ((FLOW_HEADER, self._flow), (INPUT_HEADER, origin))
        if self.traceparent and (span := next_span(self.traceparent, f"{self._flow}|{origin}")) is not None:
            marks = (*marks, (TRACEPARENT, span))
        if isinstance(output, Emit):
            try:
                payload = encode_sample(
                    output.value, quality=output.quality, source_time_ns=output.time_ns, ingest_time_ns=ingest_ns,
                    unit=output.unit,
                )  # fmt: skip
            except (TypeError, msgspec.ValidationError, OverflowError) as error:
                raise DecodeError(f"not a value: {error}", where=output.path, got=repr(output.value)[:80]) from error
            if output.revision:
                marks = (*marks, (REVISION_HEADER, str(output.revision)))
            return Message(subject, payload, headers=marks)
        event = CloudEvent(
            id=origin, source=f"/flows/{self._flow}", type=output.type, data=output.data, time_ns=output.time_ns,
            subject=output.path,
        )  # fmt: skip
        headers, payload = encode_event(event)
        content_type = headers.pop("Content-Type", None)
        return Message(subject, payload, content_type, 0, (*headers.items(), *marks))

    def _subject(self, kind: str, path: str) -> str:
        subject = tag_subject(TagPath.parse(path), f"_{kind}")
        if len(self._subjects) > 100_000:
            self._subjects.clear()
        self._subjects[(kind, path)] = subject
        return subject


class Offset(msgspec.Struct, array_like=True, frozen=True):
    """How far an input stream was taken: all up to `seq`, and of the next message `facts` samples with `outputs`
    outputs. `created` is the mark of the stream's making."""

    created: str = ""
    seq: int = 0
    facts: int = 0
    outputs: int = 0


class Commit(msgspec.Struct, array_like=True, frozen=True):
    """The state record that ends each batch of a partition: where its inputs were read to, and what changed.

    `offsets` is by input stream. `entries` are encoded keys, None for a key that is forgotten.
    Reading the records from stream sequence `restore_seq` on gives every key. What `muted` says is left out (see
    `Muting`: this version takes over from an older one). With a `successor` this is the last record: that version has
    taken over, and nobody may write after it. `marks` are messages to read on from (see `_places`). What the unit has
    in quarantine stands there up to the position `letters_seq`.
    """

    format: int
    number: int
    offsets: dict[str, Offset]
    tick_ns: int
    restore_seq: int
    entries: list[tuple[str, bytes | None]]
    muted: dict[str, int] = {}
    successor: int = 0
    marks: dict[str, list[tuple[int, int]]] = {}
    letters_seq: int = 0


COMMIT_FORMAT = 1
_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Commit)


def encode_commit(commit: Commit) -> bytes:
    """MessagePack."""
    return _encode(commit)


def decode_commit(payload: bytes) -> Commit:
    """Raises DecodeError."""
    try:
        commit = _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DecodeError(f"not a state record of a flow: {error}", got=repr(payload[:60]), code="MS-0701") from error
    if commit.format != COMMIT_FORMAT:
        raise DecodeError(
            "state record of another format", expected=str(COMMIT_FORMAT), got=str(commit.format), code="MS-0701"
        )
    return commit
