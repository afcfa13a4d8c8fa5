"""A client's link to a node: requests, gathered replies, live subscriptions. Foreign errors are translated here.

For people and tools (SDK, CLI); the data plane has its own protocol client.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from millstream.bus._client import (
    SUBSCRIPTIONS_EXCEEDED,
    HealingClient,
    limit_reached,
    login_options,
    translate_nats,
)
from millstream.bus._credentials import Credentials, api_prefix, places_of
from millstream.bus._gathered import Gathered
from millstream.kernel import AuthError, PlantError, Unreachable
from millstream.sdk import tls_fault

FRAMES_COUNT_MAX = 65_536  # frames that one subscription keeps for a slow reader; about 64 MB at 1 KiB each
CONNECT_ATTEMPTS_MAX = 1  # a person waits: two tries, then the error
FLUSH_TRY_S, FLUSH_TRIES_MAX = 2, 5  # a listener waits ten seconds for the server to know of it
_RECONNECT_WAIT_S = 0.25
_REFUSED = re.compile(r"(?i)permissions violation for publish to \"(?P<subject>[^\"]+)\"")


@dataclass(frozen=True, slots=True)
class Frame:
    """One message as it came. Header names keep their case; `status` is NATS's in-line status ("404"), if any."""

    subject: str
    payload: bytes
    headers: Mapping[str, str]

    @property
    def status(self) -> str | None:
        """The in-line status code, as direct gets and empty replies carry it."""
        return self.headers.get("Status")


class Subscription:
    """Frames of some subjects, in order of arrival, kept up to a bound; then the newest are dropped and counted."""

    def __init__(self, frames_count_max: int) -> None:
        self._frames: deque[Frame] = deque()
        self._frames_count_max = frames_count_max
        self._arrived = asyncio.Event()
        self._failure: PlantError | None = None
        self.dropped_count = 0

    async def take(self) -> Sequence[Frame]:
        """Wait for at least one frame, give all that are there. Raises Unreachable once the link is closed."""
        while not self._frames:
            if self._failure is not None:
                raise self._failure
            self._arrived.clear()
            await self._arrived.wait()
        frames = list(self._frames)
        self._frames.clear()
        return frames

    async def _on_message(self, msg: Msg) -> None:
        self._keep(msg)

    def _keep(self, msg: Msg) -> None:
        if len(self._frames) >= self._frames_count_max:
            self.dropped_count += 1
            return
        self._frames.append(_frame(msg))
        self._arrived.set()

    def _fail(self, error: PlantError) -> None:
        self._failure = error
        self._arrived.set()


class Link:
    """An open link. It reconnects by itself, for ever, once it was open; requests meanwhile raise Unreachable."""

    def __init__(self, client: Client, url: str, api: str = "$JS.API", places: Sequence[str] = ()) -> None:
        """`api`: where this login asks JetStream. `places`: subjects that it is bounded to; none, when it is not."""
        self._client = client
        self.url = url
        self.api = api
        self.places = tuple(places)
        self._subscriptions: set[Subscription] = set()
        self._asked: dict[Subscription, str] = {}
        self._inbox: str | None = None  # where all gathered replies arrive, once there was a request for some
        self._inbox_lock = asyncio.Lock()
        self._gathered: Gathered[Msg] = Gathered()
        self._refused_count = 0  # subscriptions that the server did not take: a limit was reached

    @property
    def is_connected(self) -> bool:
        """False while the link is being re-opened."""
        return bool(self._client.is_connected)

    async def request(
        self, subject: str, payload: bytes = b"", *, headers: Mapping[str, str] | None = None, timeout_s: float = 5.0
    ) -> Frame:
        """One request, one reply. Raises Unreachable when nobody answers in time."""
        try:
            # The client's own deadline is set longer, so that one deadline decides and its error is ours.
            async with asyncio.timeout(timeout_s):
                return _frame(
                    await self._client.request(
                        subject, payload, timeout=timeout_s + 1.0, headers=dict(headers) if headers else None
                    )
                )
        except nats.errors.NoRespondersError as error:
            raise Unreachable("nobody answers this request", where=f"{self.url} {subject}") from error
        except TimeoutError as error:
            raise Unreachable("no answer in time", where=f"{self.url} {subject}", expected=f"{timeout_s:g}s") from error
        except nats.errors.Error as error:
            raise _translated(error, self.url) from error

    async def request_many(
        self,
        subject: str,
        payload: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 5.0,
        quiet_s: float | None = None,
    ) -> AsyncGenerator[Frame, None]:
        """One request, all its replies; the caller leaves when it has the last one.

        `timeout_s` is the longest wait for the next reply (Unreachable); with `quiet_s` a pause that long after the
        request or a reply ends the replies instead. Consume under `aclosing`.
        """
        async with self._gather() as (inbox, replies):
            if quiet_s is None:  # else nobody's answer is an answer, too
                self._asked[replies] = subject
            try:
                await self._client.publish(subject, payload, reply=inbox, headers=dict(headers) if headers else None)
            except nats.errors.Error as error:
                raise _translated(error, self.url) from error
            while True:
                try:
                    frames = await asyncio.wait_for(replies.take(), timeout_s if quiet_s is None else quiet_s)
                except TimeoutError as error:
                    if quiet_s is not None:
                        return
                    raise Unreachable(
                        "no answer in time", where=f"{self.url} {subject}", expected=f"{timeout_s:g}s"
                    ) from error
                for frame in frames:
                    if frame.status == "503":
                        if quiet_s is not None:
                            return
                        raise Unreachable("nobody answers this request", where=f"{self.url} {subject}")
                    yield frame

    @asynccontextmanager
    async def _gather(self) -> AsyncGenerator[tuple[str, Subscription], None]:
        """A subject for the replies of one request, and what arrives there."""
        try:
            async with self._inbox_lock:
                if self._inbox is None:
                    self._inbox = await self._open_inbox()
                elif not self._client.is_connected:
                    await self._flush()
        except nats.errors.Error as error:
            raise _translated(error, self.url) from error
        assert self._inbox is not None
        replies = Subscription(FRAMES_COUNT_MAX)
        reply = self._gathered.open(self._inbox, replies._keep)
        self._subscriptions.add(replies)
        try:
            yield reply, replies
        finally:
            self._gathered.close(reply)
            self._subscriptions.discard(replies)
            self._asked.pop(replies, None)

    async def _open_inbox(self) -> str:
        inbox = str(self._client.new_inbox())
        handle = await self._client.subscribe(f"{inbox}.*", cb=self._on_gathered)
        try:
            await self._flush()
        except BaseException:
            with suppress(nats.errors.Error):
                await handle.unsubscribe()
            raise
        return inbox

    async def _on_gathered(self, msg: Msg) -> None:
        self._gathered.give(msg.subject.encode("ascii", "replace"), msg)

    def _refuse(self, subject: str) -> None:
        """The server let a question not pass: who waits for its answer is told."""
        for replies, asked in self._asked.items():
            if asked.lower() == subject.lower():
                replies._fail(
                    AuthError(
                        "this log-in may not ask for this", where=f"{self.url} {asked}",
                        next_step="its role, or the paths that it is bounded to, do not reach so far",
                    )
                )  # fmt: skip

    @asynccontextmanager
    async def subscribe(
        self, subjects: Sequence[str], *, frames_count_max: int = FRAMES_COUNT_MAX
    ) -> AsyncGenerator[Subscription, None]:
        """Listen while the scope is open. The server knows of it on enter, so nothing sent after that is missed."""
        subscription = Subscription(frames_count_max)
        handles = []
        refused_before = self._refused_count
        self._subscriptions.add(subscription)
        try:
            try:
                for subject in subjects:
                    handle = await self._client.subscribe(subject, cb=subscription._on_message)
                    handles.append(handle)
                await self._flush()
            except nats.errors.Error as error:
                raise _translated(error, self.url) from error
            if self._refused_count > refused_before:
                raise limit_reached(SUBSCRIPTIONS_EXCEEDED, self.url)
            yield subscription
        finally:
            self._subscriptions.discard(subscription)
            self._asked.pop(subscription, None)
            if not self._client.is_closed:
                for handle in handles:
                    await handle.unsubscribe()

    async def _flush(self) -> None:
        """Until the server has answered a ping; asked again when the link that carried it was lost."""
        for _ in range(FLUSH_TRIES_MAX - 1):
            with suppress(nats.errors.TimeoutError):
                await self._client.flush(timeout=FLUSH_TRY_S)
                return
        await self._client.flush(timeout=FLUSH_TRY_S)

    async def publish(self, subject: str, payload: bytes, *, headers: Mapping[str, str] | None = None) -> None:
        """Send without an answer; only for what nobody has to store."""
        try:
            await self._client.publish(subject, payload, headers=dict(headers) if headers else None)
        except nats.errors.Error as error:
            raise _translated(error, self.url) from error

    async def round_trip_ms(self) -> float:
        """The time of one ping to the server and back. Raises Unreachable."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        try:
            await self._client.flush(timeout=5)
        except nats.errors.Error as error:
            raise _translated(error, self.url) from error
        return (loop.time() - start) * 1e3

    async def _closed(self) -> None:
        for subscription in self._subscriptions:
            subscription._fail(Unreachable("the link was closed", where=self.url))


@asynccontextmanager
async def open_link(
    url: str, credentials: Credentials | None = None, *, name: str = "millstream", timeout_s: float = 5.0
) -> AsyncGenerator[Link, None]:
    """Connect on enter, close on exit. Raises Unreachable or AuthError, each with the next step."""
    client = HealingClient()
    client.demand_tls(url, credentials)
    known = credentials or Credentials()
    link = Link(client, _shown(url), api_prefix(known), places_of(known))
    last: list[Exception] = []

    async def on_error(error: Exception) -> None:
        """Keep the newest: it says why, where the client only says that no server is left."""
        last[:] = [error]
        link._refused_count += SUBSCRIPTIONS_EXCEEDED in str(error).lower()
        refused = _REFUSED.search(str(error))
        if refused is not None:
            link._refuse(refused["subject"])

    try:
        async with asyncio.timeout(timeout_s):
            await client.connect(
                url,
                **login_options(credentials),
                name=name,
                error_cb=on_error,
                closed_cb=link._closed,
                allow_reconnect=False,
                max_reconnect_attempts=CONNECT_ATTEMPTS_MAX,
                reconnect_time_wait=_RECONNECT_WAIT_S,  # type: ignore[arg-type]
                connect_timeout=timeout_s,  # type: ignore[arg-type]
            )
    except (nats.errors.Error, OSError, ValueError, TimeoutError) as error:
        cause = last[0] if last and isinstance(error, nats.errors.NoServersError) else error
        await client.close()
        raise _translated(cause, link.url) from error
    client.settle_inbox(credentials)
    # From here on the link heals by itself; the first connect must not, because a person waits for its error.
    client.heal(_RECONNECT_WAIT_S)
    try:
        yield link
    finally:
        await client.close()


def _frame(msg: Msg) -> Frame:
    return Frame(msg.subject, msg.data, msg.headers or {})


def _shown(url: str) -> str:
    """The URL without a password in it."""
    parts = urlsplit(url)
    if parts.password is None and parts.username is None:
        return url
    return f"{parts.scheme}://{parts.hostname}:{parts.port or 4222}"


def _translated(error: Exception, where: str) -> PlantError:
    if isinstance(error, nats.errors.MaxPayloadError):
        return PlantError("the message is too large for the server", where=where, next_step="send it in parts")
    if (fault := tls_fault(error, where)) is not None:
        return fault
    if isinstance(error, (OSError, TimeoutError, nats.errors.NoServersError)):
        return Unreachable(
            "no server answers here",
            where=where,
            got=_reason(error),
            next_step="start the node, or name the right one with --node or MILLSTREAM_NODE",
        )
    return translate_nats(error, where=where)


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__).removeprefix("nats: ").lower()
