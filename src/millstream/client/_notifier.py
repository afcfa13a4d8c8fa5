"""Sends what the flow `notify` says: each message once per channel, in the order in which it was said.

Which message is to go out exists exactly once, in the node's stream. On the way out of the plant nobody can promise
that: between a mail server's taking a message and its answer either may die. So each attempt is on disk before it
begins and again when it has ended; what was begun and has no end is sent again with the same id (`Message-ID`,
`Idempotency-Key`), by which a receiver takes it once, or is left (`again: false`).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias
from urllib.parse import quote

import msgspec

from millstream.client._mail import Addresses, send_mail
from millstream.http import ClientOptions, Words, open_http
from millstream.kernel import Backoff, Clock, ConfigError, PlantError, Unreachable
from millstream.mqtt import BrokerLink, Session
from millstream.protocols.alarm import Notification
from millstream.protocols.mqtt_publish import Publish
from millstream.sdk import TlsFiles

try:
    import fcntl
except ImportError:  # Windows: nobody is kept out there
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from millstream.client._plant import Plant
    from millstream.config import MailChannel, MqttChannel, NotifierConfig, WebhookChannel

SEND_S = 30.0  # of one attempt
LOOK_S = 1.0
ASCII = "".join(map(chr, range(0x21, 0x7F)))  # of an id that goes as it is into a header; the rest in percent-encoding
OVERLAP_NS = 60 * 10**9  # of two looks: what was stored beside the newest may show up a moment later
WAITING_MAX = 1000  # messages of one channel
KEPT_NS = 14 * 86_400 * 10**9  # so long it is known what was sent
HOOK = Words("webhook", "the sender of notifications", "http", "MS-2730", "MS-2730", "MS-2731")
Say = Callable[[str], None]
SendState: TypeAlias = Literal["begun", "sent", "given_up", "left"]


class Sent(msgspec.Struct, frozen=True):
    """One line of the journal: a message on one channel, begun or ended at `time_ns` (UTC). Without an id it tells when
    the journal was begun."""

    id: str
    channel: str
    state: SendState
    time_ns: int
    why: str | None = None


class SendJournal:
    """What was begun and what has ended, on disk before it is true. Its process has it alone, until `close` or its
    end."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Raises ConfigError for a file that cannot be read, and (MS-2734) when another process has it."""
        self._path, self._clock = path, clock
        self.first_ns = 0
        self._states: dict[tuple[str, str], Sent] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError("the journal cannot be written", where=str(path), got=str(error)[:200]) from error
        is_read = False
        try:
            self._take()
            self._read()
            is_read = True
        finally:
            if not is_read:
                self.close()

    def close(self) -> None:
        """Let another one have it."""
        os.close(self._lock)

    def _take(self) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(
                "another process has this journal", where=str(self._path), expected="one `millstream notify` a journal",
                next_step="stop the other one, or give this one a file of its own", code="MS-2734",
            ) from error  # fmt: skip

    def _read(self) -> None:
        path, clock = self._path, self._clock
        try:
            lines = path.read_bytes().splitlines() if path.exists() else []
            entries = [msgspec.json.decode(line, type=Sent) for line in lines[:-1]]
            entries += _last(lines)
            horizon_ns = clock.now_ns() - KEPT_NS
            self._states = {(e.id, e.channel): e for e in entries if e.time_ns > horizon_ns or not e.id}
            start = Sent("", "", "begun", min((e.time_ns for e in entries), default=clock.now_ns()))
            self.first_ns = self._states.setdefault(("", ""), start).time_ns
            self._rewrite()
        except (OSError, msgspec.DecodeError) as error:
            raise ConfigError("the journal cannot be read", where=str(path), got=str(error)[:200]) from error

    def state(self, id: str, channel: str) -> str | None:
        """Where a message stands on a channel."""
        found = self._states.get((id, channel))
        return None if found is None else found.state

    def put(self, entry: Sent) -> None:
        """On disk when this returns (blocking, one small write). Raises OSError."""
        with self._path.open("ab") as file:
            file.write(msgspec.json.encode(entry) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._states[entry.id, entry.channel] = entry

    def _rewrite(self) -> None:
        fresh = self._path.with_suffix(".new")
        with fresh.open("wb") as file:
            file.writelines(msgspec.json.encode(entry) + b"\n" for entry in self._states.values())
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)


class Notifier:
    """Made once a process; `run` until it is cancelled."""

    def __init__(self, plant: Plant, config: NotifierConfig, clock: Clock, say: Say) -> None:
        self._plant, self._config, self._clock, self._say = plant, config, clock, say
        self._journal = SendJournal(config.journal, clock)
        # What was said before the first start ever is not sent: it would be a flood of old news.
        self._from_ns = max(self._journal.first_ns, clock.now_ns() - KEPT_NS // 2)
        self._queues: dict[str, list[Notification]] = {name: [] for name in config.channels}
        self._seen: set[str] = set()

    async def run(self) -> None:
        """Look for what is to be sent, and send it; each channel waits for itself alone. Raises what a lost link
        raises."""
        try:
            async with asyncio.TaskGroup() as group:
                for name in self._config.channels:
                    group.create_task(self._serve(name, self._queues[name]))
                while True:
                    await self._look()
                    await self._clock.sleep(LOOK_S)
        finally:
            self._journal.close()

    async def _look(self) -> None:
        """Queue what is new. What finds no room stays in the stream."""
        told = await self._plant.alarms.notifications(self._from_ns, self._config.reads)
        room = WAITING_MAX - max(map(len, self._queues.values()))
        fresh = [each for _, each in told if each.id not in self._seen]
        for each in fresh[:room]:
            for name in each.to:
                if name not in self._queues:
                    self._say(f"{each.id}: no channel {name!r} in the sender's file")
                elif self._journal.state(each.id, name) in (None, "begun"):
                    self._queues[name].append(each)
        self._seen = {each.id for _, each in told} - {each.id for each in fresh[room:]}
        if told and len(fresh) <= room:
            self._from_ns = max(self._from_ns, told[-1][0] - OVERLAP_NS)

    async def _serve(self, name: str, queue: list[Notification]) -> None:
        while True:
            while queue:
                await self._deliver(name, queue.pop(0))
            await self._clock.sleep(LOOK_S / 4)

    async def _deliver(self, name: str, told: Notification) -> None:
        channel = self._config.channels[name]
        if self._journal.state(told.id, name) == "begun" and not channel.again:
            await self._note(told.id, name, "left", "it was begun when the sender was killed; nobody knows of its end")
            return
        backoff, begun_ns = Backoff(floor_s=1.0, ceiling_s=60.0), self._clock.monotonic_ns()
        to = Addresses(list(channel.to) if channel.type == "mail" else [])
        await self._note(told.id, name, "begun")
        while True:
            try:
                await _send(channel, told, to, self._clock.now_ns())
                but = "; ".join(f"{address}: {answer}" for address, answer in to.refused.items())
                await self._note(told.id, name, "sent", f"but for {but}" if but else None)
                return
            except (PlantError, TimeoutError) as error:
                why = str(error) or "no answer in time"
                if self._clock.monotonic_ns() - begun_ns > channel.give_up * 1e9:
                    await self._note(told.id, name, "given_up", why)
                    return
                self._say(f"{told.id}: {name}: {why}; tried again")
                await self._clock.sleep(backoff.next_s())

    async def _note(self, id: str, name: str, state: SendState, why: str | None = None) -> None:
        await asyncio.to_thread(self._journal.put, Sent(id, name, state, self._clock.now_ns(), why))
        if state != "begun":
            self._say(f"{id}: {name}: {state.replace('_', ' ')}{f': {why}' if why else ''}")


async def _send(
    channel: MailChannel | WebhookChannel | MqttChannel, told: Notification, to: Addresses, now_ns: int
) -> None:
    if channel.type == "mail":  # in a thread, which nobody can end: each word of it has its own time limit
        await send_mail(channel, told, to, now_ns)
        return
    async with asyncio.timeout(SEND_S):
        await (post(channel, told) if channel.type == "webhook" else publish(channel, told))


async def publish(channel: MqttChannel, told: Notification) -> None:
    """One message with QoS 1; taken when the broker has acknowledged it. Raises PlantError."""
    link, taken = BrokerLink(channel.broker, Session()), asyncio.Event()
    link.on_taken = lambda _mid: taken.set()
    await link.connect()
    try:
        link.publish(Publish(channel.topic, body_of(told), qos=1))
        while not taken.is_set():
            if not await link.confirm():
                raise Unreachable("the broker has gone before it took the message", where=channel.topic, code="MS-2730")
    finally:
        await link.close()


def body_of(told: Notification) -> bytes:
    """A notification in JSON, with the line and the text for people."""
    return msgspec.json.encode({**msgspec.to_builtins(told), "subject": told.subject, "text": told.text})


async def post(channel: WebhookChannel, told: Notification) -> None:
    """One POST; a 2xx means taken. Raises PlantError."""
    headers = {"Content-Type": "application/json", "Idempotency-Key": quote(told.id, safe=ASCII)}
    if channel.token is not None:
        headers["Authorization"] = f"Bearer {channel.token.resolve()}"
    tls = TlsFiles(ca_file=channel.ca_file) if channel.url.startswith("https") else None
    async with (
        open_http(ClientOptions(headers, tls=tls), HOOK) as client,
        client.exchange("POST", channel.url, content=body_of(told)) as answer,
    ):
        if not 200 <= answer.status < 300:
            got = str(answer.status)
            raise PlantError(
                "the webhook refuses it", where=channel.url, expected="200 to 299", got=got, code="MS-2732"
            )


def _last(lines: Sequence[bytes]) -> list[Sent]:
    """The last line may be cut off: the process was killed while it was written, so it was not true yet."""
    try:
        return [msgspec.json.decode(lines[-1], type=Sent)] if lines else []
    except msgspec.DecodeError:
        return []
