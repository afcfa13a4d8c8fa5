"""An MTConnect agent with as many data items as are asked for, each with a new value once a second.

Sequences follow from the time: the observation of item `i` in second `s` is number ``s * items + i + 1``, so nothing is
kept, and a restarted agent goes on under another instance.
"""

from __future__ import annotations

import asyncio
import time
from urllib.parse import parse_qs, urlsplit

BUFFER_S = 13  # how far back the buffer reaches
SAMPLE = '<Position dataItemId="i{0}" sequence="{1}" timestamp="{2}">{3}.5</Position>'


class Agent:
    """Probe, current and sample over HTTP/1.1, one request a connection."""

    def __init__(self, items_count: int) -> None:
        self.requests_count = 0
        self._items_count = items_count
        self._start_s = int(time.time()) - BUFFER_S
        items = "".join(
            f'<DataItem id="i{i}" name="n{i}" category="SAMPLE" type="POSITION" units="MILLIMETER"/>'
            for i in range(items_count)
        )
        self._header = f'<Header instanceId="{self._start_s}"'
        self._probe = (
            f'<MTConnectDevices>{self._header}/><Devices><Device name="d" id="d"><DataItems>{items}</DataItems>'
            "</Device></Devices></MTConnectDevices>"
        ).encode()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request."""
        try:
            line = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode()
            self.requests_count += 1
            body = self._answer(line)
            head = f"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    def _answer(self, line: str) -> bytes:
        parts = urlsplit(line)
        query = {name: int(values[0]) for name, values in parse_qs(parts.query).items()}
        last = (int(time.time()) - self._start_s + 1) * self._items_count
        first = max(1, last - BUFFER_S * self._items_count + 1)
        if parts.path.endswith("/probe"):
            return self._probe
        if parts.path.endswith("/sample"):
            start = query["from"]
            stop = min(start + query["count"], last + 1)
        elif parts.path.endswith("/current"):
            start, stop = last - self._items_count + 1, last + 1
        else:
            return b"<MTConnectError><Errors><Error errorCode='ASSET_NOT_FOUND'>none</Error></Errors></MTConnectError>"
        found = "".join(self._observation(number) for number in range(start, stop))
        return (
            f'<MTConnectStreams>{self._header} firstSequence="{first}" lastSequence="{last}" nextSequence="{stop}"/>'
            f"<Streams><DeviceStream><ComponentStream><Samples>{found}</Samples></ComponentStream></DeviceStream>"
            "</Streams></MTConnectStreams>"
        ).encode()

    def _observation(self, number: int) -> str:
        second, item = divmod(number - 1, self._items_count)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._start_s + second))
        return SAMPLE.format(item, number, stamp, second)
