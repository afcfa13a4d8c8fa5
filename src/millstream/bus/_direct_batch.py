"""Some messages of a stream at once, in order, by one direct get; it leaves no consumer behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime

import msgspec

from millstream.bus._jetstream import received
from millstream.bus._transport import Transport
from millstream.kernel import ProtocolViolation, Unreachable
from millstream.protocols.nats_wire import WireMessage, parse_headers
from millstream.sdk import Received

TIMEOUT_S = 5.0  # without another message


async def get_batch(
    connection: Transport, stream: str, subject_filter: str, *, seq: int = 0, since_ns: int = 0, count: int = 200,
    bytes_max: int = 256 * 1024,
) -> tuple[Sequence[Received], bool]:  # fmt: skip
    """Messages that fit, from `seq` on, or, without it, from what was stored at `since_ns` (UTC) on; and whether there
    are more. At least one when there is one, however large. Raises Unreachable."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[bool] = loop.create_future()
    found: list[Received] = []
    sign_s = loop.time()

    def take(messages: list[WireMessage]) -> None:
        nonlocal sign_s
        sign_s = loop.time()
        for message in messages:
            if ended.done():
                return
            headers = parse_headers(message[3])
            if headers.status == 204:
                ended.set_result(int(headers.get("Nats-Num-Pending", "0") or 0) > 0)
            elif headers.status == 404:
                ended.set_result(False)
            elif headers.status:
                got = f"{headers.status} {headers.description}".lower()
                ended.set_exception(Unreachable("direct get refused", where=stream, got=got))
            else:
                _keep(message, stream, found, ended)

    inbox = connection.gather(take)
    start: dict[str, object] = {"seq": seq} if seq else {"start_time": _rfc3339(since_ns)}
    body = {**start, "next_by_subj": subject_filter, "batch": count, "max_bytes": bytes_max}
    try:
        connection.publish(f"$JS.API.DIRECT.GET.{stream}", msgspec.json.encode(body), reply=inbox)
        while True:
            try:
                async with asyncio.timeout(max(0.01, sign_s + TIMEOUT_S - loop.time())):
                    return found, await asyncio.shield(ended)
            except TimeoutError as error:
                if loop.time() - sign_s >= TIMEOUT_S:
                    raise Unreachable("no answer in time", where=stream, expected=f"{TIMEOUT_S:g}s") from error
    finally:
        ended.cancel()
        connection.let_go(inbox)


async def get_all(
    connection: Transport, stream: str, subject_filter: str, *, count: int = 200, bytes_max: int = 256 * 1024
) -> AsyncGenerator[Received, None]:
    """Every message that fits, the oldest first, batch by batch (`count` and `bytes_max` are of one). Raises
    Unreachable."""
    seq, is_more = 1, True
    while is_more:
        found, is_more = await get_batch(connection, stream, subject_filter, seq=seq, count=count, bytes_max=bytes_max)
        for message in found:
            yield message
            seq = message.seq + 1


def _keep(message: WireMessage, stream: str, found: list[Received], ended: asyncio.Future[bool]) -> None:
    try:
        item = received(message, stream)
    except ProtocolViolation as error:
        ended.set_exception(error)
        return
    if item is not None:
        found.append(item)


def _rfc3339(time_ns: int) -> str:
    seconds, rest = divmod(time_ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
