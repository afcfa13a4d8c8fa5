"""Tells what the servers announce: as events in the hub's own stream, beside those of machines.

While nothing can be stored (no majority, the server restarts) events wait, a bounded number of them.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Sequence

from millstream.bus import HUB_DOMAIN, HUB_LOCAL, RawConnection, ServerAlarm, StreamApi, StreamInfo, decode_answer
from millstream.kernel import Clock, PlantError, Unreachable
from millstream.model import AssetPath
from millstream.protocols.cloudevents import CloudEvent, encode_event
from millstream.protocols.ledger import WRITER_HEADER
from millstream.protocols.nats_wire import WireMessage, parse_headers
from millstream.protocols.server_advisory import EVENT_TYPE, AlarmWatch, LimitWatch, ServerEvent, read_advisory
from millstream.protocols.uns_subject import UnsAddress, encode_subject
from millstream.sdk import Log

ADVISORIES = ("$JS.EVENT.ADVISORY.>",)
SYSTEM_EVENTS = ("$SYS.ACCOUNT.*.CONNECT", "$SYS.ACCOUNT.*.DISCONNECT", "$SYS.SERVER.*.SHUTDOWN")
ROUND_TRIP = "$SYS.REQ.USER.INFO"  # any answer says that what was asked before it is done
WAITING_COUNT_MAX = 1000  # while nothing can be stored; then the oldest goes
TELL_INTERVAL_S = 0.5
SEEN_COUNT_MAX = 4096  # ids; the plant's account and the system's may both announce one thing


class ServerEventTeller:
    """Run `run` in the plant's task group. `place` gives where the events stand (None: they are only logged), `streams`
    and `alarms` what is looked at now and then. `system`: a connection of the system account."""

    def __init__(
        self, connection: RawConnection, place: Callable[[], str | None], streams: Callable[[], Sequence[StreamInfo]],
        alarms: Callable[[], Sequence[ServerAlarm]], *, system: RawConnection | None, clock: Clock, log: Log,
    ) -> None:  # fmt: skip
        self._connection = connection
        self._api = StreamApi(connection)
        self._system = system
        self._place = place
        self._streams = streams
        self._alarms = alarms
        self._clock = clock
        self._log = log
        self._waiting: deque[ServerEvent] = deque(maxlen=WAITING_COUNT_MAX)
        self._seen: dict[str, None] = {}
        self._limits, self._alarm_watch = LimitWatch(), AlarmWatch()
        self._in_doubt: str | None = None
        self.dropped_count = 0

    @property
    def waiting_count(self) -> int:
        """Events that are not stored yet."""
        return len(self._waiting)

    async def listen(self) -> None:
        """From here on nothing is missed; what is heard waits for `run`."""
        for subject in ADVISORIES:
            self._connection.subscribe(subject, self._hear)
        if self._system is not None:
            for subject in SYSTEM_EVENTS:
                self._system.subscribe(subject, self._hear)
            with contextlib.suppress(Unreachable):  # the server restarts: subscriptions are made anew by themselves
                await self._system.request(ROUND_TRIP)

    async def run(self) -> None:
        """For ever."""
        while True:
            await self._look()
            await self._tell()
            await self._clock.sleep(TELL_INTERVAL_S)

    def _hear(self, messages: list[WireMessage]) -> None:
        for message in messages:
            subject = bytes(message[1]).decode("utf-8", "replace")
            event = read_advisory(subject, bytes(message[4]), domain=HUB_DOMAIN)
            if event is not None and event.id not in self._seen:
                self._keep(event)

    def _keep(self, event: ServerEvent) -> None:
        self._seen[event.id] = None
        if len(self._seen) > SEEN_COUNT_MAX:
            del self._seen[next(iter(self._seen))]
        self.dropped_count += len(self._waiting) == WAITING_COUNT_MAX
        self._waiting.append(event)

    async def _look(self) -> None:
        """At what nobody announces: alarms of this node, streams that refuse what does not fit."""
        now_ns = self._clock.now_ns()
        for event in self._alarm_watch.feed({alarm.code: alarm.message for alarm in self._alarms()}, now_ns):
            self._keep(event)
        for info in self._streams():
            if info.config.get("discard") == "new":
                found = self._limits.feed(
                    f"stream {info.name}", info.bytes, int(info.config.get("max_bytes", -1)), now_ns
                )
                if found is not None:
                    self._keep(found)

    async def _tell(self) -> None:
        while self._waiting:
            event, place = self._waiting[0], self._place()
            if place is not None:
                try:
                    await self._store(event, place)
                except PlantError:
                    return  # the server restarts, or has no majority: it waits
            if event.severity != "info":
                self._log.warning(event.text, code=event.code)
            if self._waiting and self._waiting[0] is event:
                self._waiting.popleft()

    async def _store(self, event: ServerEvent, place: str) -> None:
        kind = f"{EVENT_TYPE}.{event.what}"
        cloud_event = CloudEvent(event.id, "/hub/server", kind, event.as_data(), event.time_ns or self._clock.now_ns())
        headers, payload = encode_event(cloud_event)
        headers |= {WRITER_HEADER: "hub", "Nats-Msg-Id": f"server/{event.id}"}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()
        subject = encode_subject(UnsAddress(AssetPath.parse(place), "_event", tuple(kind.split("."))))
        if self._in_doubt == event.id and await self._is_stored(subject, event.id):
            return
        self._in_doubt = event.id
        answer = await self._connection.request(subject, payload, header_lines=lines, timeout_s=2.0)
        decode_answer(answer[4], where=subject)
        self._in_doubt = None

    async def _is_stored(self, subject: str, id: str) -> bool:
        """Whether the event whose answer did not come is there. Without a majority one waits longer than the stream
        knows what it has. Only this teller writes below the subject. Raises PlantError."""
        found = await self._api.last(HUB_LOCAL, subject)
        return found is not None and parse_headers(found.headers).values.get("ce-id") == id
