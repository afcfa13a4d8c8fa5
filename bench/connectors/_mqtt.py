"""A broker with as many topics as are asked for (``t/0``, ``t/1`` ..), each published once a second with QoS 1.

It is one process, so that its death is the broker's; it keeps a window of unacknowledged messages as brokers do
(MQTT 3.1.1, 3.1 to 3.12).
"""

from __future__ import annotations

import asyncio
import struct
import time
from itertools import count

WINDOW = 1000  # unacknowledged: the most that a session tells apart after a loss; few brokers allow that many
CONNECT, PUBACK, SUBSCRIBE, PINGREQ, DISCONNECT = 1, 4, 8, 12, 14


class MqttBroker:
    """One client at a time is what it is made for."""

    def __init__(self, topics_count: int) -> None:
        self.requests_count = 0
        self._topics = [f"t/{i}".encode() for i in range(topics_count)]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        room = asyncio.Semaphore(WINDOW)
        publishing: asyncio.Task[None] | None = None
        try:
            while True:
                kind, body = await _packet(reader)
                if kind == CONNECT:
                    writer.write(b"\x20\x02\x00\x00")
                elif kind == PUBACK:
                    room.release()
                elif kind == SUBSCRIBE:
                    writer.write(b"\x90" + _length(2 + _filters(body)) + body[:2] + b"\1" * _filters(body))
                    publishing = publishing or asyncio.create_task(self._publish(writer, room))
                elif kind == PINGREQ:
                    writer.write(b"\xd0\x00")
                elif kind == DISCONNECT:
                    return
        except (OSError, EOFError):
            pass
        finally:
            if publishing is not None:
                publishing.cancel()
            writer.close()

    async def _publish(self, writer: asyncio.StreamWriter, room: asyncio.Semaphore) -> None:
        due_s = time.monotonic()
        mids = count(1)
        for second in count():
            payload = str(second + int(time.time()) % 100_000).encode()
            for topic in self._topics:
                await room.acquire()
                mid = next(mids) % 65_535 + 1
                body = struct.pack(">H", len(topic)) + topic + struct.pack(">H", mid) + payload
                writer.write(b"\x32" + _length(len(body)) + body)
            await writer.drain()
            due_s = max(due_s + 1.0, time.monotonic() - 1.0)
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))


async def _packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    first = (await reader.readexactly(1))[0]
    length, shift = 0, 0
    while True:
        digit = (await reader.readexactly(1))[0]
        length |= (digit & 0x7F) << shift
        shift += 7
        if digit < 0x80:
            return first >> 4, await reader.readexactly(length)


def _filters(body: bytes) -> int:
    """How many filters a SUBSCRIBE has."""
    at, found = 2, 0
    while at < len(body):
        at += 3 + int.from_bytes(body[at : at + 2], "big")
        found += 1
    return found


def _length(length: int) -> bytes:
    found = bytearray()
    while True:
        length, digit = divmod(length, 128)
        found.append(digit | (0x80 if length else 0))
        if not length:
            return bytes(found)
