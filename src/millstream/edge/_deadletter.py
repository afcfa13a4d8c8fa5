"""Dead letters: what could not become data, kept as raw bytes with the reason."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Protocol

import msgspec

from millstream.edge._pipeline import DeadLetter
from millstream.kernel import Backoff, Clock, PlantError, Unreachable
from millstream.protocols.nats_wire import WireMessage
from millstream.protocols.uns_subject import escape_token

REASON_LENGTH_MAX = 512
PART_MARGIN_BYTES = 8192  # of max_payload, for the headers
BATCH_LETTERS_MAX = 200  # of one atomic batch: four syncs for all of them
BATCH_BYTES_MAX = 4 << 20


class Requester(Protocol):
    """The part of a connection that this needs."""

    async def request(
        self, subject: str, payload: bytes = b"", *, header_lines: bytes = b"", timeout_s: float = 5.0
    ) -> WireMessage:
        """One request, one answer. Raises Unreachable."""
        ...

    def publish(self, subject: str, payload: bytes, *, reply: str = "", header_lines: bytes = b"") -> None:
        """One message without an answer. Raises Unreachable."""
        ...


class DeadLetterStore(Protocol):
    """Where dead letters go."""

    async def write(self, source: str, letter: DeadLetter) -> None:
        """Return when it is stored; waits for the store as long as it takes."""
        ...

    async def write_all(self, source: str, letters: Sequence[DeadLetter]) -> None:
        """As `write`, for many; they take little longer than one."""
        ...


def letter_headers(source: str, letter: DeadLetter, now_ns: int, part: tuple[int, int] = (1, 1)) -> bytes:
    """The header lines of a dead letter."""
    fields = [
        ("Ms-Reason", _line(letter.reason)),
        ("Ms-Code", letter.code),
        ("Ms-Source", _line(source)),
        ("Ms-Time", str(now_ns)),
    ]
    if letter.subject is not None:
        fields.append(("Ms-Subject", letter.subject))
    if letter.content_type is not None:
        fields.append(("Content-Type", letter.content_type))
    if letter.contract is not None:
        fields.append(("Ms-Contract", letter.contract))
    if part[1] > 1:
        fields.append(("Ms-Part", f"{part[0]}/{part[1]}"))
    return "".join(f"{name}: {value}\r\n" for name, value in fields).encode("utf-8")


def split_letter(payload: bytes, part_bytes_max: int) -> list[bytes]:
    """A payload in parts that the server takes."""
    return [payload[i : i + part_bytes_max] for i in range(0, len(payload), part_bytes_max)] or [b""]


class StreamDeadLetters:
    """Writes to the dead-letter stream of a node, one message after the other, each answered."""

    def __init__(self, connection: Requester, node: str, clock: Clock, *, payload_bytes_max: int = 1024 * 1024) -> None:
        self._connection = connection
        self._node = node
        self._clock = clock
        self._part_bytes_max = payload_bytes_max - PART_MARGIN_BYTES
        self.written_count = 0

    async def write(self, source: str, letter: DeadLetter) -> None:
        """Return when it is stored; waits for the store as long as it takes."""
        await self.write_all(source, (letter,))

    async def write_all(self, source: str, letters: Sequence[DeadLetter]) -> None:
        """Return when all are stored; in order, many at once as one atomic batch."""
        subject = f"dlq.{self._node}.{escape_token(source)}"
        batch: list[tuple[bytes, bytes]] = []
        size = 0
        for letter in letters:
            parts = split_letter(letter.payload, self._part_bytes_max)
            for i, part in enumerate(parts):
                if batch and (len(batch) >= BATCH_LETTERS_MAX or size + len(part) > BATCH_BYTES_MAX):
                    await self._store_batch(subject, batch)
                    batch, size = [], 0
                lines = letter_headers(source, letter, self._clock.now_ns(), (i + 1, len(parts)))
                batch.append((part, lines))
                size += len(part)
        await self._store_batch(subject, batch)
        self.written_count += len(letters)

    async def _store_batch(self, subject: str, batch: Sequence[tuple[bytes, bytes]]) -> None:
        """All of them; one by one where the server takes no batch of them."""
        backoff = Backoff(floor_s=0.1, ceiling_s=10.0)
        while len(batch) > 1:
            name = secrets.token_hex(8)
            try:
                for index, (payload, lines) in enumerate(batch[:-1]):
                    self._connection.publish(subject, payload, header_lines=lines + _batch_lines(name, index + 1))
                last = batch[-1][1] + _batch_lines(name, len(batch)) + b"Nats-Batch-Commit: 1\r\n"
                answer = await self._connection.request(subject, batch[-1][0], header_lines=last)
                _check_stored(answer[4], subject)
            except Unreachable:  # asked again: letters twice are better than none
                await self._clock.sleep(backoff.next_s())
            except PlantError:
                break
            else:
                return
        for payload, lines in batch:
            await self._store(subject, payload, lines)

    async def _store(self, subject: str, payload: bytes, lines: bytes) -> None:
        backoff = Backoff(floor_s=0.1, ceiling_s=10.0)
        while True:
            try:
                answer = await self._connection.request(subject, payload, header_lines=lines)
                _check_stored(answer[4], subject)
            except Unreachable:  # asked again: a letter twice is better than none
                await self._clock.sleep(backoff.next_s())
            else:
                return


def _batch_lines(name: str, sequence: int) -> bytes:
    return f"Nats-Batch-Id: {name}\r\nNats-Batch-Sequence: {sequence}\r\n".encode("ascii")


def _check_stored(answer: bytes, subject: str) -> None:
    try:
        raw = msgspec.json.decode(answer)
    except msgspec.DecodeError:
        raw = None
    if isinstance(raw, dict) and "seq" in raw:
        return
    error = raw.get("error") if isinstance(raw, dict) else None
    if isinstance(error, dict) and int(error.get("code", 500)) < 500:
        raise PlantError("dead letter is refused", where=subject, got=str(error.get("description")), code="MS-0403")
    raise Unreachable("dead letter is not stored", where=subject, got=repr(answer[:120]))


def _line(text: str) -> str:
    clean = "".join(c if c.isprintable() else " " for c in text)[:REASON_LENGTH_MAX]
    return clean.encode("utf-8", "replace").decode("utf-8").strip() or "unknown"
