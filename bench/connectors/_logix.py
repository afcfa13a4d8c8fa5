"""A controller with as many DINT tags as are asked for (``T0``, ``T1`` ..), which all change with each second.

Register Session, Forward Open, and reads in a Multiple Service Packet over the connection (CIP volume 1; 1756-PM020).
"""

from __future__ import annotations

import asyncio
import struct
import time

REGISTER, UNCONNECTED, CONNECTED = 0x65, 0x6F, 0x70
READ, MULTIPLE, ATTRIBUTE = 0x4C, 0x0A, 0x0E
DINT = b"\xc4\0"


class Logix:
    """Answers as fast as asyncio does."""

    def __init__(self) -> None:
        self.requests_count = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while True:
                header = await reader.readexactly(24)
                body = await reader.readexactly(struct.unpack_from("<H", header, 2)[0])
                command = struct.unpack_from("<H", header)[0]
                session = 7 if command == REGISTER else struct.unpack_from("<I", header, 4)[0]
                reply = self._reply(command, body)
                if reply is None:
                    return
                writer.write(struct.pack("<HHII8sI", command, len(reply), session, 0, header[12:20], 0) + reply)
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    def _reply(self, command: int, body: bytes) -> bytes | None:
        if command == REGISTER:
            return body
        if command == UNCONNECTED:  # Forward Open and Forward Close
            answer = bytes([body[16] | 0x80, 0, 0, 0]) + bytes(26)
            return body[:12] + struct.pack("<HH", 0xB2, len(answer)) + answer
        if command != CONNECTED:
            return None
        self.requests_count += 1
        answer = _served(body[22:])
        return body[:8] + b"\xa1\0\4\0" + bytes(4) + struct.pack("<HH", 0xB1, len(answer) + 2) + body[20:22] + answer


def _served(request: bytes) -> bytes:
    service, words = request[0], request[1]
    data = request[2 + 2 * words :]
    head = bytes([service | 0x80, 0, 0, 0])
    if service == READ:
        number = int(request[5 : 4 + request[3]])  # behind 0x91, the length and the T
        return head + DINT + struct.pack("<I", (number + int(time.time())) & 0x7FFFFFFF)
    if service == ATTRIBUTE:
        return head + b"\x60\x31"
    if service != MULTIPLE:
        return bytes([service | 0x80, 0, 8, 0])
    count = struct.unpack_from("<H", data)[0]
    offsets = [*struct.unpack_from(f"<{count}H", data, 2), len(data)]
    replies = [_served(data[offsets[i] : offsets[i + 1]]) for i in range(count)]
    places, at = [], 2 + 2 * count
    for reply in replies:
        places.append(at)
        at += len(reply)
    return head + struct.pack(f"<H{count}H", count, *places) + b"".join(replies)
