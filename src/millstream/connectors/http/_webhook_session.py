"""A session that is posted to. The sender has its answer only when what it sent is stored."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from millstream.connectors.http._config import HttpConfig
from millstream.connectors.http._mapping import Clock, Reader, make_readers
from millstream.http import Reply, Request
from millstream.kernel import DecodeError
from millstream.model import BAD_DATA_UNAVAILABLE, BAD_DECODING_ERROR, Sample
from millstream.protocols.http_rules import is_bearer, is_signed
from millstream.protocols.mqtt_mapping import Payload, Step, parse_path
from millstream.sdk import Batch, ConnectorTools, Position, Tag

POSTS_WAITING_MAX = 48  # senders that wait for their answer; the next one is told to come again
SAMPLES_BATCH_MAX = 800  # one unit of the store holds 900 messages, and a position must lie in the unit of its data
IDS_MAX = 500  # of requests that are known when they come again
BAD_BYTES_MAX = 1 << 16
BUSY = Reply(503, "too much is under way, send it again", {"Retry-After": "1"})
SIGNATURE_HEADER = "x-hub-signature-256"


class Numbers:
    """Numbers of the requests that a connector took, over all its sessions."""

    def __init__(self) -> None:
        self._last = 0

    def next(self) -> int:
        """One more."""
        self._last += 1
        return self._last


@dataclass(slots=True)
class _Post:
    """One request under way; `stored` has its answer."""

    number: int
    path: str
    body: bytes
    id: str | None
    stored: asyncio.Future[Reply]


@dataclass(slots=True)
class _Reading:
    """What a body gives, and the answer once that is stored."""

    samples: list[Sample] = field(default_factory=list)
    frames_bad: list[tuple[bytes, str]] = field(default_factory=list)
    reply: Reply | None = None


class WebhookSession:
    """Streamed and Acknowledged; the position holds the names of the last requests, so that none counts twice."""

    def __init__(self, config: HttpConfig, secret: str | None, tools: ConnectorTools, numbers: Numbers) -> None:
        self._config = config
        self._secret = secret or ""
        self._tools = tools
        self._numbers = numbers
        self._time = Clock(config)
        self._items: tuple[Step, ...] | None = None if config.items_path is None else parse_path(config.items_path)
        self._readers: dict[str, list[Reader]] | None = None
        self._waiting: deque[_Post] = deque()
        self._under_way: deque[tuple[_Post, Reply]] = deque()
        self._by_id: dict[str, _Post] = {}
        self._ids: deque[str] = deque(maxlen=IDS_MAX)
        self._come = asyncio.Event()
        self._senders_count = 0
        self.port = 0
        """The port that it listens on."""

    # -- requests -----------------------------------------------------------------------------------------------------

    def check(self, request: Request) -> Reply | None:
        """A refusal by the head alone; None lets the body come in."""
        if self._path_of(request) is None:
            return Reply(404, "no such path")
        if request.method not in ("POST", "PUT"):
            return Reply(405, "post to this path", {"Allow": "POST, PUT"})
        authorization = request.headers.get("authorization")
        if self._config.auth == "bearer" and not is_bearer(authorization, self._secret):
            return Reply(401, "token is missing or wrong", {"WWW-Authenticate": "Bearer"})
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            return Reply(415, "body is packed")
        return BUSY if self._is_full else None

    @property
    def _is_full(self) -> bool:
        return self._readers is None or self._senders_count >= POSTS_WAITING_MAX

    async def handle(self, request: Request) -> Reply:
        """Take a request in, and answer when it is stored."""
        path = self._path_of(request)
        if self._config.auth == "hmac":
            name = (self._config.auth_header or SIGNATURE_HEADER).lower()
            if not is_signed(request.body, request.headers.get(name), self._secret):
                return Reply(401, "signature is missing or wrong")
        if self._readers is None or path not in self._readers:
            return Reply(404, "no tag reads this path")
        named = request.headers.get(self._config.id_header.lower()) if self._config.id_header is not None else None
        mark = None if named is None else hashlib.blake2b(named.encode(), digest_size=8).hexdigest()
        if mark is not None and mark in self._ids and mark not in self._by_id:
            return Reply(self._config.answer_status)
        post = self._by_id.get(mark) if mark is not None else None
        if post is None:
            if self._is_full:
                return BUSY
            post = self._take_in(path, request.body, mark)
        self._senders_count += 1
        try:
            async with asyncio.timeout(self._config.answer_timeout):
                return await asyncio.shield(post.stored)
        except TimeoutError:
            self._give_up(post)
            return Reply(503, "not stored in time, send it again", {"Retry-After": "1"})
        finally:
            self._senders_count -= 1

    def _give_up(self, post: _Post) -> None:
        """The sender has been told to come again: what was not begun is let go."""
        if post in self._waiting:
            self._waiting.remove(post)
            if post.id is not None:
                self._by_id.pop(post.id, None)

    def _take_in(self, path: str, body: bytes, mark: str | None) -> _Post:
        post = _Post(self._numbers.next(), path, body, mark, asyncio.get_running_loop().create_future())
        if mark is not None:
            self._by_id[mark] = post
        self._waiting.append(post)
        self._come.set()
        return post

    def _path_of(self, request: Request) -> str | None:
        """What follows the configured path; None when it is elsewhere."""
        path, base = urlsplit(request.target).path, self._config.path.rstrip("/")
        if path != base and not path.startswith(base + "/"):
            return None
        return path[len(base) :].strip("/")

    def close(self) -> None:
        """Nobody waits any more: what is not stored was not answered, and comes again."""
        for post in (*self._waiting, *(post for post, _ in self._under_way)):
            if not post.stored.done():
                post.stored.set_result(BUSY)

    # -- data ---------------------------------------------------------------------------------------------------------

    async def stream(self, tags: Sequence[Tag], resume: Position | None) -> AsyncGenerator[Batch, None]:
        """Batches as they are posted, for ever. Raises DecodeError when `resume` is of something else."""
        self._ids.extend(_ids_of(resume))
        readers: dict[str, list[Reader]] = {}
        for reader in make_readers(tags):
            readers.setdefault(reader.resource.path.strip("/"), []).append(reader)
        self._readers = readers
        while True:
            while not self._waiting:
                self._come.clear()
                await self._come.wait()
            yield self._next_batch(readers)

    def _next_batch(self, readers: dict[str, list[Reader]]) -> Batch:
        """As many requests as fit one unit of the store, at least one."""
        whole = _Reading()
        number = 0
        while self._waiting:
            post = self._waiting[0]
            reading = self._read(post, readers.get(post.path, ()))
            if number and len(whole.samples) + len(reading.samples) > SAMPLES_BATCH_MAX:
                break
            self._waiting.popleft()
            post.body = b""
            whole.samples += reading.samples
            whole.frames_bad += reading.frames_bad
            number = post.number
            self._under_way.append((post, reading.reply or Reply(self._config.answer_status)))
            if post.id is not None and reading.reply is None:
                self._ids.append(post.id)
        return Batch(whole.samples, position=self._position(number), frames_bad=whole.frames_bad)

    def _position(self, number: int) -> Position:
        return Position(json.dumps({"number": number, "ids": list(self._ids)}, separators=(",", ":")).encode())

    async def ack(self, up_to: Position) -> None:
        """What was posted up to here is stored: answer it."""
        number = int(json.loads(up_to)["number"])
        while self._under_way and self._under_way[0][0].number <= number:
            post, reply = self._under_way.popleft()
            if post.id is not None:
                self._by_id.pop(post.id, None)
            if not post.stored.done():
                post.stored.set_result(reply)

    def _read(self, post: _Post, readers: Sequence[Reader]) -> _Reading:
        """The samples of a body. What cannot be read is kept as a dead letter, and the sender is told."""
        reading = _Reading()
        raw = post.body[:BAD_BYTES_MAX]
        try:
            items = self._items_of(Payload(post.body))
        except DecodeError as error:
            reading.frames_bad.append((raw, f"/{post.path}: {error.what}"))
            reading.reply = Reply(400, error.what)
            return reading
        reasons: list[str] = []
        for item in items:
            try:
                reading.samples += self._samples(item, readers)
            except DecodeError as error:
                reasons.append(error.what)
                reading.frames_bad.append((item.raw[:BAD_BYTES_MAX], f"/{post.path}: {error.what}"))
        if len(reading.samples) > SAMPLES_BATCH_MAX:
            reason = f"{len(reading.samples)} values at once, expected at most {SAMPLES_BATCH_MAX}"
            return _Reading([], [(raw, f"/{post.path}: {reason}")], Reply(413, reason))
        if not reading.samples:
            reason = reasons[0] if reasons else "body has none of the values that are read here"
            if not reasons:
                reading.frames_bad.append((raw, f"/{post.path}: {reason}"))
            reading.reply = Reply(400, reason)
        return reading

    def _items_of(self, payload: Payload) -> list[Payload]:
        found = payload.at(self._items) if self._items is not None else payload.whole()
        if self._items is not None and not isinstance(found, list):
            raise DecodeError(f"no list at {self._config.items_path}")
        if not isinstance(found, list):
            return [payload]
        return [Payload(json.dumps(item, ensure_ascii=False).encode("utf-8", "replace")) for item in found]

    def _samples(self, item: Payload, readers: Sequence[Reader]) -> list[Sample]:
        time_ns = self._time.read(item)
        samples = [reader.read(item, time_ns) for reader in readers]
        if any(sample.quality == BAD_DECODING_ERROR for sample in samples):
            raise DecodeError("body is no JSON, and a tag reads a part of it")
        return [sample for sample in samples if sample.quality != BAD_DATA_UNAVAILABLE]


def _ids_of(resume: Position | None) -> list[str]:
    if resume is None:
        return []
    try:
        return [str(name) for name in json.loads(resume)["ids"]]
    except (ValueError, KeyError, TypeError) as error:
        raise DecodeError(f"not a webhook's position: {error}", got=repr(bytes(resume)[:80]), code="MS-0307") from error
