"""From messages to batches: which tags a topic feeds, and what its payload says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from millstream.connectors.mqtt._config import AutoMap, MqttConfig, MqttTagOptions, TimeUnit
from millstream.kernel import DecodeError
from millstream.model import BAD_DATA_UNAVAILABLE, BAD_TYPE_MISMATCH, GOOD, Block, Sample
from millstream.protocols.mqtt_mapping import (
    ABSENT,
    Payload,
    Step,
    fewest,
    is_block,
    leaves,
    literal_prefix,
    matches,
    parse_address,
    parse_path,
    to_block,
    to_time_ns,
    to_value,
)
from millstream.sdk import Batch, Position, Tag

REASON_CHARS_MAX = 300


@dataclass(frozen=True, slots=True)
class _Clock:
    """Where a payload has its time."""

    steps: tuple[Step, ...] | None
    unit: TimeUnit

    def read(self, payload: Payload) -> int | None:
        """UTC nanoseconds; None when the payload has none. Raises DecodeError when it is no time."""
        if self.steps is None:
            return None
        try:
            found = payload.at(self.steps)
        except DecodeError:
            return None  # plain text has no members; whether the payload is malformed, its value tells
        return None if found is ABSENT or found is None else to_time_ns(found, self.unit)


@dataclass(frozen=True, slots=True)
class _Reader:
    """One tag."""

    key: str
    steps: tuple[Step, ...] | None
    options: MqttTagOptions
    clock: _Clock


@dataclass(slots=True)
class Draft:
    """Samples, or blocks: a batch gives its samples before its blocks, so the two are not mixed."""

    samples: list[Sample] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    frames_bad: list[tuple[bytes, str]] = field(default_factory=list)

    def batch(self, position: Position) -> Batch:
        """As the runtime takes it."""
        return Batch(tuple(self.samples), tuple(self.blocks), position, tuple(self.frames_bad))


class Router:
    """The mapping of one session. Pure."""

    def __init__(self, config: MqttConfig, tags: Sequence[Tag]) -> None:
        self._clock = _clock(config.timestamp_path, config.timestamp_unit)
        self._auto = config.auto_map
        self._readers: dict[str, list[_Reader]] = {}
        for tag in tags:
            options = MqttTagOptions.model_validate(dict(tag.options))
            clock = _clock(
                options.timestamp_path or config.timestamp_path, options.timestamp_unit or config.timestamp_unit
            )
            address = parse_address(tag.address)
            self._readers.setdefault(address.topic, []).append(_Reader(tag.key, address.steps, options, clock))

    def filters(self) -> list[str]:
        """What to subscribe to."""
        return fewest([*self._readers, *(entry.filter for entry in self._auto)])

    def keys(self, pattern: str) -> list[str]:
        """Keys of the tags whose topic a filter takes."""
        return [r.key for topic, readers in self._readers.items() if matches(pattern, topic) for r in readers]

    def batches(self, messages: Sequence[tuple[str | bytes, bytes, Position]]) -> Iterator[Batch]:
        """Batches of (topic, payload, position) in their order; each ends with the position of its last message."""
        draft = Draft()
        at: Position | None = None
        for topic, raw, position in messages:
            one = self.read(topic, raw)
            if at is not None and ((one.blocks and draft.samples) or (one.samples and draft.blocks)):
                yield draft.batch(at)
                draft = Draft()
            draft.samples += one.samples
            draft.blocks += one.blocks
            draft.frames_bad += one.frames_bad
            at = position
        if at is not None:
            yield draft.batch(at)

    def read(self, topic: str | bytes, raw: bytes) -> Draft:
        """One message. What cannot be read becomes one bad frame, and a bad sample for each tag it was meant for."""
        draft = Draft()
        if isinstance(topic, bytes):
            draft.frames_bad.append((raw, f"topic is not UTF-8: {ascii(topic)[:REASON_CHARS_MAX]}"))
            return draft
        payload = Payload(raw)
        readers = self._readers.get(topic)
        reasons: list[str] = []
        if readers is not None:
            for reader in readers:
                self._read_tag(reader, payload, draft, reasons)
        else:
            self._read_auto(topic, payload, draft, reasons)
        if reasons:
            draft.frames_bad.append(
                (raw, f"{ascii(topic)[:100]}: {'; '.join(dict.fromkeys(reasons))}"[:REASON_CHARS_MAX])
            )
        return draft

    def _read_tag(self, reader: _Reader, payload: Payload, draft: Draft, reasons: list[str]) -> None:
        try:
            if reader.options.data_type == "bytes":
                draft.samples.append(Sample(reader.key, payload.raw, GOOD, reader.clock.read(payload)))
                return
            if reader.options.data_type == "text" and reader.steps is None:
                draft.samples.append(Sample(reader.key, payload.text(), GOOD, reader.clock.read(payload)))
                return
            found = payload.at(reader.steps)
            if found is ABSENT:
                if reader.options.when_missing == "bad":
                    draft.samples.append(Sample(reader.key, None, BAD_DATA_UNAVAILABLE, reader.clock.read(payload)))
                return
            _take(reader.key, found, reader.options, reader.clock, payload, draft)
        except DecodeError as error:
            reasons.append(error.what)
            draft.samples.append(Sample(reader.key, None, BAD_TYPE_MISMATCH))

    def _read_auto(self, topic: str, payload: Payload, draft: Draft, reasons: list[str]) -> None:
        entry = next((entry for entry in self._auto if matches(entry.filter, topic)), None)
        if entry is None:
            return  # a subscription of an earlier configuration, kept by the broker's session
        own = Draft()
        try:
            names = _names(entry, topic)
            for members, found in leaves(payload.whole()):
                key = _key(entry, (*names, *members))
                _take(key, found, _PLAIN, self._clock, payload, own)
        except DecodeError as error:
            reasons.append(error.what)
            return
        draft.samples += own.samples
        draft.blocks += own.blocks


_PLAIN = MqttTagOptions()


def _clock(path: str | None, unit: TimeUnit) -> _Clock:
    return _Clock(parse_path(path) if path is not None else None, unit)


def _take(key: str, found: object, options: MqttTagOptions, clock: _Clock, payload: Payload, draft: Draft) -> None:
    if isinstance(found, dict) and is_block(found):
        draft.blocks.append(to_block(key, found))
        return
    value = to_value(found, options.data_type)
    quality = BAD_DATA_UNAVAILABLE if value is None else GOOD
    draft.samples.append(Sample(key, value, quality, clock.read(payload)))


def _names(entry: AutoMap, topic: str) -> tuple[str, ...]:
    levels = tuple(topic.split("/"))
    prefix = literal_prefix(entry.filter)
    names = levels[len(prefix) :] or levels[-1:]
    if names[0] == "" and len(names) > 1:  # a leading slash is a habit, not a level
        names = names[1:]
    if not all(names):
        raise DecodeError("topic has an empty level, which cannot be a name")
    return names


def _key(entry: AutoMap, names: tuple[str, ...]) -> str:
    """The text form of a tag path, or of names below the connector's place."""
    quoted = "/".join(name.replace("%", "%25").replace("/", "%2F").replace(":", "%3A") for name in names)
    return quoted if entry.path is None else f"{entry.path}:{quoted}"
