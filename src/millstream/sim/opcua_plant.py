"""A simulated OPC UA plant with history: python -m millstream.sim.opcua_plant --port 0 --tags 20 --truth FILE.

The first line on standard output is ``{"port": .., "endpoint": .., "namespace": .., "tags": [address, ..]}``. Its
tags are counters (``s=counter_000`` counts 1, 2, 3 ..), so that a lost or repeated value is visible downstream, and a
few signals of a machine with units. Each has history: what was produced while no client was connected can be read
later; with ``--history FILE`` also after the process was killed. The truth file says how many values each tag got,
written each second. With ``--machine`` it is a stamping press, too: a state of PackML, strokes, rejects and their
codes, infeed and guard, each told when it changes, and each ten minutes its cooling falls behind for half a minute.
SIGUSR2 starts a plant that was started with --paused, SIGUSR1 stops producing and writes the final truth while the
server goes on serving, SIGTERM ends the process.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import math
import os
import random
import signal
import sys
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

from asyncua import Server, ua
from asyncua.server.history import HistoryStorageInterface
from asyncua.server.user_managers import UserManager

from millstream.kernel import free_port
from millstream.sim._stamping import QUIET_RATIO, STRAINED, Stamping, strain
from millstream.sim._stamping import SIGNALS as MACHINE_SIGNALS
from millstream.sim._whims import DeviceClock, Freeze, add_clock, add_freeze

NAMESPACE = "urn:millstream:sim:plant"
HISTORY_VALUES_MAX = 20_000  # of one tag: more than half an hour at 10 a second
HISTORY_PAGE_MAX = 2_000
TRUTH_PERIOD_S = 1.0
SIGNALS = (
    ("spindle_temperature", "degC", 45.0, 8.0, 60.0),
    ("coolant_pressure", "bar", 6.0, 0.8, 17.0),
    ("spindle_speed", "1/min", 4200.0, 350.0, 31.0),
    ("vibration_rms", "mm/s", 1.8, 0.6, 7.0),
)  # name, unit, mean, amplitude, period in seconds
_UNIT_URI = "http://www.opcfoundation.org/UA/units/un/cefact"


class RingHistory(HistoryStorageInterface):
    """History in memory, written where the values are produced, so that it is complete as soon as they are."""

    def __init__(self) -> None:
        super().__init__(HISTORY_PAGE_MAX)
        self._values: dict[Any, deque[tuple[datetime, Any, Any]]] = {}

    def add(self, node: Any, moment: datetime, value: Any, kind: Any) -> None:
        """Keep one value."""
        ring = self._values.get(node)
        if ring is None:
            ring = self._values[node] = deque(maxlen=HISTORY_VALUES_MAX)
        ring.append((moment, value, kind))

    async def init(self) -> None:
        """Nothing to prepare."""

    async def new_historized_node(self, node_id: Any, period: timedelta | None, count: int = 0) -> None:
        """The ring of a node begins with its first value."""

    async def save_node_value(self, node_id: Any, datavalue: Any) -> None:
        """Nothing: `add` was there first."""

    async def read_node_history(
        self, node_id: Any, start: datetime | None, end: datetime | None, nb_values: int
    ) -> tuple[list[Any], datetime | None]:
        """Values of [start, end] in order of time, at most a page; the continuation is the next value's time."""
        first = _utc(start) if start is not None else datetime.min.replace(tzinfo=UTC)
        last = _utc(end) if end is not None and end.year > 1601 else datetime.max.replace(tzinfo=UTC)
        found = [item for item in self._values.get(node_id, ()) if first <= item[0] <= last]
        limit = min(nb_values or HISTORY_PAGE_MAX, HISTORY_PAGE_MAX)
        following = found[limit][0] if len(found) > limit else None
        return [_data_value(moment, value, kind) for moment, value, kind in found[:limit]], following

    async def new_historized_event(self, *_arguments: Any) -> None:
        """No events."""

    async def save_event(self, event: Any) -> None:
        """No events."""

    async def read_event_history(self, *_arguments: Any) -> tuple[list[Any], datetime | None]:
        """No events."""
        return [], None

    async def stop(self) -> None:
        """Nothing to close."""


class OneUser(UserManager):
    """Lets in the one user of the command line, and nobody else."""

    def __init__(self, user: str, password: str) -> None:
        self._known = (user, password)

    def get_user(self, _server: Any, username: Any = None, password: Any = None, certificate: Any = None) -> Any:
        """The user's role; None refuses."""
        from asyncua.crypto.permission_rules import User, UserRole

        if isinstance(password, bytes):
            password = password.decode("utf-8")
        return User(role=UserRole.User) if (username, password) == self._known else None


@dataclass(slots=True)
class Point:
    """One tag of the plant."""

    name: str
    node: Any
    kind: Any
    signal: tuple[float, float, float] | None
    count: int = 0
    strained: float = 0.0  # of a machine: how far a strain moves it, in its amplitudes

    def value_at(self, elapsed_s: float, rng: random.Random) -> int | float:
        """The next value."""
        if self.signal is None:
            return self.count
        mean, amplitude, period_s = self.signal
        wave = math.sin(2 * math.pi * elapsed_s / period_s)
        if self.strained:
            wave = QUIET_RATIO * wave + self.strained * strain(elapsed_s)
        return mean + amplitude * wave + rng.gauss(0.0, amplitude / 20)


@dataclass(slots=True)
class Plant:
    """Produces values and counts them, on its own."""

    server: Any
    history: RingHistory
    rate: float
    truth_file: Path | None
    journal: IO[str] | None
    points: list[Point] = field(default_factory=list)
    machine: Mapping[str, Point] = field(default_factory=dict)
    stamping: Stamping = field(default_factory=lambda: Stamping(random.Random(7)))
    clock: DeviceClock = field(default_factory=DeviceClock)
    freeze: Freeze = field(default_factory=Freeze)
    rng: random.Random = field(default_factory=lambda: random.Random(7))
    running: asyncio.Event = field(default_factory=asyncio.Event)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    ending: asyncio.Event = field(default_factory=asyncio.Event)
    start_s: float = field(default_factory=time.monotonic)

    async def produce(self) -> None:
        """A value of each tag each period until stopped. A period that was missed is not made up for."""
        await self.running.wait()
        due_s = self.start_s = time.monotonic()
        while not await self._stops_within(due_s - time.monotonic()):
            await self.tick()
            due_s = max(due_s + 1.0 / self.rate, time.monotonic())

    async def _stops_within(self, wait_s: float) -> bool:
        if self.stopping.is_set():
            return True
        try:
            async with asyncio.timeout(max(wait_s, 0.0)):
                await self.stopping.wait()
        except TimeoutError:
            return self.stopping.is_set()
        return True

    async def tick(self) -> None:
        """One value of each tag, all of one time; in the journal before anybody sees them."""
        if self.freeze.is_on:
            return
        moment = datetime.fromtimestamp(self.clock.now_ns() / 1e9, UTC)
        elapsed_s = time.monotonic() - self.start_s
        values = []
        for point in self.points:
            point.count += 1
            values.append(point.value_at(elapsed_s, self.rng))
        if self.journal is not None:
            self.journal.write(json.dumps([moment.isoformat(), values]) + "\n")
            self.journal.flush()
        for point, value in zip(self.points, values, strict=True):
            await self._tell(point, moment, value)
        if self.machine:
            for name, number in self.stamping.changes(elapsed_s).items():
                self.machine[name].count += 1
                await self._tell(self.machine[name], moment, number)

    async def _tell(self, point: Point, moment: datetime, value: int | float) -> None:
        self.history.add(point.node.nodeid, moment, value, point.kind)
        await self.server.write_attribute_value(point.node.nodeid, _data_value(moment, value, point.kind))

    def restore(self, path: Path) -> None:
        """Take up history and counts of an earlier process."""
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                stamp, values = json.loads(line)
            except ValueError:
                continue  # the line that the process was killed in
            for point, value in zip(self.points, values, strict=False):
                self.history.add(point.node.nodeid, datetime.fromisoformat(stamp), value, point.kind)
                point.count += 1

    async def report(self) -> None:
        """The truth each second, and finally."""
        while not await self._stops_within(TRUTH_PERIOD_S):
            self.write_truth(is_final=False)

    def write_truth(self, *, is_final: bool) -> None:
        """What was produced so far, whole or not at all; the final one synced."""
        if self.truth_file is None:
            return
        draft = self.truth_file.with_name(self.truth_file.name + ".part")
        with draft.open("w", encoding="utf-8") as stream:
            points = (*self.points, *self.machine.values())
            json.dump({"produced": {point.name: point.count for point in points}, "final": is_final}, stream)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(self.truth_file)


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _data_value(moment: datetime, value: Any, kind: Any) -> Any:
    return ua.DataValue(ua.Variant(value, kind), SourceTimestamp=moment, ServerTimestamp=moment)


async def _build(server: Any, tags_count: int, history: RingHistory, *, has_machine: bool) -> list[Point]:
    index = await server.register_namespace(NAMESPACE)
    folder = await server.nodes.objects.add_object(ua.NodeId("plant", index), ua.QualifiedName("plant", index))
    points = []
    for number in range(tags_count):
        name = f"counter_{number:03d}"
        node = await folder.add_variable(
            ua.NodeId(name, index), ua.QualifiedName(name, index), 0, varianttype=ua.VariantType.Int64
        )
        points.append(Point(name, node, ua.VariantType.Int64, None))
    for name, unit, mean, amplitude, period_s in SIGNALS:
        node = await folder.add_variable(
            ua.NodeId(name, index), ua.QualifiedName(name, index), mean, varianttype=ua.VariantType.Double
        )
        information = ua.EUInformation(_UNIT_URI, -1, ua.LocalizedText(unit), ua.LocalizedText(unit))
        await node.add_property(
            ua.NodeId(f"{name}.EngineeringUnits", index), ua.QualifiedName("EngineeringUnits", 0), information
        )
        strained = STRAINED.get(name, 0.0) if has_machine else 0.0
        points.append(Point(name, node, ua.VariantType.Double, (mean, amplitude, period_s), strained=strained))
    for name in MACHINE_SIGNALS if has_machine else ():
        node = await folder.add_variable(
            ua.NodeId(name, index), ua.QualifiedName(name, index), 0, varianttype=ua.VariantType.Int64
        )
        points.append(Point(name, node, ua.VariantType.Int64, None))
    for point in points:
        await point.node.set_attr_bit(ua.AttributeIds.AccessLevel, ua.AccessLevel.HistoryRead)
        await point.node.set_attr_bit(ua.AttributeIds.UserAccessLevel, ua.AccessLevel.HistoryRead)
        await point.node.write_attribute(ua.AttributeIds.Historizing, ua.DataValue(ua.Variant(True)))
        # Nothing was produced yet, so there is nothing to be counted.
        waiting = ua.DataValue(StatusCode=ua.StatusCode(ua.StatusCodes.BadWaitingForInitialData))
        await server.write_attribute_value(point.node.nodeid, waiting)
    server.iserver.history_manager.set_storage(history)
    return points


def _free_port(host: str, port: int) -> int:
    return port or free_port(host)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A simulated OPC UA plant with history.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    parser.add_argument("--tags", type=int, default=20, help="counters, besides the signals")
    parser.add_argument("--rate", type=float, default=10.0, help="values of each tag a second")
    parser.add_argument("--truth", type=Path, help="where to write what was produced")
    parser.add_argument("--history", type=Path, help="a file that keeps the history over a kill of the process")
    parser.add_argument("--machine", action="store_true", help="be a stamping press with states and parts, too")
    parser.add_argument("--paused", action="store_true", help="produce nothing before SIGUSR2")
    add_clock(parser)
    add_freeze(parser)
    parser.add_argument("--user", help="with --password: let nobody else in")
    parser.add_argument("--password-env", help="the environment variable that holds the user's password")
    parser.add_argument("--certificate", type=Path, help="DER certificate: offer encrypted endpoints only")
    parser.add_argument("--private-key", type=Path, help="PEM key of the certificate")
    chosen = parser.parse_args(arguments)
    if chosen.machine and chosen.history is not None:
        parser.error("--history does not keep what --machine shows: expected one of the two")
    return chosen


async def _server(options: argparse.Namespace) -> Any:
    users = OneUser(options.user, os.environ.get(options.password_env or "", "")) if options.user else None
    server = Server(user_manager=users)
    gc.disable()  # a hundred thousand objects that stay: looking at them again and again takes half of the time
    await server.init()
    gc.freeze()
    gc.enable()
    server.set_server_name("Millstream simulated plant")
    if options.certificate is None:
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    else:
        await server.load_certificate(str(options.certificate))
        await server.load_private_key(str(options.private_key))
        server.set_security_policy(
            [
                ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt,
                ua.SecurityPolicyType.Basic256Sha256_Sign,
                ua.SecurityPolicyType.Aes128Sha256RsaOaep_SignAndEncrypt,
                ua.SecurityPolicyType.Aes256Sha256RsaPss_SignAndEncrypt,
            ]
        )
    return server


async def run(options: argparse.Namespace) -> None:
    """Serve until SIGTERM."""
    logging.getLogger("asyncua").setLevel(logging.CRITICAL)
    server = await _server(options)
    history = RingHistory()
    points = await _build(server, options.tags, history, has_machine=options.machine)
    port = _free_port(options.host, options.port)
    server.set_endpoint(f"opc.tcp://{options.host}:{port}")
    machine = {point.name: point for point in points if point.name in MACHINE_SIGNALS}
    even = [point for point in points if point.name not in machine]
    plant = Plant(server, history, options.rate, options.truth, None, even, machine)
    plant.clock = DeviceClock(options.clock_offset, options.clock_drift)
    plant.freeze = Freeze(options.freeze_after)
    if options.history is not None:
        if options.history.exists():
            plant.restore(options.history)
        plant.journal = options.history.open("a", encoding="utf-8")
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR2, plant.running.set)
    loop.add_signal_handler(signal.SIGUSR1, plant.stopping.set)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, plant.ending.set)
    async with server:
        if not options.paused:
            plant.running.set()
        addresses = [f"nsu={NAMESPACE};s={point.name}" for point in points]
        ready = {
            "port": port,
            "endpoint": f"opc.tcp://{options.host}:{port}",
            "namespace": NAMESPACE,
            "tags": addresses,
        }
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        async with asyncio.TaskGroup() as group:
            producer = group.create_task(_produce_and_close(plant))
            group.create_task(plant.report())
            await plant.ending.wait()
            plant.stopping.set()
            plant.running.set()
            await producer


async def _produce_and_close(plant: Plant) -> None:
    await plant.produce()
    plant.write_truth(is_final=True)
    if plant.journal is not None:
        plant.journal.close()


def main(arguments: list[str] | None = None) -> None:
    """Entry of the process."""
    asyncio.run(run(_options(arguments)))


if __name__ == "__main__":
    main()
