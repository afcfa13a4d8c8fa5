"""A simulated scale that speaks lines of text over TCP: python -m millstream.sim.text_scale --port 0.

The first line on standard output is ``{"port": ..}``. Each weight is ``ST,GS,+  12.345kg`` between STX and ETX, as many
scales have it (US while it is not at rest). It comes by itself, or with --asked as an answer to ``SI``.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import time
from contextlib import suppress
from datetime import UTC, datetime

from millstream.sim._serving import ending, say
from millstream.sim._whims import DeviceClock, Freeze, add_clock, add_freeze, seconds

CONNECTIONS_MAX = 16
LINE_BYTES_MAX = 256
STX, ETX = b"\x02", b"\x03"


class Scale:
    """One scale, and whoever is connected with it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._clock = DeviceClock(options.clock_offset, options.clock_drift)
        self._freeze = Freeze(options.freeze_after)
        self._writers: set[asyncio.StreamWriter] = set()
        self._now_s = time.time()

    def frame(self) -> bytes:
        """What it weighs now."""
        if not self._freeze.is_on:
            self._now_s = time.time()
        grams = 12_000 + 500 * math.sin(self._now_s / 5)
        state = "US" if math.cos(self._now_s / 5) > 0.95 else "ST"
        text = f"{state},GS,+{grams / 1000:8.3f}kg"
        if self._options.with_time:
            text += f",{datetime.fromtimestamp(self._clock.now_ns() / 1e9, UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
        return STX + text.encode("ascii") + ETX

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One who listens; he may ask as well."""
        if len(self._writers) >= CONNECTIONS_MAX:
            writer.transport.abort()
            return
        self._writers.add(writer)
        try:
            while line := await reader.readline():
                if line.strip().upper() == b"SI":
                    writer.write(self.frame())
                    await writer.drain()
        except (OSError, ValueError):  # gone, or a line without an end
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def tell(self, end: asyncio.Event) -> None:
        """Send the weight to all who listen, until the end."""
        while not end.is_set():
            for writer in [] if self._options.asked else list(self._writers):
                if writer.transport.get_write_buffer_size() < LINE_BYTES_MAX:  # a slow one misses weights
                    writer.write(self.frame())
            with suppress(TimeoutError):
                async with asyncio.timeout(self._options.interval):
                    await end.wait()

    def drop_all(self) -> None:
        """Hang up on everybody."""
        for writer in list(self._writers):
            writer.transport.abort()


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="text_scale", description="A simulated scale that speaks lines of text.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    parser.add_argument("--interval", type=seconds, default=0.5, help="between two weights")
    parser.add_argument("--asked", action="store_true", help="say nothing but answers to SI")
    parser.add_argument("--with-time", action="store_true", help="its clock behind each weight")
    add_clock(parser)
    add_freeze(parser)
    return parser.parse_args(arguments)


async def run(options: argparse.Namespace) -> None:
    """Be the scale until a signal."""
    scale, end = Scale(options), ending()
    server = await asyncio.start_server(scale.connected, options.host, options.port, limit=LINE_BYTES_MAX)
    try:
        say(port=server.sockets[0].getsockname()[1])
        await scale.tell(end)
    finally:
        server.close()
        scale.drop_all()


def main(arguments: list[str] | None = None) -> None:
    """Entry of the process."""
    asyncio.run(run(_options(arguments)))


if __name__ == "__main__":
    main()
