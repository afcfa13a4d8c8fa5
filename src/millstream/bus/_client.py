"""nats-py for the control plane: one place that connects and translates its errors, and the few calls others need."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import ParseResult

import msgspec
import nats.errors
from nats.aio.client import Client, Srv
from nats.aio.msg import Msg
from nats.aio.transport import TcpTransport
from nats.micro import add_service as _add_service
from nats.micro.request import Request
from nats.micro.service import EndpointConfig, Service

from millstream.bus._credentials import Credentials, inbox_prefix
from millstream.bus._jetstream import decode_answer
from millstream.bus._tls_offer import TLS_GOODBYE_S, check_offer, wants_tls
from millstream.kernel import AuthError, PlantError, Unreachable
from millstream.sdk import TlsFiles, client_context, tls_fault

CONNECT_TIMEOUT_S = 5
CONNECT_ATTEMPTS_MAX = 3  # of a connect that is reset
RECONNECT_WAIT_S = 1
HEADER_NAMES_MAX = 256  # kept; a stream's messages have a dozen
CLOSE_TIMEOUT_S, CANCEL_AGAIN_S = 5.0, 0.25

Callback = Callable[[], Awaitable[None]]
SUBSCRIPTIONS_EXCEEDED = "maximum subscriptions exceeded"


class _Stream(asyncio.StreamReaderProtocol):
    """The base class asks for a socket that is half open after the peer's end, which TLS has not, and asyncio says so
    in the log each time."""

    def eof_received(self) -> bool:
        super().eof_received()
        return False


class SecuredTransport(TcpTransport):
    """nats-py's transport over a socket that `plain` has opened, quiet about the end of a TLS link."""

    def __init__(self, plain: TcpTransport) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        vars(self).update(vars(plain))

    async def connect_tls(
        self, uri: str | ParseResult, ssl_context: ssl.SSLContext, buffer_size: int, connect_timeout: int
    ) -> None:
        """Go on in TLS with the name `uri`."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=buffer_size)
        protocol = _Stream(reader)
        assert self._io_writer is not None
        plain, self._io_writer, self._io_reader = self._io_writer.transport, None, None
        with contextlib.ExitStack() as undo:
            # Its stream is never told of the end once TLS has begun: who waits for it after a failed handshake waits
            # for ever.
            undo.callback(plain.abort)
            async with asyncio.timeout(connect_timeout):
                transport = await loop.start_tls(
                    plain, protocol, ssl_context, server_hostname=uri if isinstance(uri, str) else uri.hostname,
                    ssl_shutdown_timeout=TLS_GOODBYE_S,
                )  # fmt: skip
            if transport is None:
                raise ConnectionResetError("the server closed the connection")
            undo.pop_all()
        reader.set_transport(transport)
        self._io_reader, self._io_writer = reader, asyncio.StreamWriter(transport, protocol, reader, loop)


class RefusedError(nats.errors.Error):
    """What we refuse, in a class that the client library takes for a failed try."""

    def __init__(self, fault: PlantError) -> None:
        super().__init__(str(fault))
        self.fault = fault


@lru_cache(maxsize=HEADER_NAMES_MAX)
def _header_name(raw: bytes) -> str | None:
    """None for what is no name: it has a space in it, or no ASCII."""
    try:
        name = raw.strip().decode("ascii")
    except UnicodeDecodeError:
        return None
    return None if any(character.isspace() for character in name) else name


class HealingClient(Client):
    """nats-py's client, which closes for good when the server ends a link with an error line (a log-in that took too
    long, a slow reader). Once `heal` was called it reconnects for ever instead."""

    _heals = False
    _tls: TlsFiles | None = None
    _is_tls_only = False

    def demand_tls(self, url: str, credentials: Credentials | None) -> None:
        """To be called before `connect`: with these no word goes out in clear."""
        self._tls = credentials.tls if credentials is not None else None
        self._is_tls_only = wants_tls(url, credentials)

    def heal(self, wait_s: float) -> None:
        """From here on: reconnect, whatever happens, with `wait_s` between the tries."""
        self.options["allow_reconnect"] = True
        self.options["max_reconnect_attempts"] = -1
        self.options["reconnect_time_wait"] = wait_s
        self._heals = True

    def settle_inbox(self, credentials: Credentials | None) -> None:
        """To be called once connected, before the first request: replies are heard where this login may listen."""
        prefix = inbox_prefix(credentials or Credentials(), self._server_info)
        self._inbox_prefix = bytearray(prefix.encode("ascii"))

    async def close(self) -> None:
        """The base class waits no longer for a reconnection under way than its pause between two, and one that ends a
        wait in the moment it is cancelled (`asyncio.wait_for` of Python 3.11) goes on as if nobody had asked. It is
        stopped also when the goodbye fails, as at a server that was killed."""
        dialling = self._reconnection_task
        try:
            await super().close()
        finally:
            await _stop_dialling(dialling)

    async def _connect_to_server(self, s: Srv) -> None:
        """Hang up first: after a handshake that failed (no INFO in time, garbage) the base class forgets the socket,
        and a server that accepts and says nothing would cost one with each try."""
        if self._transport:
            self._transport.close()  # type: ignore[no-untyped-call]
        if self._tls is not None:  # its files may have been replaced since the last link
            self.options["tls"] = await asyncio.to_thread(client_context, self._tls)
        await super()._connect_to_server(s)
        if type(self._transport) is TcpTransport:
            self._transport = SecuredTransport(self._transport)

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        """The base class goes on in clear with a server that offers no TLS, whatever its URL says."""
        if initial_connection and self._is_tls_only:
            try:
                check_offer(info, self._current_server.uri.netloc.rpartition("@")[2] if self._current_server else "")
            except PlantError as fault:
                raise RefusedError(fault) from fault
        await super()._process_info(info, initial_connection)

    @staticmethod
    def _parse_header_lines(raw: bytes) -> dict[str, str]:
        """As the base class, which looks at each character of each name again: three quarters of what it costs to read
        a stream's message. A header has few names."""
        found: dict[str, str] = {}
        for line in raw.split(b"\r\n"):
            name, colon, value = line.partition(b":")
            key = _header_name(name) if colon else None
            if key is not None:
                found[key] = value.strip().decode("utf-8", "replace")
        return found

    async def _send_ping(self, future: asyncio.Future[Any] | None = None) -> None:
        """The base class writes a ping past what waits to be written, so that its answer would say nothing of that: of
        subscriptions that the server does not know yet, or refuses."""
        if self._pending and self._transport is not None and self.is_connected:
            waiting, self._pending, self._pending_data_size = self._pending, [], 0
            self._transport.writelines(waiting)
        await super()._send_ping(future)

    async def _process_pong(self) -> None:
        """The base class breaks at the late answer to a ping that nobody waits for any more (a flush in vain, or
        cancelled): its place in the order is kept, its future is a fresh one."""
        if self._pongs and self._pongs[0].done():
            self._pongs[0] = asyncio.get_running_loop().create_future()
        await super()._process_pong()

    async def _read_loop(self) -> None:
        """The base class reads no more after an error that it did not expect, and the link goes on looking open."""
        await super()._read_loop()
        task = asyncio.current_task()
        if self._heals and self.is_connected and not (task and task.cancelling()):
            await self._process_op_err(nats.errors.Error("nats: the reader of this link has ended"))

    async def _process_err(self, err_msg: str) -> None:
        if not self._heals or "permissions violation" in err_msg.lower():
            await super()._process_err(err_msg)
            return
        if SUBSCRIPTIONS_EXCEEDED in err_msg.lower():  # the server goes on; the same would come at each new link
            await self._error_cb(nats.errors.Error(f"nats: {err_msg}"))
            return
        error = nats.errors.Error(f"nats: {err_msg}")
        await self._error_cb(error)
        await self._process_op_err(error)


async def _stop_dialling(dialling: asyncio.Task[None] | None) -> None:
    if dialling is None or dialling is asyncio.current_task():
        return
    for _ in range(int(CLOSE_TIMEOUT_S / CANCEL_AGAIN_S)):
        if dialling.done():
            return
        dialling.cancel()
        await asyncio.wait([dialling], timeout=CANCEL_AGAIN_S)


async def connect_nats(
    url: str, credentials: Credentials | None = None, *,
    name: str = "millstream", on_lost: Callback | None = None, on_connected: Callback | None = None,
) -> HealingClient:  # fmt: skip
    """A connected nats-py client that reconnects for ever; close it with `close`. Raises Unreachable or AuthError."""
    options = login_options(credentials)
    for attempt in range(1, CONNECT_ATTEMPTS_MAX + 1):
        client = HealingClient()
        client.demand_tls(url, credentials)
        errors: list[Exception] = []

        async def _on_error(error: Exception, seen: list[Exception] = errors) -> None:
            seen.append(error)

        try:
            await client.connect(
                url, name=name, connect_timeout=CONNECT_TIMEOUT_S, reconnect_time_wait=0, max_reconnect_attempts=1,
                allow_reconnect=False, error_cb=_on_error, disconnected_cb=on_lost, reconnected_cb=on_connected,
                **options,
            )  # fmt: skip
            break
        except (nats.errors.Error, OSError, ValueError, TimeoutError) as error:
            await client.close()
            failure = translate_nats(error, where=url.rpartition("@")[2], reported=errors)
            # A refused login may show as a reset only, when the refusal is lost with the socket's buffer.
            is_reset = any(isinstance(e, ConnectionResetError) for e in (*errors, error))
            if attempt == CONNECT_ATTEMPTS_MAX or isinstance(failure, AuthError) or not is_reset:
                raise failure from error
    client.settle_inbox(credentials)
    # A person or a supervisor waits for the first connect; from here on the client heals by itself.
    client.heal(RECONNECT_WAIT_S)
    return client


def login_options(credentials: Credentials | None) -> dict[str, Any]:
    """The arguments of nats-py's ``connect``."""
    if credentials is None:
        return {}
    name = credentials.tls.server_name if credentials.tls is not None else None
    options: dict[str, Any] = {} if name is None else {"tls_hostname": name}
    if credentials.creds_file is not None:
        options["user_credentials"] = str(credentials.creds_file)
    elif credentials.user is not None:
        options |= {"user": credentials.user, "password": credentials.password}
    return options


def translate_nats(error: Exception, *, where: str, reported: Sequence[Exception] = ()) -> PlantError:
    """The PlantError of what nats-py raised; what it `reported` before often says more."""
    errors = [*reported, error]
    for each in errors:
        if isinstance(each, RefusedError):
            return each.fault
        if isinstance(each, PlantError):
            return each
        if (fault := tls_fault(each, where)) is not None:
            return fault
    texts = [str(e).lower().removeprefix("nats: ") or type(e).__name__ for e in errors]
    for each, text in zip(errors, texts, strict=True):
        if isinstance(each, nats.errors.AuthorizationError) or "authorization" in text or "authentication" in text:
            return AuthError(
                "the server refused the credentials", where=where, got=text,
                next_step="check user, password or creds file",
            )  # fmt: skip
        if isinstance(each, nats.errors.NoRespondersError):
            return Unreachable("nobody answers this request", where=where)
        if "maximum" in text and "exceeded" in text:
            return limit_reached(text, where)
    return Unreachable("no link to the server", where=where, got=texts[0])


def limit_reached(text: str, where: str) -> Unreachable:
    """A limit of the account has turned somebody away; `text` is the server's."""
    return Unreachable(
        "a limit of the account is reached", where=where, got=text.strip(" '"), code="MS-2619",
        next_step="end what is not needed, or have who runs the hub raise it (`millstream tenant limits`)",
    )  # fmt: skip


async def request_nats(
    client: Client,
    subject: str,
    payload: bytes = b"",
    *,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = 5.0,
) -> Msg:
    """One request, one answer. Raises Unreachable."""
    try:
        return await client.request(subject, payload, timeout=timeout_s, headers=dict(headers) if headers else None)
    except (nats.errors.Error, TimeoutError, OSError) as error:
        raise translate_nats(error, where=subject) from error


async def api_request(
    client: Client, subject: str, body: object | None = None, *, domain: str | None = None, timeout_s: float = 5.0
) -> dict[str, Any]:
    """One JetStream API request, e.g. ``STREAM.INFO.X``. Raises the PlantError that fits the answer, or Unreachable."""
    prefix = f"$JS.{domain}.API" if domain else "$JS.API"
    payload = b"" if body is None else msgspec.json.encode(body)
    message = await request_nats(client, f"{prefix}.{subject}", payload, timeout_s=timeout_s)
    return decode_answer(message.data, where=subject)


async def get_last(client: Client, stream: str, subject: str, *, domain: str | None = None) -> Msg | None:
    """The newest stored message of `subject` by direct get (headers ``Nats-Sequence``, ``Nats-Time-Stamp``), or
    None."""
    prefix = f"$JS.{domain}.API" if domain else "$JS.API"
    body = msgspec.json.encode({"last_by_subj": subject})
    message = await request_nats(client, f"{prefix}.DIRECT.GET.{stream}", body)
    status = (message.headers or {}).get("Status")
    if status == "404":
        return None
    if status is not None:
        raise Unreachable("direct get refused", where=stream, got=status)
    return message


async def add_micro_service(
    client: Client, name: str, version: str, endpoints: Mapping[str, tuple[str, Callable[[Request], Awaitable[None]]]],
    *, description: str = "",
) -> Service:  # fmt: skip
    """A NATS micro service (ADR-32); `endpoints` maps a name to (subject, handler). Stop it with `stop`."""
    service = await _add_service(client, name=name, version=version, description=description)
    for endpoint, (subject, handler) in endpoints.items():
        await service.add_endpoint(EndpointConfig(name=endpoint, subject=subject, handler=handler))
    return service
