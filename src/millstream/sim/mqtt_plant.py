"""A simulated scale that publishes by MQTT 3.1.1 with QoS 1: ``scale/count`` (n = 1, 2, 3 ..) and ``scale/weight``.

Prints ``{"port": P, ..}`` when connected. SIGUSR2 starts it (with --paused), SIGUSR1 stops producing, waits for the
outstanding PUBACKs and writes what was produced, SIGTERM ends it.

A message counts as produced once the broker acknowledged it (PUBACK). What was not acknowledged when the link broke is
sent again, the same bytes, over the next link; when only the PUBACK was lost, the broker has it twice: QoS 1 is at
least once, and `resent` in the truth says how many messages that may concern.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from millstream.kernel import AuthError, ConfigError, Unreachable
from millstream.mqtt import BrokerConfig, BrokerLink, Session
from millstream.protocols.mqtt_publish import Publish
from millstream.sim._whims import DeviceClock, Freeze, add_clock, add_freeze

COUNT, WEIGHT = "scale/count", "scale/weight"
WINDOW_MESSAGES = 64  # unacknowledged ones; then the scale waits
RETRY_S = 0.5


@dataclass(slots=True)
class Plant:
    """Produces messages, keeps them until acknowledged, and counts."""

    options: argparse.Namespace
    broker: BrokerConfig
    truth_file: Path | None = None
    produced: Counter[str] = field(default_factory=Counter)
    waiting: dict[int, tuple[str, bytes]] = field(default_factory=dict)
    numbers: dict[int, int] = field(default_factory=dict)
    made_count: int = 0
    resent_count: int = 0
    links_count: int = 0
    link: BrokerLink | None = None
    running: asyncio.Event = field(default_factory=asyncio.Event)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    ending: asyncio.Event = field(default_factory=asyncio.Event)
    moved: asyncio.Event = field(default_factory=asyncio.Event)

    async def keep_link(self) -> None:
        """Connect, send again what is unacknowledged, wait until the link breaks; for ever."""
        while True:
            link = BrokerLink(self.broker, Session())
            link.on_taken = self._acknowledged
            try:
                await link.connect()
                await self._feed(link)
            except AuthError as error:
                raise SystemExit(f"broker refuses the plant: {error}") from error
            except Unreachable:
                await asyncio.sleep(RETRY_S)
            finally:
                self.link = None
                await link.close()

    async def _feed(self, link: BrokerLink) -> None:
        self.link = link
        self.numbers.clear()
        for number in sorted(self.waiting):
            self.resent_count += 1
            self._send(number)
        self.links_count += 1
        if self.links_count == 1:
            sys.stdout.write(json.dumps({"port": self.options.port, "topics": [COUNT, WEIGHT]}) + "\n")
            sys.stdout.flush()
        self.moved.set()
        await link.ended()

    def _send(self, number: int) -> None:
        topic, payload = self.waiting[number]
        mid = self.link.publish(Publish(topic, payload, qos=1)) if self.link is not None else None
        if mid is not None:
            self.numbers[mid] = number

    def _acknowledged(self, mid: int) -> None:
        number = self.numbers.pop(mid, None)
        entry = self.waiting.pop(number, None) if number is not None else None
        if entry is not None:
            self.produced[entry[0]] += 1
            self.moved.set()

    async def produce(self) -> None:
        """One reading each 1/rate seconds, of both topics, until stopped; waits while too much is unacknowledged."""
        await self.running.wait()
        start_s = time.monotonic()
        clock = DeviceClock(self.options.clock_offset, self.options.clock_drift)
        for reading in _readings(clock, Freeze(self.options.freeze_after)):
            while len(self.waiting) > WINDOW_MESSAGES - 2 and not self.stopping.is_set():
                await self._moves()
            late_s = time.monotonic() - start_s - reading["n"] / self.options.rate
            if late_s > 1.0:
                start_s += late_s
            if self.stopping.is_set() or await self._stops_within(-late_s):
                return
            for topic in (COUNT, WEIGHT):
                self.made_count += 1
                self.waiting[self.made_count] = (topic, json.dumps(reading).encode())
                self._send(self.made_count)

    async def _stops_within(self, wait_s: float) -> bool:
        try:
            async with asyncio.timeout(max(wait_s, 0.0)):
                await self.stopping.wait()
        except TimeoutError:
            return False
        return True

    async def _moves(self) -> None:
        self.moved.clear()
        waits = {asyncio.ensure_future(self.moved.wait()), asyncio.ensure_future(self.stopping.wait())}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def settle(self) -> None:
        """Once stopped: wait for every PUBACK, however long it takes, then tell the truth."""
        while self.waiting:
            self.moved.clear()
            await self.moved.wait()
        self.write_truth(is_final=True)

    def write_truth(self, *, is_final: bool) -> None:
        """What was produced so far, whole or not at all, synced."""
        if self.truth_file is None:
            return
        document = {
            "produced": {COUNT: self.produced[COUNT], WEIGHT: self.produced[WEIGHT]},
            "resent": self.resent_count,
            "links": self.links_count,
            "final": is_final,
        }
        draft = self.truth_file.with_name(self.truth_file.name + ".part")
        with draft.open("w", encoding="utf-8") as stream:
            json.dump(document, stream)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(self.truth_file)


def _readings(clock: DeviceClock, freeze: Freeze) -> Iterator[dict[str, Any]]:
    """Weights move until they stand still; the number and the time of a reading go on."""
    number, kg = 0, 12.5
    while True:
        number += 1
        kg = kg if freeze.is_on else round(12.5 + 2.5 * math.sin(number / 40), 4)
        yield {"n": number, "kg": kg, "time_ns": clock.now_ns()}


def _broker(options: argparse.Namespace) -> BrokerConfig:
    if options.user and options.password_file is None:
        raise ConfigError("--user needs --password-file")
    return BrokerConfig.model_validate(
        {
            "host": options.host,
            "port": options.port,
            "client_id": options.client_id,
            "user": options.user,
            "secret": {"file": options.password_file} if options.user else None,
            "keepalive": "10s",
            "connect_timeout": "10s",
        }
    )


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A simulated scale that publishes by MQTT.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True, help="the broker's")
    parser.add_argument("--user")
    parser.add_argument("--password-file", type=Path)
    parser.add_argument("--client-id", default="millstream-scale")
    parser.add_argument("--rate", type=float, default=20.0, help="readings a second, each on both topics")
    parser.add_argument("--truth", type=Path, help="where to write what was produced")
    add_clock(parser)
    add_freeze(parser)
    parser.add_argument("--paused", action="store_true", help="produce nothing before SIGUSR2")
    return parser.parse_args(arguments)


async def run(options: argparse.Namespace) -> None:
    """Publish until SIGTERM."""
    plant = Plant(options, _broker(options), options.truth)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR2, plant.running.set)
    loop.add_signal_handler(signal.SIGUSR1, plant.stopping.set)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, plant.ending.set)
    if not options.paused:
        plant.running.set()
    async with asyncio.TaskGroup() as group:
        parts = [group.create_task(plant.keep_link()), group.create_task(_produce_and_settle(plant))]
        await plant.ending.wait()
        for part in parts:
            part.cancel()


async def _produce_and_settle(plant: Plant) -> None:
    async with asyncio.TaskGroup() as group:
        producer = group.create_task(plant.produce())
        await plant.stopping.wait()
        plant.running.set()
    await producer
    await plant.settle()


def main(arguments: list[str] | None = None) -> None:
    """Entry of the process."""
    asyncio.run(run(_options(arguments)))


if __name__ == "__main__":
    main()
