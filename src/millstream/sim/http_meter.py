"""A simulated energy meter with JSON over HTTP: python -m millstream.sim.http_meter --port 0.

The first line on standard output is ``{"url": .., "addresses": [..]}``. GET of the URL with ``status`` answers
``{"time": <ISO>, "power": <kW>, "voltage": [V, V, V], "total": <kWh>, "values": [..]}``; `values` are those of --tags.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from millstream.sim._serving import ending, say
from millstream.sim._whims import DeviceClock, Freeze, add_clock, add_freeze, add_tags

PATH = "/status"
TAGS_MAX = 50_000
ADDRESSES = ["status#$.power", "status#$.voltage", "status#$.total"]
IDLE_S = 30.0  # a connection that asks nothing for so long is closed


class Meter:
    """What it has measured. Threads of its connections read it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._clock = DeviceClock(options.clock_offset, options.clock_drift)
        self._freeze = Freeze(options.freeze_after)
        self._count = options.tags
        self._begun_s = self._now_s = time.time()

    def reading(self) -> dict[str, Any]:
        """All that it says."""
        if not self._freeze.is_on:
            self._now_s = time.time()
        power = 12.0 + 3.0 * math.sin(self._now_s / 60)
        return {
            "time": datetime.fromtimestamp(self._clock.now_ns() / 1e9, UTC).isoformat(),
            "power": round(power, 3),
            "voltage": [round(230 + 2 * math.sin(self._now_s / 20 + phase), 1) for phase in range(3)],
            "total": round(1000 + 12 * (self._now_s - self._begun_s) / 3600, 6),
            "values": [round(self._now_s + number, 1) for number in range(self._count)],
        }


def handler_of(meter: Meter) -> type[BaseHTTPRequestHandler]:
    """Answers for one meter."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = IDLE_S

        def do_GET(self) -> None:
            """The reading, or not found."""
            is_known = self.path == PATH
            body = json.dumps(meter.reading() if is_known else {"error": "not found"}).encode()
            self.send_response(200 if is_known else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet: standard error is for what is wrong."""

    return Handler


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="http_meter", description="A simulated energy meter with JSON over HTTP.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    add_tags(parser, "values", TAGS_MAX)
    add_clock(parser)
    add_freeze(parser)
    return parser.parse_args(arguments)


async def run(options: argparse.Namespace) -> None:
    """Serve until a signal."""
    end = ending()
    server = ThreadingHTTPServer((options.host, options.port), handler_of(Meter(options)))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="http meter")
    thread.start()
    try:
        say(url=f"http://{options.host}:{server.server_port}/", addresses=ADDRESSES)
        await end.wait()
    finally:
        server.shutdown()
        thread.join()
        server.socket.close()


def main(arguments: list[str] | None = None) -> None:
    """Entry of the process."""
    asyncio.run(run(_options(arguments)))


if __name__ == "__main__":
    main()
