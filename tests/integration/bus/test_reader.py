"""The reader over both transports: in order, without gap or repeat, whatever happens to link, consumer and server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
from bus_server import SUBJECT, Server, make_stream

from millstream.bus import NatsPyConnection, StreamApi, StreamReader, Transport, _reader
from millstream.kernel import NotFoundError
from millstream.sdk import Received

STREAM = "E_edge1_I"


class Rig:
    """A server and a transport."""

    def __init__(self, server: Server, is_own: bool) -> None:
        self.server = server
        self.is_own = is_own

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Transport]:
        if self.is_own:
            async with self.server.connect() as own:
                yield own
        else:
            async with NatsPyConnection(self.server.url, credentials=self.server.credentials) as foreign:
                yield foreign


@pytest.fixture(params=["own", "nats_py"])
async def rig(request: pytest.FixtureRequest, server: Server) -> Rig:
    return Rig(server, request.param == "own")


async def fill(connection: Transport, first: int, last: int, subject: str = SUBJECT) -> None:
    """Store the numbers from `first` to `last` exclusive."""
    for n in range(first, last - 1):
        connection.publish(subject, b"%d" % n)
    await connection.drained()
    await connection.request(subject, b"%d" % (last - 1), timeout_s=60.0)  # behind thousands of synced writes


async def take(batches: Any, count: int, timeout_s: float = 60.0) -> list[Received]:
    """The next `count` messages."""
    found: list[Received] = []
    async with asyncio.timeout(timeout_s):
        while len(found) < count:
            found += await anext(batches)
    return found


def values(received: Sequence[Received]) -> list[int]:
    return [int(m.payload) for m in received]


async def test_messages_come_in_order_with_sequence_time_and_headers(rig: Rig) -> None:
    async with rig.connect() as connection:
        await make_stream(connection)
        await fill(connection, 0, 2500)
        connection.publish(SUBJECT, b"2500", header_lines=b"Ms-Count: 3\r\n")
        async with aclosing(StreamReader(connection).read(STREAM, batch_max=400, wait_s=0.2)) as batches:
            found = await take(batches, 2501)
            assert await anext(batches) == []
        assert values(found) == list(range(2501))
        assert [m.seq for m in found] == list(range(1, 2502))
        assert found[0].stored_time_ns > 1_600_000_000 * 10**9
        assert found[0].headers is None
        assert found[-1].headers is not None
        assert b"Ms-Count: 3" in found[-1].headers


async def test_reading_starts_where_it_is_told_and_filters(rig: Rig) -> None:
    async with rig.connect() as connection:
        await make_stream(connection)
        for n in range(0, 40, 2):
            await fill(connection, n, n + 1, "uns.v1.a.b._tag.x")
            await fill(connection, n + 1, n + 2, "uns.v1.a.b._tag.y")
        reader = StreamReader(connection)
        async with aclosing(reader.read(STREAM, start_seq=31)) as batches:
            assert values(await take(batches, 10)) == list(range(30, 40))
        async with aclosing(reader.read(STREAM, filter_subjects=["uns.v1.a.b._tag.y"])) as batches:
            assert values(await take(batches, 20)) == list(range(1, 40, 2))
        two = ["uns.v1.a.*._tag.x", "uns.v1.a.b._tag.y"]
        async with aclosing(reader.read(STREAM, filter_subjects=two, start_seq=11)) as batches:
            assert values(await take(batches, 30)) == list(range(10, 40))


async def test_one_filter_may_have_wildcards(rig: Rig) -> None:
    async with rig.connect() as connection:
        await make_stream(connection)
        await fill(connection, 0, 2, "uns.v1.a.b._tag.x")
        await fill(connection, 2, 4, "uns.v1.a.b._tag.y")
        await fill(connection, 4, 6, "uns.v1.c.b._tag.x")
        async with aclosing(StreamReader(connection).read(STREAM, filter_subjects=["uns.v1.*.b._tag.x"])) as batches:
            assert values(await take(batches, 4)) == [0, 1, 4, 5]


async def read_by(connection: Transport, *filters: object) -> None:
    """Wait until the stream has one consumer, with these filters."""
    found: list[object] = []
    try:
        async with asyncio.timeout(60):
            while found != [*filters]:
                listed = await StreamApi(connection).request(f"CONSUMER.LIST.{STREAM}")
                found = [each["config"].get("filter_subjects") for each in listed["consumers"]]
    except TimeoutError:
        pytest.fail(f"{found}")


@pytest.mark.parametrize("patterns", [["uns.v1.a.*._tag.x", "uns.v1.a.b._tag.y"], ["uns.v1.a.>"]], ids=["two", "one"])
async def test_who_is_far_behind_reads_all_and_picks_until_near_the_end(
    rig: Rig, patterns: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_reader, "FAR_COUNT", 20)
    async with rig.connect() as connection:
        await make_stream(connection)
        for n in range(90):
            await fill(connection, n, n + 1, ("uns.v1.a.b._tag.x", "uns.v1.c.b._tag.z", "uns.v1.a.b._tag.y")[n % 3])
        async with aclosing(StreamReader(connection).read(STREAM, filter_subjects=patterns, batch_max=8)) as batches:
            found = await take(batches, 7)
            await read_by(connection, None)
            listed = await StreamApi(connection).request(f"CONSUMER.NAMES.{STREAM}")
            await StreamApi(connection).request(f"CONSUMER.DELETE.{STREAM}.{listed['consumers'][0]}")
            found += await take(batches, 60 - len(found))
            await fill(connection, 90, 93, "uns.v1.c.b._tag.z")
            await fill(connection, 93, 95, "uns.v1.a.b._tag.x")
            found += await take(batches, 2)
            await read_by(connection, patterns)
        assert values(found) == [n for n in range(90) if n % 3 != 1] + [93, 94]


async def test_a_pattern_that_little_fits_is_left_to_the_server(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_reader, "FAR_COUNT", 3)
    async with rig.connect() as connection:
        await make_stream(connection)
        await fill(connection, 0, 100, "uns.v1.c.b._tag.z")
        await fill(connection, 100, 104, "uns.v1.a.b._tag.x")
        async with aclosing(StreamReader(connection).read(STREAM, filter_subjects=["uns.v1.a.>"])) as batches:
            assert values(await take(batches, 4)) == list(range(100, 104))
            await read_by(connection, ["uns.v1.a.>"])


async def test_a_restart_of_the_server_leaves_no_gap_and_no_repeat(rig: Rig) -> None:
    async with rig.connect() as connection:
        await make_stream(connection)
        await fill(connection, 0, 3000)
        async with aclosing(StreamReader(connection).read(STREAM, batch_max=500, wait_s=0.2)) as batches:
            found = await take(batches, 1000)
            await rig.server.restart()
            found += await take(batches, 3000 - len(found))
            await fill(connection, 3000, 3500)
            found += await take(batches, 3500 - len(found))
        assert values(found) == list(range(3500))


async def test_a_pull_that_is_complete_does_not_cost_the_consumer(rig: Rig) -> None:
    """The server closes each pull that has a bound of bytes with status 409 "Batch Completed"."""
    async with rig.connect() as connection:
        await make_stream(connection)
        await fill(connection, 0, 1000)
        names = set()
        async with aclosing(StreamReader(connection).read(STREAM, batch_max=50, wait_s=0.2)) as batches:
            for _ in range(10):
                assert len(await take(batches, 50)) <= 100
                names |= set((await StreamApi(connection).request(f"CONSUMER.NAMES.{STREAM}"))["consumers"])
        assert len(names) == 1


async def test_a_deleted_consumer_is_made_again_behind_the_last_message(rig: Rig) -> None:
    async with rig.connect() as connection:
        await make_stream(connection)
        await fill(connection, 0, 100)
        api = StreamApi(connection)
        async with aclosing(StreamReader(connection).read(STREAM, wait_s=0.2)) as batches:
            found = await take(batches, 100)
            for name in (await api.request(f"CONSUMER.NAMES.{STREAM}"))["consumers"]:
                await api.request(f"CONSUMER.DELETE.{STREAM}.{name}")
            await fill(connection, 100, 200)
            found += await take(batches, 100)
        assert values(found) == list(range(200))


async def test_a_hole_in_the_consumers_numbering_is_read_again(server: Server) -> None:
    async with server.connect() as connection:
        await make_stream(connection)
        await fill(connection, 0, 1000)
        lost = [False]
        subscribe = connection.subscribe

        def lossy(subject: str, callback: Any) -> int:
            def deliver(messages: list[Any]) -> None:
                if not lost[0] and len(messages) > 20:
                    lost[0] = True
                    messages = messages[:10] + messages[15:]
                callback(messages)

            return subscribe(subject, deliver)

        connection.subscribe = lossy  # type: ignore[method-assign]
        async with aclosing(StreamReader(connection).read(STREAM)) as batches:
            assert values(await take(batches, 1000)) == list(range(1000))
        assert lost[0]


async def test_deleted_messages_in_the_stream_are_no_hole(rig: Rig) -> None:
    async with rig.connect() as connection:
        await make_stream(connection)
        await fill(connection, 0, 50)
        await StreamApi(connection).request(f"STREAM.MSG.DELETE.{STREAM}", {"seq": 20})
        async with aclosing(StreamReader(connection).read(STREAM)) as batches:
            found = await take(batches, 49)
        assert [m.seq for m in found] == [n for n in range(1, 51) if n != 20]


async def test_a_large_backlog_of_large_messages_stays_within_its_bytes(rig: Rig) -> None:
    async with rig.connect() as connection:
        await make_stream(connection)
        payload = b"x" * 500_000
        for _ in range(40):
            await connection.request(SUBJECT, payload, timeout_s=60.0)
        async with aclosing(StreamReader(connection).read(STREAM, wait_s=0.5)) as batches:
            found = await take(batches, 40)
        assert [len(m.payload) for m in found] == [500_000] * 40


async def test_an_unknown_stream_is_not_found(rig: Rig) -> None:
    async with rig.connect() as connection, aclosing(StreamReader(connection).read("NONE")) as batches:
        with pytest.raises(NotFoundError):
            await anext(batches)


async def test_leaving_a_read_removes_its_consumer(rig: Rig) -> None:
    async with rig.connect() as connection:
        await make_stream(connection)
        await fill(connection, 0, 10)
        async with aclosing(StreamReader(connection).read(STREAM)) as batches:
            await take(batches, 10)
        api = StreamApi(connection)
        async with asyncio.timeout(60):
            while (await api.request(f"CONSUMER.NAMES.{STREAM}"))["consumers"]:
                await asyncio.sleep(0.02)
