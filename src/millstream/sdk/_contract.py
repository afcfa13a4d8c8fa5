"""The connector contract: what a connector offers, and what the runtime promises in return.

The runtime validates before construction, opens one session at a time, never overlaps `read` with itself, sets the
deadlines, backs off with jitter, stores before it acknowledges, and counts. Errors tell it what to do: `Unreachable`
backs off and opens again, `AuthError` stops, `ProtocolViolation` keeps the frame and opens again, `ConfigError` (from
the constructor) refuses to start; a bad tag is a `Sample` with bad quality, never an exception; anything else is a
bug of the connector: its traceback is kept, it is opened again, and the others do not notice.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar, NewType, Protocol, runtime_checkable

from millstream.kernel import Clock, SystemClock
from millstream.model import Block, Event, Quality, Sample, Value
from millstream.protocols.write_request import WriteAnswer, WriteRequest
from millstream.sdk._config import ConnectorConfig
from millstream.sdk._ports import Reader

Position = NewType("Position", bytes)
"""Opaque to the runtime: "everything up to here". It is stored in the same atomic batch as the data it covers."""


@dataclass(frozen=True, slots=True)
class Tag:
    """One configured tag as a connector sees it.

    `key` is what the session puts into `Sample.tag`; `address` is the source's own notation, checked by the connector.
    Intervals are in seconds. `options` are connector-specific, already validated against its `TagOptions`, if any.
    """

    key: str
    address: str
    sampling_interval_s: float = 1.0
    publishing_interval_s: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Batch:
    """What a streamed session yields. `position` is None when the source cannot rewind.

    `events` go out beside the samples, through the same store, each to its tag's `_event` or `_alarm` subject. A source
    that rewinds may give them again: whoever reads tells by their id.

    `frames_bad` holds raw frames that could not be decoded, each with its reason: they go to the dead-letter stream.
    """

    samples: Sequence[Sample] = ()
    blocks: Sequence[Block] = ()
    position: Position | None = None
    frames_bad: Sequence[tuple[bytes, str]] = ()
    events: Sequence[Event] = ()


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """One thing a device offers, from `browse`: enough to write a starting configuration.

    `unit` is that of the value times `factor` plus `offset`; both are written as the tag's scale.
    """

    address: str
    name: str
    groups: tuple[str, ...] = ()
    data_type: str | None = None
    unit: str | None = None
    description: str | None = None
    is_writable: bool = False
    factor: float = 1.0
    offset: float = 0.0

    @property
    def is_scaled(self) -> bool:
        """What the session gives is not yet in `unit`."""
        return (self.factor, self.offset) != (1.0, 0.0)


@dataclass(frozen=True, slots=True)
class Write:
    """One value to write to one tag. None is a null, where the protocol has one: BACnet gives the priority back, OPC UA
    empties the value; the others answer BadTypeMismatch (`given_value`)."""

    tag: Tag
    value: Value | None


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What became of one write; `reason` is set when the quality is not good.

    `written` is the value as a read would show it, where the machine's type holds another one than was asked for (a
    time in UTC, say). `answer` is what the machine gave back itself, a method's output for example; such a write is not
    read back.
    """

    quality: Quality
    reason: str | None = None
    written: Value | None = None
    answer: Value | None = None


class Session(Protocol):
    """An open link. Offers one or more of Polled, Streamed, Acknowledged, Writable, Browsable, SourceCounted."""


@runtime_checkable
class Polled(Protocol):
    """The runtime owns the period. One sample for each tag asked for, in the same order; a bad tag has bad quality.

    Of a session that is Streamed too, only what was written is read: to see whether the machine shows it."""

    async def read(self, tags: Sequence[Tag]) -> Sequence[Sample]:
        """Read all `tags` once. Raises Unreachable, AuthError or ProtocolViolation when the link is gone."""
        ...


@runtime_checkable
class Streamed(Protocol):
    """Waits for data; the consumer's pace is the back-pressure."""

    def stream(self, tags: Sequence[Tag], resume: Position | None) -> AsyncGenerator[Batch, None]:
        """Yield batches for ever, or end when the source is at its end. Start right after `resume` if it is given."""
        ...


@runtime_checkable
class Acknowledged(Protocol):
    """A source that keeps data until told otherwise."""

    async def ack(self, up_to: Position) -> None:
        """Everything up to here is stored and synced; called only then."""
        ...


@runtime_checkable
class SourceCounted(Protocol):
    """A source that can show what it lost itself (sequence, counter, overflow bit)."""

    def take_source_gaps(self) -> int:
        """Samples that the device reports or shows as missing since the last call; appears in the ledger."""
        ...


@runtime_checkable
class Writable(Protocol):
    """One result per write, in order; never a partial raise."""

    async def write(self, writes: Sequence[Write]) -> Sequence[WriteResult]:
        """Write all; a refused one has a bad quality and a reason."""
        ...


@runtime_checkable
class Browsable(Protocol):
    """Can list what the device offers."""

    def browse(self, root: str | None = None) -> AsyncGenerator[NodeInfo, None]:
        """Yield what lies below `root` (all when None)."""
        ...


class Log(Protocol):
    """Structured log of one connector: lower-case event, then fields."""

    def info(self, event: str, **fields: object) -> None:
        """A change of state worth one line."""
        ...

    def warning(self, event: str, **fields: object) -> None:
        """Something degraded; work goes on."""
        ...

    def error(self, event: str, **fields: object) -> None:
        """Something stopped; a person may have to act."""
        ...


class _SilentLog:
    def info(self, event: str, **fields: object) -> None:
        """Drop."""

    warning = error = info


@dataclass(frozen=True, slots=True)
class TagFacts:
    """What the node's configuration says of one of its tags. `write_lifetime_s` is the longest time that a write to it
    may wait; None: it is never written."""

    unit: str | None = None
    description: str | None = None
    write_lifetime_s: float | None = None


@dataclass(frozen=True, slots=True)
class ConnectorTools:
    """What the runtime gives a connector at construction.

    `reader` reads the node's own streams, `mqtt_stream` names the one that holds what devices published on the node's
    MQTT listener; both are None outside a running node (in a check, a probe) and where there is no listener. `tags` are
    the configured ones, empty outside a running node: a session is asked for them in parts, by sampling interval.

    For connectors that tell others of the whole node: `streams` are what it stores into, `facts` what it knows of all
    its configured tags, by path, and `write` asks its write desk, which gates, carries out and audits like any request.
    """

    name: str = "connector"
    clock: Clock = field(default_factory=SystemClock)
    log: Log = field(default_factory=_SilentLog)
    reader: Reader | None = None
    mqtt_stream: str | None = None
    tags: Sequence[Tag] = ()
    streams: Sequence[str] = ()
    facts: Mapping[str, TagFacts] = field(default_factory=dict)
    write: Callable[[WriteRequest], Awaitable[WriteAnswer]] | None = None


@dataclass(frozen=True, slots=True)
class ConnectorInfo:
    """What a connector is. `maturity` is bronze, silver, gold or platinum (its ``quality.yaml`` has the evidence).
    `notices_loss`: a session ends when the device is gone, also when it had nothing to say; so while there is one, a
    value that came an hour ago still holds. False where silence tells nothing (a broker, a folder, a webhook)."""

    name: str
    summary: str
    spec: str
    maturity: str = "bronze"
    notices_loss: bool = False


class Connector(Protocol):
    """Built once from a checked configuration (no I/O in the constructor), opened many times."""

    info: ClassVar[ConnectorInfo]
    Config: ClassVar[type[ConnectorConfig]]

    def __init__(self, config: Any, tools: ConnectorTools) -> None: ...

    def check_tag(self, tag: Tag) -> None:
        """Raise ConfigError when `tag.address` or an option cannot be right; offline."""
        ...

    def open(self) -> AbstractAsyncContextManager[Session]:
        """Connect on enter, release on exit, always. Entering and leaving is the connection test."""
        ...
