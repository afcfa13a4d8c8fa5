"""nats-server makes its MQTT streams when the first client connects; this is that client (MQTT 3.1.1, 3.1 and 3.2)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from millstream.bus._patience import patiently
from millstream.bus._streams import MQTT_MESSAGES, JetStreamApi, StreamConfig, StreamInfo, ensure_stream
from millstream.kernel import AuthError, Clock, PlantError, Unreachable
from millstream.sdk import TlsFiles, client_context, tls_fault

WAKE_TIMEOUT_S = 10.0
TAKEN_TIMEOUT_S = 120.0  # a large store is scanned first
TAKEN_LOOK_S = 1.0
_CONNECT, _CONNACK, _DISCONNECT = 0x10, 0x20, b"\xe0\x00"
_REFUSED_CREDENTIALS = (4, 5)


async def wake_mqtt(host: str, port: int, user: str, password: str, *, tls: TlsFiles | None = None) -> None:
    """Connect once and leave, so that ``$MQTT_msgs`` exists. Raises Unreachable or AuthError."""
    context = client_context(tls) if tls is not None else None
    name = (tls.server_name or host) if tls is not None else None
    where = f"mqtt {host}:{port}"
    fields = (b"MQTT", user.encode(), password.encode())
    protocol, login = _text(fields[0]), _text(fields[1]) + _text(fields[2])
    body = (
        protocol + b"\x04\xc2\x00\x1e" + _text(b"millstream-setup") + login
    )  # level 4; user, password, clean session; 30 s
    try:
        async with asyncio.timeout(WAKE_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=name)
            try:
                writer.write(bytes([_CONNECT]) + _length(body) + body)
                answer = await reader.readexactly(4)
                writer.write(_DISCONNECT)
                await writer.drain()
            finally:
                writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
        if (fault := tls_fault(error, where)) is not None:
            raise fault from error
        raise Unreachable(
            "the MQTT listener does not answer", where=where, got=str(error) or type(error).__name__
        ) from error
    if answer[0] != _CONNACK or answer[3] in _REFUSED_CREDENTIALS:
        raise AuthError("the MQTT listener refuses the node's own client", where=where, got=answer.hex())
    if answer[3] != 0:
        raise Unreachable("the MQTT listener is not ready", where=where, got=f"return code {answer[3]}")


def _text(raw: bytes) -> bytes:
    return len(raw).to_bytes(2, "big") + raw


def _length(body: bytes) -> bytes:
    """The remaining length of a packet (2.2.3): seven bits a byte, the lowest first; a token needs more than one."""
    rest, found = len(body), bytearray()
    while True:
        rest, low = divmod(rest, 128)
        found.append(low | (128 if rest else 0))
        if not rest:
            return bytes(found)


async def make_mqtt_stream(
    api: JetStreamApi, config: StreamConfig, wake: Callable[[], Awaitable[None]], clock: Clock, *, patience_s: float
) -> StreamInfo:  # fmt: skip
    """Make the stream of what devices publish, and return once it takes that; `wake` is `wake_mqtt`, asked again for
    `patience_s`: of several boxes the listener takes nobody before they have a majority. Raises PlantError."""
    await patiently(wake, patience_s=patience_s, where="the MQTT listener")
    info = await ensure_stream(api, config)
    async with asyncio.timeout(TAKEN_TIMEOUT_S):
        while not await _is_taken(api):
            await clock.sleep(0.05)
    await bound_mqtt(api, int(config["max_bytes"]))
    return info


async def mqtt_taken(api: JetStreamApi, clock: Clock) -> None:
    """Return once a stream takes what devices publish: at a box of several, when the one that works has made it."""
    while True:
        with contextlib.suppress(PlantError):  # no majority just now, or no device's stream yet
            if await _is_taken(api):
                return
        await clock.sleep(TAKEN_LOOK_S)


async def _is_taken(api: JetStreamApi) -> bool:
    return bool((await api.request(f"CONSUMER.NAMES.{MQTT_MESSAGES}")).get("consumers"))


async def bound_mqtt(api: JetStreamApi, max_bytes: int) -> None:
    """Bound ``$MQTT_msgs``, which the server makes without any bound: when the stream behind it is full, devices must
    be held back (no PUBACK) instead of the disk filled. Raises PlantError."""
    config = (await api.request(f"STREAM.INFO.{MQTT_MESSAGES}"))["config"]
    if config.get("max_bytes") != max_bytes or config.get("discard") != "new":
        await api.request(f"STREAM.UPDATE.{MQTT_MESSAGES}", {**config, "max_bytes": max_bytes, "discard": "new"})
