"""Reading a stream in order: an ephemeral pull consumer without acks, some pulls open, gaps noticed by consumer
sequence.

The position is the caller's (it stores the last sequence with what it made of the data), so nothing is acknowledged.
After a lost link, a lost consumer or a hole in the consumer's numbering a new consumer starts right behind the last
message that was taken.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from typing import Any, cast

import msgspec

from millstream.bus._jetstream import StreamApi
from millstream.bus._transport import Transport
from millstream.kernel import Backoff, NotFoundError, PlantError, Unreachable
from millstream.protocols.nats_wire import WireMessage, parse_ack_subject, parse_headers, subject_matches
from millstream.sdk import Received

PULLS_OPEN = 2  # so that the server never waits for the next request
PULL_BATCHES = 2  # of the caller's size in one pull; the server says something at the end of each, which costs a detour
PULL_BYTES_MAX = 8 * 1024 * 1024  # of one pull, so at most twice that is under way or held
PULL_EXPIRES_S = 30.0
HEARTBEAT_S = 2.0  # twice this without a sign of life and the consumer is made anew
INACTIVE_S = 30.0  # the server drops the consumer of a reader that is gone
FAR_COUNT = 4096  # messages that fit the patterns and wait: then all are read, and picked here
SUBJECTS_MAX = 65_536  # remembered, and those of one batch more
PICK_ONE_MAX, PICK_MAX = 4, 16  # read in vain for one that is picked, with one pattern and with several


class StreamReader:
    """`Reader` over a RawConnection; any number of reads at a time."""

    def __init__(self, connection: Transport, *, domain: str | None = None) -> None:
        self._connection = connection
        self._api = StreamApi(connection, domain)

    async def read(
        self, stream: str, *, start_seq: int = 1, filter_subjects: Sequence[str] = (), batch_max: int = 1000,
        wait_s: float = 1.0,
    ) -> AsyncGenerator[Sequence[Received], None]:  # fmt: skip
        """See `Reader.read`. Raises NotFoundError when the stream does not exist at the start."""
        next_seq = max(1, start_seq)
        backoff = Backoff(0.05, max(0.1, wait_s))
        pull: _Pull | None = None
        has_begun = False
        try:
            while True:
                if pull is None or pull.is_broken():
                    if pull is not None:
                        pull.close()
                        pull = None
                    try:
                        async with asyncio.timeout(max(wait_s, 0.05) if has_begun else None):
                            pull = await self._open(stream, next_seq, filter_subjects, batch_max)
                        backoff.reset()
                    except (PlantError, TimeoutError) as error:
                        if isinstance(error, NotFoundError) and not has_begun:
                            raise
                    if pull is None:  # no link, or the stream is not back yet
                        await asyncio.sleep(backoff.next_s())
                        yield []
                        continue
                    has_begun = True
                batch = await pull.take(wait_s)
                if batch:
                    next_seq = batch[-1].seq + 1
                    if picked := pull.pick(batch):
                        yield picked
                elif not pull.picks and not pull.is_broken():
                    yield []
                if pull.picks and (not batch or next_seq > pull.far_seq):
                    pull.close()
                    pull = None
        finally:
            if pull is not None:
                pull.close()

    async def _open(self, stream: str, next_seq: int, filter_subjects: Sequence[str], batch_max: int) -> _Pull:
        """For each message that fits a pattern the server looks at all subjects of a block, until it is near the end:
        with thousands of them 0.08 ms for one pattern and 3 ms for two, where reading a message without any takes it
        0.003 (nats-server 2.15). So where much waits all is read and picked here, if enough of it fits."""
        pull = _Pull(self._connection, self._api, stream, batch_max)
        try:
            waiting = await pull.open(next_seq, filter_subjects)
            if waiting > FAR_COUNT and any("*" in each or ">" in each for each in filter_subjects):
                last_seq = (await self._api.state(stream)).last_seq
                if last_seq - next_seq < waiting * (PICK_ONE_MAX if len(filter_subjects) == 1 else PICK_MAX):
                    pull.close()
                    pull = _Pull(self._connection, self._api, stream, batch_max, filter_subjects, last_seq)
                    await pull.open(next_seq, ())
            pull.refill()
        except BaseException:
            pull.close()
            raise
        return pull


class _Pull:
    """One consumer and its open pulls. With `picks` it reads all, up to about `far_seq`, for who asks for these."""

    def __init__(
        self, connection: Transport, api: StreamApi, stream: str, batch_max: int, picks: Sequence[str] = (),
        far_seq: int = 0,
    ) -> None:  # fmt: skip
        self.picks = picks
        self.far_seq = far_seq
        self._fits: dict[str, bool] = {}
        self._connection = connection
        self._api = api
        self._stream = stream
        self._batch_max = batch_max
        self._name = "ms_" + secrets.token_hex(6)
        self._inbox = f"{connection.inbox}.c.{self._name}"
        self._held: list[Received] = []
        self._arrived = asyncio.Event()
        self._outstanding = 0
        self._pulls = 0
        self._consumer_seq = 0
        self._broken = False
        self._last_sign_s = 0.0
        self._loop = asyncio.get_running_loop()
        self._sid = connection.subscribe(f"{self._inbox}.*", self._on_batch)
        self._forget = connection.on_lost(self._break)

    async def open(self, start_seq: int, filter_subjects: Sequence[str]) -> int:
        """Make the consumer. Returns how many messages wait."""
        config: dict[str, Any] = {
            "name": self._name, "deliver_policy": "by_start_sequence", "opt_start_seq": start_seq, "ack_policy": "none",
            "mem_storage": True, "inactive_threshold": int(INACTIVE_S * 1e9), "num_replicas": 1,
        }  # fmt: skip
        subject = f"CONSUMER.CREATE.{self._stream}.{self._name}"
        if filter_subjects:
            config["filter_subjects"] = list(filter_subjects)
        made = await self._api.request(subject, {"stream_name": self._stream, "config": config, "action": "create"})
        self._last_sign_s = self._loop.time()
        return int(made.get("num_pending", 0))

    def pick(self, batch: list[Received]) -> list[Received]:
        """Those that are asked for."""
        if not self.picks:
            return batch
        fits = self._fits
        if len(fits) > SUBJECTS_MAX:
            fits.clear()
        for subject in {message.subject for message in batch} - fits.keys():
            fits[subject] = any(subject_matches(subject, pattern) for pattern in self.picks)
        return [message for message in batch if fits[message.subject]]

    def is_broken(self) -> bool:
        """Nothing more will come from this consumer (what is held has been taken)."""
        if self._held:
            return False
        return self._broken or self._loop.time() - self._last_sign_s > 2 * HEARTBEAT_S + 1.0

    async def take(self, wait_s: float) -> list[Received]:
        """What is there, at most `batch_max`; empty after `wait_s`, or when the consumer is lost."""
        if not self._held and not self._broken:
            self._arrived.clear()
            try:
                async with asyncio.timeout(wait_s):
                    await self._arrived.wait()
            except TimeoutError:
                return []
        if len(self._held) <= self._batch_max:
            batch, self._held = self._held, []
        else:
            batch = self._held[: self._batch_max]
            del self._held[: self._batch_max]
        self.refill()
        return batch

    def refill(self) -> None:
        """Keep the pulls open, as long as the caller keeps taking: that is the back-pressure."""
        count = PULL_BATCHES * self._batch_max
        while not self._broken and self._outstanding + len(self._held) <= (PULLS_OPEN - 1) * count:
            self._pulls += 1
            self._outstanding += count
            body = {
                "batch": count, "max_bytes": max(PULL_BYTES_MAX, 2 * self._connection.max_payload),
                "expires": int(PULL_EXPIRES_S * 1e9), "idle_heartbeat": int(HEARTBEAT_S * 1e9),
            }  # fmt: skip
            try:
                self._connection.publish(
                    f"{self._api.prefix}.CONSUMER.MSG.NEXT.{self._stream}.{self._name}", msgspec.json.encode(body),
                    reply=f"{self._inbox}.{self._pulls}",
                )  # fmt: skip
            except Unreachable:
                self._break()

    def _on_batch(self, messages: list[WireMessage]) -> None:
        self._last_sign_s = self._loop.time()
        statuses = [m for m in messages if not m[2]]  # only a stored message has a reply subject
        data = [m for m in messages if m[2]] if statuses else messages
        if data and not self._broken:
            run = _take_run(data, self._consumer_seq)
            if run is not None:
                self._held += run
                self._consumer_seq += len(run)
                self._outstanding -= len(run)
            else:
                self._take_each(data)
        for _, _, _, headers, _ in statuses:
            self._on_status(headers)
        self._arrived.set()

    def _take_each(self, messages: list[WireMessage]) -> None:
        for _, subject, reply, headers, payload in messages:
            stream_seq, consumer_seq, time_ns, _ = parse_ack_subject(reply)
            if consumer_seq != self._consumer_seq + 1:  # something between server and us was dropped
                self._break()
                break
            self._consumer_seq = consumer_seq
            self._held.append(Received(subject.decode(), payload, headers, stream_seq, time_ns))
            self._outstanding -= 1

    def _on_status(self, block: bytes | None) -> None:
        headers = parse_headers(block)
        text = headers.description.lower().replace(" ", "")
        if headers.status == 100 or (headers.status == 409 and "batchcompleted" in text):
            return
        if headers.status in (404, 408) or (headers.status == 409 and "maxbytes" in text):
            self._outstanding = max(0, self._outstanding - int(headers.get("Nats-Pending-Messages", "0") or 0))
            self.refill()
        else:  # consumer deleted, server shutting down, nobody listens
            self._break()

    def _break(self) -> None:
        self._broken = True
        self._arrived.set()

    def close(self) -> None:
        """Forget the consumer here and at the server."""
        self._broken = True
        self._forget()
        self._connection.unsubscribe(self._sid)
        if self._connection.is_connected:
            self._connection.publish(f"{self._api.prefix}.CONSUMER.DELETE.{self._stream}.{self._name}", b"")


# Without the field by field constructor, which costs as much as all else here.
_received = cast("Callable[[tuple[str, bytes, bytes | None, int, int]], Received]", partial(tuple.__new__, Received))


def _take_run(messages: list[WireMessage], consumer_seq: int) -> list[Received] | None:
    """All at once, column by column, when they follow `consumer_seq` without a hole or a status among them; else None.

    The reply subjects (ADR-15) all have the same number of tokens, since all come from one consumer. Each number in
    them only grows, so where the last is as far from the first as there are messages, none is missing in between.
    """
    _, subjects, replies, headers, payloads = zip(*messages, strict=True)
    count = len(messages)
    tokens = b".".join(replies).split(b".")
    width = len(tokens) // count
    if len(tokens) % count or width < 9 or tokens[0::width].count(b"$JS") != count:
        return None
    at = 5 if width == 9 else 7  # the second form has domain and account before the stream
    if int(tokens[at + 1 - width]) != consumer_seq + count:
        return None
    first, last = int(tokens[at]), int(tokens[at - width])
    seqs = range(first, last + 1) if last - first == count - 1 else map(int, tokens[at::width])
    times = map(int, tokens[at + 2 :: width])
    return list(map(_received, zip(map(bytes.decode, subjects), payloads, headers, seqs, times, strict=True)))
