"""nats-server makes its MQTT streams when the first client connects; this is that client (MQTT 3.1.1, 3.1 and 3.2)."""

from __future__ import annotations

import asyncio

from millstream.bus._streams import MQTT_MESSAGES, JetStreamApi
from millstream.kernel import AuthError, Unreachable
from millstream.sdk import TlsFiles, client_context, tls_fault

WAKE_TIMEOUT_S = 10.0
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


async def bound_mqtt(api: JetStreamApi, max_bytes: int) -> None:
    """Bound ``$MQTT_msgs``, which the server makes without any bound: when the stream behind it is full, devices must
    be held back (no PUBACK) instead of the disk filled. Raises PlantError."""
    config = (await api.request(f"STREAM.INFO.{MQTT_MESSAGES}"))["config"]
    if config.get("max_bytes") != max_bytes or config.get("discard") != "new":
        await api.request(f"STREAM.UPDATE.{MQTT_MESSAGES}", {**config, "max_bytes": max_bytes, "discard": "new"})
