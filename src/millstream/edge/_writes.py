"""Writes to machines, from the request to the answer: checked, written down, carried out, read back, written down.

The request is stored as an event before anything is sent, its outcome after, each with its entry in the edge's journal
(see `_journal`): an edge that is killed in between knows afterwards which writes it had sent, and a request that comes
again is answered instead of carried out again. A write that comes as a command takes the same way (see `_commands`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from millstream.config import MappedTag
from millstream.edge._journal import Entry, Journal, JournalFull
from millstream.edge._scaling import scale_value
from millstream.edge._supervisor import Supervisor
from millstream.edge._write_gate import WriteGate, WriteRefused, check_expiry
from millstream.edge._writer import WriteJob, WriteOutcome
from millstream.kernel import Clock, DecodeError, PlantError
from millstream.model import AssetPath, TagPath, Value
from millstream.protocols.cloudevents import CloudEvent, encode_event
from millstream.protocols.uns_subject import UnsAddress, encode_subject
from millstream.protocols.write_request import WriteAnswer, WriteRequest, decode_write
from millstream.sdk import Log, Message

AT_ONCE_MAX = 64
ANSWER_BYTES_MAX = 262_144  # of what a machine shows or answers, told to who asked and kept as an event
REFUSALS_STORED_PER_S = 5  # a flood of wrong requests must not fill the disk; the rest is counted
EVENT_TYPE = "millstream.write"


@dataclass(slots=True)
class WriteCounters:
    """Since the start. `unstored_refusals` were answered and counted, but not written down."""

    requested: int = 0
    done: int = 0
    refused: int = 0
    failed: int = 0
    unknown: int = 0
    unstored_refusals: int = 0


class WriteDesk:
    """Answers write requests of one edge."""

    def __init__(
        self, tags: Sequence[MappedTag], owners: Mapping[str, Supervisor], journal: Journal, *, place: AssetPath,
        clock: Clock, log: Log,
    ) -> None:  # fmt: skip
        """`owners`: tag key -> the connector that has it."""
        self._gate = WriteGate(tags)
        self._owners = owners
        self._journal = journal
        self._place = place
        self._clock = clock
        self._log = log
        self._under_way: dict[str, asyncio.Future[WriteAnswer]] = {}
        self._refusals_s: tuple[int, int] = (0, 0)
        self.counters = WriteCounters()

    def rewire(self, tags: Sequence[MappedTag], owners: Mapping[str, Supervisor]) -> None:
        """Other tags may be written from now on, or through other connectors."""
        self._gate = WriteGate(tags)
        self._owners = owners

    def status(self) -> dict[str, int]:
        """Counters as the node's status shows them."""
        return {name: getattr(self.counters, name) for name in self.counters.__slots__}

    async def answer(self, payload: bytes) -> object:
        """What the service replies: to an empty request the tags that may be written, else the outcome."""
        if not payload:
            return {"writable": self._gate.listed()}
        try:
            request = decode_write(payload)
        except DecodeError as error:
            self.counters.refused += 1
            self.counters.unstored_refusals += 1
            return {"error": error.as_dict()}
        return await self.take(request)

    async def take(self, request: WriteRequest) -> WriteAnswer:
        """Carry out one request, or give the answer that it had."""
        if (waiting := self._under_way.get(request.id)) is not None:
            return await asyncio.shield(waiting)
        if (known := self._journal.find(request.id)) is not None:
            return _known_answer(known)
        if self._journal.is_past(request.expires_ns):
            return self._answer_of(request, WriteRefused("write has expired", where=request.tag, code="MS-2004"))
        if len(self._under_way) >= AT_ONCE_MAX:
            return self._answer_of(request, WriteRefused("too many writes are under way", code="MS-2009"))
        self.counters.requested += 1
        future: asyncio.Future[WriteAnswer] = asyncio.get_running_loop().create_future()
        self._under_way[request.id] = future
        try:
            answer = await self._process(request)
            future.set_result(answer)
        finally:
            if not future.done():
                future.cancel()
            del self._under_way[request.id]
        counters = self.counters
        setattr(counters, answer.state, getattr(counters, answer.state) + 1)
        return answer

    async def _process(self, request: WriteRequest) -> WriteAnswer:
        try:
            raw = self.admit(request)
        except WriteRefused as refusal:
            return await self._refuse(request, refusal)
        now_ns = self._clock.now_ns()
        began = Entry(request.id, "running", now_ns, request.expires_ns)
        try:
            async with asyncio.timeout((request.expires_ns - now_ns) / 1e9):
                await self._journal.put(began, [self.event(request, None, "requested")])
            check_expiry(request, self._clock.now_ns())
        except JournalFull as full:
            return self._answer_of(request, full)
        except TimeoutError:
            late = WriteRefused("could not be written down in time", where=request.tag, code="MS-2004")
            return await self._conclude(request, self._answer_of(request, late))
        except WriteRefused as refusal:
            return await self._conclude(request, self._answer_of(request, refusal))
        return await self._conclude(request, await self.carry_out(request, raw))

    def admit(self, request: WriteRequest) -> Value | None:
        """The raw value for the machine, when the tag may be written now. Raises WriteRefused."""
        return self._gate.admit(request, self._clock.now_ns(), self._clock.monotonic_ns())

    async def carry_out(self, request: WriteRequest, raw: Value | None) -> WriteAnswer:
        """Write an admitted value, and see what the machine shows."""
        try:
            mapped = self._gate.find(request.tag)
        except WriteRefused as refusal:  # another configuration came between
            return self._answer_of(request, refusal)
        rule = mapped.config.write
        assert rule is not None
        job = WriteJob(
            mapped.tag, raw, lambda: self._clock.now_ns() < request.expires_ns, rule.read_back,
            asyncio.get_running_loop().create_future(),
        )  # fmt: skip
        outcome = await self._owners[request.tag].writer.write(job)
        return _bounded(_judge(request, outcome, mapped, self._clock.now_ns()))

    async def _refuse(self, request: WriteRequest, refusal: WriteRefused) -> WriteAnswer:
        answer = self._answer_of(request, refusal)
        second, count = self._refusals_s
        now_s = self._clock.monotonic_ns() // 10**9
        self._refusals_s = (now_s, count + 1 if now_s == second else 1)
        if self._refusals_s[1] > REFUSALS_STORED_PER_S:
            self.counters.unstored_refusals += 1
            return answer
        return await self._conclude(request, answer)

    def _answer_of(self, request: WriteRequest, refusal: PlantError) -> WriteAnswer:
        reason = str(refusal).removesuffix(f" [{refusal.code}]")
        return WriteAnswer(request.id, "refused", self._clock.now_ns(), refusal.code, reason)

    async def _conclude(self, request: WriteRequest, answer: WriteAnswer) -> WriteAnswer:
        entry = Entry(
            request.id, answer.state, answer.time_ns, request.expires_ns, answer.code, answer.reason, answer.read_back,
            answer.answer,
        )  # fmt: skip
        try:
            await self._journal.put(entry, [self.event(request, answer, answer.state)])
        except JournalFull:  # a refusal; nothing was sent
            self.counters.unstored_refusals += 1
        self._log.info("write", tag=request.tag, who=request.who, state=answer.state, reason=answer.reason)
        return answer

    def event(self, request: WriteRequest, answer: WriteAnswer | None, what: str) -> Message:
        """What is stored of a write: "requested" before anything is sent, then its outcome."""
        data: dict[str, Any] = {"tag": request.tag, "value": request.value, "who": request.who, "id": request.id}
        time_ns = self._clock.now_ns() if answer is None else answer.time_ns
        if answer is not None:
            data |= {"code": answer.code, "reason": answer.reason, "read_back": answer.read_back}
            data |= {} if answer.answer is None else {"answer": answer.answer}
        kind = f"{EVENT_TYPE}.{what}"
        event = CloudEvent(f"{request.id}/{what}", f"/{self._place}", kind, data, time_ns, request.tag)
        headers, payload = encode_event(event)
        extra = tuple((name, value) for name, value in headers.items() if name != "Content-Type")
        subject = encode_subject(UnsAddress(self._asset_of(request.tag), "_event", tuple(kind.split("."))))
        return Message(subject, payload, headers["Content-Type"], 0, extra)

    def _asset_of(self, tag: str) -> AssetPath:
        """Where the event stands: beside the tag; a tag that is none, or none of this edge, at the edge's own place."""
        try:
            asset = TagPath.parse(tag).asset
        except DecodeError:
            return self._place
        return asset if self._place.contains(asset) else self._place


def _bounded(answer: WriteAnswer) -> WriteAnswer:
    """One that fits into an event and a reply, whatever the machine has given back."""
    size = len(msgspec.json.encode([answer.read_back, answer.answer]))
    if size <= ANSWER_BYTES_MAX:
        return answer
    reason = f"what the machine gave back is too long to be told: {size} bytes"
    return msgspec.structs.replace(answer, read_back=None, answer=None, reason=answer.reason or reason)


def _known_answer(entry: Entry) -> WriteAnswer:
    """What is answered to an id that was here before. As a command it may wait yet, or have ended otherwise."""
    if entry.state in ("done", "refused", "failed", "unknown"):
        return WriteAnswer(
            entry.id, entry.state, entry.time_ns, entry.code, entry.reason, entry.read_back, entry.answer
        )
    reason = f"a command of this id is {entry.state}"
    return WriteAnswer(entry.id, "refused", entry.time_ns, "MS-2001", reason)


def _judge(request: WriteRequest, outcome: WriteOutcome, mapped: MappedTag, now_ns: int) -> WriteAnswer:
    """What an outcome means for who asked."""
    reason = outcome.result.reason
    if not outcome.is_sent:
        return WriteAnswer(request.id, "refused", now_ns, "MS-2007", reason)
    if not outcome.is_certain:
        return WriteAnswer(request.id, "unknown", now_ns, "MS-2008", reason)
    if not outcome.result.quality.is_good:
        return WriteAnswer(request.id, "failed", now_ns, "MS-2005", reason or str(outcome.result.quality))
    if outcome.shown_quality is None:
        return WriteAnswer(request.id, "done", now_ns, reason=reason, answer=outcome.result.answer)
    scale = mapped.config.scale
    shown = outcome.shown if scale is None else scale_value(outcome.shown, scale.factor, scale.offset)
    if outcome.agrees:
        return WriteAnswer(request.id, "done", now_ns, read_back=shown)
    reason = f"the machine took the write and shows another value: {shown!r} ({outcome.shown_quality})"
    return WriteAnswer(request.id, "failed", now_ns, "MS-2006", reason, shown)
