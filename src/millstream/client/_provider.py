"""A hub of tenants as who runs it sees it: what happened to its servers, and to whom, and the audit of none.

The provider's account has no history of its own: these are its streams, which keep the newest.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from millstream.bus._link import Link
from millstream.client._node import PROVIDER, NodeAddress
from millstream.client._streams import Streams
from millstream.client._times import Time, to_time_ns
from millstream.kernel import Clock, DecodeError, NotFoundError, PlantError
from millstream.protocols.cloudevents import CloudEvent, decode_event

EVENT_STREAMS = {"P_EVENTS": "event.>", "P_AUDIT": "audit.>"}
EVENTS_COUNT_MAX = 200_000  # of one look: more than both streams hold in a usual year


class Provider:
    """Of a plant that is asked as its provider. Made by `Plant.fleet`."""

    def __init__(self, link: Link, address: NodeAddress, clock: Clock) -> None:
        self._link = link
        self._streams = Streams(link)
        self._clock = clock
        self.is_asked = address.creds_file is not None and address.creds_file.stem == PROVIDER
        """Whether it is the provider who asks; no user has this name."""

    async def events(
        self, *, type: str | None = None, start: Time | None = None, end: Time = "now"
    ) -> AsyncGenerator[CloudEvent, None]:
        """As `Plant.events`: of all tenants (`tenant` in the data of those that concern one), and the audit of none."""
        if start is None:
            async for event in self._live():
                if _fits(event, type):
                    yield event
            return
        now_ns = self._clock.now_ns()
        for event in await self._stored(to_time_ns(start, now_ns), to_time_ns(end, now_ns)):
            if _fits(event, type):
                yield event

    async def _live(self) -> AsyncGenerator[CloudEvent, None]:
        async with self._link.subscribe(list(EVENT_STREAMS.values())) as subscription:
            while True:
                for frame in await subscription.take():
                    if (event := _event(frame.headers, frame.payload)) is not None:
                        yield event

    async def _stored(self, start_ns: int, end_ns: int) -> list[CloudEvent]:
        """Oldest first. Raises NotFoundError, PlantError."""
        names = set(await self._streams.names())
        if "P_EVENTS" not in names:
            raise NotFoundError(
                "this hub keeps no events for its provider", where=self._link.url, expected="the stream P_EVENTS",
                next_step="run the hub with this version, or name a tenant with --tenant",
            )  # fmt: skip
        found: list[tuple[int, CloudEvent]] = []
        for name in EVENT_STREAMS:
            async with aclosing(self._streams.since(name, ">", start_ns)) as frames:
                async for frame in frames:
                    event = _event(frame.headers, frame.payload) if frame.time_ns < end_ns else None
                    if event is not None:
                        found.append((frame.time_ns, event))
                    if len(found) > EVENTS_COUNT_MAX:
                        raise PlantError(
                            "too many events", where=name, expected=f"at most {EVENTS_COUNT_MAX}",
                            next_step="let the look begin later",
                        )  # fmt: skip
        return [event for _, event in sorted(found, key=lambda each: each[0])]


def _fits(event: CloudEvent, type: str | None) -> bool:
    return type is None or event.type == type or (type.endswith("*") and event.type.startswith(type[:-1]))


def _event(headers: Mapping[str, str], payload: bytes) -> CloudEvent | None:
    try:
        return decode_event(headers, payload)
    except DecodeError:
        return None  # of another program, under the provider's subjects
