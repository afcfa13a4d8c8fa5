"""An edge node's session (Sparkplug 3.0, 5.4, 5.5, 5.7, 5.10, 5.11). Pure: what happened in, what to send out.

The caller connects with the will of `connecting`, tells what comes (`connected`, `received`, `disconnected`) and what
is new (`update`), and sends what it is given, in that order. While the node is not live (no link, or its primary host
is away), values are kept; after the next birth they go out marked as historical, oldest first, before anything newer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

from millstream.kernel import DecodeError
from millstream.model import BAD_COMMUNICATION_ERROR, BAD_NO_COMMUNICATION, GOOD, Quality, Value
from millstream.protocols.mqtt_publish import Publish
from millstream.protocols.sparkplug import (
    BD_SEQ,
    QUALITY,
    REBIRTH,
    SEQ_COUNT,
    DataType,
    Metric,
    Payload,
    Property,
    PropertySet,
    SparkplugValue,
)
from millstream.protocols.sparkplug_compression import decode_whole
from millstream.protocols.sparkplug_topic import MessageType, State, StateTopic, Topic, parse_topic
from millstream.protocols.sparkplug_value import interpret, to_raw
from millstream.protocols.sparkplug_wire import encode_payload

BACKLOG_COUNT_MAX = 100_000  # values kept while the node is not live; then `is_full`, and the caller keeps them
MESSAGE_METRICS_MAX = 500  # of one DATA message
DEATH_QOS = 1
COMMAND_QOS = 1
LOST = frozenset({BAD_NO_COMMUNICATION, BAD_COMMUNICATION_ERROR})
"""A metric of such a quality says nothing of the machine but that it cannot be reached."""
T = MessageType


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """`primary_host` is the host_id to wait for; without one the node is live as soon as it is connected.
    `servers_count` brokers are walked through, one at a time, when the primary host is away from one."""

    group: str
    node: str
    primary_host: str | None = None
    servers_count: int = 1
    is_writable: bool = False


@dataclass(frozen=True, slots=True)
class NodeUpdate:
    """A new value of one metric. `time_ms` is UTC. A datatype that is left out follows from the value."""

    device: str | None
    name: str
    value: Value | None
    time_ms: int
    quality: Quality = GOOD
    datatype: DataType | None = None
    properties: PropertySet | None = None
    """What a birth tells beside; None leaves it as it is."""


@dataclass(frozen=True, slots=True)
class Subscribe:
    """To be subscribed to, before anything is published."""

    filter: str
    qos: int = COMMAND_QOS


@dataclass(frozen=True, slots=True)
class Disconnect:
    """To be done behind what was sent before; then connect to the server that `EdgeNode.server` names."""

    reason: str


@dataclass(frozen=True, slots=True)
class Command:
    """Somebody writes a metric."""

    device: str | None
    name: str
    value: SparkplugValue | None


@dataclass(frozen=True, slots=True)
class Refused:
    """A command or STATE that could not be read."""

    topic: str
    reason: str


Output: TypeAlias = Publish | Subscribe | Disconnect | Command | Refused


class Stage(Enum):
    """Where the session is."""

    AWAY = "no link"
    WAITING = "connected, the primary host is not"
    LIVE = "born"


@dataclass(slots=True)
class _Tag:
    name: str
    alias: int
    datatype: DataType
    properties: PropertySet | None
    value: Value | None = None
    quality: Quality = GOOD
    time_ms: int = 0
    told_quality: Quality | None = None
    """What the host was told last; None when it may take an old value's for the present one."""


@dataclass(slots=True)
class _Place:
    """The node itself, or a device."""

    device: str | None
    is_online: bool = True
    is_born: bool = False
    tags: dict[str, _Tag] = field(default_factory=dict)


class EdgeNode:
    """One node and its devices."""

    def __init__(self, options: NodeOptions) -> None:
        self._options = options
        self._own = _Place(None)
        self._devices: dict[str, _Place] = {}
        self._aliases: dict[int, tuple[_Place, _Tag]] = {}
        self._backlog: deque[NodeUpdate] = deque()
        self._stage = Stage.AWAY
        self._bd_seq = -1
        self._seq = 0
        self._state_ms: int | None = None
        self.dropped_count = 0
        """Values that were dropped because `is_full` was not heeded, or because their metric's datatype changed."""
        self.server = 0
        """Which of the servers to connect to."""

    @property
    def stage(self) -> Stage:
        """Where the session is."""
        return self._stage

    @property
    def is_full(self) -> bool:
        """No more values can be kept: the caller has to hold them back."""
        return len(self._backlog) >= BACKLOG_COUNT_MAX

    @property
    def kept_count(self) -> int:
        """Values that wait: for the node to be live, or for a device to be back."""
        return len(self._backlog)

    # -- session ------------------------------------------------------------------------------------------------------

    def connecting(self, now_ms: int) -> Publish:
        """The will of the next CONNECT (clean session); bdSeq counts the CONNECTs."""
        self._bd_seq = (self._bd_seq + 1) % SEQ_COUNT
        self._stage = Stage.AWAY
        return self._death(now_ms)

    def connected(self, now_ms: int) -> list[Output]:
        """CONNACK came: subscribe, then births, unless the primary host is waited for."""
        options = self._options
        self._state_ms = None
        found: list[Output] = [Subscribe(Topic(options.group, T.NCMD, options.node).text)]
        if options.is_writable:
            found.append(Subscribe(f"{Topic(options.group, T.DCMD, options.node, 'x').text.removesuffix('x')}+"))
        if options.primary_host is not None:
            self._stage = Stage.WAITING
            return [*found, Subscribe(StateTopic(options.primary_host).text)]
        return [*found, *self._born(now_ms)]

    def disconnected(self) -> None:
        """The link is lost; the broker sends the will."""
        self._stage = Stage.AWAY

    def forget_backlog(self) -> None:
        """What was kept is dropped: the caller gives it again."""
        self._backlog.clear()

    def leave(self, now_ms: int, reason: str = "node stops") -> list[Output]:
        """Take leave: NDEATH, then DISCONNECT."""
        if self._stage is Stage.AWAY:
            return []
        was_live = self._stage is Stage.LIVE
        self._stage = Stage.AWAY
        return [*([self._death(now_ms)] if was_live else []), Disconnect(reason)]

    def received(self, topic_text: str, raw: bytes, now_ms: int) -> list[Output]:
        """A command, or the STATE of a host application."""
        try:
            topic = parse_topic(topic_text)
            if isinstance(topic, StateTopic):
                return (
                    self._host_state(State.decode(raw), now_ms) if topic.host_id == self._options.primary_host else []
                )
            if (topic.group, topic.node) != (self._options.group, self._options.node):
                return []
            if topic.type not in (T.NCMD, T.DCMD) or self._stage is not Stage.LIVE:
                return []
            payload = decode_whole(raw)
        except DecodeError as error:
            return [Refused(topic_text, error.what)]
        found: list[Output] = []
        for metric in payload.metrics:
            found += self._command(topic, metric, now_ms)
        return found

    # -- primary host -------------------------------------------------------------------------------------------------

    def _host_state(self, state: State, now_ms: int) -> list[Output]:
        if self._stage is Stage.AWAY or (self._state_ms is not None and state.timestamp < self._state_ms):
            return []  # an older STATE, such as the will of an older connection
        self._state_ms = state.timestamp
        if state.online:
            return self._born(now_ms) if self._stage is Stage.WAITING else []
        if self._stage is Stage.WAITING and self._options.servers_count == 1:
            return []  # wait here, there is no other server
        found = self.leave(now_ms, "primary host is offline")
        self.server = (self.server + 1) % self._options.servers_count
        return found

    # -- values -------------------------------------------------------------------------------------------------------

    def update(self, updates: Iterable[NodeUpdate], now_ms: int) -> list[Output]:
        """New values. What no metric can have is refused, beside the others.

        A device whose metrics have all lost communication is dead (DDEATH) until one of them is back (DBIRTH).
        """
        updates = list(updates)
        backs, deaths = self._links(updates)
        births: dict[str | None, None] = dict.fromkeys(backs)
        found: list[Output] = []
        fitting: list[tuple[_Place, _Tag, NodeUpdate]] = []
        for update in updates:
            try:
                place = self._place(update.device)
                fitting.append((place, self._declared(place, update, births), update))
            except DecodeError as error:
                found.append(Refused(update.name, error.what))
        fitting = self._take_newest(fitting, frozenset(backs))
        if births and self._stage is Stage.LIVE:  # with the values as they were told, or a new metric's first one
            found += self._born(now_ms) if None in births else self._device_births(births, now_ms)
        live: list[tuple[_Place, _Tag, NodeUpdate]] = []
        for place, tag, update in fitting:
            is_change = not tag.time_ms or (tag.value, tag.quality) != (update.value, update.quality)
            is_old = update.time_ms < tag.time_ms
            if is_old or (is_change and not self._can_tell(place)):
                if place.is_online or update.quality not in LOST:  # a dead device's loss is told already
                    self._keep(update)
            elif is_change:
                live.append((place, tag, update))
            if not is_old:
                tag.value, tag.quality, tag.time_ms = update.value, update.quality, update.time_ms
        if self._stage is Stage.LIVE:
            data = self._data([(place, _metric(tag, update)) for place, tag, update in live], now_ms)
            found += [*self.flush(now_ms), *data]
        return found + [each for device in deaths for each in self._die(device, now_ms)]

    def _take_newest(
        self, fitting: Sequence[tuple[_Place, _Tag, NodeUpdate]], backs: frozenset[str]
    ) -> list[tuple[_Place, _Tag, NodeUpdate]]:
        """The births of devices that are back have their newest values, what came before follows as historical: a host
        takes what a birth has as what holds since the birth. Gives what is of other devices."""
        if not backs or self._stage is not Stage.LIVE:
            return list(fitting)
        newest: dict[int, tuple[_Tag, NodeUpdate]] = {}
        for place, tag, update in fitting:
            if place.device in backs:
                _, known = newest.get(tag.alias, (tag, update))
                newest[tag.alias] = tag, max(known, update, key=lambda each: each.time_ms)
                self._keep(update)  # the one that stands in the birth is left out then
        for tag, update in newest.values():
            if update.time_ms >= tag.time_ms:
                tag.value, tag.quality, tag.time_ms = update.value, update.quality, update.time_ms
        return [each for each in fitting if each[0].device not in backs]

    def _links(self, updates: Sequence[NodeUpdate]) -> tuple[list[str], list[str]]:
        """Devices that are back, to be born with their values, and those that are lost, to die after them."""
        backs: list[str] = []
        deaths: list[str] = []
        spoke: dict[str, dict[str, Quality]] = {}
        for update in updates:
            if update.device is None:
                continue
            place = self._devices.get(update.device)
            tag = place.tags.get(update.name) if place is not None else None
            if tag is None or update.time_ms >= tag.time_ms:
                spoke.setdefault(update.device, {})[update.name] = update.quality
        for device, qualities in spoke.items():
            place = self._devices.get(device)
            if (place is None or place.is_online) and not any(quality in LOST for quality in qualities.values()):
                continue  # nearly always
            tags = place.tags.values() if place is not None else ()
            known = {tag.name: tag.quality for tag in tags if tag.time_ms} | qualities
            is_lost = all(quality in LOST for quality in known.values())
            if place is None and is_lost:
                with suppress(DecodeError):  # no name of a device: refused by and by
                    self._place(device).is_online = False  # it has never been there
            elif place is not None and is_lost and place.is_online:
                deaths.append(device)
            elif place is not None and not is_lost and not place.is_online:
                place.is_online = True
                backs.append(device)
        return backs, deaths

    def _can_tell(self, place: _Place) -> bool:
        return self._stage is Stage.LIVE and place.is_online

    def _keep(self, update: NodeUpdate) -> None:
        if self.is_full:
            self._backlog.popleft()
            self.dropped_count += 1
        self._backlog.append(update)

    def flush(self, now_ms: int) -> list[Output]:
        """What was kept, oldest first, as historical; that of devices that are away stays."""
        kept = sorted(self._backlog, key=lambda update: update.time_ms)
        self._backlog.clear()
        found: list[tuple[_Place, Metric]] = []
        for update in kept:
            place = self._place(update.device)
            tag = place.tags[update.name]
            if not self._can_tell(place):
                self._backlog.append(update)
            elif not _fits(update.value, tag.datatype):  # of another datatype, before its metric was born anew
                self.dropped_count += 1
            elif (update.value, update.quality, update.time_ms) != (tag.value, tag.quality, tag.time_ms):
                found.append((place, _metric(tag, update, is_historical=True)))  # the newest stands in the birth
        return self._data(found, now_ms)

    def _place(self, device: str | None) -> _Place:
        if device is None:
            return self._own
        if device not in self._devices:
            Topic(self._options.group, T.DDATA, self._options.node, device)
            self._devices[device] = _Place(device)
        return self._devices[device]

    def _declared(self, place: _Place, update: NodeUpdate, births: dict[str | None, None]) -> _Tag:
        """The metric, made or changed if need be; then its place has to be born again."""
        tag = place.tags.get(update.name)
        datatype = update.datatype or (datatype_for(update.value) if update.value is not None else None)
        if tag is None:
            if not update.name or update.name in (BD_SEQ, REBIRTH):
                raise DecodeError("metric has a name that no metric of a node can have", got=repr(update.name))
            tag = self._make(place, update.name, datatype or DataType.STRING, update.properties)
        elif datatype is not None and datatype is not tag.datatype and not _fits(update.value, tag.datatype):
            tag.datatype, tag.value, tag.time_ms = datatype, None, 0
        elif update.properties is None or update.properties is tag.properties or update.properties == tag.properties:
            return tag
        tag.properties = update.properties or tag.properties
        births[place.device] = None
        if self._can_tell(place) and update.time_ms >= tag.time_ms:
            tag.value, tag.quality, tag.time_ms = update.value, update.quality, update.time_ms
        return tag

    def _make(self, place: _Place, name: str, datatype: DataType, properties: PropertySet | None) -> _Tag:
        tag = _Tag(name, len(self._aliases) + 1, datatype, properties)
        place.tags[name] = tag
        self._aliases[tag.alias] = (place, tag)
        return tag

    def declare(self, device: str | None, name: str, datatype: DataType, properties: PropertySet | None = None) -> None:
        """A metric before its first value, with its properties, for the next birth; null until then."""
        place = self._place(device)
        tag = place.tags.get(name) or self._make(place, name, datatype, properties)
        tag.datatype, tag.properties = datatype, properties

    def _die(self, device: str, now_ms: int) -> list[Output]:
        """The link to the machine is lost: DDEATH."""
        place = self._place(device)
        was_there, place.is_online = place.is_online and place.is_born, False
        if not was_there or self._stage is not Stage.LIVE:
            return []
        place.is_born = False
        return [self._send(T.DDEATH, (), device, now_ms)]

    # -- commands -----------------------------------------------------------------------------------------------------

    def _command(self, topic: Topic, metric: Metric, now_ms: int) -> list[Output]:
        if topic.type is T.NCMD and metric.name == REBIRTH:
            is_true = metric.raw is not None and metric.raw.value is True
            return self._born(now_ms) if is_true else []
        place = self._own if topic.device is None else self._devices.get(topic.device)
        tag = place.tags.get(metric.name) if place is not None and metric.name is not None else None
        if metric.name is None and metric.alias is not None:
            owner, tag = self._aliases.get(metric.alias, (None, None))
            tag = tag if owner is place else None
        if tag is None:
            return [Refused(topic.text, f"no metric {metric.name if metric.name is not None else metric.alias!r}")]
        try:
            value = interpret(metric.raw, tag.datatype) if metric.raw is not None else None
        except DecodeError as error:
            return [Refused(topic.text, f"{tag.name}: {error.what}")]
        return [Command(topic.device, tag.name, value)]

    # -- messages -----------------------------------------------------------------------------------------------------

    def _born(self, now_ms: int) -> list[Output]:
        """NBIRTH, then each DBIRTH, then what was kept."""
        self._stage = Stage.LIVE
        self._seq = 0
        control = Metric(
            REBIRTH, timestamp_ms=now_ms, datatype=DataType.BOOLEAN, raw=to_raw(DataType.BOOLEAN, False)
        )  # never aliased
        metrics = (self._bd_metric(now_ms), control, *(_born(tag, now_ms) for tag in self._own.tags.values()))
        births: list[Output] = [self._send(T.NBIRTH, metrics, None, now_ms)]
        return [*births, *self._device_births(self._devices, now_ms), *self.flush(now_ms)]

    def _device_births(self, devices: Iterable[str | None], now_ms: int) -> list[Output]:
        found: list[Output] = []
        for device in devices:
            place = self._place(device)
            if place.is_online and place.tags and device is not None:
                place.is_born = True
                metrics = tuple(_born(tag, now_ms) for tag in place.tags.values())
                found.append(self._send(T.DBIRTH, metrics, device, now_ms))
        return found

    def _data(self, metrics: Sequence[tuple[_Place, Metric]], now_ms: int) -> list[Output]:
        """DATA messages; in each its metrics are in the order of time (5.10)."""
        found: list[Output] = []
        places = dict.fromkeys(place.device for place, _ in metrics)
        for device in places:
            own = sorted((m for p, m in metrics if p.device == device), key=lambda m: m.timestamp_ms or 0)
            kind = T.NDATA if device is None else T.DDATA
            found += [
                self._send(kind, tuple(own[first : first + MESSAGE_METRICS_MAX]), device, now_ms)
                for first in range(0, len(own), MESSAGE_METRICS_MAX)
            ]
        return found

    def _send(self, kind: MessageType, metrics: tuple[Metric, ...], device: str | None, now_ms: int) -> Publish:
        payload = Payload(now_ms, metrics, self._seq)
        self._seq = (self._seq + 1) % SEQ_COUNT
        return Publish(Topic(self._options.group, kind, self._options.node, device).text, encode_payload(payload))

    def _death(self, now_ms: int) -> Publish:
        payload = encode_payload(Payload(now_ms, (self._bd_metric(now_ms),)))
        return Publish(Topic(self._options.group, T.NDEATH, self._options.node).text, payload, DEATH_QOS)

    def _bd_metric(self, now_ms: int) -> Metric:
        raw = to_raw(DataType.INT64, self._bd_seq)
        return Metric(BD_SEQ, timestamp_ms=now_ms, datatype=DataType.INT64, raw=raw)


def _born(tag: _Tag, now_ms: int) -> Metric:
    """A metric as a birth has it: name and alias, datatype, value or null, quality."""
    tag.told_quality = tag.quality
    raw = None if tag.value is None else to_raw(tag.datatype, _fitted(tag.value, tag.datatype))
    properties = {**(tag.properties or {}), QUALITY: _quality(tag.quality)}
    return Metric(
        tag.name, tag.alias, tag.time_ms or now_ms, tag.datatype, raw, is_null=raw is None, properties=properties
    )


def _metric(tag: _Tag, update: NodeUpdate, *, is_historical: bool = False) -> Metric:
    """A metric as DATA has it: alias and value, the quality where it has changed."""
    raw = None if update.value is None else to_raw(tag.datatype, _fitted(update.value, tag.datatype))
    properties = {QUALITY: _quality(update.quality)} if update.quality != tag.told_quality or is_historical else None
    tag.told_quality = None if is_historical else update.quality
    return Metric(
        None,
        tag.alias,
        update.time_ms,
        None,
        raw,
        is_null=raw is None,
        is_historical=is_historical,
        properties=properties,
    )


def _quality(quality: Quality) -> Property:
    """Sparkplug has three (6.4.11)."""
    return Property(DataType.INT32, 192 if quality.is_good else 500 if quality.is_uncertain else 0)


def _fitted(value: Value, datatype: DataType) -> SparkplugValue:
    """A whole number may stand for a float."""
    if datatype in (DataType.FLOAT, DataType.DOUBLE) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value  # type: ignore[return-value]  # what does not fit is refused by to_raw


def _fits(value: Value | None, datatype: DataType) -> bool:
    try:
        if value is not None:
            to_raw(datatype, _fitted(value, datatype))
    except (DecodeError, OverflowError):
        return False
    return True


def datatype_for(value: Value) -> DataType:
    """The datatype that holds every value of this kind. Raises DecodeError when Sparkplug has none."""
    if isinstance(value, bool):
        return DataType.BOOLEAN
    if isinstance(value, int):
        return DataType.INT64 if value < 1 << 63 else DataType.UINT64
    kinds = {float: DataType.DOUBLE, str: DataType.STRING, bytes: DataType.BYTES}
    if type(value) in kinds:
        return kinds[type(value)]
    if isinstance(value, list):
        return _array_for(value)
    raise DecodeError("value has no Sparkplug datatype", got=type(value).__name__, code="MS-1502")


def _array_for(values: list[Value]) -> DataType:
    if all(isinstance(each, bool) for each in values) and values:
        return DataType.BOOLEAN_ARRAY
    if all(isinstance(each, int) and not isinstance(each, bool) for each in values) and values:
        return DataType.INT64_ARRAY
    if all(isinstance(each, str) for each in values) and values:
        return DataType.STRING_ARRAY
    if all(isinstance(each, int | float) and not isinstance(each, bool) for each in values):
        return DataType.DOUBLE_ARRAY
    raise DecodeError("list has no Sparkplug datatype", got=repr(values)[:80], code="MS-1502")
