"""A simulated Logix controller with a filler, by EtherNet/IP: python -m millstream.sim.logix_controller --port 0.

The first line on standard output is ``{"port": .., "addresses": {name: address}}``. It lists its tags and the templates
of its structures, answers List Identity by TCP and UDP, and has a clock; with ``--tags N`` there are so many DINTs
``T0``, ``T1`` .. that count seconds from different numbers. What is written stays, but for what moves by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import time
from typing import cast

from millstream.protocols.logix_device import LogixConnection, LogixDevice, answer_datagram
from millstream.protocols.logix_tags import BOOL, DINT, DWORD, LINT, REAL, STRING, TagTable, structure
from millstream.sim._serving import ending, moving, say
from millstream.sim._whims import DeviceClock, Freeze, add_clock, add_freeze, add_tags

MANY_COUNT_MAX = 15_000
CLIENTS_MAX = 64
CHUNK_BYTES = 65_536
BIND_ATTEMPTS_MAX = 10
STEP = structure("FillStep", 0x321, [("Valve", DINT, 0), ("Time_ms", DINT, 0), ("Done", BOOL, 0)])
RECIPE = structure(
    "Recipe", 0x322,
    [
        ("Number", DINT, 0), ("Name", STRING, 0), ("Target_ml", REAL, 0), ("Foams", BOOL, 0), ("Sugar", BOOL, 0),
        ("Steps", STEP, 3),
    ],
)  # fmt: skip
ADDRESSES = {
    "level": "Level",
    "bottles": "Bottles",
    "running": "Running",
    "speed_setpoint": "Speed_Setpoint",
    "temperatures": "Temperatures[0]{8}",
    "alarm": "Alarms[40]",
    "product": "Product",
    "target": "Recipe.Target_ml",
    "step": "Program:Main.Step",
    "clock": "Clock",
}


class Filler:
    """What the tags hold."""

    def __init__(self, clock: DeviceClock, freeze: Freeze, many_count: int = 0) -> None:
        self._clock, self._freeze = clock, freeze
        self._moved_s = 0
        self.tags = TagTable()
        add = self.tags.add
        self._level, self._bottles = add("Level", REAL), add("Bottles", DINT)
        self._clock_tag = add("Clock", LINT, is_read_only=True)
        self._temperatures = add("Temperatures", REAL, dimensions=(8,))
        self._step = add("Program:Main.Step", DINT)
        add("Running", BOOL, True)
        add("Speed_Setpoint", REAL, 120.0)
        add("Alarms", DWORD, [0, 1 << 8], dimensions=(2,))
        add("Product", STRING, "cider 0.5 l")
        add("Layers", DINT, list(range(12)), dimensions=(3, 4))
        add("Recipe", RECIPE, {
            "Number": 17, "Name": "cider", "Target_ml": 500.0, "Sugar": True,
            "Steps": [{"Valve": valve, "Time_ms": 400 * valve, "Done": valve == 1} for valve in (1, 2, 3)],
        })  # fmt: skip
        self._many = [add(f"T{number}", DINT) for number in range(many_count)]
        self._move(time.time())
        self.move()

    def move(self) -> None:
        """To now; not at all while the values stand still, but the clock goes on."""
        self._clock_tag.set(self._clock.now_ns() // 1000)
        if not self._freeze.is_on:
            self._move(time.time())

    def _move(self, now_s: float) -> None:
        second = int(now_s)
        self._level.set(50.0 + 40.0 * math.sin(now_s / 5))
        if second == self._moved_s:
            return
        self._moved_s = second
        self._bottles.set(second & 0x7FFFFFFF)
        self._step.set(second % 4)
        self._temperatures.set([70.0 + number + math.sin(now_s / 60 + number) for number in range(8)])
        for number, tag in enumerate(self._many):
            tag.set((second + number) & 0x7FFFFFFF)


class _Datagrams(asyncio.DatagramProtocol):
    """List Identity by UDP, which is how whole networks are asked."""

    def __init__(self, device: LogixDevice) -> None:
        self._device = device

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it for the answers."""
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer whoever asked."""
        if answer := answer_datagram(self._device, data):
            self._transport.sendto(answer, addr)


class ControllerServer:
    """Clients by TCP, at most so many at a time."""

    def __init__(self, device: LogixDevice) -> None:
        self.device = device
        self._clients: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client, until it goes."""
        task = asyncio.current_task()
        assert task is not None
        try:
            if len(self._clients) < CLIENTS_MAX:
                self._clients[task] = writer
                with contextlib.suppress(OSError):
                    await self._talk(reader, writer)
        finally:
            self._clients.pop(task, None)
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = LogixConnection(self.device)
        while not connection.is_over and (data := await reader.read(CHUNK_BYTES)):
            writer.write(connection.receive(data))
            await writer.drain()

    async def close(self) -> None:
        """All clients are cut off."""
        for writer in self._clients.values():
            writer.transport.abort()
        if self._clients:
            await asyncio.wait(list(self._clients))


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="logix_controller", description="A simulated Logix controller with a filler, by EtherNet/IP."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    parser.add_argument("--slot", type=int, default=0, choices=range(17), metavar="0..16", help="its slot in the rack")
    add_tags(parser, "DINTs", MANY_COUNT_MAX)
    add_clock(parser)
    add_freeze(parser)
    return parser.parse_args(arguments)


async def run(options: argparse.Namespace) -> None:
    """Be the controller until a signal. Raises OSError when the port is taken."""
    clock = DeviceClock(options.clock_offset, options.clock_drift)
    filler = Filler(clock, Freeze(options.freeze_after), options.tags)
    device = LogixDevice(filler.tags, lambda: clock.now_ns() // 1000, program_name="Filler", slot=options.slot)
    server, end = ControllerServer(device), ending()
    listener, datagrams = await _bound(server, options.host, options.port)
    try:
        say(port=listener.sockets[0].getsockname()[1], addresses=ADDRESSES)
        await moving(end, filler.move)
    finally:
        datagrams.close()
        listener.close()
        await server.close()


async def _bound(server: ControllerServer, host: str, port: int) -> tuple[asyncio.Server, asyncio.DatagramTransport]:
    """TCP and UDP on the same port; a free one may be free for TCP only, then it is another. Raises OSError."""
    loop = asyncio.get_running_loop()
    for attempt in range(1, BIND_ATTEMPTS_MAX + 1):
        listener = await asyncio.start_server(server.serve, host, port)
        address = listener.sockets[0].getsockname()[:2]
        try:
            datagrams, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(server.device), local_addr=address)
        except OSError:
            listener.close()
            if port or attempt == BIND_ATTEMPTS_MAX:
                raise
            continue
        return listener, datagrams
    raise AssertionError


def main(arguments: list[str] | None = None) -> None:
    """Entry of the process."""
    asyncio.run(run(_options(arguments)))


if __name__ == "__main__":
    main()
