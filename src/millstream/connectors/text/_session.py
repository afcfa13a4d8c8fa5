"""A session with devices that send text: cut frames, read their fields, ask when the device wants to be asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from millstream.connectors.text._config import TextConfig, TextTagOptions
from millstream.connectors.text._inbox import Chunk, Inbox
from millstream.kernel import DecodeError, Unreachable
from millstream.model import (
    BAD_DATA_UNAVAILABLE,
    BAD_DECODING_ERROR,
    BAD_NO_COMMUNICATION,
    BAD_NODE_ID_UNKNOWN,
    BAD_OUT_OF_RANGE,
    BAD_TYPE_MISMATCH,
    GOOD,
    Quality,
    Sample,
)
from millstream.protocols.text_command import parse_command
from millstream.protocols.text_frames import FrameReader
from millstream.protocols.text_mapping import ABSENT, FRAME_FIELD, PEER_FIELD, Field, Fields, parse_field, to_value
from millstream.sdk import Batch, ConnectorTools, Position, Tag, Write, WriteResult, given_value

BAD_NOT_WRITABLE = Quality(0x803B0000)
POLLS_UNANSWERED_MAX = 5  # a polled device that lets so many pass is lost, unless `silence_max` says otherwise


class TextSession:
    """Streamed, Writable. A device keeps nothing, so there is no position."""

    def __init__(self, inbox: Inbox, config: TextConfig, tools: ConnectorTools) -> None:
        self._inbox = inbox
        self._config = config
        self._clock = tools.clock
        self._framing = config.framing()
        self._fields = config.reader()
        self._readers: dict[int, FrameReader] = {}  # one a device, bounded by the inbox's lines
        self._poll = config.poll.encode("latin-1")
        default = POLLS_UNANSWERED_MAX * config.poll_interval if self._poll else 0.0
        self._silence_max_s = config.silence_max or default
        self._heard_ns = self._polled_ns = 0

    async def stream(self, tags: Sequence[Tag], resume: Position | None) -> AsyncGenerator[Batch, None]:
        """A batch for each piece of what came. Raises Unreachable when the device is gone, or silent for too long."""
        fields = [(tag.key, parse_field(tag.address)) for tag in tags]
        self._heard_ns = self._clock.monotonic_ns()
        self._polled_ns = 0
        while True:
            batch = self._batch(await self._next(), fields)
            if batch.samples or batch.frames_bad:
                yield batch

    async def write(self, writes: Sequence[Write]) -> Sequence[WriteResult]:
        """Send each tag's command. Good means sent: what the device makes of it shows in what it says then."""
        return [self._write_one(write) for write in writes]

    def _write_one(self, write: Write) -> WriteResult:
        template = TextTagOptions.model_validate(dict(write.tag.options)).command
        if template is None:
            return WriteResult(BAD_NOT_WRITABLE, "the tag has no `command`")
        try:
            raw = parse_command(template).encode(given_value(write), self._config.encoding)
        except TypeError as error:
            return WriteResult(BAD_TYPE_MISMATCH, str(error))
        except OverflowError as error:
            return WriteResult(BAD_OUT_OF_RANGE, str(error))
        if self._inbox.send(raw):
            return WriteResult(GOOD)
        return WriteResult(BAD_NO_COMMUNICATION, "no device is there, or one does not take the command")

    async def _next(self) -> Chunk:
        while True:
            now_ns = self._clock.monotonic_ns()
            wait_s = self._wait_s(now_ns)
            try:
                async with asyncio.timeout(wait_s):
                    chunk = await self._inbox.take()
            except TimeoutError:
                continue
            self._heard_ns = self._clock.monotonic_ns()
            return chunk

    def _wait_s(self, now_ns: int) -> float | None:
        """Poll when it is time to, and say how long to wait for an answer: until the next poll or too long a silence.

        Raises Unreachable after too long a silence.
        """
        waits: list[float] = []
        if self._silence_max_s:
            rest_s = self._silence_max_s - (now_ns - self._heard_ns) / 1e9
            if rest_s <= 0:
                raise Unreachable(
                    f"device has said nothing for {self._silence_max_s:g} s",
                    where=self._config.serial_port or f"{self._config.host}:{self._config.port}",
                    next_step="check the device, and that it understands `poll`" if self._poll else "check the device",
                    code="MS-0210",
                )
            waits.append(rest_s)
        if self._poll:
            interval_ns = int(self._config.poll_interval * 1e9)
            if self._polled_ns == 0 or now_ns - self._polled_ns >= interval_ns:
                self._inbox.send(self._poll)
                self._polled_ns = now_ns
            waits.append((interval_ns - (now_ns - self._polled_ns)) / 1e9)
        return min(waits) if waits else None

    def _batch(self, chunk: Chunk, fields: Sequence[tuple[str, Field]]) -> Batch:
        reader = self._readers.setdefault(chunk.line_id, FrameReader(self._framing))
        pieces = reader.rest() if chunk.is_end else reader.feed(chunk.data)
        if chunk.is_end:
            del self._readers[chunk.line_id]
        frames_bad: list[tuple[bytes, str]] = []
        raws: list[bytes] = []
        texts: list[str] = []
        for piece in pieces:
            if piece.reason is not None:
                frames_bad.append((piece.data, piece.reason))
                continue
            try:
                texts.append(piece.data.decode(self._config.encoding))
                raws.append(piece.data)
            except UnicodeDecodeError:
                frames_bad.append((piece.data, f"text is not {self._config.encoding}"))
        samples: list[Sample] = []
        for raw, text, found in zip(raws, texts, self._fields.read(texts) if self._fields else texts, strict=True):
            if isinstance(found, DecodeError):
                frames_bad.append((raw, str(found)))
                continue
            samples.extend(self._samples(text, found, chunk.peer, fields))
        return Batch(samples, frames_bad=frames_bad)

    def _samples(self, text: str, found: Fields | str, peer: str, fields: Sequence[tuple[str, Field]]) -> list[Sample]:
        samples = []
        for key, field in fields:
            raw: Any = ABSENT
            if field.name == FRAME_FIELD:
                raw = text
            elif field.name == PEER_FIELD:
                raw = peer
            elif not isinstance(found, str):
                raw = found.field(field.name)
            if raw is not ABSENT or (self._fields is not None and self._fields.is_fixed):
                samples.append(self._sample(key, field, raw))
        return samples

    def _sample(self, key: str, field: Field, raw: Any) -> Sample:
        if raw is ABSENT:
            return Sample(key, None, BAD_NODE_ID_UNKNOWN)
        if raw is None:
            return Sample(key, None, BAD_DATA_UNAVAILABLE)
        try:
            return Sample(key, to_value(raw, field.kind, has_decimal_comma=self._config.decimal_comma), GOOD)
        except DecodeError:
            return Sample(key, None, BAD_DECODING_ERROR)
