"""Devices as processes of their own: ``python -m bench.connectors._devices modbus|s7 PORT``. Port 0 is any free one.

The first line of output is ``{"port": ...}``; the Modbus device prints ``{"requests": ...}`` on SIGUSR1. Its registers
all change with each second, so that no value is a repetition.
"""

from __future__ import annotations

import asyncio
import json
import signal
import struct
import sys
import time

from millstream.kernel import free_port

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


async def _modbus(port: int) -> None:
    device, stop, loop = ModbusDevice(), asyncio.Event(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, lambda: _say({"requests": device.requests_count}))
    server = await asyncio.start_server(device.serve, "127.0.0.1", port)
    _say({"port": server.sockets[0].getsockname()[1], "counts": 1})
    await stop.wait()
    server.close()


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
    if sys.argv[1] == "modbus":
        asyncio.run(_modbus(int(sys.argv[2])))
    else:
        _s7(int(sys.argv[2]))
