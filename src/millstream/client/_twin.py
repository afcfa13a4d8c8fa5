"""Twins of assets, as the flow `twin` keeps them: now, and as they were at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any

from millstream.client._paths import Where, to_address, to_patterns
from millstream.client._streams import StoredFrame, Streams
from millstream.client._times import Time, to_time_ns
from millstream.kernel import Clock, DecodeError, NotFoundError
from millstream.model import TagPath
from millstream.protocols.cloudevents import CloudEvent, decode_event
from millstream.protocols.twin import TWIN_TYPE
from millstream.protocols.uns_pattern import Pattern
from millstream.protocols.uns_subject import decode_subject, tag_subject

CHANGES_MAX = 10_000


class Twins:
    """The twins of what can be seen from here. Made by `Plant.twins`."""

    def __init__(self, streams: Streams, clock: Clock) -> None:
        self._streams, self._clock = streams, clock

    async def show(self, path: str, at: Time | None = None) -> Mapping[str, Any]:
        """The twin of an asset (``acme/plant1/press``; ``acme/plant1/press:twin`` where the flow calls it otherwise),
        with its `path`: the newest one, or as it was at a time. As far as the node's streams reach back. Raises
        DecodeError, NotFoundError, Unreachable."""
        tag = _tag(path)
        newest = await self._at(tag, to_time_ns(at, self._clock.now_ns()) if at is not None else None)
        if newest is None:
            raise _unknown(tag)
        return {"path": str(tag.asset), **newest.data}

    async def list(self, *patterns: Where, name: str = "twin") -> Sequence[Mapping[str, Any]]:
        """All twins as they are, by path; `name` is what the flow calls them. Raises DecodeError, Unreachable."""
        checked = to_patterns(patterns)
        found: dict[str, CloudEvent] = {}
        for stream in await self._streams.of_data():
            subjects = {s for p in checked for s in await self._streams.subjects(stream, p.subject_filter("_event"))}
            wanted = [subject for subject in sorted(subjects) if _is_twin(subject, checked, name)]
            for frame in await self._streams.last(stream, wanted):
                twin, path = _twin(frame), str(decode_subject(frame.subject).tag.asset)
                if twin is not None and (path not in found or _age(twin) > _age(found[path])):
                    found[path] = twin
        return [{"path": path, **twin.data} for path, twin in sorted(found.items())]

    async def history(
        self, path: str, field: str, *, start: Time = "-1d", end: Time = "now"
    ) -> Sequence[Mapping[str, Any]]:
        """What one field of a twin was, each time that it changed, oldest first, and first what it was at the start:
        ``state/value``, ``health/is_well``, ``tags/spindle/speed/value``, ``order``. Each row has `at` and `value`
        (None: the twin had none). At most `CHANGES_MAX`, the newest. As far as the node's streams reach back. Raises
        DecodeError, NotFoundError, Unreachable."""
        tag, now_ns = _tag(path), self._clock.now_ns()
        start_ns, end_ns = to_time_ns(start, now_ns), to_time_ns(end, now_ns)
        before = await self._at(tag, start_ns)
        twins = [] if before is None else [before]
        for stream in await self._streams.of_data():
            async with aclosing(self._streams.since(stream, tag_subject(tag, "_event"), start_ns)) as frames:
                twins += [
                    twin async for frame in frames
                    if (twin := _twin(frame)) is not None and start_ns < (twin.time_ns or 0) < end_ns
                ]  # fmt: skip
        if not twins:
            raise _unknown(tag)
        rows: list[dict[str, Any]] = []
        for twin in sorted(twins, key=_age):
            value = field_of(twin.data, field)
            if not rows or rows[-1]["value"] != value:
                rows.append({"at": twin.data["at"], "value": value})
        return rows[-CHANGES_MAX:]

    async def _at(self, tag: TagPath, until_ns: int | None) -> CloudEvent | None:
        """The newest twin, or that of a time."""
        subject = tag_subject(tag, "_event")
        found: list[CloudEvent] = []
        for stream in await self._streams.of_data():
            frames = [*await self._streams.last(stream, [subject], until_ns=until_ns)]
            if until_ns is not None:
                frames += await self._stored_later(stream, subject, until_ns)
            found += [twin for frame in frames if (twin := _twin(frame)) is not None]
        of_then = [twin for twin in found if until_ns is None or (twin.time_ns or 0) <= until_ns]
        return max(of_then, key=_age, default=None)

    async def _stored_later(self, stream: str, subject: str, until_ns: int) -> Sequence[StoredFrame]:
        """Twins of this time or before that were stored behind it, as at a hub after its edge was cut off."""
        found: list[StoredFrame] = []
        async with aclosing(self._streams.since(stream, subject, until_ns)) as frames:
            async for frame in frames:
                twin = _twin(frame)
                if twin is not None and (twin.time_ns or 0) > until_ns:
                    break
                found.append(frame)
        return found


def field_of(twin: Mapping[str, Any], field: str) -> Any:
    """One field of a twin by its way; names of tags may have slashes, and the longest name counts. None: there is
    none."""
    found: Any = twin
    parts = field.split("/")
    while parts and isinstance(found, Mapping):
        length = next((n for n in range(len(parts), 0, -1) if "/".join(parts[:n]) in found), 0)
        if not length:
            return None
        found, parts = found["/".join(parts[:length])], parts[length:]
    return None if parts else found


def _tag(path: str) -> TagPath:
    return TagPath.parse(path if ":" in path else f"{path}:twin")


def _is_twin(subject: str, patterns: Sequence[Pattern], name: str) -> bool:
    address = to_address(subject)
    return (
        address is not None and "/".join(address.tag.names) == name and any(each.matches(address) for each in patterns)
    )


def _age(twin: CloudEvent) -> tuple[int, int]:
    return twin.time_ns or 0, int(twin.data["revision"])


def _unknown(tag: TagPath) -> NotFoundError:
    return NotFoundError(
        "no twin is known", where=str(tag), expected="an asset of which the flow `twin` has told one by then",
        next_step="`millstream flow list` shows whether that flow runs",
    )  # fmt: skip


def _twin(frame: StoredFrame) -> CloudEvent | None:
    try:
        event = decode_event(frame.headers, frame.payload)
    except DecodeError:
        return None
    return event if event.type == TWIN_TYPE and isinstance(event.data, dict) else None
