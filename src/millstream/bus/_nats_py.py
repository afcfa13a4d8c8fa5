"""The fallback: nats-py as the transport under the same publishers and reader. Slower, but with TLS and WebSocket.

It takes the same PUB and HPUB commands and gives them to nats-py one by one, and turns what comes back into the same
tuples. Commands leave in order through one owned task.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from millstream.bus._client import connect_nats
from millstream.bus._credentials import Credentials
from millstream.bus._gathered import GatheredBatches
from millstream.bus._scope import leave_group
from millstream.bus._transport import BatchCallback
from millstream.kernel import ProtocolViolation, Unreachable
from millstream.protocols.nats_wire import WireMessage, encode_hpub, encode_pub, parse_headers, subject_bytes

COMMANDS_COUNT_MAX = 4096  # queued commands above which `drained` waits

_Command = (
    tuple[str, str, bytes, dict[str, str] | None] | int
)  # subject, reply, payload, headers; or a sid to subscribe


class NatsPyConnection:
    """`Transport` over nats-py. Entering raises Unreachable or AuthError."""

    def __init__(
        self,
        url: str,
        *,
        credentials: Credentials | None = None,
        name: str = "millstream",
        creds_file: Path | None = None,
    ) -> None:
        self._url = url
        self._credentials = credentials or Credentials(creds_file=creds_file)
        self._name = name
        self._client: Client | None = None
        self._commands: deque[_Command] = deque()
        self._queued = asyncio.Event()
        self._drained = asyncio.Event()
        self._connected = asyncio.Event()
        self._lost_callbacks: list[Callable[[], None]] = []
        self._requests: dict[bytes, asyncio.Future[WireMessage]] = {}
        self._subscriptions: dict[int, tuple[str, BatchCallback, Subscription | None]] = {}
        self._sids = 0
        self._request_count = 0
        self._group = asyncio.TaskGroup()
        self._pump_task: asyncio.Task[None] | None = None
        self._gathered = GatheredBatches(self.subscribe)
        self.inbox = ""  # known once connected
        self.connects = 0
        self.replicas = 1

    @property
    def is_connected(self) -> bool:
        """nats-py says that the link is up."""
        return self._connected.is_set() and self._client is not None and bool(self._client.is_connected)

    @property
    def max_payload(self) -> int:
        """Bytes of headers and payload that the server takes in one message."""
        return int(self._client.max_payload) if self._client is not None else 1024 * 1024

    async def __aenter__(self) -> Self:
        login = self._credentials
        self._client = await connect_nats(
            self._url, login, name=self._name,
            on_lost=self._on_lost, on_connected=self._on_connected,
        )  # fmt: skip
        self._client.options["reconnect_time_wait"] = 0.1
        self.inbox = self._client.new_inbox()
        await self._on_connected()
        await self._group.__aenter__()
        self._pump_task = self._group.create_task(self._pump())
        self.subscribe(f"{self.inbox}.r.*", self._on_replies)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._pump_task is not None
        assert self._client is not None
        self._pump_task.cancel()
        try:
            await leave_group(self._group, error)
        finally:
            await self._client.close()

    async def _on_connected(self) -> None:
        self.connects += 1
        self._connected.set()

    async def _on_lost(self) -> None:
        self._connected.clear()
        for index, command in reversed(list(enumerate(self._commands))):
            if not isinstance(command, int):
                del self._commands[index]
        self._drained.set()
        for future in self._requests.values():
            if not future.done():
                future.set_exception(Unreachable("the link was lost before the answer", where=self._url))
        self._requests.clear()
        for callback in list(self._lost_callbacks):
            callback()

    async def wait_connected(self) -> None:
        """Returns at once while connected, else when it is again."""
        await self._connected.wait()

    def on_lost(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` at each loss of the link, until the returned function is called."""
        self._lost_callbacks.append(callback)
        return lambda: self._lost_callbacks.remove(callback)

    # -- out ----------------------------------------------------------------------------------------------------------

    async def _pump(self) -> None:
        assert self._client is not None
        while True:
            self._queued.clear()
            while self._commands:
                command = self._commands.popleft()
                try:
                    await self._run(self._client, command)
                except (nats.errors.Error, OSError):
                    continue  # the client's callback tells of the lost link; what was queued is resolved then
            self._drained.set()
            await self._queued.wait()

    async def _run(self, client: Client, command: _Command) -> None:
        if not isinstance(command, int):
            subject, reply, payload, headers = command
            await client.publish(subject, payload, reply=reply, headers=headers)
            return
        held = self._subscriptions.get(command)
        if held is not None and held[2] is None:
            subject, callback, _ = held

            async def _deliver(msg: Msg) -> None:
                if command in self._subscriptions:
                    callback([_wire_message(command, msg)])

            self._subscriptions[command] = (subject, callback, await client.subscribe(subject, cb=_deliver))

    def _put(self, command: _Command) -> None:
        self._commands.append(command)
        self._queued.set()
        if len(self._commands) > COMMANDS_COUNT_MAX:
            self._drained.clear()

    def write(self, data: bytes) -> None:
        """Queue whole PUB and HPUB commands. Raises Unreachable."""
        if not self.is_connected:
            raise Unreachable("not connected", where=self._url)
        at = 0
        while at < len(data):
            end = data.index(b"\r\n", at)
            parts = data[at:end].decode("utf-8").split()
            size = int(parts[-1])
            body = data[end + 2 : end + 2 + size]
            at = end + 4 + size
            if parts[0] == "HPUB":
                head = int(parts[-2])
                reply = parts[2] if len(parts) == 5 else ""
                self._put((parts[1], reply, body[head:], parse_headers(body[:head]).values))
            elif parts[0] == "PUB":
                self._put((parts[1], parts[2] if len(parts) == 4 else "", body, None))
            else:
                raise ProtocolViolation("not a publish command", frame=data[at : at + 64])

    async def drained(self) -> None:
        """Wait while too many commands are queued."""
        if len(self._commands) > COMMANDS_COUNT_MAX:
            await self._drained.wait()

    def publish(self, subject: str, payload: bytes, *, reply: str = "", header_lines: bytes = b"") -> None:
        """One message without an answer. Raises Unreachable."""
        encoded, answer = subject_bytes(subject), reply.encode("ascii")
        self.write(
            encode_hpub(encoded, answer, header_lines, payload)
            if header_lines
            else encode_pub(encoded, answer, payload)
        )

    # -- in -----------------------------------------------------------------------------------------------------------

    def subscribe(self, subject: str, callback: BatchCallback) -> int:
        """Deliver messages of `subject`, also after each reconnect; the id for `unsubscribe`."""
        self._sids += 1
        self._subscriptions[self._sids] = (subject, callback, None)
        self._put(self._sids)
        return self._sids

    def unsubscribe(self, sid: int) -> None:
        """Stop delivery at once."""
        held = self._subscriptions.pop(sid, None)
        if held is not None and held[2] is not None and self._pump_task is not None and not self._pump_task.done():
            self._group.create_task(_unsubscribe(held[2]))

    def gather(self, callback: BatchCallback) -> str:
        """A reply subject for a request with several answers, which `callback` gets until `let_go` of it."""
        return self._gathered.open(self.inbox, callback)

    def let_go(self, reply: str) -> None:
        """Of a subject that `gather` gave."""
        self._gathered.close(reply)

    def start_request(self) -> tuple[bytes, asyncio.Future[WireMessage]]:
        """A reply subject and the future of its first message; the caller writes the command that carries it."""
        if not self.is_connected:
            raise Unreachable("not connected", where=self._url)
        self._request_count += 1
        reply = f"{self.inbox}.r.{self._request_count}".encode("ascii")
        future: asyncio.Future[WireMessage] = asyncio.get_running_loop().create_future()
        self._requests[reply] = future
        future.add_done_callback(lambda _: self._requests.pop(reply, None))
        return reply, future

    async def request(
        self, subject: str, payload: bytes = b"", *, header_lines: bytes = b"", timeout_s: float = 5.0
    ) -> WireMessage:
        """One request, one answer. Waits for the link within the time. Raises Unreachable."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.wait_connected()
                reply, future = self.start_request()
                self.publish(subject, payload, reply=reply.decode("ascii"), header_lines=header_lines)
                return await future
        except TimeoutError as error:
            raise Unreachable("no answer in time", where=subject, expected=f"{timeout_s:g}s") from error

    def _on_replies(self, messages: list[WireMessage]) -> None:
        for message in messages:
            future = self._requests.get(message[1])
            if future is None or future.done():
                continue
            if message[3] is not None and message[3].startswith(b"NATS/1.0 503"):
                future.set_exception(Unreachable("nobody answers this request", where=self._url))
            else:
                future.set_result(message)


async def _unsubscribe(subscription: Subscription) -> None:
    try:
        await subscription.unsubscribe()
    except (nats.errors.Error, OSError):
        return  # the link is gone, and the subscription with it


def _wire_message(sid: int, msg: Msg) -> WireMessage:
    block: bytes | None = None
    if msg.headers:
        status = msg.headers.get("Status", "")
        text = msg.headers.get("Description", "")
        lines = "".join(f"{k}: {v}\r\n" for k, v in msg.headers.items() if k not in ("Status", "Description"))
        first = f"NATS/1.0 {status} {text}".rstrip() if status else "NATS/1.0"
        block = f"{first}\r\n{lines}\r\n".encode()
    return sid, msg.subject.encode(), (msg.reply or "").encode(), block, msg.data
