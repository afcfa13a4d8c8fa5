"""A small NATS connection for the data plane: joined writes, length-parsed reads, batches to callbacks, reconnect.

It carries only what the publishers and the reader need; everything else goes through nats-py. One `transport.write` a
loop turn, one callback a subscription and chunk. It reconnects for ever with jittered back-off and subscribes again.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
import ssl
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from operator import itemgetter
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from millstream.bus._credentials import Credentials, inbox_prefix, read_creds
from millstream.bus._gathered import GatheredBatches
from millstream.bus._patience import patiently
from millstream.bus._scope import leave_group
from millstream.bus._tls_offer import TLS_GOODBYE_S, check_offer, wants_tls
from millstream.bus._transport import BatchCallback, NobodyAnswers
from millstream.kernel import AuthError, Backoff, ConfigError, PlantError, ProtocolViolation, Unreachable
from millstream.protocols.nats_wire import (
    Control,
    WireMessage,
    WireParser,
    encode_connect,
    encode_hpub,
    encode_pub,
    parse_info,
    subject_bytes,
)
from millstream.sdk import TlsFiles, client_context, tls_fault

CONNECT_TIMEOUT_S = 5.0
PING_INTERVAL_S = 5.0  # a silent link is probed this often and given up after as long again
WRITE_BUFFER_BYTES_MAX = 4 * 1024 * 1024  # beyond it `drained` waits
REQUESTS_COUNT_MAX = 1024
_AUTH_TEXTS = ("authorization", "authentication", "user authentication", "credential", "account")


_sid = itemgetter(0)


class RawConnection:
    """One TCP connection, kept alive while its scope is open. Entering raises Unreachable (after `patience_s`) or
    AuthError."""

    def __init__(
        self,
        url: str,
        *,
        credentials: Credentials | None = None,
        name: str = "millstream",
        backoff: Backoff | None = None,
        patience_s: float = 0.0,
        replicas: int = 1,
    ) -> None:
        parts = urlsplit(url if "://" in url else f"nats://{url}")
        if parts.scheme not in ("nats", "tls") or not parts.hostname:
            raise ConfigError(
                "the data plane speaks NATS over TCP only", expected="nats://host:port or tls://host:port",
                got=url.rpartition("@")[2], next_step="use the nats-py adapter for WebSocket",
            )  # fmt: skip
        self._host, self._port = parts.hostname, parts.port or 4222
        self._credentials = credentials or Credentials(parts.username, parts.password)
        self._is_tls_only = wants_tls(url, self._credentials)
        self._name = name
        self._patience_s = patience_s
        self.replicas = replicas
        self._backoff = backoff or Backoff(floor_s=0.05, ceiling_s=2.0)
        self._group = asyncio.TaskGroup()
        self._supervisor: asyncio.Task[None] | None = None
        self._protocol: _Protocol | None = None
        self._connected = asyncio.Event()
        self._sids = 1
        self._subscriptions: dict[int, tuple[bytes, BatchCallback]] = {}
        self._lost_callbacks: list[Callable[[], None]] = []
        self._requests: dict[bytes, asyncio.Future[WireMessage]] = {}
        self._request_count = 0
        self._inbox_id = base64.b32encode(secrets.token_bytes(15)).decode("ascii")
        self._gathered = GatheredBatches(self.subscribe)
        self.inbox = ""  # known once the server has said who it is
        self.info: dict[str, Any] = {}
        self.connects = 0
        self.last_error: PlantError | None = None

    @property
    def where(self) -> str:
        """Host and port, for messages."""
        return f"{self._host}:{self._port}"

    @property
    def is_connected(self) -> bool:
        """Logged in, and not known to be lost."""
        return self._protocol is not None

    @property
    def max_payload(self) -> int:
        """Bytes of headers and payload that the server takes in one message."""
        return int(self.info.get("max_payload", 1024 * 1024))

    async def __aenter__(self) -> Self:
        # The first time a person waits, so the error is raised.
        protocol = await patiently(self._open, patience_s=self._patience_s, where=self.where)
        await self._group.__aenter__()
        self._supervisor = self._group.create_task(self._supervise(protocol))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._supervisor is not None
        self._supervisor.cancel()
        try:
            await leave_group(self._group, error)
        finally:
            if self._protocol is not None:
                protocol = self._protocol
                protocol.flush()
                protocol.close()
                self._on_lost(protocol)

    # -- connecting ---------------------------------------------------------------------------------------------------

    async def _supervise(self, protocol: _Protocol) -> None:
        while True:
            await self._keep_alive(protocol)
            self._on_lost(protocol)
            protocol = await self._reopen()

    async def _reopen(self) -> _Protocol:
        while True:
            await asyncio.sleep(self._backoff.next_s())
            try:
                return await self._open()
            except PlantError as error:
                self.last_error = error  # kept for status; the loop goes on until the scope is left

    async def _open(self) -> _Protocol:
        loop = asyncio.get_running_loop()
        protocol = _Protocol(self._dispatch)
        with ExitStack() as undo:  # whatever ends the login, cancellation too, must not leave the socket
            undo.callback(protocol.close)
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    await loop.create_connection(lambda: protocol, self._host, self._port)
                    info = await self._log_in(protocol)
            except (OSError, TimeoutError) as error:
                if (fault := tls_fault(error, self.where)) is not None:
                    raise fault from error
                got = str(error) or type(error).__name__
                raise Unreachable("no server answers", where=self.where, got=got) from error
            undo.pop_all()
        self.info = dict(info)
        self._settle_inbox(info)
        self._protocol = protocol
        for sid, (subject, _) in self._subscriptions.items():
            protocol.write(b"SUB %b %d\r\n" % (subject, sid))
        self._backoff.reset()
        self.last_error = None
        self.connects += 1
        self._connected.set()
        return protocol

    def _settle_inbox(self, info: Mapping[str, Any]) -> None:
        """Once: replies are heard below the prefix that this login may listen to."""
        if not self.inbox:
            self.inbox = f"{inbox_prefix(self._credentials, info)}.{self._inbox_id}"
            self.subscribe(f"{self.inbox}.r.*", self._on_replies)

    async def _log_in(self, protocol: _Protocol) -> Mapping[str, Any]:
        info = parse_info(await protocol.expect("INFO"))
        if self._is_tls_only or info.get("tls_required"):
            check_offer(info, self.where)
            tls = self._credentials.tls or TlsFiles()
            # Read anew for each link: a file that was replaced counts from the next one on.
            context = await asyncio.to_thread(client_context, tls)
            await protocol.secure(context, tls.server_name or self._host)
        protocol.write(encode_connect(self._connect_options(info)))
        protocol.write(b"PING\r\n")
        await protocol.expect("PONG")
        protocol.is_logged_in = True
        return info

    def _connect_options(self, info: Any) -> dict[str, object]:
        options: dict[str, object] = {
            "verbose": False, "pedantic": False, "lang": "python", "version": "1", "name": self._name, "protocol": 1,
            "headers": True, "no_responders": True, "echo": True,
        }  # fmt: skip
        credentials = self._credentials
        if credentials.creds_file is not None:
            token, key = read_creds(credentials.creds_file)
            signature = key.sign(str(info.get("nonce", "")).encode("ascii"))
            options |= {"jwt": token, "sig": base64.urlsafe_b64encode(signature).rstrip(b"=").decode("ascii")}
        elif credentials.user is not None:
            options |= {"user": credentials.user, "pass": credentials.password or ""}
        return options

    async def _keep_alive(self, protocol: _Protocol) -> None:
        """Returns once the link is lost; closes one that stays silent."""
        while True:
            seen = protocol.chunks_count
            try:
                async with asyncio.timeout(PING_INTERVAL_S):
                    await asyncio.shield(protocol.lost)
                return
            except TimeoutError:
                pass
            if protocol.chunks_count != seen:
                protocol.is_probed = False
            elif protocol.is_probed:
                protocol.abort()
                return
            else:
                protocol.is_probed = True
                protocol.write(b"PING\r\n")

    def _on_lost(self, protocol: _Protocol) -> None:
        protocol.close()
        self._protocol = None
        self._connected.clear()
        for future in self._requests.values():
            if not future.done():
                future.set_exception(Unreachable("the link was lost before the answer", where=self.where))
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

    # -- traffic ------------------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Queue whole protocol commands; they leave joined at the end of this loop turn. Raises Unreachable."""
        if self._protocol is None:
            raise Unreachable("not connected", where=self.where)
        self._protocol.write(data)

    async def drained(self) -> None:
        """Wait while the socket's buffer is above its bound; returns at once when the link is lost."""
        if self._protocol is not None:
            await self._protocol.drained()

    def publish(self, subject: str, payload: bytes, *, reply: str = "", header_lines: bytes = b"") -> None:
        """One message without an answer. Raises Unreachable."""
        encoded, answer = subject_bytes(subject), reply.encode("ascii")
        if header_lines:
            self.write(encode_hpub(encoded, answer, header_lines, payload))
        else:
            self.write(encode_pub(encoded, answer, payload))

    def subscribe(self, subject: str, callback: BatchCallback) -> int:
        """Deliver messages of `subject` in batches, also after each reconnect; the id for `unsubscribe`."""
        sid = self._sids
        self._sids += 1
        encoded = subject.encode("utf-8")
        self._subscriptions[sid] = (encoded, callback)
        if self._protocol is not None:
            self._protocol.write(b"SUB %b %d\r\n" % (encoded, sid))
        return sid

    def unsubscribe(self, sid: int) -> None:
        """Stop delivery at once."""
        if self._subscriptions.pop(sid, None) is not None and self._protocol is not None:
            self._protocol.write(b"UNSUB %d\r\n" % sid)

    def gather(self, callback: BatchCallback) -> str:
        """A reply subject for a request with several answers, which `callback` gets until `let_go` of it."""
        return self._gathered.open(self.inbox, callback)

    def let_go(self, reply: str) -> None:
        """Of a subject that `gather` gave."""
        self._gathered.close(reply)

    def start_request(self) -> tuple[bytes, asyncio.Future[WireMessage]]:
        """A reply subject and the future of its first message; the caller writes the command that carries it.

        The future raises Unreachable when the link is lost or nobody listens."""
        if self._protocol is None:
            raise Unreachable("not connected", where=self.where)
        if len(self._requests) >= REQUESTS_COUNT_MAX:
            raise Unreachable("too many requests wait for an answer", where=self.where, got=str(REQUESTS_COUNT_MAX))
        self._request_count += 1
        reply = b"%b.r.%d" % (self.inbox.encode("ascii"), self._request_count)
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
            raise Unreachable(
                "no answer in time", where=f"{self.where} {subject}", expected=f"{timeout_s:g}s"
            ) from error

    def _on_replies(self, messages: list[WireMessage]) -> None:
        for message in messages:
            future = self._requests.get(message[1])
            if future is None or future.done():
                continue
            if message[3] is not None and message[3].startswith(b"NATS/1.0 503"):
                future.set_exception(NobodyAnswers("nobody answers this request", where=self.where))
            else:
                future.set_result(message)

    def _dispatch(self, messages: list[WireMessage]) -> None:
        sids = set(map(_sid, messages))
        if len(sids) == 1:
            groups = {sids.pop(): messages}
        else:
            groups = {}
            for message in messages:
                groups.setdefault(message[0], []).append(message)
        for sid, group in groups.items():
            subscription = self._subscriptions.get(sid)
            if subscription is not None:
                subscription[1](group)


class _Protocol(asyncio.Protocol):
    """One socket. `lost` resolves when it is gone."""

    def __init__(self, dispatch: BatchCallback) -> None:
        self._loop = asyncio.get_running_loop()
        self._dispatch = dispatch
        self._parser = WireParser()
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._expected: tuple[str, asyncio.Future[bytes]] | None = None
        self._early: list[Control] = []
        self._writable = asyncio.Event()
        self._writable.set()
        self._failure: PlantError | None = None
        self.lost: asyncio.Future[None] = self._loop.create_future()
        self.chunks_count = 0
        self.is_probed = False
        self.is_logged_in = False  # before, no server sends messages: what looks like one comes from in between

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is open."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES_MAX)

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._transport = None
        self._writable.set()
        if not self.lost.done():
            self.lost.set_result(None)
        if self._expected is not None and not self._expected[1].done():
            self._expected[1].set_exception(self._failure or Unreachable("the server closed the connection"))

    async def secure(self, context: ssl.SSLContext, server_name: str) -> None:
        """Go on in TLS. Whatever came in clear after INFO is not the server's and is forgotten."""
        transport = self._transport
        if transport is None:
            raise self._failure or Unreachable("the server closed the connection")
        secured = await self._loop.start_tls(
            transport, self, context, server_hostname=server_name, ssl_shutdown_timeout=TLS_GOODBYE_S
        )
        if secured is None:
            raise Unreachable("the server closed the connection")
        self._parser, self._early, self._failure = WireParser(), [], None
        self.connection_made(secured)

    def pause_writing(self) -> None:
        """The socket's buffer is above its bound."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """The socket's buffer has room."""
        self._writable.set()

    async def drained(self) -> None:
        """Send what is queued, wait for room in the socket's buffer."""
        self.flush()
        await self._writable.wait()

    def data_received(self, data: bytes) -> None:
        """One chunk from the socket."""
        self.chunks_count += 1
        try:
            messages, controls = self._parser.feed(data)
        except ProtocolViolation as error:
            self._failure = error
            self.abort()
            return
        if messages and self.is_logged_in:
            self._dispatch(messages)
        for control in controls:
            self._on_control(control)

    def _on_control(self, control: Control) -> None:
        if control.verb == "PING":
            self.write(b"PONG\r\n")
        elif control.verb == "-ERR":
            self._on_refused(control.text.decode("utf-8", "replace"))
        elif self._expected is not None and self._expected[0] == control.verb and not self._expected[1].done():
            self._expected[1].set_result(control.text)
        elif control.verb == "INFO":
            self._early.append(control)
            del self._early[:-1]  # only the newest matters: a later one repeats it with changes

    def _on_refused(self, text: str) -> None:
        if text.lower().startswith("permissions violation"):
            return  # the server goes on; the request that it concerns runs into its deadline
        is_login = any(text.lower().startswith(t) for t in _AUTH_TEXTS)
        self._failure = (AuthError if is_login else Unreachable)("the server refused", got=text.lower())
        self.abort()

    async def expect(self, verb: str) -> bytes:
        """The text of the next control line `verb`. Raises what the server refused with, or Unreachable."""
        if self._early and self._early[-1].verb == verb:
            return self._early.pop().text
        if self._failure is not None:
            raise self._failure
        future: asyncio.Future[bytes] = self._loop.create_future()
        self._expected = (verb, future)
        return await future

    def write(self, data: bytes) -> None:
        """Queue commands for the end of this loop turn."""
        if not self._out:
            self._loop.call_soon(self.flush)
        self._out.append(data)

    def flush(self) -> None:
        """Send what is queued, as one write."""
        if self._out:
            data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
            self._out.clear()
            if self._transport is not None and not self._transport.is_closing():
                self._transport.write(data)

    def close(self) -> None:
        """Close once all is sent."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()
