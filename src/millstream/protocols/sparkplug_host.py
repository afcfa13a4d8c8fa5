"""A host application's knowledge of all edge nodes of a broker (Sparkplug 3.0, 5.6 to 5.9). Pure: messages and time in,
events out.

A node's messages carry one counter (seq). Those that come out of order wait for the missing ones as long as the reorder
timeout says; then what is there is taken, the gap is told, and the node is asked for its births again. A node that
does not count (there are such) is not waited for a second time until it was born again, and is asked ever more seldom.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from millstream.kernel import DecodeError
from millstream.model import BAD_NO_COMMUNICATION, BAD_NODE_ID_UNKNOWN
from millstream.protocols.sparkplug import BD_SEQ, REBIRTH, SEQ_COUNT, DataType, Metric, Payload, Raw, Template
from millstream.protocols.sparkplug_compression import decode_whole
from millstream.protocols.sparkplug_host_model import (
    INTERNAL,
    BadMessage,
    HostEvent,
    KnownMetric,
    MetricReader,
    MetricUpdate,
    Missing,
    Presence,
    RebirthRequest,
    Source,
)
from millstream.protocols.sparkplug_topic import MessageType, StateTopic, Topic, parse_topic

NODES_COUNT_MAX = 10_000  # of one broker; a hostile one could name any number
DEVICES_COUNT_MAX = 10_000  # of one node
METRICS_COUNT_MAX = 500_000  # that births may list altogether, unless the options say less
PENDING_BYTES_MAX = 4 << 20  # of one node's messages that wait for an earlier one
REBIRTH_INTERVAL_MS_MAX = 600_000
REASON_CHARS_MAX = 300
T = MessageType


@dataclass(frozen=True, slots=True)
class HostOptions:
    """Times in ms. `reorder_timeout_ms` 0 does not wait for messages that come late."""

    reorder_timeout_ms: int = 2_000
    rebirth_interval_ms: int = 10_000
    """At least so long between two requests to one node; doubled while they do not help."""
    birth_timeout_ms: int = 10_000
    """So long may a device's birth take after its node's."""
    doubt_ms: int = 30_000
    """A node whose death was of another session, and that says nothing for so long, is dead nevertheless."""
    metrics_count_max: int = METRICS_COUNT_MAX


class Moment(NamedTuple):
    """When something happens, ms: UTC for what is told, a clock that never jumps for what is waited for."""

    wall_ms: int
    steady_ms: int


class _Waiting(NamedTuple):
    topic: Topic
    payload: Payload
    raw: bytes


@dataclass(slots=True)
class _Rebirth:
    interval_ms: int
    asked_ms: int | None = None
    due_ms: int | None = None
    reason: str = ""


@dataclass(slots=True)
class _Node:
    own: Source
    rebirth: _Rebirth
    devices: dict[str, Source] = field(default_factory=dict)
    aliases: dict[int, KnownMetric] = field(default_factory=dict)
    definitions: dict[str, Template] = field(default_factory=dict)
    bd_seq: int | None = None
    expected: int | None = None
    """The next seq; None while nothing is known of it."""
    is_broken: bool = False
    """It left out messages since its birth; it is not waited for again."""
    pending: dict[int, _Waiting] = field(default_factory=dict)
    pending_bytes: int = 0
    reorder_due_ms: int | None = None
    birth_due_ms: int | None = None
    doubt_due_ms: int | None = None
    doubt_since_ms: int = 0

    def sources(self) -> Iterator[Source]:
        """The node, then its devices."""
        yield self.own
        yield from self.devices.values()

    def due_ms(self) -> int | None:
        """When it has to be looked at next, on the steady clock."""
        times = (self.reorder_due_ms, self.birth_due_ms, self.doubt_due_ms, self.rebirth.due_ms)
        return min((each for each in times if each is not None), default=None)


class SparkplugHost:
    """Feed it each message with the time it came (`receive`), and the time (`tick`) no later than `due_ms` says."""

    def __init__(self, options: HostOptions | None = None) -> None:
        self._options = options or HostOptions()
        self._nodes: dict[tuple[str, str], _Node] = {}
        self._timed: set[tuple[str, str]] = set()
        self._metrics_count = 0
        self._out: list[HostEvent] = []

    # -- in -----------------------------------------------------------------------------------------------------------

    def receive(self, topic_text: str, raw: bytes, now: Moment) -> list[HostEvent]:
        """One message. Commands of other hosts and STATE are of no account."""
        try:
            topic = parse_topic(topic_text)
        except DecodeError as error:
            return [BadMessage(topic_text, raw, f"{error.what}: {topic_text!a}"[:REASON_CHARS_MAX])]
        if isinstance(topic, StateTopic) or topic.type in (T.NCMD, T.DCMD):
            return []
        node = self._node(topic.group, topic.node)
        if node is None:
            return [BadMessage(topic_text, raw, f"more than {NODES_COUNT_MAX} edge nodes")]
        try:
            payload = decode_whole(raw)
        except DecodeError as error:
            self._bad(topic, raw, [error.what])
            if topic.type is not T.NDEATH:
                self._want_rebirth(node, "a payload that cannot be read", now)
            return self._done(node)
        if topic.type is T.NDEATH:
            self._node_death(node, payload, now)
            return self._done(node)
        node.doubt_due_ms = None
        if topic.type is T.NBIRTH:
            self._flush(node, now)
            self._node_birth(node, topic, payload, raw, now)
        else:
            self._in_sequence(node, _Waiting(topic, payload, raw), now)
        return self._done(node)

    def tick(self, now: Moment) -> list[HostEvent]:
        """What the time brings: late messages given up, requests that were held back, silence that means death."""
        for name in list(self._timed):
            node = self._nodes[name]
            if node.reorder_due_ms is not None and node.reorder_due_ms <= now.steady_ms:
                self._flush(node, now)
                node.is_broken = True
                self._want_rebirth(node, "messages are missing", now)
            if node.birth_due_ms is not None and node.birth_due_ms <= now.steady_ms:
                self._births_overdue(node, now)
            if node.doubt_due_ms is not None and node.doubt_due_ms <= now.steady_ms:
                self._die(node, node.doubt_since_ms, "death of another session, then silence")
            rebirth = node.rebirth
            if rebirth.due_ms is not None and rebirth.due_ms <= now.steady_ms:
                self._request(node, now)
            self._note_timers(name, node)
        return self._take()

    def due_ms(self) -> int | None:
        """When `tick` has something to do, on the steady clock; None when nothing is due."""
        times = [self._nodes[name].due_ms() for name in self._timed]
        return min((each for each in times if each is not None), default=None)

    def expect(self, nodes: Iterable[tuple[str, str]], now: Moment) -> list[HostEvent]:
        """Ask nodes for their births: those known from before the link was lost, or from the configuration."""
        for group, name in nodes:
            node = self._node(group, name)
            if node is not None and not node.own.is_online:
                self._want_rebirth(node, "host has just connected", now)
                self._note_timers((group, name), node)
        return self._take()

    def disconnected(self, now: Moment) -> list[HostEvent]:
        """The link to the broker is lost: everything is stale, and what births said is of no account any more."""
        for node in self._nodes.values():
            self._flush(node, now)
            self._die(node, now.wall_ms, "link to the broker is lost")
        return self._take()

    # -- look ---------------------------------------------------------------------------------------------------------

    def nodes(self) -> list[tuple[str, str]]:
        """Group and id of each node that was heard of."""
        return list(self._nodes)

    def is_online(self, group: str, node: str, device: str | None = None) -> bool:
        """True between birth and death."""
        found = self._nodes.get((group, node))
        if found is None or (device is None and not found.own.is_online):
            return False
        source = found.own if device is None else found.devices.get(device)
        return source is not None and source.is_online

    def metrics(self) -> Iterator[KnownMetric]:
        """All that births listed."""
        for node in self._nodes.values():
            for source in node.sources():
                yield from source.metrics.values()

    def metric(self, group: str, node: str, device: str | None, name: str) -> KnownMetric | None:
        """One of them; None while it is not known or its source is not online."""
        if not self.is_online(group, node, device):
            return None
        found = self._nodes[group, node]
        return (found.own if device is None else found.devices[device]).metrics.get(name)

    # -- births -------------------------------------------------------------------------------------------------------

    def _node_birth(self, node: _Node, topic: Topic, payload: Payload, raw: bytes, now: Moment) -> None:
        bd_seq = _bd_seq(payload)
        is_first = not node.own.is_online and node.bd_seq is None  # devices may have been born before it was heard of
        is_same_session = is_first or (node.own.is_online and bd_seq == node.bd_seq)
        for device in node.devices.values():
            if not device.is_online:
                continue
            if is_same_session:
                device.is_awaited = True  # its birth follows
                node.birth_due_ms = now.steady_ms + self._options.birth_timeout_ms
            else:  # where no will is sent on a takeover, a new bdSeq is the death of the old session
                self._source_death(device, now.wall_ms, "node was born in a new session")
        node.bd_seq = bd_seq
        node.aliases.clear()
        node.definitions = {
            metric.name or "": metric.raw.value
            for metric in payload.metrics
            if metric.raw is not None and isinstance(metric.raw.value, Template) and metric.raw.value.is_definition
        }
        node.expected = (payload.seq + 1) % SEQ_COUNT if payload.seq is not None and payload.seq < SEQ_COUNT else None
        node.is_broken = False
        node.rebirth.due_ms = None
        self._birth(node, node.own, _Waiting(topic, payload, raw), now)

    def _birth(self, node: _Node, source: Source, message: _Waiting, now: Moment) -> None:
        payload = message.payload
        before = source.metrics
        if self._metrics_count - len(before) + len(payload.metrics) > self._options.metrics_count_max:
            reason = f"births list more than {self._options.metrics_count_max} metrics"
            self._bad(message.topic, message.raw, [reason])
            return
        source.metrics = {}
        source.is_online, source.is_awaited, source.born_ms = True, False, payload.timestamp_ms
        reader = MetricReader(source, node.definitions, is_birth=True)
        for metric in payload.metrics:
            if metric.name is None:
                reader.reading.faults.append(metric.fault or "a metric of a birth has no name")
                continue
            reader.born(metric, metric.name, payload.timestamp_ms)
            known = source.metrics.get(metric.name)
            if metric.alias is None or known is None:
                continue
            if node.aliases.setdefault(metric.alias, known) is not known:
                reader.reading.faults.append(f"{metric.name}: alias {metric.alias} is taken")
        self._metrics_count += len(source.metrics) - len(before)
        for name, gone in before.items():
            if name not in source.metrics and gone.datatype is not DataType.TEMPLATE:
                self._out.append(MetricUpdate(gone.key, None, BAD_NODE_ID_UNKNOWN, now.wall_ms))
        self._out.append(Presence(source.group, source.node, source.device, True, now.wall_ms, "birth"))
        for update in reader.reading.updates:
            self._out += _since_birth(update, source.stale_ms, payload.timestamp_ms)
        source.stale_ms = None
        self._bad(message.topic, message.raw, reader.reading.faults)

    def _births_overdue(self, node: _Node, now: Moment) -> None:
        node.birth_due_ms = None
        for device in node.devices.values():
            if device.is_awaited:
                self._source_death(device, now.wall_ms, "node was born again, the device was not")

    # -- deaths -------------------------------------------------------------------------------------------------------

    def _node_death(self, node: _Node, payload: Payload, now: Moment) -> None:
        if not any(source.is_online for source in node.sources()):
            return
        bd_seq = _bd_seq(payload)
        if node.bd_seq is None or bd_seq == node.bd_seq:
            self._flush(node, now)
            self._die(node, now.wall_ms, "NDEATH")
            return
        # Of an earlier session, and late; or of a node that cannot count. Who is alive answers.
        node.doubt_since_ms = now.wall_ms
        node.doubt_due_ms = now.steady_ms + self._options.doubt_ms
        self._want_rebirth(node, f"NDEATH with bdSeq {bd_seq}, its birth had {node.bd_seq}", now)

    def _die(self, node: _Node, time_ms: int, reason: str) -> None:
        for source in node.sources():
            self._source_death(source, time_ms, reason)
        node.aliases.clear()
        node.expected = node.reorder_due_ms = node.birth_due_ms = node.doubt_due_ms = None
        node.rebirth.due_ms = None

    def _source_death(self, source: Source, time_ms: int, reason: str) -> None:
        if not source.is_online:
            return
        source.is_online = source.is_awaited = False
        source.stale_ms = time_ms
        self._out.append(Presence(source.group, source.node, source.device, False, time_ms, reason))
        self._out += source.stale(BAD_NO_COMMUNICATION, time_ms)

    # -- sequence -----------------------------------------------------------------------------------------------------

    def _in_sequence(self, node: _Node, message: _Waiting, now: Moment) -> None:
        seq = message.payload.seq
        if seq is None or node.expected is None:  # mqtt-spb-wrapper: DDEATH without seq
            self._apply(node, message, now)
            return
        ahead = (seq - node.expected) % SEQ_COUNT if seq < SEQ_COUNT else SEQ_COUNT
        if ahead == 0:
            self._apply(node, message, now)
            node.expected = (seq + 1) % SEQ_COUNT
            self._drain(node, now)
            return
        size = len(message.raw)
        if (
            seq < SEQ_COUNT
            and self._options.reorder_timeout_ms > 0
            and not node.is_broken
            and seq not in node.pending
            and node.pending_bytes + size <= PENDING_BYTES_MAX
        ):
            node.pending[seq] = message
            node.pending_bytes += size
            if node.reorder_due_ms is None:
                node.reorder_due_ms = now.steady_ms + self._options.reorder_timeout_ms
            return
        self._flush(node, now)
        if not node.is_broken or ahead < SEQ_COUNT // 2:  # else it is late, or belongs to another counter
            self._lost(node, (seq - node.expected) % SEQ_COUNT if seq < SEQ_COUNT else 0)
            node.expected = (seq + 1) % SEQ_COUNT
        node.is_broken = True
        self._apply(node, message, now)
        self._want_rebirth(node, "messages are out of order", now)

    def _drain(self, node: _Node, now: Moment) -> None:
        """Take what waited for the message that has just come."""
        while node.expected is not None and (message := node.pending.pop(node.expected, None)) is not None:
            node.pending_bytes -= len(message.raw)
            self._apply(node, message, now)
            node.expected = (node.expected + 1) % SEQ_COUNT
        if not node.pending:
            node.reorder_due_ms = None

    def _flush(self, node: _Node, now: Moment) -> None:
        """Take what waits, in its order, although something is missing before it."""
        while node.pending and node.expected is not None:
            first = min(node.pending, key=lambda seq: (seq - (node.expected or 0)) % SEQ_COUNT)
            self._lost(node, (first - node.expected) % SEQ_COUNT)
            node.expected = first
            self._drain(node, now)
        node.pending.clear()
        node.pending_bytes = 0
        node.reorder_due_ms = None

    def _lost(self, node: _Node, count: int) -> None:
        if count:
            self._out.append(Missing(node.own.group, node.own.node, count, "messages left out (seq)"))

    # -- data ---------------------------------------------------------------------------------------------------------

    def _apply(self, node: _Node, message: _Waiting, now: Moment) -> None:
        kind = message.topic.type
        source = self._source(node, message.topic)
        if source is None:
            self._bad(message.topic, message.raw, [f"more than {DEVICES_COUNT_MAX} devices at one node"])
        elif kind is T.DBIRTH:
            for alias in [a for a, known in node.aliases.items() if known.key.device == source.device]:
                del node.aliases[alias]
            self._birth(node, source, message, now)
            if not node.own.is_online:
                self._want_rebirth(node, "DBIRTH before NBIRTH", now)
        elif kind is T.DDEATH:
            died_ms = message.payload.timestamp_ms
            if died_ms is None or source.born_ms is None or died_ms >= source.born_ms:
                self._source_death(source, died_ms if died_ms is not None else now.wall_ms, "DDEATH")
        elif not source.is_online:
            self._want_rebirth(node, f"{kind} before its birth", now)
            self._out.append(
                Missing(source.group, source.node, len(message.payload.metrics), f"{kind} before its birth")
            )
        else:
            source.is_awaited = False
            self._data(node, source, message, now)

    def _data(self, node: _Node, source: Source, message: _Waiting, now: Moment) -> None:
        reader = MetricReader(source, node.definitions, is_birth=False)
        for metric in message.payload.metrics:
            if metric.name in INTERNAL:
                continue
            known = _find(node, source, metric)
            if known is None:
                name = metric.name if metric.name is not None else f"alias {metric.alias}"
                reader.reading.faults.append(f"{name} is in no birth")
                reader.reading.unknown += 1
            else:
                reader.value(known, metric, message.payload.timestamp_ms)
        self._out += reader.reading.updates
        self._bad(message.topic, message.raw, reader.reading.faults)
        if reader.reading.unknown:
            self._out.append(Missing(source.group, source.node, reader.reading.unknown, "in no birth"))
            self._want_rebirth(node, "a metric that is in no birth", now)

    def _source(self, node: _Node, topic: Topic) -> Source | None:
        if topic.device is None:
            return node.own
        found = node.devices.get(topic.device)
        if found is None and len(node.devices) < DEVICES_COUNT_MAX:
            found = node.devices[topic.device] = Source(topic.group, topic.node, topic.device)
        return found

    # -- requests -----------------------------------------------------------------------------------------------------

    def _want_rebirth(self, node: _Node, reason: str, now: Moment) -> None:
        rebirth = node.rebirth
        if rebirth.asked_ms is None or now.steady_ms - rebirth.asked_ms >= rebirth.interval_ms:
            rebirth.reason = reason
            self._request(node, now)
        elif rebirth.due_ms is None:
            rebirth.reason = reason
            rebirth.due_ms = rebirth.asked_ms + rebirth.interval_ms

    def _request(self, node: _Node, now: Moment) -> None:
        rebirth = node.rebirth
        if rebirth.asked_ms is not None and now.steady_ms - rebirth.asked_ms < 4 * rebirth.interval_ms:
            rebirth.interval_ms = min(2 * rebirth.interval_ms, REBIRTH_INTERVAL_MS_MAX)
        else:
            rebirth.interval_ms = self._options.rebirth_interval_ms
        rebirth.asked_ms, rebirth.due_ms = now.steady_ms, None
        self._out.append(RebirthRequest(node.own.group, node.own.node, rebirth.reason))

    # -- bookkeeping --------------------------------------------------------------------------------------------------

    def _node(self, group: str, name: str) -> _Node | None:
        node = self._nodes.get((group, name))
        if node is None and len(self._nodes) < NODES_COUNT_MAX:
            node = _Node(Source(group, name), _Rebirth(self._options.rebirth_interval_ms))
            self._nodes[group, name] = node
        return node

    def _bad(self, topic: Topic, raw: bytes, faults: list[str]) -> None:
        if faults:
            reason = "; ".join(dict.fromkeys(faults))
            self._out.append(BadMessage(topic.text, raw, f"{ascii(topic.text)[:100]}: {reason}"[:REASON_CHARS_MAX]))

    def _done(self, node: _Node) -> list[HostEvent]:
        self._note_timers((node.own.group, node.own.node), node)
        return self._take()

    def _note_timers(self, name: tuple[str, str], node: _Node) -> None:
        if node.due_ms() is None:
            self._timed.discard(name)
        else:
            self._timed.add(name)

    def _take(self) -> list[HostEvent]:
        found, self._out = self._out, []
        return found


def _since_birth(update: MetricUpdate, stale_ms: int | None, born_ms: int | None) -> list[MetricUpdate]:
    """A value from before its tag was stale holds again since the birth: by its own time, bad would stand last."""
    if stale_ms is None or update.time_ms is None or update.time_ms > stale_ms:
        return [update]
    return [update, replace(update, time_ms=max(born_ms or 0, stale_ms + 1))]


def _find(node: _Node, source: Source, metric: Metric) -> KnownMetric | None:
    """The metric of a DATA message: by its alias, else by its name."""
    if metric.name is not None:
        return source.metrics.get(metric.name) or source.by_suffix(metric.name)
    known = node.aliases.get(metric.alias) if metric.alias is not None else None
    return known if known is not None and known.key.device == source.device else None


def _bd_seq(payload: Payload) -> int | None:
    for metric in payload.metrics:
        if metric.name == BD_SEQ and metric.raw is not None and isinstance(metric.raw.value, int):
            return metric.raw.value
    return None


def rebirth_command(now_ms: int) -> Payload:
    """The payload of an NCMD that asks for births (5.11.1)."""
    return Payload(
        now_ms,
        (Metric(REBIRTH, timestamp_ms=now_ms, datatype=DataType.BOOLEAN, raw=Raw("boolean_value", True)),),
    )
