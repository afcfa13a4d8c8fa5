"""The light barriers' ledger is the truth that torture stands on: it agrees with what a broker received."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from millstream.rig import Child
from millstream.sim import FaultProxy
from millstream.sim.producer_ledger import LedgerFollower, Truth, read_ledger
from millstream.torture._site import barrier_arguments

PATIENCE_S = 90


class TinyBroker:
    """Takes CONNECT, PUBLISH with QoS 1 and PINGREQ of MQTT 3.1.1; remembers what it acknowledged and the DUP flags."""

    def __init__(self) -> None:
        self.received: Counter[tuple[str, int]] = Counter()
        self.repeats = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head, length = await reader.readexactly(2)
                if length & 0x80:
                    length = (length & 0x7F) | (await reader.readexactly(1))[0] << 7
                body = await reader.readexactly(length)
                if head == 0x10:
                    writer.write(b"\x20\x02\0\0")
                elif head & 0xF0 == 0x30:
                    end = 2 + int.from_bytes(body[:2], "big")
                    machine = body[2:end].decode().rpartition("/")[2]
                    self.received[(machine, json.loads(body[end + 2 :])["n"])] += 1
                    self.repeats += bool(head & 0x08)
                    writer.write(b"\x40\x02" + body[end : end + 2])
                elif head == 0xC0:
                    writer.write(b"\xd0\0")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@asynccontextmanager
async def barriers(folder: Path, broker: TinyBroker) -> AsyncIterator[tuple[Child, FaultProxy, LedgerFollower]]:
    server = await asyncio.start_server(broker.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        async with FaultProxy("127.0.0.1", port) as proxy:
            ledger = folder / "barriers.ledger"
            arguments = barrier_arguments(proxy.port, ledger, machines=2, rate=50, seed=1)
            child = await Child.start("barriers", arguments, folder, is_told=True)
            try:
                await child.wait_ready()
                child.signal(signal.SIGUSR2)
                yield child, proxy, LedgerFollower(ledger)
            finally:
                assert await child.stop() == 0
    finally:
        server.close()


async def acked(follower: LedgerFollower, count: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while follower.look().acked_count < count:
            await asyncio.sleep(0.02)


async def final(child: Child, follower: LedgerFollower) -> Truth:
    child.signal(signal.SIGUSR1)
    async with asyncio.timeout(PATIENCE_S):
        while not follower.look().is_final:
            await asyncio.sleep(0.02)
    return follower.truth


async def test_every_part_is_acknowledged_in_the_end_also_over_cut_links(tmp_path: Path) -> None:
    broker = TinyBroker()
    async with barriers(tmp_path, broker) as (child, proxy, follower):
        await acked(follower, 20)
        proxy.cut()
        made = follower.look().made_count
        async with asyncio.timeout(PATIENCE_S):
            while follower.look().made_count < made + 20:
                await asyncio.sleep(0.02)
        proxy.restore()
        await acked(follower, made + 20)
        truth = await final(child, follower)
    assert truth.made_count == truth.acked_count == len(broker.received)
    sends = {(m, n): count for m, machine in truth.machines.items() for n, count in machine.sends.items()}
    assert all(broker.received[key] <= count for key, count in sends.items())
    for machine in truth.machines.values():
        assert [part.n for part in machine.made] == list(range(1, len(machine.made) + 1))


async def test_an_ordered_repetition_is_sent_with_its_flag_and_stands_in_the_ledger(tmp_path: Path) -> None:
    broker = TinyBroker()
    async with barriers(tmp_path, broker) as (child, _, follower):
        await acked(follower, 30)
        await child.tell({"do": "duplicate", "count": 7})
        truth = await final(child, follower)
        async with asyncio.timeout(PATIENCE_S):
            while broker.repeats < 7:
                await asyncio.sleep(0.02)
    assert sum(broker.received.values()) == truth.made_count + 7
    assert sum(sum(m.sends.values()) for m in truth.machines.values()) == truth.made_count + 7


async def test_a_wrong_clock_is_written_down_as_it_was_sent(tmp_path: Path) -> None:
    async with barriers(tmp_path, TinyBroker()) as (child, _, follower):
        await acked(follower, 10)
        await child.tell({"do": "clock", "offset_s": -3600})
        count = follower.look().made_count
        await acked(follower, count + 10)
        truth = await final(child, follower)
    times = [part.time_ns for part in truth.machines["m1"].made]
    assert min(b - a for a, b in itertools.pairwise(times)) < -3_000_000_000_000


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "l"
    path.write_bytes(b'{"e":"made","machine":"m1","n":1,"time_ns":5,"grams":1.5}\n{"e":"ack","machi')
    assert (read_ledger(path).made_count, read_ledger(path).acked_count) == (1, 0)
    with path.open("ab") as stream:
        stream.write(b'ne":"m1","n":1}\n')
    assert read_ledger(path).acked_count == 1
    assert read_ledger(tmp_path / "none").made_count == 0
