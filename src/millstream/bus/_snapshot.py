"""Streams as files: JetStream's own snapshots, with consumers, taken from a running server and given to another.

The bytes are nats-server's and are not looked into. A snapshot is one moment of one stream; between streams there is no
common moment, so the order in which they are taken matters to who takes them.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from millstream.bus._jetstream import StreamApi, decode_answer
from millstream.bus._streams import for_replicas
from millstream.bus._transport import NobodyAnswers, Transport
from millstream.kernel import PlantError, Unreachable
from millstream.protocols.nats_wire import WireMessage, parse_headers

CHUNK_BYTES = 128 * 1024
CHUNKS_WAITING_MAX = 1024  # the server sends 8 MB ahead of what is acknowledged
SILENCE_S_MAX = 30.0
KNOWN_S_MAX, KNOWN_POLL_S = 10.0, 0.05  # until each box of a cluster knows who takes a restore
START_S_MAX = 60.0  # a snapshot begins when the stream's blocks are written


@dataclass(frozen=True, slots=True)
class SnapshotHead:
    """What a restore needs beside the bytes: the stream's configuration and state at that moment."""

    config: Mapping[str, Any]
    state: Mapping[str, Any]


async def take_snapshot(connection: Transport, stream: str, head: list[SnapshotHead]) -> AsyncGenerator[bytes, None]:
    """The chunks of a snapshot; `head` gets its one element before the first of them. Raises PlantError when it is not
    whole."""
    arrived: asyncio.Queue[WireMessage] = asyncio.Queue(CHUNKS_WAITING_MAX)
    inbox = f"{connection.inbox}.s.{secrets.token_hex(6)}"

    def take(messages: list[WireMessage]) -> None:
        for message in messages:
            arrived.put_nowait(message)

    sid = connection.subscribe(inbox, take)
    try:
        body = {"deliver_subject": inbox, "chunk_size": CHUNK_BYTES, "no_consumers": False}
        raw = await StreamApi(connection).request(f"STREAM.SNAPSHOT.{stream}", body, timeout_s=START_S_MAX)
        head.append(SnapshotHead(raw["config"], raw["state"]))
        while True:
            try:
                async with asyncio.timeout(SILENCE_S_MAX):
                    message = await arrived.get()
            except TimeoutError as error:
                raise Unreachable("a snapshot stopped before its end", where=stream) from error
            if message[3] is not None and (status := parse_headers(message[3])).status >= 400:
                raise Unreachable("a snapshot was broken off", where=stream, got=status.description.lower())
            if not message[4]:
                return
            yield bytes(message[4])
            if message[2]:
                connection.publish(bytes(message[2]).decode("ascii"), b"")
    finally:
        connection.unsubscribe(sid)


async def give_snapshot(
    connection: Transport, stream: str, head: SnapshotHead, chunks: AsyncIterator[bytes]
) -> Mapping[str, Any]:
    """Make the stream from a snapshot; what the server says of it then. Raises PlantError; then there is no such
    stream."""
    api = StreamApi(connection)
    config = for_replicas({**head.config, "num_replicas": 1}, max(connection.replicas, 1))
    raw = await api.request(f"STREAM.RESTORE.{stream}", {"config": config, "state": head.state}, timeout_s=START_S_MAX)
    subject = str(raw["deliver_subject"])
    async for chunk in chunks:
        answer = await _give(connection, subject, chunk, timeout_s=SILENCE_S_MAX)
        if answer[4]:  # an error instead of the empty acknowledgement
            decode_answer(answer[4], where=stream)
    answer = await _give(connection, subject, b"", timeout_s=START_S_MAX)
    restored = decode_answer(answer[4], where=stream)
    if not isinstance(restored.get("state"), dict):
        raise PlantError("a stream was not restored", where=stream, got=str(restored)[:200], code="MS-2623")
    return msgspec.to_builtins(restored["state"])  # type: ignore[no-any-return]


async def _give(connection: Transport, subject: str, chunk: bytes, *, timeout_s: float) -> WireMessage:
    """The answer to one part. Of three boxes the one that is asked may not have heard who takes the parts:
    then nobody got this one, and it is given again. Raises Unreachable."""
    until_s = asyncio.get_running_loop().time() + KNOWN_S_MAX
    while True:
        try:
            return await connection.request(subject, chunk, timeout_s=timeout_s)
        except NobodyAnswers:
            if asyncio.get_running_loop().time() >= until_s:
                raise
        await asyncio.sleep(KNOWN_POLL_S)
