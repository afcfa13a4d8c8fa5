"""Twins of assets, as the flow `twin` keeps them: now, and as they were at a time."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from typing import Any

from millstream.client._streams import StoredFrame, Streams
from millstream.client._times import Time, to_time_ns
from millstream.kernel import Clock, DecodeError, NotFoundError
from millstream.model import TagPath
from millstream.protocols.cloudevents import CloudEvent, decode_event
from millstream.protocols.twin import TWIN_TYPE
from millstream.protocols.uns_subject import tag_subject


class Twins:
    """The twins of what can be seen from here. Made by `Plant.twins`."""

    def __init__(self, streams: Streams, clock: Clock) -> None:
        self._streams, self._clock = streams, clock

    async def show(self, path: str, at: Time | None = None) -> Mapping[str, Any]:
        """The twin of an asset (``acme/plant1/press``; ``acme/plant1/press:twin`` where the flow calls it otherwise),
        with its `path`: the newest one, or as it was at a time. As far as the node's streams reach back. Raises
        DecodeError, NotFoundError, Unreachable."""
        tag = TagPath.parse(path if ":" in path else f"{path}:twin")
        until_ns = to_time_ns(at, self._clock.now_ns()) if at is not None else None
        subject = tag_subject(tag, "_event")
        found: list[CloudEvent] = []
        for stream in await self._streams.of_data():
            frames = list(await self._streams.last(stream, [subject], until_ns=until_ns))
            if until_ns is not None:
                frames += await self._stored_later(stream, subject, until_ns)
            found += [twin for frame in frames if (twin := _twin(frame)) is not None]
        of_then = [twin for twin in found if until_ns is None or (twin.time_ns or 0) <= until_ns]
        if not of_then:
            raise NotFoundError(
                "no twin is known", where=str(tag), expected="an asset of which the flow `twin` has told one by then",
                next_step="`millstream flow list` shows whether that flow runs",
            )  # fmt: skip
        newest = max(of_then, key=lambda each: (each.time_ns or 0, each.data["revision"]))
        return {"path": str(tag.asset), **newest.data}

    async def _stored_later(self, stream: str, subject: str, until_ns: int) -> list[StoredFrame]:
        """Twins of this time or before that were stored behind it, as at a hub after its edge was cut off."""
        found: list[StoredFrame] = []
        async with aclosing(self._streams.since(stream, subject, until_ns)) as frames:
            async for frame in frames:
                twin = _twin(frame)
                if twin is not None and (twin.time_ns or 0) > until_ns:
                    break
                found.append(frame)
        return found


def _twin(frame: StoredFrame) -> CloudEvent | None:
    try:
        event = decode_event(frame.headers, frame.payload)
    except DecodeError:
        return None
    return event if event.type == TWIN_TYPE and isinstance(event.data, dict) else None
