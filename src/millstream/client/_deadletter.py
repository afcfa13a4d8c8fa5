"""Dead letters: what could not become data, read back, judged again, and sent again once it can."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

from millstream.client._streams import StoredFrame, Streams
from millstream.kernel import DecodeError, NotFoundError, PlantError
from millstream.protocols.cloudevents import format_time
from millstream.protocols.uns_payload import ARROW_TYPE, JSON_TYPE, decode_block, decode_sample
from millstream.protocols.uns_subject import decode_subject

PREVIEW_BYTES = 120
_REPAIR = "save the bytes with `deadletter show ID --raw`, correct them, then `deadletter replay ID --file FILE`"
CLOCK_SLACK_NS = 3_600_000_000_000  # the server's clock may have been set back since the letter was stored
CARRIED = ("ce-", "traceparent", "tracestate")  # headers of a letter that belong to the message itself
READ_COUNT = 200  # letters of one direct get; each may be large


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One letter. `id` names it for `show` and `replay`; `subject` is where it should have gone, if that is known;
    `contract` the version that it breaks; `headers` are those that its message had and gets again; `node` is where it
    came up."""

    id: str
    source: str
    reason: str
    code: str
    time_ns: int
    payload: bytes
    subject: str | None = None
    content_type: str | None = None
    part: str | None = None
    stored_ns: int = 0
    contract: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    node: str = ""

    @property
    def path(self) -> str | None:
        """Where it should have gone as a path; None when that is not known."""
        if self.subject is None:
            return None
        try:
            return str(decode_subject(self.subject).tag)
        except DecodeError:
            return None

    def as_dict(self) -> dict[str, Any]:
        """The letter without its raw bytes, for JSON."""
        return {
            "id": self.id, "time": format_time(self.time_ns), "source": self.source, "code": self.code,
            "reason": self.reason, "path": self.path, "bytes": len(self.payload), "content_type": self.content_type,
            "part": self.part, "contract": self.contract, "traceparent": self.headers.get("traceparent"),
            "preview": self.payload[:PREVIEW_BYTES].decode("utf-8", "backslashreplace"),
        }  # fmt: skip


async def read_letters(streams: Streams, *, limit: int) -> tuple[list[DeadLetter], int]:
    """The newest letters, newest last, and how many there are in all."""
    letters: list[DeadLetter] = []
    total = 0
    for stream in await streams.of_dead_letters():
        state = (await streams.info(stream)).get("state", {})
        total += int(state.get("messages", 0))
        # Replayed ones leave holes, so go back far enough by sequence and keep the newest.
        seq = max(int(state.get("first_seq", 1)), int(state.get("last_seq", 0)) - 2 * limit + 1)
        while seq <= int(state.get("last_seq", 0)):
            frames = await streams.range(stream, start_seq=seq, count=READ_COUNT)
            if not frames:
                break
            letters += [_letter(frame) for frame in frames]
            seq = frames[-1].seq + 1
    letters.sort(key=lambda letter: letter.time_ns)
    return letters[-limit:], total


async def read_letter(streams: Streams, letter_id: str) -> DeadLetter:
    """One letter by its id. Raises NotFoundError."""
    stream, colon, text = letter_id.rpartition(":")
    if colon and text.isascii() and text.isdigit() and stream in await streams.of_dead_letters():
        frames = await streams.range(stream, start_seq=int(text), count=1)
        if frames and frames[0].seq == int(text):
            return _letter(frames[0])
    raise NotFoundError("no such dead letter", got=letter_id, next_step="take an id from `millstream deadletter list`")


def check_replay(letter: DeadLetter, subject: str) -> None:
    """Raise when the letter would only come back: its bytes must make sense under `subject` now."""
    where = f"dead letter {letter.id}"
    if letter.part is not None:
        raise PlantError("a letter in parts is larger than any message", where=where, next_step=_REPAIR, code="MS-0385")
    contract = decode_subject(subject).contract
    if contract in ("_event", "_meta"):
        return
    try:
        if letter.content_type == ARROW_TYPE:
            decode_block(letter.payload)
        else:
            decode_sample(letter.payload)
    except DecodeError as error:
        raise PlantError(
            f"the bytes are still malformed: {error.what}",
            where=where,
            next_step=_REPAIR,
            code="MS-0385",
        ) from error


def repaired(letter: DeadLetter, payload: bytes) -> DeadLetter:
    """The letter with other bytes: JSON, else Arrow. Its id stays, so that it is stored once whatever its bytes are."""
    content_type = JSON_TYPE if payload.lstrip()[:1] in (b"{", b"[") else ARROW_TYPE
    return replace(letter, payload=payload, content_type=content_type, part=None)


async def find_replayed(streams: Streams, letter: DeadLetter, subject: str, message_id: str) -> StoredFrame | None:
    """Where the letter was stored by a replay that did not come to its end; a replay is younger than its letter."""
    since_ns = max(0, letter.stored_ns - CLOCK_SLACK_NS)
    for stream in await streams.of_data(with_local=True):
        async with aclosing(streams.since(stream, subject, since_ns)) as frames:
            async for frame in frames:
                if frame.headers.get("Nats-Msg-Id") == message_id:
                    return frame
    return None


async def remove_letter(streams: Streams, letter_id: str) -> None:
    """Take a letter that was replayed out of its stream."""
    stream, _, seq = letter_id.rpartition(":")
    await streams.delete(stream, int(seq))


def _letter(frame: StoredFrame) -> DeadLetter:
    headers = frame.headers
    time = headers.get("Ms-Time", "")
    return DeadLetter(
        f"{frame.stream}:{frame.seq}",
        headers.get("Ms-Source") or frame.subject.rpartition(".")[2],
        headers.get("Ms-Reason", "unknown"),
        headers.get("Ms-Code", "MS-0300"),
        int(time) if time.isascii() and time.isdigit() else frame.time_ns,
        frame.payload,
        headers.get("Ms-Subject"),
        headers.get("Content-Type"),
        headers.get("Ms-Part"),
        frame.time_ns,
        headers.get("Ms-Contract"),
        {name: text for name, text in headers.items() if name.lower().startswith(CARRIED)},
        _node_of(frame.subject),
    )


def _node_of(subject: str) -> str:
    """Of ``dlq.<node>.<source>``; empty for any other."""
    parts = subject.split(".")
    return parts[1] if len(parts) > 2 and parts[0] == "dlq" else ""


def refuse_without_subject(letter: DeadLetter) -> PlantError:
    """The error of a letter that nobody knows the place of."""
    return PlantError(
        "it is not known where this letter should go", where=f"dead letter {letter.id}",
        next_step="name the path with --path", code="MS-0385",
    )  # fmt: skip
