"""A simulated press as a Sparkplug B edge node: python -m millstream.sim.sparkplug_press --port 1883.

It needs a broker, connects to it with NDEATH as its will, tells births and data of its device, obeys a rebirth request,
and takes `setpoint` from a host. The first line on standard output, ``{"group": .., "node": .., "device": ..}``, comes
when it is born; a lost link is opened again, with the next bdSeq.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from millstream.kernel import PlantError, Unreachable
from millstream.model import Value
from millstream.mqtt import BrokerConfig, BrokerLink, Session
from millstream.protocols.mqtt_publish import Publish
from millstream.protocols.sparkplug_node import Command, EdgeNode, NodeOptions, NodeUpdate, Output, Stage, Subscribe
from millstream.sdk import SecretRef
from millstream.sim._serving import ending, say
from millstream.sim._whims import DeviceClock, Freeze, add_clock, add_freeze, add_tags, seconds

DEVICE = "axis"
RETRY_S = 1.0
TAKE_MESSAGES = 100
MANY_COUNT_MAX = 10_000


class Press:
    """The machine behind the node."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._clock = DeviceClock(options.clock_offset, options.clock_drift)
        self._freeze = Freeze(options.freeze_after)
        self._many_count = options.tags
        self._now_s = time.time()
        self._told: dict[str, Value] = {}
        self.setpoint = 250.0

    def now_ms(self) -> int:
        """By its own clock."""
        return self._clock.now_ns() // 1_000_000

    def updates(self) -> list[NodeUpdate]:
        """What has changed; a birth tells the rest again."""
        if not self._freeze.is_on:
            self._now_s = time.time()
        second, at_ms = int(self._now_s), self.now_ms()
        values: dict[str, Value] = {
            "speed": 180.0 + 40.0 * math.sin(self._now_s / 3), "strokes": second, "running": True,
            "setpoint": self.setpoint,
        }  # fmt: skip
        values |= {f"value{number}": second + number for number in range(self._many_count)}
        changed = {name: value for name, value in values.items() if self._told.get(name) != value}
        self._told |= changed
        return [NodeUpdate(DEVICE, name, value, at_ms) for name, value in changed.items()]

    def obey(self, command: Command) -> None:
        """A host writes."""
        if (command.device, command.name) == (DEVICE, "setpoint") and isinstance(command.value, float | int):
            self.setpoint = float(command.value)


class Node:
    """The node on one connection after the other."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._press = Press(options)
        self._node = EdgeNode(NodeOptions(options.group, options.node, options.primary_host, is_writable=True))
        self._is_told = False
        secret = SecretRef(file=options.password_file.absolute()) if options.password_file is not None else None
        self._config = BrokerConfig(
            host=options.host, port=options.port, client_id=f"sim-{options.node}", user=options.user, secret=secret
        )

    async def run(self, end: asyncio.Event) -> None:
        """Connect again and again, until the end."""
        while not end.is_set():
            try:
                await self._connected(end)
            except Unreachable:
                with suppress(TimeoutError):
                    async with asyncio.timeout(RETRY_S):
                        await end.wait()

    async def _connected(self, end: asyncio.Event) -> None:
        node, press = self._node, self._press
        node.disconnected()
        node.forget_backlog()
        link = BrokerLink(self._config, Session("sparkplug", will=node.connecting(press.now_ms())))
        death: Publish | None = None
        try:
            await link.connect()
            self._send(link, node.connected(press.now_ms()))
            while not end.is_set():
                link.check()
                for message in link.take(TAKE_MESSAGES):
                    if isinstance(message.topic, str):
                        self._send(link, node.received(message.topic, message.payload, press.now_ms()))
                self._send(link, node.update(press.updates(), press.now_ms()))
                self._tell_once()
                await link.wait(self._options.interval)
            death = next((each for each in node.leave(press.now_ms()) if isinstance(each, Publish)), None)
        finally:
            await link.close(death)

    def _tell_once(self) -> None:
        if not self._is_told and self._node.stage is Stage.LIVE:
            self._is_told = True
            say(group=self._options.group, node=self._options.node, device=DEVICE)

    def _send(self, link: BrokerLink, outputs: Iterable[Output]) -> None:
        for each in outputs:
            if isinstance(each, Publish):
                link.publish(each)
            elif isinstance(each, Subscribe):
                link.subscribe([each.filter])
            elif isinstance(each, Command):
                self._press.obey(each)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="sparkplug_press", description="A simulated press as a Sparkplug edge node.")
    parser.add_argument("--host", default="127.0.0.1", help="the broker's")
    parser.add_argument("--port", type=int, required=True, help="the broker's")
    parser.add_argument("--user")
    parser.add_argument("--password-file", type=Path)
    parser.add_argument("--group", default="Plant1")
    parser.add_argument("--node", default="press")
    parser.add_argument("--primary-host", help="the host_id whose STATE is waited for")
    parser.add_argument("--interval", type=seconds, default=0.5, help="between two looks at the machine")
    add_tags(parser, "metrics", MANY_COUNT_MAX)
    add_clock(parser)
    add_freeze(parser)
    return parser.parse_args(arguments)


async def run(options: argparse.Namespace) -> None:
    """Be the node until a signal."""
    try:
        await Node(options).run(ending())
    except PlantError as error:
        raise SystemExit(str(error)) from error


def main(arguments: list[str] | None = None) -> None:
    """Entry of the process."""
    asyncio.run(run(_options(arguments)))


if __name__ == "__main__":
    main()
