"""What devices report by themselves, until the session takes it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from millstream.connectors.bacnet._device import PROCESS_ID, content_of
from millstream.connectors.bacnet._faults import FAULT, value_quality
from millstream.model import Quality, Value
from millstream.protocols.bacnet_plan import PRESENT_VALUE, STATUS_FLAGS, Property

CHANGES_COUNT_MAX = 10_000  # a device that reports a thousand values ten times a second, for one second


class Changes:
    """A bounded queue. A confirmed change that finds no room is refused, so that the device sends it again; an
    unconfirmed one pushes out the oldest, and is counted."""

    def __init__(self) -> None:
        self._queue: deque[tuple[Property, Value | None, Quality, bool]] = deque()
        self._wanted: set[tuple[int, int]] = set()
        self._lost_count = 0
        self._arrived = asyncio.Event()

    def want(self, items: Iterable[Property]) -> None:
        """The present values that are subscribed."""
        self._wanted = {(item.object_type, item.instance) for item in items}

    def take(self, apdu: Any) -> bool:
        """One notification. False when it should be sent again."""
        kind, instance = (int(part) for part in apdu.monitoredObjectIdentifier)
        if int(apdu.subscriberProcessIdentifier) != PROCESS_ID or (kind, instance) not in self._wanted:
            return True  # of a subscription that is over; the device may forget it
        if len(self._queue) >= CHANGES_COUNT_MAX:
            if type(apdu).__name__.startswith("Confirmed"):
                return False
            self._queue.popleft()
            self._lost_count += 1
        values: Mapping[int, Any] = {int(entry.propertyIdentifier): entry.value for entry in apdu.listOfValues}
        item = Property(kind, instance)
        value, quality, _ = content_of(item, values.get(PRESENT_VALUE))
        flags = content_of(item.sibling(STATUS_FLAGS), values.get(STATUS_FLAGS))[0]
        bits = [bit is True for bit in flags] if isinstance(flags, list) else []
        if not quality.is_bad:
            quality = value_quality(bits)
        self._queue.append((item, value, quality, len(bits) > FAULT and bits[FAULT]))
        self._arrived.set()
        return True

    async def wait(self, timeout_s: float) -> None:
        """Until something is there, at most `timeout_s`."""
        if self._queue:
            return
        self._arrived.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self._arrived.wait()
        except TimeoutError:
            return

    def drain(self) -> list[tuple[Property, Value | None, Quality, bool]]:
        """All that is there, in order; the last part says whether the flags show a fault."""
        taken = list(self._queue)
        self._queue.clear()
        return taken

    def waiting(self) -> set[Property]:
        """What has been reported and not been taken yet."""
        return {item for item, *_ in self._queue}

    def take_lost(self) -> int:
        """Changes that found no room since the last call."""
        count, self._lost_count = self._lost_count, 0
        return count
