"""A session of the host application: STATE, births on demand, metrics as samples, commands as writes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from millstream.connectors.sparkplug._config import SparkplugConfig
from millstream.connectors.sparkplug._mapping import Mapper, Place, nodes_of
from millstream.kernel import AuthError, Clock, DecodeError
from millstream.model import (
    BAD_COMMUNICATION_ERROR,
    BAD_NO_COMMUNICATION,
    BAD_NODE_ID_UNKNOWN,
    BAD_OUT_OF_RANGE,
    BAD_TYPE_MISMATCH,
    GOOD,
    Sample,
)
from millstream.mqtt import BrokerLink, Incoming, Session
from millstream.protocols.mqtt_publish import Publish
from millstream.protocols.sparkplug import Metric, Payload
from millstream.protocols.sparkplug_host import HostOptions, Moment, SparkplugHost, rebirth_command
from millstream.protocols.sparkplug_host_model import (
    BadMessage,
    HostEvent,
    KnownMetric,
    MetricKey,
    MetricUpdate,
    Missing,
    Presence,
    RebirthRequest,
)
from millstream.protocols.sparkplug_state import HostState
from millstream.protocols.sparkplug_topic import NAMESPACE, MessageType, Topic, parse_topic
from millstream.protocols.sparkplug_value import to_raw
from millstream.protocols.sparkplug_wire import encode_payload
from millstream.sdk import Batch, ConnectorTools, Position, Tag, Write, WriteResult

BATCH_MESSAGES_MAX = 200
CERTIFICATES = "$sparkplug/certificates"
"""Where a Sparkplug-aware broker keeps the last births (conformance-mqtt-aware-store)."""


@dataclass(slots=True)
class Memory:
    """What one session leaves to the next: tags that went stale with the link, and nodes to ask for their births."""

    samples: list[Sample] = field(default_factory=list)
    nodes: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class _Draft:
    samples: list[Sample] = field(default_factory=list)
    frames_bad: list[tuple[bytes, str]] = field(default_factory=list)

    def batch(self) -> Batch:
        return Batch(tuple(self.samples), frames_bad=tuple(self.frames_bad))


class SparkplugSession:
    """Streamed, SourceCounted and Writable. A host application's session is clean, so there is no position."""

    def __init__(self, config: SparkplugConfig, tools: ConnectorTools, memory: Memory) -> None:
        self._config = config
        self._tools = tools
        self._memory = memory
        self._host = SparkplugHost(
            HostOptions(
                reorder_timeout_ms=int(config.reorder_timeout * 1000),
                rebirth_interval_ms=int(config.rebirth_interval * 1000),
                birth_timeout_ms=int(config.birth_timeout * 1000),
                doubt_ms=int(config.doubt_timeout * 1000),
            )
        )
        self._state = HostState(config.host_id or "", self._now().wall_ms)
        self._link = BrokerLink(config, Session("sparkplug", will=self._state.will()))
        self._mapper = Mapper(config, ())
        self._gaps_count = 0
        self._is_born = self._is_refused = False
        self._tags_due_ms: int | None = None

    # -- link ---------------------------------------------------------------------------------------------------------

    async def connect(self) -> None:
        """Raises Unreachable, AuthError, ConfigError."""
        await self._link.connect()

    async def close(self) -> None:
        """Take leave: STATE says so before DISCONNECT."""
        await self._link.close(self._state.death(self._now().wall_ms) if self._is_born else None)

    def _now(self) -> Moment:
        clock: Clock = self._tools.clock
        return Moment(clock.now_ns() // 1_000_000, clock.monotonic_ns() // 1_000_000)

    # -- stream -------------------------------------------------------------------------------------------------------

    async def stream(self, tags: Sequence[Tag], resume: Position | None) -> AsyncGenerator[Batch, None]:
        """Batches as messages come. Nothing can be resumed: nodes are asked for their births instead.

        Raises Unreachable when the link is lost, AuthError when the broker does not let us listen, ProtocolViolation.
        """
        self._mapper = Mapper(self._config, tags)
        self._link.subscribe(self._filters())
        self._tags_due_ms = self._now().steady_ms + int(self._config.birth_timeout * 1000)
        left = self._memory.samples
        self._memory.samples = []
        if left:
            yield Batch(tuple(left))
        try:
            while True:
                draft = self._work()
                if draft.samples or draft.frames_bad:
                    yield draft.batch()
                else:
                    self._link.check()
                    await self._link.wait(self._patience_s())
        finally:
            self._leave()

    def _filters(self) -> list[str]:
        groups = [f"{NAMESPACE}/{group}/#" for group in self._config.groups]
        own = [*groups, self._state.topic] if groups else [f"{NAMESPACE}/#"]
        return [*own, f"{CERTIFICATES}/{NAMESPACE}/+/{MessageType.NBIRTH}/+"]

    def _work(self) -> _Draft:
        """What has come, and what the time brings."""
        draft = _Draft()
        now = self._now()
        if self._link.is_subscribed and not self._is_born:
            self._begin(now, draft)
        for received in self._link.take(BATCH_MESSAGES_MAX):
            self._message(received, now, draft)
        self._take(self._host.tick(now), draft)
        if self._tags_due_ms is not None and self._tags_due_ms <= now.steady_ms:
            self._tags_due_ms = None
            for place in self._mapper.places():
                if not self._host.is_online(*place):
                    self._absent(place, draft)
        draft.frames_bad += [(b"", reason) for reason in self._mapper.faults]
        self._mapper.faults.clear()
        return draft

    def _begin(self, now: Moment, draft: _Draft) -> None:
        """Subscriptions stand: tell the nodes that we are there, and ask those that we know of (5.8)."""
        if refused := [each for each, _ in self._link.take_refused() if not each.startswith("$")]:
            raise AuthError("broker does not let us subscribe", where=self._config.host, got=", ".join(refused))
        self._is_born = True
        birth = self._state.birth()
        self._link.publish(birth)
        nodes = dict.fromkeys([*self._memory.nodes, *nodes_of(self._mapper.places())])
        self._memory.nodes = []
        self._take(self._host.expect(nodes, now), draft)

    def _message(self, received: Incoming, now: Moment, draft: _Draft) -> None:
        topic, payload = received.topic, received.payload
        if isinstance(topic, bytes):
            draft.frames_bad.append((payload, f"topic is not UTF-8: {topic[:100]!a}"))
        elif topic == self._state.topic:
            answer = self._state.received(payload) if self._is_born else None
            if answer is not None:
                self._tools.log.warning("our STATE was offline, said online again", host_id=self._config.host_id)
                self._link.publish(answer)
        elif topic.startswith(CERTIFICATES) or received.is_retained:
            self._of_old(topic.removeprefix(f"{CERTIFICATES}/"), now, draft)
        else:
            self._take(self._host.receive(topic, payload, now), draft)

    def _of_old(self, topic_text: str, now: Moment, draft: _Draft) -> None:
        """A message that a broker kept says that there was such a node, not that it is there: it is asked."""
        try:
            topic = parse_topic(topic_text)
        except DecodeError:
            return
        if isinstance(topic, Topic) and (not self._config.groups or topic.group in self._config.groups):
            self._take(self._host.expect([(topic.group, topic.node)], now), draft)

    def _patience_s(self) -> float | None:
        """Until when nothing is to be done."""
        times = [each for each in (self._host.due_ms(), self._tags_due_ms) if each is not None]
        return max(0.0, (min(times) - self._now().steady_ms) / 1000) + 0.001 if times else None

    def _leave(self) -> None:
        """All is stale from now on; the next session tells it."""
        draft = _Draft()
        nodes = [each for each in self._host.nodes() if self._host.is_online(*each)]
        self._take(self._host.disconnected(self._now()), draft)
        self._memory.samples = draft.samples
        self._memory.nodes = nodes

    # -- events -------------------------------------------------------------------------------------------------------

    def _take(self, events: Iterable[HostEvent], draft: _Draft) -> None:
        births: list[Place] = []
        for event in events:
            if isinstance(event, MetricUpdate):
                draft.samples += self._samples(event)
            elif isinstance(event, RebirthRequest):
                self._request(event)
            elif isinstance(event, BadMessage):
                draft.frames_bad.append((event.raw, event.reason))
            elif isinstance(event, Missing):
                self._gaps_count += event.count
            else:
                self._tell(event)
                if event.is_online:
                    births.append((event.group, event.node, event.device))
        for place in births:
            self._unknown(place, draft)

    def _samples(self, update: MetricUpdate) -> list[Sample]:
        time_ns = update.time_ms * 1_000_000 if update.time_ms is not None else None
        return [Sample(key, update.value, update.quality, time_ns) for key in self._mapper.keys(update.key)]

    def _request(self, request: RebirthRequest) -> None:
        topic = Topic(request.group, MessageType.NCMD, request.node)
        self._tools.log.info("rebirth requested", node=f"{request.group}/{request.node}", reason=request.reason)
        self._link.publish(Publish(topic.text, encode_payload(rebirth_command(self._now().wall_ms))))

    def _tell(self, event: Presence) -> None:
        place = "/".join(level for level in (event.group, event.node, event.device) if level is not None)
        if event.is_online:
            self._tools.log.info("online", source=place)
        else:
            self._tools.log.warning("offline", source=place, reason=event.reason)

    def _unknown(self, place: Place, draft: _Draft) -> None:
        """Listed tags that the birth does not have."""
        for key, keys in self._mapper.listed(place):
            if self._host.is_online(*place) and self._host.metric(*place, key.name) is None:
                draft.samples += [Sample(each, None, BAD_NODE_ID_UNKNOWN) for each in keys]

    def _absent(self, place: Place, draft: _Draft) -> None:
        for _, keys in self._mapper.listed(place):
            draft.samples += [Sample(each, None, BAD_NO_COMMUNICATION) for each in keys]

    def take_source_gaps(self) -> int:
        """Messages that were left out (by seq), and values that no birth explains."""
        found, self._gaps_count = self._gaps_count, 0
        return found

    # -- writes -------------------------------------------------------------------------------------------------------

    async def write(self, writes: Sequence[Write]) -> Sequence[WriteResult]:
        """One command for each write; Sparkplug has no answer to it, only the metric's next value shows what it did."""
        return [self._write(each) for each in writes]

    def _write(self, write: Write) -> WriteResult:
        try:
            key = MetricKey.parse(write.tag.address)
        except DecodeError as error:
            return WriteResult(BAD_NODE_ID_UNKNOWN, str(error))
        if self._link.is_over:
            return WriteResult(BAD_COMMUNICATION_ERROR, "link to the broker is lost")
        if not self._host.is_online(key.group, key.node, key.device):
            return WriteResult(BAD_NO_COMMUNICATION, "node or device is not online")
        known = self._host.metric(key.group, key.node, key.device, key.name)
        if known is None:
            return WriteResult(BAD_NODE_ID_UNKNOWN, "the metric is in no birth")
        if known.datatype is None:
            return WriteResult(BAD_TYPE_MISMATCH, "the birth gave no datatype that the metric can have")
        now_ms = self._now().wall_ms
        try:
            payload = command(known, write, now_ms)
        except DecodeError as error:
            is_number = isinstance(write.value, int | float) and not isinstance(write.value, bool)
            is_range = is_number and "integer of" in str(error.expected)
            return WriteResult(BAD_OUT_OF_RANGE if is_range else BAD_TYPE_MISMATCH, str(error))
        kind = MessageType.NCMD if key.device is None else MessageType.DCMD
        self._link.publish(Publish(Topic(key.group, kind, key.node, key.device).text, encode_payload(payload)))
        return WriteResult(GOOD)


def command(known: KnownMetric, write: Write, now_ms: int) -> Payload:
    """NCMD or DCMD for one metric: by its alias if it has one (6.4.5). The datatype stands there too, since several
    nodes cannot read a value without it. Raises DecodeError when the value does not fit."""
    datatype = known.datatype
    assert datatype is not None
    raw = to_raw(datatype, write.value)  # type: ignore[arg-type]  # what does not fit is refused there
    name = known.key.name if known.alias is None else None
    return Payload(now_ms, (Metric(name, known.alias, now_ms, datatype, raw),))


@asynccontextmanager
async def open_session(
    config: SparkplugConfig, tools: ConnectorTools, memory: Memory
) -> AsyncIterator[SparkplugSession]:
    """Connect to the broker. Raises Unreachable, AuthError, ConfigError."""
    session = SparkplugSession(config, tools, memory)
    try:
        await session.connect()
        yield session
    finally:
        await session.close()
