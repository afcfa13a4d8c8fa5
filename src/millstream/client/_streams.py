"""A node's streams as the SDK reads them: which there are, which subjects they hold, the last message of each."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeAlias

from millstream.bus import VIEW_API, VIEWED_STREAMS
from millstream.bus._link import Frame, Link
from millstream.kernel import NotFoundError, PlantError
from millstream.protocols.cloudevents import format_time, parse_time_ns
from millstream.sdk import Stored

SUBJECTS_PER_REQUEST_MAX = 250  # of one batched direct get: the server answers at most 1,024, a request stays small
SINCE_COUNT = 500  # messages of one direct get
PAGES_COUNT_MAX = 10_000  # of any listing: ends a server that never says it is done
Store: TypeAlias = "Callable[[str, bytes, Mapping[str, str]], Awaitable[Stored]]"
"""Stores one message (subject, payload, headers) where the node takes it."""
Whom: TypeAlias = Callable[[], Awaitable[tuple[str, str]]]
"""Role and name of the node that is asked."""
_HUB = re.compile(r"H_(INTEGRITY|THROUGHPUT)(_g\d+)?\Z")
_EDGE = re.compile(r"E_.+_[ITF](_g\d+)?\Z")
_DEAD = re.compile(r"(H|E_.+)_DLQ(_g\d+)?\Z")


@dataclass(frozen=True, slots=True)
class StoredFrame:
    """One stored message. `time_ns` is when it was stored, UTC."""

    stream: str
    seq: int
    time_ns: int
    subject: str
    payload: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Streams:
    """The JetStream API behind one link, as much as reading needs."""

    link: Link

    async def names(self) -> Sequence[str]:
        """All streams of the node. Somebody who only looks may not list them: those of a hub's data are known."""
        if self.link.api == VIEW_API:
            return VIEWED_STREAMS
        found: list[str] = []
        for _ in range(PAGES_COUNT_MAX):
            answer = await self._api("STREAM.NAMES", {"offset": len(found)})
            page = answer.get("streams") or []
            found += page
            if not page or len(found) >= int(answer.get("total", 0)):
                break
        return found

    async def of_data(self, *, with_local: bool = False) -> Sequence[str]:
        """The streams that hold plant data: a hub's own, else the edge's. Raises NotFoundError.

        `with_local` adds what was published at the hub itself and reaches its other streams only a moment later, so
        that a value just published is the last value.
        """
        names = await self.names()
        found = [n for n in names if _HUB.match(n)] or [n for n in names if _EDGE.match(n)]
        if with_local:
            found += [n for n in names if n == "H_LOCAL"]
        if not found:
            raise NotFoundError(
                "no stream of plant data here",
                where=self.link.url,
                got=", ".join(names) or "no stream at all",
                next_step="name a Millstream node, not another NATS server; `millstream doctor` looks closer",
            )
        return found

    async def of_dead_letters(self) -> Sequence[str]:
        """The dead-letter streams: at a hub those of all edges in one."""
        found = [n for n in await self.names() if _DEAD.match(n)]
        return [n for n in found if n.startswith("H_")] or found

    async def info(self, stream: str) -> Mapping[str, Any]:
        """The server's own description of a stream. Raises NotFoundError."""
        return await self._api(f"STREAM.INFO.{stream}", {})

    async def subjects(self, stream: str, subject_filter: str) -> Mapping[str, int]:
        """Subjects in a stream that fit the filter, each with its message count."""
        found: dict[str, int] = {}
        for _ in range(PAGES_COUNT_MAX):
            answer = await self._api(
                f"STREAM.INFO.{stream}", {"subjects_filter": subject_filter, "offset": len(found)}, timeout_s=15.0
            )
            page = answer.get("state", {}).get("subjects") or {}
            before = len(found)
            found.update(page)
            if len(found) == before or len(found) >= int(answer.get("total", 0)):
                break
        return found

    async def last(
        self, stream: str, subjects: Sequence[str], *, until_ns: int | None = None
    ) -> Sequence[StoredFrame]:  # fmt: skip
        """The last message of each of the subjects that the stream has, or had by then; few round trips for many
        subjects."""
        found: list[StoredFrame] = []
        until = {} if until_ns is None else {"up_to_time": format_time(until_ns)}
        for at in range(0, len(subjects), SUBJECTS_PER_REQUEST_MAX):
            part = subjects[at : at + SUBJECTS_PER_REQUEST_MAX]
            async with aclosing(self._direct(stream, {"multi_last": list(part), **until})) as frames:
                found += [frame async for frame in frames]
        return found

    async def range(self, stream: str, *, start_seq: int, count: int, subject: str = ">") -> Sequence[StoredFrame]:
        """Up to `count` messages from a sequence on, in order."""
        async with aclosing(
            self._direct(stream, {"seq": start_seq, "batch": count, "next_by_subj": subject})
        ) as frames:
            return [frame async for frame in frames]

    async def since(self, stream: str, subject: str, time_ns: int) -> AsyncGenerator[StoredFrame, None]:
        """All messages of one subject that were stored at `time_ns` or later, in order."""
        start: dict[str, Any] = {"start_time": format_time(time_ns)}
        for _ in range(PAGES_COUNT_MAX):
            last = 0
            request = {**start, "batch": SINCE_COUNT, "next_by_subj": subject}
            async with aclosing(self._direct(stream, request)) as frames:
                async for frame in frames:
                    last = frame.seq
                    yield frame
            if not last:
                return
            start = {"seq": last + 1}

    async def onward(self, stream: str, start_seq: int) -> AsyncGenerator[StoredFrame, None]:
        """All messages from a sequence on, in order."""
        for _ in range(PAGES_COUNT_MAX):
            page = await self.range(stream, start_seq=start_seq, count=SINCE_COUNT)
            for frame in page:
                yield frame
            if not page:
                return
            start_seq = page[-1].seq + 1

    async def delete(self, stream: str, seq: int) -> None:
        """Take one message out of a stream. Raises NotFoundError when it is not there."""
        await self._api(f"STREAM.MSG.DELETE.{stream}", {"seq": seq, "no_erase": True})

    async def _direct(self, stream: str, request: Mapping[str, Any]) -> AsyncGenerator[StoredFrame, None]:
        subject = f"{self.link.api}.DIRECT.GET.{stream}"
        async with aclosing(self.link.request_many(subject, json.dumps(request).encode())) as frames:
            async for frame in frames:
                if frame.status in ("204", "404"):
                    return
                if frame.status is not None:
                    raise PlantError(
                        "the server refused to read the stream",
                        where=stream,
                        got=f"{frame.status} {frame.headers.get('Description', '')}".strip().lower(),
                    )
                yield _stored(frame)

    async def _api(self, call: str, request: Mapping[str, Any], timeout_s: float = 5.0) -> Mapping[str, Any]:
        reply = await self.link.request(
            f"{self.link.api}.{call}", json.dumps(request).encode() if request else b"", timeout_s=timeout_s
        )
        answer: Mapping[str, Any] = json.loads(reply.payload)
        refuse(answer, call)
        return answer


def refuse(answer: Mapping[str, Any], where: str) -> None:
    """Raise what a JetStream answer reports as an error, if it does."""
    error = answer.get("error")
    if not error:
        return
    text = str(error.get("description", "")).lower()
    if error.get("code") == 404:
        raise NotFoundError(text or "not found", where=where)
    raise PlantError(text or "refused", where=where, got=f"server error {error.get('err_code')}")


def newest(frames: Iterable[StoredFrame]) -> Mapping[str, StoredFrame]:
    """By subject the newest of several streams' frames: a tag that changed its class of durability is in two."""
    found: dict[str, StoredFrame] = {}
    for frame in frames:
        known = found.get(frame.subject)
        if known is None or frame.time_ns > known.time_ns:
            found[frame.subject] = frame
    return found


def _stored(frame: Frame) -> StoredFrame:
    headers = frame.headers
    return StoredFrame(
        headers.get("Nats-Stream", ""),
        int(headers.get("Nats-Sequence", "0")),
        parse_time_ns(headers["Nats-Time-Stamp"]) if "Nats-Time-Stamp" in headers else 0,
        headers.get("Nats-Subject", frame.subject),
        frame.payload,
        headers,
    )
