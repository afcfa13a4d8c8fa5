"""From a connector's samples to messages: place, unit, scale, deadband, clock flags, blocks. Pure; times are given.

Order in, order out, for each tag. Nothing is dropped but what a deadband or thinning suppresses (counted) and what
cannot be a message or breaks a contract (it becomes a dead letter, and a sample of bad quality takes its place; of a
run of samples that break a contract, the first one's).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from millstream.config import MappedTag
from millstream.edge._event_message import event_message, event_subject
from millstream.edge._repeats import Repeats
from millstream.edge._scaling import scale_array, scale_value
from millstream.kernel import DecodeError
from millstream.model import (
    BAD,
    BAD_DATA_UNAVAILABLE,
    BAD_NO_COMMUNICATION,
    BAD_OUT_OF_RANGE,
    BAD_TYPE_MISMATCH,
    BAD_WAITING_FOR_INITIAL_DATA,
    GOOD,
    AssetPath,
    Block,
    Event,
    Quality,
    Sample,
    TagPath,
    Value,
)
from millstream.protocols.contract import ContractBook, SubjectCheck, Violation, check_block
from millstream.protocols.uns_payload import ARROW_TYPE, JSON_TYPE, encode_block, encode_sample
from millstream.protocols.uns_subject import tag_subject
from millstream.sdk import Message, Received

BLOCK_BYTES_MAX = 256 * 1024  # of one collected or split block: small enough for a slow uplink to interleave
BLOCK_SAMPLES_MAX = 20_000
HEADER_BYTES = 4096  # of the server's max_payload, for headers
CLOCK_AHEAD_NS_MAX = 10_000_000_000  # tolerance of clocks that are set by hand or by a PLC
DYNAMIC_TAGS_MAX = 100_000  # names that a source brings itself; more is a runaway topic tree
_NEVER = -(1 << 63)
_UNENCODABLE = (DecodeError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Raw bytes that could not become data, and why. `subject` is where they should have gone, if known; `contract`
    the version that they break, such as ``press-temperature/3``."""

    payload: bytes
    reason: str
    code: str = "MS-0300"
    subject: str | None = None
    content_type: str | None = None
    contract: str | None = None


@dataclass(slots=True)
class Output:
    """What the pipeline gives to be stored, in order."""

    messages: list[Message] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)
    bytes: int = 0

    def take(self) -> list[Message]:
        """The messages so far; they are the caller's."""
        messages, self.messages, self.bytes = self.messages, [], 0
        return messages

    def take_dead(self) -> list[DeadLetter]:
        """The dead letters so far."""
        dead, self.dead = self.dead, []
        return dead


@dataclass(slots=True)
class PipelineCounters:
    """Samples since the connector's first start. `received` = stored or queued + `filtered` + `dead` - `added`.
    `repeated`, of this run: stored by the run before without a record of it, given again by the source, not stored
    again. `waiting`: nothing was there yet, which is no fault and not in `bad`."""

    received: int = 0
    filtered: int = 0
    bad: int = 0
    uncertain: int = 0
    waiting: int = 0
    added: int = 0
    dead: int = 0
    clock_flags: int = 0
    repeated: int = 0
    events: int = 0


class _TagState:
    """What is kept of one tag between samples."""

    __slots__ = (
        "absolute", "bytes", "check", "clock", "collects", "due_ns", "factor", "has_clock", "has_deadband", "has_last",
        "is_broken", "is_lost", "is_scaled", "last_quality", "last_source_ns", "last_value", "offset", "percent",
        "publishing_ns", "qualities", "subject", "thin_next", "times", "unit", "values",
    )  # fmt: skip

    def __init__(self, subject: str, unit: str | None = None) -> None:
        self.subject = subject
        self.unit = unit
        self.is_scaled = self.has_deadband = self.has_last = self.collects = self.is_lost = self.thin_next = False
        self.is_broken = False
        self.check: SubjectCheck | None = None
        self.factor: int | float = 1
        self.offset: int | float = 0
        self.absolute: float | None = None
        self.percent: float | None = None
        self.publishing_ns = 0
        self.last_value: Value | None = None
        self.last_quality = 0
        self.last_source_ns = _NEVER
        self.clock: str | None = None
        self.has_clock = False
        self.times: list[int] = []
        self.values: list[Value | None] = []
        self.qualities: list[int] = []
        self.bytes = 0
        self.due_ns = 0

    def configure(self, mapped: MappedTag) -> None:
        """Take what the configuration says."""
        config = mapped.config
        if config.scale is not None:
            self.factor, self.offset, self.is_scaled = config.scale.factor, config.scale.offset, True
        if config.deadband is not None:
            self.absolute, self.percent, self.has_deadband = config.deadband.absolute, config.deadband.percent, True
        self.publishing_ns = int(mapped.tag.publishing_interval_s * 1e9)
        self.collects = mapped.tag.publishing_interval_s > mapped.tag.sampling_interval_s

    def inherit(self, other: _TagState) -> None:
        """Take what another tag was configured with."""
        for name in ("unit", "is_scaled", "factor", "offset", "has_deadband", "absolute", "percent", "publishing_ns"):
            setattr(self, name, getattr(other, name))
        self.collects = other.collects


class Pipeline:
    """The mapping of one connector. `payload_bytes_max` is the server's max_payload."""

    def __init__(
        self, tags: Sequence[MappedTag], place: AssetPath, *, payload_bytes_max: int = 1024 * 1024, thins: bool = False
    ) -> None:
        self.counters = PipelineCounters()
        self.thins = thins
        self._place = place
        self._payload_bytes_max = payload_bytes_max - HEADER_BYTES
        self._tags: dict[str, _TagState] = {}
        self._collecting: dict[str, _TagState] = {}
        self._repeats: Repeats | None = None
        self._book = ContractBook()
        for mapped in tags:
            state = self._tags[mapped.tag.key] = _TagState(tag_subject(mapped.path), mapped.config.unit)
            state.configure(mapped)
        self._configured_count = len(self._tags)
        self.publishing_ns_min = min((s.publishing_ns for s in self._tags.values() if s.collects), default=10**9)

    def expect_repeats(self, stored: Sequence[Received]) -> None:
        """What the run before stored behind its last record. The source gives it again; it is not stored again."""
        self._repeats = Repeats(stored) or None

    @property
    def awaits_repeats(self) -> bool:
        """The source has not given again all that is stored without a record."""
        return self._repeats is not None

    def forget_repeats(self) -> None:
        """They do not come: the source has lost them, or another answers in its place."""
        self._repeats = None

    def enforce(self, book: ContractBook) -> None:
        """From now on the contracts of `book` hold; what each tag has to keep is looked up here, not per sample."""
        self._book = book
        for state in self._tags.values():
            state.check = book.check_of(state.subject)

    # -- samples ------------------------------------------------------------------------------------------------------

    def feed(self, samples: Sequence[Sample], now_ns: int, monotonic_ns: int, out: Output) -> None:
        """Samples in source order, read at `now_ns` (UTC)."""
        for sample in samples:
            self.feed_one(sample, now_ns, monotonic_ns, out)

    def feed_one(self, sample: Sample, now_ns: int, monotonic_ns: int, out: Output) -> None:
        """One sample."""
        self.counters.received += 1
        state = self._tags.get(sample.tag) or self._adopt(sample.tag, out, sample.value)
        if state is None:
            return
        value, quality, source_ns = sample.value, sample.quality, sample.source_time_ns
        if value is None and quality >> 30 == 0:
            quality = BAD_DATA_UNAVAILABLE
        if quality >> 30:
            self._count_not_good(quality)
        if state.is_scaled:
            value = scale_value(value, state.factor, state.offset)
        if state.check is not None and value is not None and quality >> 30 < 2:
            violation = state.check.find(value, state.unit)
            if violation is not None:
                self._quarantine(state, violation, value, quality, source_ns, now_ns, out)
                return
            state.is_broken = False
        if (state.has_deadband or self.thins) and self._is_suppressed(state, value, quality):
            self.counters.filtered += 1
            if source_ns is not None:
                state.last_source_ns = source_ns
            return
        state.last_value, state.last_quality, state.has_last, state.is_lost = value, quality, True, False
        clock = None
        if source_ns is not None:
            if source_ns - now_ns > CLOCK_AHEAD_NS_MAX:
                clock = "ahead"
            elif source_ns < state.last_source_ns:
                clock = "backward"
            state.last_source_ns = source_ns
            if clock is not None:
                self.counters.clock_flags += 1
        if self._repeats is not None and self._is_repeat(self._repeats, state.subject, value, quality, source_ns):
            self.counters.repeated += 1
        elif state.collects:
            self._collect(state, value, quality, source_ns, clock, now_ns, monotonic_ns, out)
        else:
            self._emit(state, value, quality, source_ns, clock, now_ns, out)

    def _is_repeat(
        self, repeats: Repeats, subject: str, value: Value | None, quality: int, source_ns: int | None
    ) -> bool:
        is_repeat = repeats.take(subject, value, quality, source_ns)
        if not repeats:
            self._repeats = None
        return is_repeat

    def _is_suppressed(self, state: _TagState, value: Value | None, quality: int) -> bool:
        last = state.last_value
        if not state.has_last or quality != state.last_quality or type(value) is not type(last):
            return False
        if self.thins and type(value) is float:
            state.thin_next = not state.thin_next
            if state.thin_next:
                return True
        if not state.has_deadband:
            return False
        if type(value) is not float and type(value) is not int:
            return value == last
        if value != value or last != last:
            return value != value and last != last
        if value == last:  # also two equal infinities, whose difference is no number
            return True
        change = abs(value - last)  # type: ignore[operator]  # both are of the same numeric type
        if state.absolute is not None:
            return change < state.absolute
        return state.percent is not None and change < abs(last) * state.percent / 100  # type: ignore[arg-type]

    def _emit(
        self, state: _TagState, value: Value | None, quality: int, source_ns: int | None, clock: str | None,
        now_ns: int, out: Output,
    ) -> None:  # fmt: skip
        try:
            payload = encode_sample(
                value, quality=quality, source_time_ns=source_ns, ingest_time_ns=now_ns, unit=state.unit, clock=clock
            )
        except _UNENCODABLE as error:
            self._reject(state, value, str(error), BAD_TYPE_MISMATCH, source_ns, now_ns, out)
            return
        if len(payload) > self._payload_bytes_max:
            reason = f"value of {len(payload)} bytes is larger than the server takes ({self._payload_bytes_max})"
            self._reject(state, value, reason, BAD_OUT_OF_RANGE, source_ns, now_ns, out)
            return
        out.messages.append(Message(state.subject, payload))
        out.bytes += len(payload)

    def feed_event(self, event: Event, out: Output) -> None:
        """One event, beside the samples of its tag; not one of them, so neither counted nor thinned as such."""
        state = self._tags.get(event.tag) or self._adopt(event.tag, out, event.id)
        if state is None:
            return
        subject = event_subject(state.subject, event)
        check = self._book.check_of(subject)
        violation = check.find_event(event.type, dict(event.data)) if check is not None else None
        try:
            message = event_message(subject, event, self._payload_bytes_max)
        except DecodeError as error:
            self.counters.dead += 1
            out.dead.append(DeadLetter(_raw(dict(event.data)), error.what, error.code, subject))
            return
        if violation is not None:
            self._quarantine_payload(subject, violation, message.payload, message.content_type, 1, out)
            return
        self.counters.events += 1
        out.messages.append(message)
        out.bytes += len(message.payload)

    # -- contracts ----------------------------------------------------------------------------------------------------

    def _quarantine(
        self, state: _TagState, violation: Violation, value: Value, quality: Quality, source_ns: int | None,
        now_ns: int, out: Output,
    ) -> None:  # fmt: skip
        """A sample that breaks a contract: kept as the message that it would have been."""
        content_type: str | None = JSON_TYPE
        try:
            payload = encode_sample(
                value, quality=quality, source_time_ns=source_ns, ingest_time_ns=now_ns, unit=state.unit
            )
        except _UNENCODABLE:
            payload, content_type = _raw(value), None
        self._quarantine_payload(state.subject, violation, payload, content_type, 1, out)
        self._mark_broken(state, violation, source_ns, now_ns, out)

    def _quarantine_payload(
        self, subject: str, violation: Violation, payload: bytes, content_type: str | None, count: int, out: Output
    ) -> None:
        self.counters.dead += count
        out.dead.append(DeadLetter(payload, str(violation), "MS-0330", subject, content_type, violation.contract))

    def _mark_broken(
        self, state: _TagState, violation: Violation, source_ns: int | None, now_ns: int, out: Output
    ) -> None:
        """Once a run of violations: whoever reads the tag sees that there is no good value."""
        if state.is_broken:
            return
        if state.values:
            self._flush(state, now_ns, out)
        state.is_broken, state.has_last = True, False
        self._replace(state, BAD_TYPE_MISMATCH if violation.is_type else BAD_OUT_OF_RANGE, source_ns, now_ns, out)

    def _replace(self, state: _TagState, quality: Quality, source_ns: int | None, now_ns: int, out: Output) -> None:
        """A sample of bad quality in the place of one that is a dead letter; the run before may have stored it."""
        time_ns = source_ns if isinstance(source_ns, int) and abs(source_ns) < 1 << 63 else None
        self.counters.added += 1
        self.counters.bad += 1
        if self._repeats is not None and self._is_repeat(self._repeats, state.subject, None, quality, time_ns):
            self.counters.repeated += 1
            return
        payload = encode_sample(None, quality=quality, source_time_ns=time_ns, ingest_time_ns=now_ns, unit=state.unit)
        out.messages.append(Message(state.subject, payload))
        out.bytes += len(payload)

    def _count_not_good(self, quality: Quality) -> None:
        if quality >> 30 == 1:
            self.counters.uncertain += 1
        elif quality >> 16 == BAD_WAITING_FOR_INITIAL_DATA >> 16:
            self.counters.waiting += 1
        else:
            self.counters.bad += 1

    def _is_block_broken(self, state: _TagState, block: Block, payload: bytes, now_ns: int, out: Output) -> bool:
        """Whether a block breaks a contract; then it is in quarantine as a whole."""
        if state.check is None:
            return False
        violation = check_block(state.check, block, state.unit)
        if violation is None:
            state.is_broken = False
            return False
        self._quarantine_payload(state.subject, violation, payload, ARROW_TYPE, len(block), out)
        self._mark_broken(state, violation, int(block.source_time_ns[0]), now_ns, out)
        return True

    def _reject(
        self,
        state: _TagState,
        value: Any,
        reason: str,
        quality: Quality,
        source_ns: int | None,
        now_ns: int,
        out: Output,
    ) -> None:
        self.counters.dead += 1
        out.dead.append(DeadLetter(_raw(value), reason, "MS-0308", state.subject))
        self._replace(state, quality, source_ns, now_ns, out)

    # -- collecting ---------------------------------------------------------------------------------------------------

    def _collect(
        self, state: _TagState, value: Value | None, quality: int, source_ns: int | None, clock: str | None,
        now_ns: int, monotonic_ns: int, out: Output,
    ) -> None:  # fmt: skip
        size = 24 if isinstance(value, bool | int | float) or value is None else 32 + _size(value)
        if state.values:
            known = state.values[-1]
            is_other = type(value) is not type(known) and value is not None and known is not None
            if is_other or (source_ns is not None) != state.has_clock or state.bytes + size > BLOCK_BYTES_MAX:
                self._flush(state, now_ns, out)
        if not state.values:
            state.due_ns = monotonic_ns + state.publishing_ns
            state.clock = None
            self._collecting[state.subject] = state
        state.times.append(source_ns if source_ns is not None else now_ns)
        state.has_clock = source_ns is not None
        state.values.append(value)
        state.qualities.append(int(quality))
        state.bytes += size
        state.clock = state.clock or clock
        if len(state.values) >= BLOCK_SAMPLES_MAX:
            self._flush(state, now_ns, out)

    @property
    def is_collecting(self) -> bool:
        """Something waits for its publishing interval."""
        return bool(self._collecting)

    @property
    def due_ns(self) -> int | None:
        """Monotonic time at which the earliest collected block is to be sent; None when nothing is collected."""
        return min((state.due_ns for state in self._collecting.values()), default=None)

    def flush_due(self, now_ns: int, monotonic_ns: int, out: Output) -> None:
        """Send what has been collected for its publishing interval."""
        for state in [s for s in self._collecting.values() if s.due_ns <= monotonic_ns]:
            self._flush(state, now_ns, out)

    def flush_all(self, now_ns: int, out: Output) -> None:
        """Send all that has been collected."""
        for state in list(self._collecting.values()):
            self._flush(state, now_ns, out)

    def _flush(self, state: _TagState, now_ns: int, out: Output) -> None:
        times, values, qualities = state.times, state.values, state.qualities
        state.times, state.values, state.qualities, state.bytes = [], [], [], 0
        self._collecting.pop(state.subject, None)
        if len(values) == 1:
            self._emit(state, values[0], qualities[0], times[0] if state.has_clock else None, state.clock, now_ns, out)
            return
        try:
            array = np.array(times, np.int64)
            quality = np.array(qualities, np.uint32) if any(qualities) else None
            block = Block("", array, values, quality)
            payload = encode_block(block, ingest_time_ns=now_ns, unit=state.unit, clock=state.clock)
        except _UNENCODABLE:  # one of them cannot be encoded: each by itself, so that the others are kept
            payload = b""
        if not payload or len(payload) > self._payload_bytes_max:
            for value, q, time_ns in zip(values, qualities, times, strict=True):
                self._emit(state, value, q, time_ns if state.has_clock else None, state.clock, now_ns, out)
            return
        violation = state.check.find_columns(values) if state.check is not None else None
        if violation is not None:  # each value by itself was right: the columns they make together are not
            self._quarantine_payload(state.subject, violation, payload, ARROW_TYPE, len(values), out)
            self._mark_broken(state, violation, times[0] if state.has_clock else None, now_ns, out)
            return
        out.messages.append(Message(state.subject, payload, ARROW_TYPE, len(values)))
        out.bytes += len(payload)

    # -- blocks -------------------------------------------------------------------------------------------------------

    def feed_block(self, block: Block, now_ns: int, monotonic_ns: int, out: Output) -> None:
        """A block of one tag. With a deadband each sample is looked at, else the columns stay as they are."""
        count = len(block)
        if not count:
            return
        state = self._tags.get(block.tag) or self._adopt(block.tag, out, block.values, count)
        if state is None:
            self.counters.received += count
            return
        if len(block.values) != count or (block.quality is not None and len(block.quality) != count):
            self.counters.received += count
            self._reject(state, block.values, "columns of a block differ in length", BAD, None, now_ns, out)
            self.counters.dead += count - 1
            return
        if state.has_deadband or self.thins or self._repeats is not None or not isinstance(block.values, np.ndarray):
            self._feed_rows(block, now_ns, monotonic_ns, out)
            return
        self.counters.received += count
        if state.subject in self._collecting:
            self._flush(state, now_ns, out)
        self._emit_rows(state, block, now_ns, out)

    def _feed_rows(self, block: Block, now_ns: int, monotonic_ns: int, out: Output) -> None:
        state = self._tags[block.tag]
        collects, state.collects = state.collects, True
        values = block.values.tolist() if isinstance(block.values, np.ndarray) else block.values
        qualities = [GOOD] * len(block) if block.quality is None else [Quality(q) for q in block.quality.tolist()]
        for value, quality, time_ns in zip(values, qualities, block.source_time_ns.tolist(), strict=True):
            self.feed_one(Sample(block.tag, value, quality, time_ns), now_ns, monotonic_ns, out)
        state.collects = collects
        if not collects and state.values:
            self._flush(state, now_ns, out)

    def _emit_rows(self, state: _TagState, block: Block, now_ns: int, out: Output) -> None:
        count = len(block)
        values = np.asarray(block.values)
        if state.is_scaled:
            values = scale_array(values, state.factor, state.offset)
        times = np.asarray(block.source_time_ns, np.int64)
        quality = None if block.quality is None else np.asarray(block.quality, np.uint32)
        if quality is not None:
            waiting = int(np.count_nonzero(quality >> 16 == BAD_WAITING_FOR_INITIAL_DATA >> 16))
            self.counters.waiting += waiting
            self.counters.bad += int(np.count_nonzero(quality >= 0x80000000)) - waiting
            self.counters.uncertain += int(np.count_nonzero(quality >> 30 == 1))
        clock = None
        if int(times.max()) - now_ns > CLOCK_AHEAD_NS_MAX:
            clock = "ahead"
        elif int(times[0]) < state.last_source_ns or (count > 1 and bool((times[1:] < times[:-1]).any())):
            clock = "backward"
        self.counters.clock_flags += clock is not None
        state.last_source_ns = int(times[-1])
        last_quality = 0 if quality is None else int(quality[-1])
        state.last_quality, state.has_last, state.is_lost = last_quality, True, False
        step = max(1, (BLOCK_BYTES_MAX - 1024) // (12 + max(1, values.dtype.itemsize)))
        for first in range(0, count, step):
            part = slice(first, first + step)
            piece = Block(block.tag, times[part], values[part], None if quality is None else quality[part])
            try:
                payload = encode_block(piece, ingest_time_ns=now_ns, unit=state.unit, clock=clock)
            except (*_UNENCODABLE, NotImplementedError) as error:
                self._reject(state, piece.values, f"block cannot be encoded: {error}", BAD, None, now_ns, out)
                self.counters.dead += len(piece) - 1
                continue
            if self._is_block_broken(state, piece, payload, now_ns, out):
                continue
            out.messages.append(Message(state.subject, payload, ARROW_TYPE, len(piece)))
            out.bytes += len(payload)

    # -- tags ---------------------------------------------------------------------------------------------------------

    def lose_link(self, now_ns: int, out: Output) -> None:
        """The link is down: what was collected goes out, then one bad sample a tag, unless it has one already."""
        self.flush_all(now_ns, out)
        for state in self._tags.values():
            if state.is_lost:
                continue
            state.is_lost, state.has_last = True, False
            self.counters.added += 1
            payload = encode_sample(
                None, quality=BAD_NO_COMMUNICATION, source_time_ns=None, ingest_time_ns=now_ns, unit=state.unit
            )
            out.messages.append(Message(state.subject, payload))
            out.bytes += len(payload)

    def _adopt(self, key: str, out: Output, value: object, count: int = 1) -> _TagState | None:
        """A tag that the source named itself: a path's text form, or names below the connector's place. One whose first
        names are a configured tag takes that tag's unit, scale and deadband."""
        try:
            if len(self._tags) - self._configured_count >= DYNAMIC_TAGS_MAX:
                raise DecodeError("too many tags", expected=f"at most {DYNAMIC_TAGS_MAX}", code="MS-0301")
            path = TagPath.parse(key if ":" in key else f"{self._place}:{key}")
            if not self._place.contains(path.asset):
                raise DecodeError("tag lies outside the connector's place", where=key, code="MS-0301")
            state = _TagState(tag_subject(path))
        except (DecodeError, UnicodeEncodeError) as error:
            self.counters.dead += count
            out.dead.append(DeadLetter(_raw(value), f"not a tag {ascii(key)[:200]}: {error}", "MS-0301"))
            return None
        prefix = key
        while "/" in prefix:
            prefix = prefix.rpartition("/")[0]
            if prefix in self._tags:
                state.inherit(self._tags[prefix])
                break
        state.check = self._book.check_of(state.subject)
        self._tags[key] = state
        return state


def _size(value: object) -> int:
    """About how many bytes a value takes, without encoding it."""
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, list):
        return sum(8 + _size(item) for item in value[:1000]) * max(1, len(value) // 1000)
    if isinstance(value, dict):
        return sum(8 + len(str(key)) + _size(item) for key, item in value.items())
    return 16


def _raw(value: object) -> bytes:
    """A value as bytes for a person, whatever it is."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    try:
        return repr(value).encode("utf-8", "backslashreplace")
    except RecursionError:
        return f"<{type(value).__name__} nested too deeply>".encode()
