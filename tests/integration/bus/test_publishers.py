"""Both publishers over both transports: each message stored exactly once and in order, whatever is killed meanwhile."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from types import MappingProxyType
from typing import Any

import pytest
from bus_server import LEDGER, SUBJECT, Server, make_stream, recounted

from millstream.bus import (
    FastIngestPublisher,
    GroupCommitPublisher,
    NatsPyConnection,
    StreamApi,
    StreamReader,
    Transport,
)
from millstream.bus._queue import Unit
from millstream.kernel import FencedError, NotFoundError, PlantError
from millstream.protocols.ledger import is_ledger_subject
from millstream.sdk import Control, Message, Received, Stored

STREAM = "E_edge1_I"
POSITION = LEDGER + ".opc"
Publisher = GroupCommitPublisher | FastIngestPublisher

CASES = [
    pytest.param((publisher, transport), id=f"{publisher}-{transport}")
    for publisher in ("integrity", "throughput")
    for transport in ("own", "nats_py")
]


class Rig:
    """A server, a transport, and how to make the publisher under test."""

    def __init__(self, server: Server, publisher: str, transport: str) -> None:
        self.server = server
        self.is_fast = publisher == "throughput"
        self.is_own = transport == "own"

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Transport]:
        if self.is_own:
            async with self.server.connect() as own:
                yield own
        else:
            async with NatsPyConnection(self.server.url, credentials=self.server.credentials) as foreign:
                yield foreign

    async def make_stream(self, connection: Transport, **config: Any) -> None:
        kind: dict[str, Any] = {}
        if self.is_fast:
            kind = {
                "subjects": ["fast.uns.v1.>"], "allow_atomic": False, "allow_batched": True, "persist_mode": "async",
                "subject_transform": {"src": "fast.uns.v1.>", "dest": "uns.v1.>"},
            }  # fmt: skip
        await make_stream(connection, STREAM, **(kind | config))

    def publisher(self, connection: Transport, **options: Any) -> Publisher:
        if self.is_fast:
            return FastIngestPublisher(connection, STREAM, ledger_subject=LEDGER, publish_prefix="fast.", **options)
        return GroupCommitPublisher(connection, STREAM, ledger_subject=LEDGER, **options)


@pytest.fixture(params=CASES)
async def rig(request: pytest.FixtureRequest, server: Server) -> Rig:
    return Rig(server, *request.param)


def messages(first: int, count: int, **fields: Any) -> list[Message]:
    """Numbered messages."""
    return [Message(SUBJECT, b"%d" % n, **fields) for n in range(first, first + count)]


async def stored(connection: Transport) -> list[Received]:
    """All that the stream holds."""
    state = await StreamApi(connection).state(STREAM)
    found: list[Received] = []
    if state.last_seq < state.first_seq:
        return found
    async with aclosing(StreamReader(connection).read(STREAM)) as batches:
        async for batch in batches:
            found.extend(batch)
            if batch and batch[-1].seq >= state.last_seq:
                break
    return found


def numbers(received: list[Received]) -> list[int]:
    """The numbers of the data messages, in stream order."""
    return [int(m.payload) for m in received if not is_ledger_subject(m.subject)]


async def produce(
    publisher: Publisher, total: int, size: int = 7, gates: Mapping[int, asyncio.Event] = MappingProxyType({})
) -> None:
    """Submit `total` numbered messages in units of `size`, then wait until all are stored. Whatever is behind a number
    of `gates` is submitted once that is open."""
    futures = []
    for first in range(0, total, size):
        for number, gate in gates.items():
            if first >= number:
                await gate.wait()
        futures.append(await publisher.submit(messages(first, min(size, total - first))))
    async with asyncio.timeout(60):
        await asyncio.gather(*futures)
        await publisher.flush()


async def until(publisher: Publisher, count: int) -> None:
    """Wait until so many messages are stored."""
    async with asyncio.timeout(60):
        while publisher.stats().messages_stored < count:
            await asyncio.sleep(0.001)


async def check_exact(connection: Transport, total: int, unit_batches: bool = True) -> list[Received]:
    """Everything once, in order, and the ledger agrees."""
    received = await stored(connection)
    assert numbers(received) == list(range(total))
    account = recounted(received, STREAM).accounts[STREAM]
    assert account.is_clean, account
    assert (account.messages, account.unrecorded) == (total, 0)
    return received


async def test_what_is_submitted_is_stored_once_in_order_with_headers_and_its_ledger(rig: Rig) -> None:
    async with rig.connect() as connection:
        await rig.make_stream(connection)
        async with rig.publisher(connection) as publisher:
            assert await publisher.last_control(POSITION) is None
            block = Message(
                SUBJECT, b"0", content_type="application/x", samples_count=250, headers=(("traceparent", "00-ab"),)
            )
            first = await publisher.submit([block], Control(POSITION, b"p0"))
            futures = [await publisher.submit(messages(n, 3), Control(POSITION, b"p%d" % n)) for n in range(1, 3000, 3)]
            assert (await first).stream == STREAM
            seqs = [(await f).last_seq for f in futures]
            await publisher.flush()
            assert seqs == sorted(seqs)
            assert await publisher.last_control(POSITION) == b"p2998"
            stats = publisher.stats()
            assert (stats.messages_stored, stats.samples_stored, stats.queued_messages) == (3001, 3250, 0)
        received = await check_exact(connection, 3001)
        assert received[0].headers is not None
        assert b"Content-Type: application/x\r\nMs-Count: 250\r\ntraceparent: 00-ab\r\n" in received[0].headers
        assert recounted(received, STREAM).accounts[STREAM].samples == 3250
        assert received[-1].subject == LEDGER


async def test_totals_go_on_after_a_restart_of_the_publisher(rig: Rig) -> None:
    async with rig.connect() as connection:
        await rig.make_stream(connection)
        for life in range(3):
            async with rig.publisher(connection) as publisher:
                await (await publisher.submit(messages(life * 10, 10)))
        await check_exact(connection, 30)


async def test_kill_of_the_server_in_the_middle_loses_and_doubles_nothing(rig: Rig) -> None:
    total = 60_000 if rig.is_own else 20_000
    async with rig.connect() as connection:
        await rig.make_stream(connection)
        async with rig.publisher(connection) as publisher, asyncio.TaskGroup() as group:
            producer = group.create_task(produce(publisher, total))
            for kill in range(1, 4):
                await until(publisher, kill * total // 5)
                await rig.server.restart()
            await producer
        await check_exact(connection, total)


async def test_a_server_that_hangs_and_comes_back_loses_and_doubles_nothing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes of the dead link that the server reads late must not count twice."""
    monkeypatch.setattr("millstream.bus._group_commit.COMMIT_TIMEOUT_S", 0.3)
    monkeypatch.setattr("millstream.bus._fast_ingest.ACK_TIMEOUT_S", 0.3)
    monkeypatch.setattr("millstream.bus._connection.PING_INTERVAL_S", 0.2)
    total = 20_000 if rig.is_own else 6_000
    async with rig.connect() as connection:
        await rig.make_stream(connection)
        async with rig.publisher(connection) as publisher, asyncio.TaskGroup() as group:
            gates = {
                total // 2: asyncio.Event(),
                total * 3 // 4: asyncio.Event(),
            }  # a loop that is late stores much at once
            producer = group.create_task(produce(publisher, total, gates=gates))
            for pause, gate in enumerate(gates.values(), 1):
                await until(publisher, pause * total // 4)
                rig.server.signal(signal.SIGSTOP)
                gate.set()
                connects = connection.connects
                done, _ = await asyncio.wait({producer}, timeout=1.2)
                assert not done
                rig.server.signal(signal.SIGCONT)
                assert connection.connects >= connects
            await producer
        await check_exact(connection, total)


async def test_a_full_stream_holds_the_source_back_and_loses_nothing(rig: Rig) -> None:
    async with rig.connect() as connection:
        await rig.make_stream(connection, max_bytes=20_000)
        api = StreamApi(connection)
        async with rig.publisher(connection, queue_messages_max=50) as publisher, asyncio.TaskGroup() as group:
            producer = group.create_task(produce(publisher, 1000, size=5))
            async with asyncio.timeout(60):
                while not publisher.stats().is_full:
                    await asyncio.sleep(0.01)
            assert not producer.done()
            assert publisher.stats().queued_messages <= 2000
            config = (await api.request(f"STREAM.INFO.{STREAM}"))["config"]
            await api.request(f"STREAM.UPDATE.{STREAM}", config | {"max_bytes": -1})
            await producer
            assert not publisher.stats().is_full
        await check_exact(connection, 1000)


async def test_a_second_instance_fences_the_first(rig: Rig) -> None:
    async with rig.connect() as connection:
        await rig.make_stream(connection)
        async with rig.publisher(connection) as first:
            await (await first.submit(messages(0, 2)))
            await first.flush()
            async with rig.publisher(connection) as second:
                await (await second.submit(messages(2, 2)))
                await second.flush()
            future = await first.submit(messages(4, 1))
            async with asyncio.timeout(60):
                with pytest.raises(FencedError):
                    await future
            with pytest.raises(FencedError):
                await (await first.submit(messages(5, 1)))
        received = await stored(connection)
        assert numbers(received) == [0, 1, 2, 3]


async def test_a_message_that_can_never_be_stored_is_refused_and_the_others_go_on(rig: Rig) -> None:
    async with rig.connect() as connection:
        await rig.make_stream(connection)
        async with rig.publisher(connection) as publisher:
            with pytest.raises(PlantError, match="too large"):
                await publisher.submit([Message(SUBJECT, b"x" * 1_048_577)])
            with pytest.raises(PlantError, match="too large"):
                await publisher.submit(messages(0, 901))
            with pytest.raises(PlantError, match="not a literal subject"):
                await publisher.submit([Message("uns.v1.a b", b"x")])
            before = await publisher.submit(messages(0, 3))
            foreign = await publisher.submit([Message("elsewhere.x", b"x")])
            after = await publisher.submit(messages(3, 3))
            async with asyncio.timeout(60):
                await before
                with pytest.raises(PlantError, match="refuse"):
                    await foreign
                await after
                await publisher.flush()
        await check_exact(connection, 6)


async def test_a_missing_stream_is_told_on_entering(rig: Rig) -> None:
    async with rig.connect() as connection:
        with pytest.raises(NotFoundError):
            async with rig.publisher(connection):
                pass


async def test_leaving_the_scope_stores_what_is_queued(rig: Rig) -> None:
    async with rig.connect() as connection:
        await rig.make_stream(connection)
        async with rig.publisher(connection) as publisher:
            for n in range(0, 500, 10):
                await publisher.submit(messages(n, 10))
        await check_exact(connection, 500)


async def test_a_cancelled_submitter_leaves_the_queue_whole(rig: Rig) -> None:
    async with rig.connect() as connection:
        await rig.make_stream(connection)
        async with rig.publisher(connection, queue_messages_max=10) as publisher, asyncio.TaskGroup() as group:
            tasks = [group.create_task(publisher.submit(messages(n, 9))) for n in range(0, 180, 9)]
            await asyncio.sleep(0)
            for task in tasks[2::3]:
                task.cancel()
            await asyncio.wait(tasks)
            await publisher.flush()
            accepted = [n for index, n in enumerate(range(0, 180, 9)) if not tasks[index].cancelled()]
        received = await stored(connection)
        assert numbers(received) == [n for first in accepted for n in range(first, first + 9)]
        assert recounted(received, STREAM).accounts[STREAM].is_clean


async def test_a_fast_tail_without_record_is_counted_by_the_next_life(server: Server) -> None:
    rig = Rig(server, "throughput", "own")
    async with rig.connect() as connection:
        await rig.make_stream(connection)
        with pytest.raises(RuntimeError, match="crash"):
            await crash_after(rig.publisher(connection), messages(0, 25, samples_count=4))
        assert LEDGER not in {m.subject for m in await stored(connection)}
        async with rig.publisher(connection) as publisher:
            await (await publisher.submit(messages(25, 5, samples_count=2)))
        received = await check_exact(connection, 30)
        assert recounted(received, STREAM).accounts[STREAM].samples == 110


async def crash_after(publisher: Publisher, unit: list[Message]) -> None:
    """Store one unit, then leave the scope as a crash does: without flush, so without record."""
    async with publisher:
        await (await publisher.submit(unit))
        raise RuntimeError("crash")


async def test_a_torn_batch_is_completed_not_doubled(server: Server) -> None:
    """The messages that a torn commit left are recognised in what is sent again, and counted by its record."""
    rig = Rig(server, "integrity", "own")
    async with rig.connect() as connection:
        await rig.make_stream(connection)
        async with GroupCommitPublisher(connection, STREAM, ledger_subject=LEDGER) as publisher:
            await (await publisher.submit(messages(0, 5)))
            found = [(SUBJECT, b"%d" % n, 1) for n in (5, 6, 7)]
            batch = publisher._compose([Unit(messages(5, 10), None, stored_future(), 0)])
            assert publisher._torn(batch, found) == 3
            assert publisher._torn(batch, found[:1]) == 1
            assert publisher._torn(batch, []) == 0
            assert publisher._torn(batch, [(SUBJECT, b"4", 1), *found[:2]]) == 2
            batch.skip = 3
            sent = b"".join(publisher._encode(batch, [], b"_INBOX.x"))
            assert sent.count(b"HPUB ") == 8
            assert b"Nats-Batch-Sequence: 8\r\n" in sent
            assert b'"messages":10,' in sent


def stored_future() -> asyncio.Future[Stored]:
    return asyncio.get_running_loop().create_future()


async def test_an_acknowledged_tail_that_the_store_forgot_is_stored_again_to_the_letter(server: Server) -> None:
    """With ``persist_mode: async`` the server acknowledges first; a hub that has read the tail must read on rightly."""
    rig = Rig(server, "throughput", "own")
    async with rig.connect() as connection:
        await rig.make_stream(connection)
        async with FastIngestPublisher(connection, STREAM, ledger_subject=LEDGER, publish_prefix="fast.") as publisher:
            for first in range(0, 300, 30):
                await (await publisher.submit(messages(first, 30, samples_count=2), Control(POSITION, b"%d" % first)))
            await publisher.flush()
            before = await stored(connection)
            server.kill()
            shutil.rmtree(server.root / "js")  # the whole tail, and the stream with it
            await server.start()
            await rig.make_stream(connection)
            async with asyncio.timeout(60):
                while len(await stored(connection)) < len(before):
                    await asyncio.sleep(0.02)
            await (await publisher.submit(messages(300, 5)))
            assert publisher.messages_lost == 0
        after = await check_exact(connection, 305)
        assert [(m.seq, m.subject, m.payload) for m in after[: len(before)]] == [
            (m.seq, m.subject, m.payload) for m in before
        ]


async def test_a_batch_is_never_larger_than_its_stream_can_hold(server: Server) -> None:
    """What is queued at once exceeds the stream's bound by far: it goes out in batches that fit, as room is made."""
    async with server.connect() as connection:
        api = StreamApi(connection)
        await make_stream(connection, STREAM, max_bytes=400_000)
        payload = b"x" * 10_000
        async with GroupCommitPublisher(connection, STREAM, ledger_subject=LEDGER) as publisher:
            futures = [await publisher.submit([Message(SUBJECT, payload)] * 3) for _ in range(20)]
            async with asyncio.timeout(60):
                while not all(f.done() for f in futures):
                    state = await api.state(STREAM)
                    if publisher.stats().is_full and state.messages > 1:
                        await api.request(f"STREAM.PURGE.{STREAM}", {"seq": state.last_seq})  # as the hub's cursor does
                    await asyncio.sleep(0.02)
            assert publisher.stats().messages_stored == 60
            assert publisher.stats().batches_stored >= 6


@pytest.mark.parametrize("kind", ["integrity", "throughput"])
async def test_what_can_never_fit_into_its_stream_is_refused_and_the_others_go_on(server: Server, kind: str) -> None:
    rig = Rig(server, kind, "own")
    async with rig.connect() as connection:
        await rig.make_stream(connection, max_bytes=100_000)
        async with rig.publisher(connection) as publisher:
            before = await publisher.submit(messages(0, 3))
            with pytest.raises(PlantError, match="too large for its stream's max_bytes") as caught:
                await publisher.submit([Message(SUBJECT, b"x" * 60_000)])
            assert caught.value.code == "MS-0402"
            if not rig.is_fast:
                with pytest.raises(PlantError, match="too large for its stream's max_bytes"):
                    await publisher.submit([Message(SUBJECT, b"x" * 6_000)] * 10)
            after = await publisher.submit(messages(3, 3))
            async with asyncio.timeout(60):
                await before
                await after
                await publisher.flush()
        await check_exact(connection, 6)


async def test_a_position_larger_than_the_server_takes_is_refused_and_the_link_stays(rig: Rig) -> None:
    async with rig.connect() as connection:
        await rig.make_stream(connection)
        async with rig.publisher(connection) as publisher:
            with pytest.raises(PlantError, match="too large"):
                await publisher.submit(messages(0, 1), Control(POSITION, b"x" * 1_048_577))
            async with asyncio.timeout(60):
                await (await publisher.submit(messages(0, 1)))
                await publisher.flush()
            assert connection.connects == 1
        await check_exact(connection, 1)


async def test_what_is_patient_is_stored_in_one_batch_with_what_comes_next_and_at_once_by_a_flush(
    server: Server,
) -> None:
    async with server.connect() as connection, asyncio.timeout(30):
        await make_stream(connection, STREAM)
        async with GroupCommitPublisher(connection, STREAM, ledger_subject=LEDGER) as publisher:
            patient = await publisher.submit(messages(0, 1), patience_s=3600.0)
            at_once = await publisher.submit(messages(1, 1))
            assert (await patient, publisher.stats().batches_stored) == (await at_once, 1)
            patient = await publisher.submit(messages(2, 1), patience_s=3600.0)
            await publisher.flush()
            assert (patient.done(), publisher.stats().batches_stored) == (True, 2)
            await publisher.submit(messages(3, 1), patience_s=3600.0)  # leaving the scope stores it, too
        assert (await StreamApi(connection).state(STREAM)).last_seq == 4 + 3


async def test_what_stands_behind_a_position_is_found_also_when_a_newer_one_was_stored_since_it_was_read(
    server: Server,
) -> None:
    async with server.connect() as connection, asyncio.timeout(30):
        await make_stream(connection, STREAM)
        async with GroupCommitPublisher(connection, STREAM, ledger_subject=LEDGER) as publisher:

            async def behind() -> list[bytes]:
                return [m.payload for m in await publisher.after_control(POSITION) if not is_ledger_subject(m.subject)]

            assert (await publisher.last_control(POSITION), await behind()) == (None, [])
            await (await publisher.submit(messages(0, 1), Control(POSITION, b"p1")))
            await (await publisher.submit(messages(1, 2)))
            assert (await publisher.last_control(POSITION), await behind()) == (b"p1", [b"1", b"2"])
            assert await behind() == [b"1", b"2"]
            assert await publisher.last_control(POSITION) == b"p1"
            await (await publisher.submit(messages(3, 1), Control(POSITION, b"p2")))
            await (await publisher.submit(messages(4, 1)))
            assert await behind() == [b"4"]
