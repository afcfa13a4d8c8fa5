"""Devices as processes of their own: ``python -m bench.connectors._devices KIND TAGS PORT``. Port 0 is any free one.

The first line of output is ``{"port": ...}``; those that are asked print ``{"requests": ...}`` on SIGUSR1. All values
change with each second, so that none is a repetition.
"""

from __future__ import annotations

import asyncio
import json
import signal
import struct
import sys
import time
from typing import TypeAlias

from bench.connectors._bacnet import BacnetDevice
from bench.connectors._logix import Logix
from bench.connectors._mqtt import MqttBroker
from bench.connectors._mtconnect import Agent
from millstream.kernel import free_port

Device: TypeAlias = "BacnetDevice | ModbusDevice | Logix | MqttBroker | Agent"

REGISTERS_COUNT = 65_536
DB_BYTES = 40_000


class ModbusDevice:
    """Answers reads of holding registers, as fast as asyncio does."""

    def __init__(self) -> None:
        self.requests_count = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while True:
                transaction, _, _, unit, function, start, count = struct.unpack(
                    ">HHHBBHH", await reader.readexactly(12)
                )
                self.requests_count += 1
                if function != 3 or not 1 <= count <= 125:
                    writer.write(struct.pack(">HHHBBB", transaction, 0, 3, unit, function | 0x80, 1))
                    continue
                second = int(time.time())
                words = struct.pack(f">{count}H", *((start + i + second) & 0xFFFF for i in range(count)))
                writer.write(struct.pack(">HHHBBB", transaction, 0, len(words) + 3, unit, 3, len(words)) + words)
        except (OSError, EOFError):
            pass
        finally:
            writer.close()


async def _serve(kind: str, tags_count: int, port: int) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    device: Device
    server: asyncio.Server | asyncio.DatagramTransport
    if kind == "bacnet":
        server, device = await loop.create_datagram_endpoint(BacnetDevice, ("127.0.0.1", port))
        taken: tuple[str, int] = server.get_extra_info("sockname")
    else:
        streamed = _made(kind, tags_count)
        device, server = streamed, await asyncio.start_server(streamed.serve, "127.0.0.1", port)
        taken = server.sockets[0].getsockname()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, lambda: _say({"requests": device.requests_count}))
    _say({"port": taken[1]} if kind == "mqtt" else {"port": taken[1], "counts": 1})  # nobody asks a broker
    await stop.wait()
    server.close()


def _made(kind: str, tags_count: int) -> ModbusDevice | Logix | MqttBroker | Agent:
    if kind == "ethernet_ip":
        return Logix()
    if kind == "mqtt":
        return MqttBroker(tags_count)
    return Agent(tags_count) if kind == "mtconnect" else ModbusDevice()


def _s7(port: int) -> None:
    from snap7.server import Server
    from snap7.type import SrvArea

    port = port or free_port()
    server, data = Server(log=False), bytearray(DB_BYTES)
    server.register_area(SrvArea.DB, 1, data)
    server.start(port)
    _say({"port": port})
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
    while not stopped:
        struct.pack_into(
            f">{DB_BYTES // 2}H", data, 0, *((i + int(time.time())) & 0xFFFF for i in range(DB_BYTES // 2))
        )
        time.sleep(0.5)
    server.stop()


def _say(what: dict[str, int]) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "s7":
        _s7(int(sys.argv[3]))
    else:
        asyncio.run(_serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
