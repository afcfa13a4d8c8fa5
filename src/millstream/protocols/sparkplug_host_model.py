"""What a host application learns from a node's messages, and the table of one node or device (chapter 5). Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from millstream.kernel import DecodeError
from millstream.model import (
    BAD,
    BAD_DATA_UNAVAILABLE,
    BAD_DECODING_ERROR,
    BAD_TYPE_MISMATCH,
    GOOD,
    UNCERTAIN_LAST_USABLE_VALUE,
    Quality,
    Value,
)
from millstream.protocols.sparkplug import (
    BD_SEQ,
    QUALITY,
    REBIRTH,
    DataSet,
    DataType,
    Metric,
    PropertySet,
    Template,
)
from millstream.protocols.sparkplug_value import datatype_of, interpret, plain

TIME_MS_MAX = 9_223_372_036_854  # what 64-bit nanoseconds can say
TEMPLATE_DEPTH_MAX = 8  # of templates within templates
_QUALITIES = {0: BAD, 192: GOOD, 500: UNCERTAIN_LAST_USABLE_VALUE}
_UNIT_PROPERTIES = ("engUnit", "EngUnit", "unit", "Unit")  # no name is standard; the first is the one in wide use
INTERNAL = frozenset({BD_SEQ, REBIRTH})
"""Metrics that serve the protocol and are no values of a machine."""


@dataclass(frozen=True, slots=True)
class MetricKey:
    """One metric. Members of a template have the names ``instance/member``."""

    group: str
    node: str
    device: str | None
    name: str

    @property
    def address(self) -> str:
        """``group/node[/device]#metric``; no id can have a #."""
        place = f"{self.group}/{self.node}" if self.device is None else f"{self.group}/{self.node}/{self.device}"
        return f"{place}#{self.name}"

    @classmethod
    def parse(cls, address: str) -> MetricKey:
        """Raises DecodeError."""
        place, _, name = address.partition("#")
        levels = place.split("/")
        if not name or not 2 <= len(levels) <= 3 or not all(levels) or any(c in "+\0" for c in place):
            raise DecodeError(
                "not the address of a Sparkplug metric",
                expected="group/node#metric or group/node/device#metric",
                got=repr(address),
                code="MS-1503",
            )
        return cls(levels[0], levels[1], levels[2] if len(levels) == 3 else None, name)


@dataclass(frozen=True, slots=True)
class MetricUpdate:
    """A value, or that there is none any more. `time_ms` is UTC."""

    key: MetricKey
    value: Value | None
    quality: Quality
    time_ms: int | None
    is_historical: bool = False
    is_birth: bool = False


@dataclass(frozen=True, slots=True)
class RebirthRequest:
    """To be sent to the node as a command."""

    group: str
    node: str
    reason: str


@dataclass(frozen=True, slots=True)
class BadMessage:
    """A message, or part of one, that could not be used; the rest of it was."""

    topic: str
    raw: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class Missing:
    """So many messages or values did not come, or could not be told apart without a birth."""

    group: str
    node: str
    count: int
    reason: str


@dataclass(frozen=True, slots=True)
class Presence:
    """A node or device is there, or not any more."""

    group: str
    node: str
    device: str | None
    is_online: bool
    time_ms: int
    reason: str


HostEvent: TypeAlias = MetricUpdate | RebirthRequest | BadMessage | Missing | Presence


@dataclass(slots=True)
class KnownMetric:
    """What the birth said of a metric."""

    key: MetricKey
    datatype: DataType | None = None
    properties: PropertySet | None = None
    quality: Quality = GOOD
    alias: int | None = None
    definition: str | None = None
    """Of a template instance: the metric that defines it."""

    @property
    def unit(self) -> str | None:
        """From its properties."""
        for name in _UNIT_PROPERTIES:
            found = (self.properties or {}).get(name)
            if found is not None and isinstance(found.value, str) and found.value:
                return found.value
        return None


@dataclass(slots=True)
class Source:
    """A node or one of its devices: what its birth listed."""

    group: str
    node: str
    device: str | None = None
    is_online: bool = False
    is_awaited: bool = False
    """The node was born again; this device's birth has to follow."""
    born_ms: int | None = None
    stale_ms: int | None = None
    """When its tags were told to be stale; None since its birth."""
    metrics: dict[str, KnownMetric] = field(default_factory=dict)

    def key(self, name: str) -> MetricKey:
        """Of one of its metrics."""
        return MetricKey(self.group, self.node, self.device, name)

    def stale(self, quality: Quality, time_ms: int) -> Iterator[MetricUpdate]:
        """All its metrics without a value."""
        for known in self.metrics.values():
            if known.datatype is not DataType.TEMPLATE:
                yield MetricUpdate(known.key, None, quality, time_ms)

    def by_suffix(self, name: str) -> KnownMetric | None:
        """The one metric whose name ends with this one: mqtt-spb-wrapper leaves a group out in DATA messages."""
        found = [known for each, known in self.metrics.items() if each.endswith(f"/{name}")]
        values = [known for known in found if known.key.name == f"DATA/{name}"]
        return found[0] if len(found) == 1 else values[0] if len(values) == 1 else None


@dataclass(slots=True)
class Reading:
    """What one message gave."""

    updates: list[MetricUpdate] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    unknown: int = 0
    """Values of metrics that no birth listed."""


class MetricReader:
    """Reads the metrics of one message for one source. `definitions` are the node's templates."""

    def __init__(self, source: Source, definitions: Mapping[str, Template], *, is_birth: bool) -> None:
        self._source = source
        self._definitions = definitions
        self._is_birth = is_birth
        self.reading = Reading()

    def born(self, metric: Metric, name: str, time_ms: int | None) -> None:
        """A metric of a birth: its description, then its value."""
        if name in INTERNAL:
            return
        try:
            datatype = datatype_of(metric.datatype)
        except DecodeError as error:
            self.reading.faults.append(f"{name}: {error.what}")
            self._source.metrics[name] = KnownMetric(self._source.key(name), None, metric.properties)
            self._put(self._source.metrics[name], metric, None, BAD_TYPE_MISMATCH, time_ms)
            return
        known = KnownMetric(self._source.key(name), datatype, metric.properties, alias=metric.alias)
        if metric.raw is not None and isinstance(metric.raw.value, Template):
            if metric.raw.value.is_definition:
                return
            known.definition = metric.raw.value.template_ref
        self._source.metrics[name] = known
        self.value(known, metric, time_ms)

    def value(self, known: KnownMetric, metric: Metric, time_ms: int | None, depth: int = 0) -> None:
        """A value of a known metric."""
        name = known.key.name
        good = known.quality
        if metric.properties is not None:
            good = self._quality(name, metric.properties)
            if not metric.is_historical:  # what was says nothing of what is
                known.properties = metric.properties
                known.quality = good
        if metric.timestamp_ms is not None:
            time_ms = metric.timestamp_ms
        if time_ms is not None and time_ms > TIME_MS_MAX:
            self.reading.faults.append(f"{name}: its time is beyond the year 2262")
            time_ms = None
        if metric.fault is not None:
            self.reading.faults.append(f"{name}: {metric.fault}")
        if metric.raw is None:
            quality = BAD_DECODING_ERROR if metric.fault is not None else BAD_DATA_UNAVAILABLE
            if known.datatype is not DataType.TEMPLATE:
                self._put(known, metric, None, quality, time_ms)
            return
        try:
            found = interpret(metric.raw, self._datatype(known, metric))
            if isinstance(found, Template):
                self._members(known, found, time_ms, depth)
                return
            value = plain(found) if isinstance(found, DataSet) else found
        except DecodeError as error:
            self.reading.faults.append(f"{name}: {error.what}")
            self._put(known, metric, None, BAD_TYPE_MISMATCH, time_ms)
            return
        self._put(known, metric, value, good, time_ms)  # type: ignore[arg-type]

    def _datatype(self, known: KnownMetric, metric: Metric) -> DataType:
        if known.datatype is not None:
            return known.datatype
        return datatype_of(metric.datatype)

    def _members(self, known: KnownMetric, template: Template, time_ms: int | None, depth: int) -> None:
        """A template instance becomes its members, so that a message with some of them tells nothing of the others."""
        if depth >= TEMPLATE_DEPTH_MAX:
            raise DecodeError(f"templates nested deeper than {TEMPLATE_DEPTH_MAX}", code="MS-1501")
        definition = self._definitions.get(template.template_ref or known.definition or "")
        types = {each.name: each.datatype for each in definition.metrics} if definition is not None else {}
        for member in template.metrics:
            if member.name is None:
                self.reading.faults.append(f"{known.key.name}: a member has no name")
                continue
            name = f"{known.key.name}/{member.name}"
            each = self._source.metrics.get(name)
            if each is None or self._is_birth:
                code = member.datatype or types.get(member.name)
                each = KnownMetric(self._source.key(name), _datatype_or_none(code), member.properties)
                self._source.metrics[name] = each
            self.value(each, member, time_ms, depth + 1)

    def _quality(self, name: str, properties: PropertySet) -> Quality:
        found = properties.get(QUALITY)
        if found is None or found.value is None:
            return GOOD
        quality = _QUALITIES.get(found.value) if isinstance(found.value, int) else None
        if quality is None:
            self.reading.faults.append(f"{name}: property Quality is none of 0, 192 and 500")
            return BAD
        return quality

    def _put(
        self, known: KnownMetric, metric: Metric, value: Value | None, quality: Quality, time_ms: int | None
    ) -> None:
        self.reading.updates.append(
            MetricUpdate(known.key, value, quality, time_ms, metric.is_historical, self._is_birth)
        )


def _datatype_or_none(code: int | None) -> DataType | None:
    try:
        return datatype_of(code)
    except DecodeError:
        return None
