"""What a flow could not take, or may not say, kept in the node's dead-letter stream with the reason."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from millstream.bus import RawConnection, StreamApi, StreamReader, decode_answer
from millstream.flow import Rejected
from millstream.kernel import Backoff, Clock, NotFoundError, PlantError, Unreachable
from millstream.protocols.nats_wire import parse_headers
from millstream.protocols.uns_subject import escape_token

REASON_CHARS_MAX = 512
DETAIL_CHARS_MAX = 8000
HEADERS_BYTES_MAX = 16_384  # of max_payload; what a message of full size leaves is cut from its payload
BATCH_LETTERS_MAX = 200  # of one atomic batch: one sync for all of them
BATCH_BYTES_MAX = 4 << 20
LETTER_HEADER = "Ms-Letter"
_CARRIED = ("ce-", "traceparent", "tracestate")  # an event's own, which a replay gives it again


@dataclass(frozen=True, slots=True)
class _Letter:
    id: str
    payload: bytes
    lines: bytes


class FlowDeadLetters:
    """`Quarantine` on a dead-letter stream. What an answer was lost for is looked up there, so each is stored once."""

    def __init__(self, connection: RawConnection, node: str, flow: str, clock: Clock) -> None:
        self._connection = connection
        self._api = StreamApi(connection)
        self._subject = f"dlq.{node}.flow.{escape_token(flow)}"
        self._clock = clock
        self._stream = ""
        self._seq = 0  # of the newest letter, or of where this began to look
        self.written_count = 0

    async def put(self, flow: str, rejected: Sequence[Rejected]) -> int:
        """Return when all are stored, many at once; waits for the stream as long as it takes. Raises what refuses them
        for good."""
        batch: list[_Letter] = []
        size = 0
        for each in rejected:
            letter = self._letter(flow, each)
            if batch and (len(batch) >= BATCH_LETTERS_MAX or size + len(letter.payload) > BATCH_BYTES_MAX):
                await self._store(batch)
                batch, size = [], 0
            batch.append(letter)
            size += len(letter.payload)
        await self._store(batch)
        self.written_count += len(rejected)
        return self._seq

    async def position(self) -> int:
        """See `Quarantine.position`. Raises Unreachable."""
        self._seq = max(self._seq, (await self._api.state(await self._find())).last_seq)
        return self._seq

    async def kept_since(self, position: int) -> dict[str, str]:
        """See `Quarantine.kept_since`. Raises Unreachable."""
        stream = await self._find()
        if (await self._api.state(stream)).last_seq < position:
            position = 0  # it was made anew
        newest = await self._api.last(stream, self._subject)
        self._seq = max(self._seq, position)
        if newest is None or newest.seq <= position:
            return {}
        found: dict[str, str] = {}
        reader = StreamReader(self._connection)
        async with aclosing(reader.read(stream, start_seq=position + 1, filter_subjects=[self._subject])) as batches:
            async for batch in batches:
                for received in batch:
                    headers = parse_headers(received.headers).values
                    if LETTER_HEADER in headers:
                        found[headers[LETTER_HEADER]] = headers.get("Ms-Contract", "")
                if batch:
                    self._seq = max(self._seq, batch[-1].seq)
                if batch and batch[-1].seq >= newest.seq:
                    break
                if not batch and await self._api.last(stream, self._subject) is None:
                    break  # all of them were removed meanwhile
        return found

    async def _find(self) -> str:
        """The stream that takes this flow's letters."""
        if not self._stream:
            names = (await self._api.request("STREAM.NAMES", {"subject": self._subject})).get("streams") or []
            if not names:
                raise NotFoundError("no stream for dead letters", where=self._subject)
            self._stream = str(names[0])
        return self._stream

    async def _store(self, batch: list[_Letter]) -> None:
        backoff = Backoff(floor_s=0.1, ceiling_s=10.0)
        since = self._seq
        while batch:
            try:
                await self._send(batch)
            except Unreachable:
                batch = await self._missing(batch, since, backoff)
            except PlantError:
                if len(batch) == 1:
                    raise
                for letter in batch:
                    await self._store([letter])
                return
            else:
                return

    async def _send(self, batch: Sequence[_Letter]) -> None:
        name = secrets.token_hex(8)
        for index, letter in enumerate(batch[:-1]):
            lines = letter.lines + _batch_lines(name, index + 1)
            self._connection.publish(self._subject, letter.payload, header_lines=lines)
        lines = batch[-1].lines
        if len(batch) > 1:
            lines += _batch_lines(name, len(batch)) + b"Nats-Batch-Commit: 1\r\n"
        answer = await self._connection.request(self._subject, batch[-1].payload, header_lines=lines)
        self._seq = max(self._seq, int(decode_answer(answer[4], where=self._subject)["seq"]))

    async def _missing(self, batch: list[_Letter], since: int, backoff: Backoff) -> list[_Letter]:
        """Those that are not there: the answer may have been lost on its way."""
        while True:
            await self._clock.sleep(backoff.next_s())
            try:
                kept = await self.kept_since(since)
            except Unreachable:
                continue
            return [letter for letter in batch if letter.id not in kept]

    def _letter(self, flow: str, rejected: Rejected) -> _Letter:
        received = rejected.received
        headers = parse_headers(received.headers).values if received.headers else {}
        fields = {
            "Ms-Reason": _line(rejected.reason, REASON_CHARS_MAX),
            "Ms-Code": rejected.code,
            "Ms-Source": f"flow {flow}",
            "Ms-Time": str(self._clock.now_ns()),
            "Ms-Subject": received.subject if received.payload else None,
            "Ms-Contract": rejected.contract or None,
            "Ms-Flow": rejected.flow,
            "Ms-Flow-In": f"{rejected.stream}:{received.seq}:{rejected.sample}",
            "Ms-Detail": _line(rejected.detail[-DETAIL_CHARS_MAX:].replace("\n", "\\n"), DETAIL_CHARS_MAX) or None,
            "Content-Type": headers.get("Content-Type"),
            LETTER_HEADER: rejected.id,
        }
        carried = ((name, text) for name, text in headers.items() if name.lower().startswith(_CARRIED))
        payload = received.payload[: max(0, self._connection.max_payload - HEADERS_BYTES_MAX)]
        return _Letter(rejected.id, payload, _lines(fields.items()) + _lines(carried))


def _lines(fields: Iterable[tuple[str, str | None]]) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in fields if value is not None).encode()


def _batch_lines(name: str, sequence: int) -> bytes:
    return f"Nats-Batch-Id: {name}\r\nNats-Batch-Sequence: {sequence}\r\n".encode("ascii")


def _line(text: str, chars_max: int) -> str:
    clean = "".join(c if c.isprintable() else " " for c in text[:chars_max])
    return clean.encode("utf-8", "replace").decode("utf-8").strip()
