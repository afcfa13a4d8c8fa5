"""Tells what the servers announce: as events in a stream of the hub, beside those of machines.

What they announce in the system account is heard once a hub (`SystemEars`), and told to whom it concerns. While nothing
can be stored (no majority, the server restarts) events wait, a bounded number of them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from millstream.bus import (
    HUB_DOMAIN,
    HUB_LOCAL,
    RawConnection,
    ServerAlarm,
    StreamApi,
    StreamConfig,
    StreamInfo,
    decode_answer,
)
from millstream.hub._losses import Losses
from millstream.kernel import Clock, PlantError, Signal, Unreachable
from millstream.model import AssetPath
from millstream.protocols.cloudevents import CloudEvent, decode_event, encode_event
from millstream.protocols.ledger import WRITER_HEADER
from millstream.protocols.nats_wire import WireMessage, parse_headers
from millstream.protocols.server_advisory import (
    EVENT_TYPE,
    LEADER_ELECTED,
    QUORUM_LOST,
    AlarmWatch,
    LimitWatch,
    ServerEvent,
    read_advisory,
)
from millstream.protocols.uns_subject import UnsAddress, encode_subject
from millstream.sdk import Log

ADVISORIES = "$JS.EVENT.ADVISORY.*.>"  # not .API, of each call: the server makes none while nobody listens
SYSTEM_EVENTS = (ADVISORIES, "$SYS.ACCOUNT.*.CONNECT", "$SYS.ACCOUNT.*.DISCONNECT", "$SYS.SERVER.*.SHUTDOWN")
ROUND_TRIP = "$SYS.REQ.USER.INFO"  # any answer says that what was asked before it is done
WAITING_COUNT_MAX = 1000  # while nothing can be stored; then the oldest goes
RETRY_S = 0.5
LOOK_INTERVAL_S = 1.0  # at what nobody announces; what is heard is told at once
SEEN_COUNT_MAX = 4096  # ids; a member may hear of one thing from several servers
REPEATED = ("limit_reached", "slow_consumer", "api_limit")  # who is turned away comes again within a second
REPEAT_S = 60.0  # one that says the same within this is counted, and said by the next
PROVIDER_EVENTS = "P_EVENTS"
PROVIDER_EVENT_PREFIX = "event."
PROVIDER_EVENTS_BYTES_MAX = 64 << 20


def provider_events_stream() -> StreamConfig:
    """Events of a hub's servers, of all its tenants, in the account of who runs it."""
    return {
        "name": PROVIDER_EVENTS, "subjects": [f"{PROVIDER_EVENT_PREFIX}>"], "storage": "file", "retention": "limits",
        "num_replicas": 1, "max_bytes": PROVIDER_EVENTS_BYTES_MAX, "discard": "old", "allow_direct": True,
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class EventShelf:
    """Where events are stored: a stream, and the subject of each kind (None: not known yet; it is only logged)."""

    stream: str
    subject: Callable[[str], str | None]


def shelf_at(place: Callable[[], str | None]) -> EventShelf:
    """Of a plant: at its place, beside what machines say."""

    def subject(kind: str) -> str | None:
        path = place()
        if path is None:
            return None
        return encode_subject(UnsAddress(AssetPath.parse(path), "_event", tuple(kind.split("."))))

    return EventShelf(HUB_LOCAL, subject)


STORED_AT_PLACE = "live.uns.v1.*._event.millstream.server.>"
"""Where the events of a hub without tenants are heard once they are stored."""
STORED_FOR_PROVIDER = f"{PROVIDER_EVENT_PREFIX}>"
PROVIDER_SHELF = EventShelf(PROVIDER_EVENTS, PROVIDER_EVENT_PREFIX.__add__)


class SystemEars:
    """What the servers announce in the system account: of links and programs, and in a cluster of each stream. `heard`
    gets the account that it concerns ("": none) and the event."""

    def __init__(self, system: RawConnection, heard: Callable[[str, ServerEvent], object]) -> None:
        self._system = system
        self._heard = heard

    async def listen(self) -> None:
        """From here on nothing is missed."""
        for subject in SYSTEM_EVENTS:
            self._system.subscribe(subject, self._hear)
        with contextlib.suppress(Unreachable):  # the server restarts: subscriptions are made anew by themselves
            await self._system.request(ROUND_TRIP)

    def _hear(self, messages: list[WireMessage]) -> None:
        for event in _events_in(messages):
            self._heard(event.account, event)


@dataclass(slots=True)
class _Repeats:
    """Which events say again what was said a moment ago. Pure."""

    said: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    """What and text -> when it was told, and how often it came since."""

    def judge(self, event: ServerEvent, now_ns: int) -> ServerEvent | None:
        """The event to tell; None when it was just said."""
        if event.what not in REPEATED:
            return event
        key = (event.what, str(event.data.get("server") or event.text))  # a text with a count is another each time
        told_ns, count = self.said.get(key, (0, 0))
        if key in self.said and now_ns - told_ns < REPEAT_S * 1e9:
            self.said[key] = told_ns, count + 1
            return None
        self.said.pop(key, None)  # the newest stand last
        self.said[key] = now_ns, 0
        if len(self.said) > SEEN_COUNT_MAX:
            del self.said[next(iter(self.said))]
        return replace(event, data={**event.data, "repeats_before": count}) if count else event


class HeardEvents:
    """Events that nobody has stored yet, as far as is known here, a bounded number. A member of a cluster hears what
    happens while another leads, too: what that one stores is forgotten, and the rest is told by whoever leads next.
    Majorities that are lost wait for one another, and are one event."""

    def __init__(self) -> None:
        self._events: dict[str, ServerEvent] = {}
        self._seen: dict[str, None] = {}
        self._losses = Losses()
        self.dropped_count = 0
        self.added = Signal()

    def __len__(self) -> int:
        return len(self._events) + len(self._losses.waiting)

    def add(self, event: ServerEvent) -> bool:
        """True for one that is new."""
        if event.id in self._seen:
            return False
        self._note(event.id)
        if event.what == QUORUM_LOST:
            is_told = self._losses.lost(event)
        else:
            is_told = True
            self._put(event)
        if event.what == LEADER_ELECTED:
            self._put_new(self._losses.elected(event))
        self.added.tell()
        return is_told

    def first(self, now_ns: int) -> ServerEvent | None:
        """The oldest that may be told."""
        for event in self._losses.due(now_ns):
            self._put(event)
        return next(iter(self._events.values()), None)

    def done(self, id: str) -> None:
        """It is stored."""
        self._note(id)
        self._events.pop(id, None)

    def listen(self, connection: RawConnection, stored: str) -> None:
        """Hear what JetStream announces in this account; `stored` is where events are heard as they are stored."""
        connection.subscribe(ADVISORIES, self._hear)
        connection.subscribe(stored, self._hear_stored)

    def _put(self, event: ServerEvent) -> None:
        self._note(event.id)
        self._events[event.id] = event
        if len(self._events) > WAITING_COUNT_MAX:
            del self._events[next(iter(self._events))]
            self.dropped_count += 1

    def _put_new(self, events: Sequence[ServerEvent]) -> None:
        """Events of this member's own making; another one may have stored the same."""
        for event in events:
            if event.id not in self._seen:
                self._put(event)

    def _note(self, id: str) -> None:
        self._seen[id] = None
        if len(self._seen) > SEEN_COUNT_MAX:
            del self._seen[next(iter(self._seen))]

    def _hear(self, messages: list[WireMessage]) -> None:
        for event in _events_in(messages):
            self.add(event)

    def _hear_stored(self, messages: list[WireMessage]) -> None:
        for message in messages:
            if message[3] is not None:
                headers = parse_headers(message[3]).values
                self.done(headers.get("ce-id", ""))
                if headers.get("ce-type") == f"{EVENT_TYPE}.{QUORUM_LOST}":
                    with contextlib.suppress(PlantError):  # of a version that tells it otherwise
                        self._losses.told_by_another(_read_back(dict(headers), bytes(message[4])))


def _events_in(messages: list[WireMessage]) -> list[ServerEvent]:
    found = (read_advisory(bytes(m[1]).decode("utf-8", "replace"), bytes(m[4]), domain=HUB_DOMAIN) for m in messages)
    return [event for event in found if event is not None]


def _read_back(headers: Mapping[str, str], payload: bytes) -> ServerEvent:
    event = decode_event(headers, payload)
    data = dict(event.data) if isinstance(event.data, Mapping) else {}
    return ServerEvent(QUORUM_LOST, "alarm", str(data.get("text", "")), event.id, "MS-2610", event.time_ns, data)


class ServerEventTeller:
    """Hears what JetStream announces in the account of `connection`, is given the rest (`keep`), and stores it; run
    `run` in a task group. `streams` and `alarms` are looked at now and then, `shared_alarms` are those that others tell
    as well. `also` hears of each event but theirs. `heard` has what was heard before."""

    def __init__(
        self, connection: RawConnection, shelf: EventShelf, *, clock: Clock, log: Log,
        streams: Callable[[], Sequence[StreamInfo]] = list, alarms: Callable[[], Sequence[ServerAlarm]] = list,
        shared_alarms: Callable[[], Sequence[ServerAlarm]] = list, also: Callable[[ServerEvent], None] | None = None,
        heard: HeardEvents | None = None,
    ) -> None:  # fmt: skip
        self._connection = connection
        self._api = StreamApi(connection)
        self._shelf = shelf
        self._streams = streams
        self._alarms, self._shared_alarms = alarms, shared_alarms
        self._also = also
        self._clock = clock
        self._log = log
        self._heard = HeardEvents() if heard is None else heard
        self._limits, self._alarm_watch, self._shared_watch = LimitWatch(), AlarmWatch(), AlarmWatch()
        self._repeats = _Repeats()
        self._in_doubt: str | None = None
        self._sid: int | None = None

    @property
    def waiting_count(self) -> int:
        """Events that are not stored yet."""
        return len(self._heard)

    def listen(self) -> None:
        """From here on nothing is missed; what is heard waits for `run`."""
        self._sid = self._connection.subscribe(ADVISORIES, self._hear)

    async def run(self) -> None:
        """Until cancelled; then it hears nothing more."""
        try:
            while True:
                self._look()
                await self._tell()
                await self._heard.added.wait(RETRY_S if len(self._heard) else LOOK_INTERVAL_S)
        finally:
            if self._sid is not None:
                self._connection.unsubscribe(self._sid)

    def keep(self, event: ServerEvent) -> None:
        """Tell this one, too; once."""
        told = self._repeats.judge(event, self._clock.monotonic_ns())
        if told is not None and self._heard.add(told) and self._also is not None:
            self._also(told)

    def _hear(self, messages: list[WireMessage]) -> None:
        for event in _events_in(messages):
            self.keep(event)

    def _look(self) -> None:
        """At what nobody announces: alarms of this node, streams that refuse what does not fit."""
        now_ns = self._clock.now_ns()
        for event in self._alarm_watch.feed({alarm.code: alarm.message for alarm in self._alarms()}, now_ns):
            self.keep(event)
        for event in self._shared_watch.feed({one.code: one.message for one in self._shared_alarms()}, now_ns):
            self._heard.add(event)
        for info in self._streams():
            if info.config.get("discard") == "new":
                found = self._limits.feed(
                    f"stream {info.name}", info.bytes, int(info.config.get("max_bytes", -1)), now_ns
                )
                if found is not None:
                    self.keep(found)

    async def _tell(self) -> None:
        while (event := self._heard.first(self._clock.monotonic_ns())) is not None:
            subject = self._shelf.subject(f"{EVENT_TYPE}.{event.what}")
            if subject is not None:
                try:
                    await self._store(event, subject)
                except PlantError:
                    return  # the server restarts, or has no majority: it waits
            if event.severity != "info":
                self._log.warning(event.text, code=event.code)
            self._heard.done(event.id)

    async def _store(self, event: ServerEvent, subject: str) -> None:
        kind = f"{EVENT_TYPE}.{event.what}"
        cloud_event = CloudEvent(event.id, "/hub/server", kind, event.as_data(), event.time_ns or self._clock.now_ns())
        headers, payload = encode_event(cloud_event)
        headers |= {WRITER_HEADER: "hub", "Nats-Msg-Id": f"server/{event.id}"}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()
        if self._in_doubt == event.id and await self._is_stored(subject, event.id):
            return
        self._in_doubt = event.id
        answer = await self._connection.request(subject, payload, header_lines=lines, timeout_s=2.0)
        decode_answer(answer[4], where=subject)
        self._in_doubt = None

    async def _is_stored(self, subject: str, id: str) -> bool:
        """Whether the event whose answer did not come is there. Without a majority one waits longer than the stream
        knows what it has. Only this teller writes below the subject. Raises PlantError."""
        found = await self._api.last(self._shelf.stream, subject)
        return found is not None and parse_headers(found.headers).values.get("ce-id") == id
