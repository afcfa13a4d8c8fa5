"""A simulated S7 PLC with a press: python -m millstream.sim.s7_plc --port 0.

The first line on standard output is ``{"port": .., "addresses": {name: address}}``. DB1 holds the press and the PLC's
clock; with ``--tags N`` DB2 holds so many INTs, which count seconds from different numbers. `setpoint` stays as it is
written.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import struct
import time
from datetime import UTC, datetime

from snap7.server import Server
from snap7.type import SrvArea

from millstream.kernel import free_port
from millstream.sim._serving import ending, moving, say
from millstream.sim._whims import DeviceClock, Freeze, add_clock, add_freeze, add_tags

PRESS_BYTES = 48
MANY_COUNT_MAX = 30_000
ADDRESSES = {
    "force": "DB1.DBD0:REAL",
    "strokes": "DB1.DBD4:DINT",
    "running": "DB1.DBX8.0",
    "order": "DB1.DBB10:STRING[20]",
    "clock": "DB1.DBB32:DTL",
    "setpoint": "DB1.DBD44:REAL",
}


class Press:
    """What the two blocks hold."""

    def __init__(self, clock: DeviceClock, freeze: Freeze, many_count: int = 0) -> None:
        self._clock = clock
        self._freeze = freeze
        self._many_count = many_count
        self.press = bytearray(PRESS_BYTES)
        self.many = bytearray(2 * max(1, many_count))
        order = b"order 17"
        struct.pack_into(f">BB{len(order)}s", self.press, 10, 20, len(order), order)
        struct.pack_into(">f", self.press, 44, 250.0)
        self._set(time.time())
        self.move()

    def move(self) -> None:
        """To now; not at all while the values stand still, but the clock goes on."""
        self._set_clock()
        if not self._freeze.is_on:
            self._set(time.time())

    def _set(self, now_s: float) -> None:
        struct.pack_into(">fi", self.press, 0, 180.0 + 40.0 * math.sin(now_s / 3), int(now_s) & 0x7FFFFFFF)
        self.press[8] = 1
        if self._many_count:
            values = ((int(now_s) + number) % 0x7FFF for number in range(self._many_count))
            struct.pack_into(f">{self._many_count}h", self.many, 0, *values)

    def _set_clock(self) -> None:
        now_ns = self._clock.now_ns()
        now = datetime.fromtimestamp(now_ns // 1_000_000_000, UTC)
        day = now.isoweekday() % 7 + 1  # DTL: Sunday is 1
        struct.pack_into(
            ">HBBBBBBI", self.press, 32, now.year, now.month, now.day, day, now.hour, now.minute, now.second,
            now_ns % 1_000_000_000,
        )  # fmt: skip


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="s7_plc", description="A simulated S7 PLC with a press.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    add_tags(parser, "INTs in DB2", MANY_COUNT_MAX)
    add_clock(parser)
    add_freeze(parser)
    return parser.parse_args(arguments)


async def run(options: argparse.Namespace) -> None:
    """Be the PLC until a signal."""
    clock = DeviceClock(options.clock_offset, options.clock_drift)
    press = Press(clock, Freeze(options.freeze_after), options.tags)
    server, end = Server(log=False), ending()
    server.register_area(SrvArea.DB, 1, press.press)
    server.register_area(SrvArea.DB, 2, press.many)
    port = options.port or free_port()
    server.start_to(options.host, port)
    try:
        say(port=port, addresses=ADDRESSES)
        await moving(end, press.move)
    finally:
        await asyncio.to_thread(server.stop)


def main(arguments: list[str] | None = None) -> None:
    """Entry of the process."""
    asyncio.run(run(_options(arguments)))


if __name__ == "__main__":
    main()
