"""Simulated light barriers: each part of each machine is one MQTT message (3.1.1, QoS 1) with its number.

``barrier/<machine>`` carries ``{"n": 17, "grams": 12.31, "time_ns": ...}``. What was produced, sent and acknowledged
stands in a synced ledger (`producer_ledger`). What is not acknowledged is sent again, in order, over the next link.

Prints ``{"machines": [...]}`` when it runs. SIGUSR2 starts producing (with --paused), SIGUSR1 stops it, waits for the
last PUBACK and ends the ledger, SIGTERM ends the process. Standard input takes lines of JSON:
``{"do": "duplicate", "count": 20}`` sends the newest acknowledged parts once more, as a device does that lost its
memory of them; ``{"do": "clock", "offset_s": -30}`` sets the clock of all machines wrong from now on.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from millstream.sim._mqtt_out import MqttOut
from millstream.sim._whims import DeviceClock, Freeze, add_clock, add_freeze
from millstream.sim.producer_ledger import Entry, LedgerWriter, Part

WINDOW_PARTS = 64  # unacknowledged ones; then the machines stand still
RECENT_PARTS = 200  # of those that were acknowledged, for a repetition
RETRY_S = 0.3
SYNC_S = 0.05  # acknowledgements reach the disk at the latest after that


@dataclass(slots=True)
class Barriers:
    """The machines, what they have made, and what is under way."""

    options: argparse.Namespace
    ledger: LedgerWriter
    made: dict[str, int] = field(default_factory=dict)
    waiting: dict[tuple[str, int], Part] = field(default_factory=dict)
    recent: deque[tuple[str, Part]] = field(default_factory=lambda: deque(maxlen=RECENT_PARTS))
    clock: DeviceClock = field(default_factory=DeviceClock)
    offset_ns: int = 0
    link: MqttOut | None = None
    running: asyncio.Event = field(default_factory=asyncio.Event)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    ending: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def machines(self) -> list[str]:
        """Their names."""
        return [f"m{i + 1}" for i in range(self.options.machines)]

    # -- the link ---------------------------------------------------------------------------------------------------

    async def keep_link(self) -> None:
        """Connect, send again what is unacknowledged, read acknowledgements until the link breaks; for ever."""
        while True:
            with contextlib.suppress(OSError, TimeoutError, EOFError):
                async with MqttOut.open(
                    self.options.host,
                    self.options.port,
                    self.options.client_id,
                    self.options.user,
                    _secret(self.options),
                ) as link:
                    await self._use(link)
            self.link = None
            await asyncio.sleep(RETRY_S)

    async def _use(self, link: MqttOut) -> None:
        again = list(self.waiting.items())
        self.ledger.add(Entry("send", machine, n) for (machine, n), _ in again)
        self.ledger.sync()
        for (machine, _), part in again:
            self._send(link, machine, part, is_repeat=True)
        self.link = link
        async for machine, n in link.acknowledged():
            taken = self.waiting.get((machine, n))
            if taken is not None:
                del self.waiting[(machine, n)]
                self.ledger.add([Entry("ack", machine, n)])
                self.recent.append((machine, taken))

    def _send(self, link: MqttOut, machine: str, part: Part, *, is_repeat: bool = False) -> None:
        payload = json.dumps({"n": part.n, "grams": part.grams, "time_ns": part.time_ns}).encode()
        link.publish(f"{self.options.topic}/{machine}", payload, (machine, part.n), is_repeat=is_repeat)

    # -- production ---------------------------------------------------------------------------------------------------

    async def produce(self) -> None:
        """One part a machine each 1/rate seconds, until stopped; stands still while too much is unacknowledged."""
        await self.running.wait()
        weights = _weights(self.options.seed, Freeze(self.options.freeze_after))
        next_s = time.monotonic()
        while not self.stopping.is_set():
            next_s = max(next_s + 1 / self.options.rate, time.monotonic() - 1.0)
            if len(self.waiting) + len(self.machines) <= WINDOW_PARTS:
                self._make(next(weights) for _ in self.machines)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, next_s - time.monotonic())):
                    await self.stopping.wait()

    def _make(self, weights: Iterator[float]) -> None:
        parts: list[tuple[str, Part]] = []
        for machine, grams in zip(self.machines, weights, strict=True):
            self.made[machine] = n = self.made.get(machine, 0) + 1
            parts.append((machine, Part(n, self.clock.now_ns() + self.offset_ns, grams)))
        link = self.link
        self.ledger.add(Entry("made", m, p.n, p.time_ns, p.grams) for m, p in parts)
        if link is not None:
            self.ledger.add(Entry("send", m, p.n) for m, p in parts)
        self.ledger.sync()
        for machine, part in parts:
            self.waiting[(machine, part.n)] = part
            if link is not None:
                self._send(link, machine, part)

    async def settle(self) -> None:
        """Wait for every acknowledgement, however long it takes, then end the ledger."""
        while self.waiting:
            await asyncio.sleep(0.02)
        self.ledger.add([Entry("final")])
        self.ledger.sync()

    async def sync(self) -> None:
        """Keep acknowledgements on the disk."""
        while True:
            await asyncio.sleep(SYNC_S)
            self.ledger.sync()

    # -- orders -------------------------------------------------------------------------------------------------------

    def obey(self, order: dict[str, Any]) -> None:
        """One line of standard input."""
        if order["do"] == "clock":
            self.offset_ns = int(float(order["offset_s"]) * 1e9)
        elif order["do"] == "duplicate" and self.link is not None:
            again = list(self.recent)[-int(order["count"]) :]
            self.ledger.add(Entry("send", machine, part.n) for machine, part in again)
            self.ledger.sync()
            for machine, part in again:
                self._send(self.link, machine, part, is_repeat=True)


def _weights(seed: int, freeze: Freeze) -> Iterator[float]:
    chance = random.Random(seed)
    grams = 12.0
    while True:
        grams = grams if freeze.is_on else round(12.0 + chance.random(), 6)
        yield grams


def _secret(options: argparse.Namespace) -> str | None:
    if options.password_file is None:
        return None
    text: str = options.password_file.read_text(encoding="utf-8")
    return text.removesuffix("\n")


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Simulated light barriers that publish by MQTT and keep a ledger.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True, help="the broker's")
    parser.add_argument("--user")
    parser.add_argument("--password-file", type=Path)
    parser.add_argument("--client-id", default="light-barriers")
    parser.add_argument("--topic", default="barrier", help="first level of the topics")
    parser.add_argument("--machines", type=int, default=3)
    parser.add_argument("--rate", type=float, default=10.0, help="parts a second, each machine")
    parser.add_argument("--seed", type=int, default=0, help="of the weights")
    parser.add_argument("--ledger", type=Path, required=True)
    add_clock(parser)
    add_freeze(parser)
    parser.add_argument("--paused", action="store_true", help="produce nothing before SIGUSR2")
    return parser.parse_args(arguments)


async def _orders(barriers: Barriers) -> None:
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    try:
        while line := await reader.readline():
            barriers.obey(json.loads(line))
    finally:
        transport.close()


async def _run(options: argparse.Namespace) -> None:
    with LedgerWriter(options.ledger) as ledger:
        barriers = Barriers(options, ledger, clock=DeviceClock(options.clock_offset, options.clock_drift))
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR2, barriers.running.set)
        loop.add_signal_handler(signal.SIGUSR1, barriers.stopping.set)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, barriers.ending.set)
        if not options.paused:
            barriers.running.set()
        sys.stdout.write(json.dumps({"machines": barriers.machines}) + os.linesep)
        sys.stdout.flush()
        async with asyncio.TaskGroup() as group:
            work = [barriers.keep_link(), barriers.sync(), _orders(barriers), _produce_and_settle(barriers)]
            tasks = [group.create_task(each) for each in work]
            await barriers.ending.wait()
            for task in tasks:
                task.cancel()


async def _produce_and_settle(barriers: Barriers) -> None:
    producing = asyncio.ensure_future(barriers.produce())
    try:
        await barriers.stopping.wait()
        barriers.running.set()
        await producing
    finally:
        producing.cancel()
    await barriers.settle()


def main(arguments: list[str] | None = None) -> None:
    """Entry of the process."""
    asyncio.run(_run(_options(arguments)))


if __name__ == "__main__":
    main()
