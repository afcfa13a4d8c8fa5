"""A simulated Modbus TCP device that counts what it answered: python -m millstream.sim.modbus_plant --port 0.

The first line on standard output is ``{"port": .., "addresses": {name: address}}``. Holding registers 0 and 1 are a
heartbeat (uint32): each answered read that covers both carries the next number, so polls yield 1, 2, 3 .. N and a lost
or repeated one is visible. Before SIGUSR2, when it was started with --paused, a read shows 0; after SIGUSR1 it shows N;
neither counts, and both repeat: a consumer compares distinct values above 0. A number is given out when its answer is
handed to the client's socket; a client that dies right then never stores it.

SIGUSR1 writes the truth, ``{"produced": {"heartbeat": N}, "final": true}``, whole and synced; SIGTERM ends the process
(without SIGUSR1 before it, "final" is false). From register 10 on lie values of a boiler that follow the time, from 30
on the device's clock in milliseconds since 1970 (uint64), and with ``--tags N`` so many registers from 1000 on, which
count seconds from different numbers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import signal
import struct
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from millstream.sim._whims import DeviceClock, Freeze, add_clock, add_freeze

T = TypeVar("T")
CLIENTS_COUNT_MAX = 16
EXCEPTION = 0x80
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE = 1, 2, 3
SETPOINTS = range(100, 200)
MANY_FIRST = 1000  # where --tags begins
MANY_COUNT_MAX = 60_000
ADDRESSES = {
    "heartbeat": "holding:0:uint32",
    "steam_temperature": "holding:10:float32",
    "steam_pressure": "holding:12:float32",
    "energy_total": "holding:14:uint32",
    "water_flow": "holding:16:int16",
    "status": "holding:17:uint16",
    "name": "holding:20:string(16)",
    "clock": "holding:30:uint64",
    "setpoint": "holding:100:float32",
    "pump_running": "coil:0",
    "door_closed": "discrete:0",
}


class Refused(Exception):
    """A request gets an exception code for an answer."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exception {code}")
        self.code = code


@dataclass(slots=True)
class ModbusPlant:
    """The four tables, and a server for them. An address that is in no table is refused with exception 2."""

    truth_file: Path | None = None
    is_counting: bool = True
    registers: dict[int, int] = field(default_factory=dict)
    inputs: dict[int, int] = field(default_factory=dict)
    coils: dict[int, bool] = field(default_factory=dict)
    discretes: dict[int, bool] = field(default_factory=dict)
    heartbeat: int = 0
    poison: bytes | None = None
    """What the next request gets for an answer, once (function code first)."""
    requests_count: int = 0
    many_count: int = 0
    freeze: Freeze = field(default_factory=Freeze)
    clock: DeviceClock = field(default_factory=DeviceClock)
    _moved_s: int = -1
    clients: set[asyncio.StreamWriter] = field(default_factory=set)
    handlers: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.registers = {
            0: 0,
            1: 0,
            **dict.fromkeys((*range(10, 28), *range(30, 34), *SETPOINTS), 0),
            **self.registers,
        }
        self.inputs = {**dict.fromkeys(range(10, 18), 0), **self.inputs}
        self.coils = {**{number: number == 0 for number in range(16)}, **self.coils}
        self.discretes = {**{number: number % 3 == 0 for number in range(16)}, **self.discretes}
        self.registers.update(dict.fromkeys(range(MANY_FIRST, MANY_FIRST + self.many_count), 0))
        self._put(20, b"boiler 3".ljust(16, b"\0"))
        self.move(time.monotonic())

    def _put(self, address: int, raw: bytes) -> None:
        self.registers.update(enumerate(struct.unpack(f">{len(raw) // 2}H", raw), address))

    def move(self, now_s: float) -> None:
        """The boiler at `now_s`: slow waves, and energy that only grows."""
        temperature, pressure = 178.0 + 4.0 * math.sin(now_s / 60), 9.2 + 0.4 * math.sin(now_s / 37)
        flow, status = int(120 + 15 * math.sin(now_s / 11)), 0b1001 if pressure > 9.5 else 0b0001
        self._put(10, struct.pack(">ffIhH", temperature, pressure, int(now_s * 250) & 0xFFFFFFFF, flow, status))
        self._put(30, struct.pack(">Q", self.clock.now_ns() // 1_000_000))
        self.inputs.update({number: self.registers[number] for number in range(10, 18)})
        second = int(now_s)
        if self.many_count and second != self._moved_s:  # a second each: thousands are not for each request
            self._moved_s = second
            span = range(MANY_FIRST, MANY_FIRST + self.many_count)
            self.registers.update({number: (second + number) & 0xFFFF for number in span})

    def answer(self, pdu: bytes) -> bytes:
        """The answer to one request (function code first); reading the heartbeat counts it."""
        function = pdu[0]
        try:
            if function in (1, 2, 3, 4):
                return self._read(function, *_numbers(pdu, 5))
            if function in (5, 6, 15, 16, 22):
                return self._write(function, pdu)
            raise Refused(ILLEGAL_FUNCTION)
        except Refused as refused:
            return bytes((function | EXCEPTION, refused.code))

    def _read(self, function: int, start: int, count: int) -> bytes:
        if not 1 <= count <= (2000 if function < 3 else 125):
            raise Refused(ILLEGAL_VALUE)
        span = range(start, start + count)
        if function < 3:
            bits = _take(self.coils if function == 1 else self.discretes, span)
            raw = sum(bit << place for place, bit in enumerate(bits)).to_bytes((count + 7) // 8, "little")
        else:
            if not self.freeze.is_on:
                self.move(time.monotonic())
            words = _take(self.registers if function == 3 else self.inputs, span)
            if self.is_counting and not self.freeze.is_on and function == 3 and start == 0 and count > 1:
                self.heartbeat += 1
                words[:2] = struct.unpack(">HH", struct.pack(">I", self.heartbeat))
                self.registers.update({0: words[0], 1: words[1]})
            raw = struct.pack(f">{count}H", *words)
        return bytes((function, len(raw))) + raw

    def _write(self, function: int, pdu: bytes) -> bytes:
        address, value = _numbers(pdu, 5)
        if function == 5:
            _take(self.coils, range(address, address + 1))
            self.coils[address] = value == 0xFF00
        elif function == 15:
            _take(self.coils, range(address, address + value))
            bits = int.from_bytes(pdu[6:], "little")
            self.coils.update({address + place: bool(bits >> place & 1) for place in range(value)})
        elif function == 6:
            self._set(address, pdu[3:5])
        elif function == 16:
            if len(pdu) != 6 + 2 * value:
                raise Refused(ILLEGAL_VALUE)
            self._set(address, pdu[6:])
        else:
            and_mask, or_mask = struct.unpack(">HH", pdu[3:7])
            known = _take(self.registers, range(address, address + 1))[0]
            self._set(address, ((known & and_mask) | (or_mask & ~and_mask & 0xFFFF)).to_bytes(2, "big"))
            return pdu
        return pdu[:5]

    def _set(self, address: int, raw: bytes) -> None:
        span = range(address, address + len(raw) // 2)
        _take(self.registers, span)
        if span.start < SETPOINTS.start:
            raise Refused(ILLEGAL_ADDRESS)
        self._put(address, raw)

    async def serve_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: answer until it goes, or breaks the framing."""
        task = asyncio.current_task()
        if len(self.clients) >= CLIENTS_COUNT_MAX or task is None:
            writer.close()
            return
        self.handlers.add(task)
        task.add_done_callback(self.handlers.discard)
        self.clients.add(writer)
        try:
            while True:
                header = await reader.readexactly(7)
                transaction, protocol, length, unit = struct.unpack(">HHHB", header)
                if protocol or not 2 <= length <= 254:
                    return
                pdu = await reader.readexactly(length - 1)
                if writer.is_closing():
                    return
                self.requests_count += 1
                answer, self.poison = self.poison or self.answer(pdu), None
                writer.write(struct.pack(">HHHB", transaction, 0, len(answer) + 1, unit) + answer)
                await writer.drain()
        except (OSError, EOFError):
            pass  # the client is gone
        finally:
            self.clients.discard(writer)
            writer.close()

    async def drop_clients(self) -> None:
        """Close every connection and wait for their ends."""
        for writer in list(self.clients):
            writer.transport.abort()
        handlers = list(self.handlers)
        for handler in handlers:
            handler.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)

    def write_truth(self, *, is_final: bool) -> None:
        """What was produced, whole or not at all, synced."""
        if self.truth_file is None:
            return
        draft = self.truth_file.with_name(self.truth_file.name + ".part")
        with draft.open("w", encoding="utf-8") as stream:
            json.dump({"produced": {"heartbeat": self.heartbeat}, "final": is_final}, stream)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(self.truth_file)

    def stop_counting(self) -> None:
        """Freeze the heartbeat and write the final truth."""
        self.is_counting = False
        self.write_truth(is_final=True)


def _numbers(pdu: bytes, length: int) -> tuple[int, int]:
    if len(pdu) < length:
        raise Refused(ILLEGAL_VALUE)
    first, second = struct.unpack(">HH", pdu[1:5])
    return first, second


def _take(table: dict[int, T], span: range) -> list[T]:
    try:
        return [table[number] for number in span]
    except KeyError:
        raise Refused(ILLEGAL_ADDRESS) from None


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A simulated Modbus TCP device that counts what it answered.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    parser.add_argument("--truth", type=Path, help="where to write what was produced")
    parser.add_argument("--paused", action="store_true", help="the heartbeat stays 0 before SIGUSR2")
    parser.add_argument("--tags", type=int, default=0, help=f"so many registers more, from {MANY_FIRST} on")
    add_freeze(parser)
    add_clock(parser)
    return parser.parse_args(arguments)


async def run(options: argparse.Namespace) -> None:
    """Serve until SIGTERM."""
    many_count = max(0, min(options.tags, MANY_COUNT_MAX))
    plant = ModbusPlant(
        options.truth, is_counting=not options.paused, many_count=many_count, freeze=Freeze(options.freeze_after),
        clock=DeviceClock(options.clock_offset, options.clock_drift),
    )  # fmt: skip
    stopping, ending = asyncio.Event(), asyncio.Event()

    def start() -> None:
        plant.is_counting = not stopping.is_set()

    def stop() -> None:
        stopping.set()
        plant.stop_counting()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR2, start)
    loop.add_signal_handler(signal.SIGUSR1, stop)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    server = await asyncio.start_server(plant.serve_client, options.host, options.port)
    sys.stdout.write(json.dumps({"port": server.sockets[0].getsockname()[1], "addresses": ADDRESSES}) + "\n")
    sys.stdout.flush()
    try:
        await ending.wait()
    finally:
        server.close()
        if not stopping.is_set():
            plant.write_truth(is_final=False)
        await plant.drop_clients()


def main(arguments: list[str] | None = None) -> None:
    """Entry of the process."""
    asyncio.run(run(_options(arguments)))


if __name__ == "__main__":
    main()
