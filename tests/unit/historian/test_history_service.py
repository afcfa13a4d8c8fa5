"""The service on in-memory streams: ingest, streams that change under it, a store that cannot, dead letters,
requests."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from millstream.bus import MemoryReader, MemoryStream
from millstream.historian import (
    Count,
    DeadLetter,
    HistorianOptions,
    HistorianService,
    HistoryStoreError,
    Last,
    Reply,
    RequestHandler,
    StreamState,
)
from millstream.historian import _store as store_module
from millstream.historian._engine import QueryStopped, Running
from millstream.kernel import FencedError, Unreachable
from millstream.protocols.ledger import LedgerRecord, encode_record
from millstream.protocols.uns_payload import encode_sample
from millstream.sdk import Received

T0 = 1_700_000_000 * 10**9
FAST = HistorianOptions(commit_every_s=0.02, watch_every_s=0.02)


def payload(value: Any, time_ns: int = T0) -> bytes:
    return encode_sample(value, quality=0, source_time_ns=time_ns, ingest_time_ns=T0)


def source(stream: str, seq: int) -> bytes:
    return f"NATS/1.0\r\nNats-Stream-Source: {stream} {seq} > >\r\n\r\n".encode()


class States:
    """What the server says of the streams; tests change it."""

    def __init__(self, *streams: MemoryStream) -> None:
        self.streams = {s.name: s for s in streams}
        self.created = {s.name: 100 for s in streams}

    async def state(self, stream: str) -> StreamState:
        found = self.streams[stream]
        return StreamState(self.created[stream], found.first_seq, found.last_seq)


async def eventually(is_so: Callable[[], bool], seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not is_so():
            await asyncio.sleep(0.005)


async def total(historian: HistorianService) -> int:
    return sum((await historian.query(Count(tags=("*",)))).column("count").to_pylist())


def service(folder: Path, *streams: MemoryStream, **options: Any) -> HistorianService:
    return HistorianService(
        MemoryReader({s.name: s for s in streams}),
        folder,
        streams=tuple(s.name for s in streams),
        **{"options": FAST, **options},
    )


def fill(stream: MemoryStream, count: int, first: int = 0) -> None:
    for i in range(first, first + count):
        stream.append(f"uns.v1.acme.p1._tag.t{i % 5}", payload(float(i), T0 + i * 10**6))


async def test_two_streams_are_stored_side_by_side_and_read_on_after_a_restart(tmp_path: Path) -> None:
    one, two = MemoryStream("H_INTEGRITY"), MemoryStream("H_THROUGHPUT")
    fill(one, 5000)
    fill(two, 3000, 5000)
    for _ in range(3):
        async with service(tmp_path, one, two) as historian:
            await eventually(lambda: historian.positions == {"H_INTEGRITY": one.last_seq, "H_THROUGHPUT": two.last_seq})
            assert await total(historian) == one.last_seq + two.last_seq
            stats = await historian.stats()
            assert stats.rows == stats.samples == one.last_seq + two.last_seq
            assert stats.tags == 5
            assert historian.ledger()["H_INTEGRITY"].messages == one.last_seq
            assert historian.is_healthy
        fill(one, 10)


async def test_ledger_state_goes_on_over_restarts(tmp_path: Path) -> None:
    stream = MemoryStream("H_INTEGRITY")
    for round_number in range(1, 4):
        at = (round_number - 1) * 3
        stream.append("uns.v1.acme.p1._tag.a", payload(1.0), source("E_a_I", at + 1))
        stream.append("uns.v1.acme.p1._tag.a", payload(2.0), source("E_a_I", at + 2))
        record = LedgerRecord(round_number, 2, 2, 2 * round_number, 2 * round_number, 1)
        stream.append("uns.v1.acme.p1._ledger.a.i", encode_record(record), source("E_a_I", at + 3))
        async with service(tmp_path, stream) as historian:
            await eventually(lambda: historian.positions["H_INTEGRITY"] == stream.last_seq)
            account = historian.ledger()["E_a_I"]
            assert (account.messages, account.samples, account.records) == (
                2 * round_number,
                2 * round_number,
                round_number,
            )
            assert account.is_clean
            assert account.unrecorded == 0


async def test_a_hole_in_the_stream_is_written_down(tmp_path: Path) -> None:
    stream = MemoryStream("H_INTEGRITY")
    fill(stream, 100)
    stream.first_seq = 41
    async with service(tmp_path, stream) as historian:
        await eventually(lambda: historian.positions["H_INTEGRITY"] == 100)
        assert (await historian.stats()).gap_messages == 40
        assert await total(historian) == 60


async def test_a_stream_made_anew_is_read_from_its_start(tmp_path: Path) -> None:
    """The hub's streams hold what was sourced: what the ledger knows is left out, what is new is stored."""
    old = MemoryStream("H_INTEGRITY")
    for i in range(1, 51):
        old.append("uns.v1.acme.p1._tag.a", payload(float(i)), source("E_a_I", i))
    streams = {"H_INTEGRITY": old}
    reader = MemoryReader(streams)
    states = States(old)
    async with HistorianService(reader, tmp_path, streams=("H_INTEGRITY",), states=states, options=FAST) as historian:
        await eventually(lambda: historian.positions["H_INTEGRITY"] == 50)
        new = MemoryStream("H_INTEGRITY")
        for i in range(1, 61):
            new.append("uns.v1.acme.p1._tag.a", payload(float(i)), source("E_a_I", i))
        reader._streams["H_INTEGRITY"] = states.streams["H_INTEGRITY"] = new
        states.created["H_INTEGRITY"] = 200
        await eventually(lambda: historian.positions["H_INTEGRITY"] == 60)
        assert await total(historian) == 60
        assert (await historian.stats()).repeats == 50


async def test_a_stream_without_origins_made_anew_is_new_data(tmp_path: Path) -> None:
    old, new = MemoryStream("E_a_I"), MemoryStream("E_a_I")
    fill(old, 50)
    fill(new, 20, 100)
    reader, states = MemoryReader({"E_a_I": old}), States(old)
    async with HistorianService(reader, tmp_path, streams=("E_a_I",), states=states, options=FAST) as historian:
        await eventually(lambda: historian.positions["E_a_I"] == 50)
        reader._streams["E_a_I"] = states.streams["E_a_I"] = new
        states.created["E_a_I"] = 200
        await eventually(lambda: historian.positions["E_a_I"] == 20)
        assert await total(historian) == 70


class Clock:
    """A server's clock that always moves on."""

    def __init__(self) -> None:
        self.now = T0

    def now_ns(self) -> int:
        self.now += 1
        return self.now


@pytest.mark.parametrize("is_ahead", [False, True])
async def test_a_stream_that_lost_its_tail_loses_nothing_new(tmp_path: Path, is_ahead: bool) -> None:
    """After a power cut a server may forget messages that were read, and give their sequences to others."""
    clock: Any = Clock()
    stream = MemoryStream("E_a_I", clock)
    fill(stream, 50)
    reader, states = MemoryReader({"E_a_I": stream}), States(stream)
    async with HistorianService(reader, tmp_path, streams=("E_a_I",), states=states, options=FAST) as historian:
        await eventually(lambda: historian.positions["E_a_I"] == 50)
    del stream.messages[40:]
    fill(stream, 30 if is_ahead else 5, 1000)
    async with HistorianService(reader, tmp_path, streams=("E_a_I",), states=states, options=FAST) as historian:
        await eventually(lambda: sum(s.rollbacks for s in historian._sinks.values()) == 1)
        await eventually(lambda: historian.positions["E_a_I"] == stream.last_seq)
        values = sorted((await historian.query(Last(tags=("*",)))).column("value").to_pylist())
        expected = 80 if is_ahead else 55
        assert await total(historian) == expected
        assert values[-1] == (1029.0 if is_ahead else 1004.0)


async def test_a_store_that_cannot_write_holds_the_stream_back_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is acknowledged, nothing is dropped, the fault is shown, and it heals by itself."""
    stream = MemoryStream("H_INTEGRITY")
    fill(stream, 10)
    is_full = False
    write = store_module._write_position

    def refuse(con: Any, position: Any) -> None:
        if is_full:
            raise OSError(28, "No space left on device")
        write(con, position)

    monkeypatch.setattr(store_module, "_write_position", refuse)
    async with service(tmp_path, stream) as historian:
        await eventually(lambda: historian.positions["H_INTEGRITY"] == 10)
        is_full = True
        fill(stream, 100, 10)
        await eventually(lambda: not historian.is_healthy)
        assert historian.positions["H_INTEGRITY"] == 10
        (shown,) = (await historian.stats()).streams
        assert shown.error is not None
        assert "No space left" in shown.error
        assert "free space" in shown.error
        is_full = False
        await eventually(lambda: historian.positions["H_INTEGRITY"] == 110)
        assert historian.is_healthy
        assert await total(historian) == 110


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MB. Needs root."""
    place = tmp_path / "disk"
    place.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(place)], check=False, capture_output=True
        ).returncode
    ):
        pytest.skip("needs root to mount a small file system")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill_disk(filler: Path) -> None:
    with filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 65536)


async def test_a_full_disk_holds_the_stream_back_until_there_is_room(small_disk: Path) -> None:
    stream = MemoryStream("H_INTEGRITY")
    filler = small_disk / "filler"
    async with service(small_disk / "history", stream) as historian:
        fill(stream, 10)
        await eventually(lambda: historian.positions["H_INTEGRITY"] == 10)
        with pytest.raises(OSError, match="No space"):
            fill_disk(filler)
        for i in range(200):
            stream.append("uns.v1.acme.p1._tag.text", payload(os.urandom(4000).hex(), T0 + i))
        await eventually(lambda: not historian.is_healthy)
        filler.unlink()
        await eventually(lambda: historian.positions["H_INTEGRITY"] == 210, 30)
        assert await total(historian) == 210


async def test_what_cannot_be_decoded_goes_to_the_dead_letters_even_if_they_are_away_for_a_while(
    tmp_path: Path,
) -> None:
    stream = MemoryStream("H_INTEGRITY")
    fill(stream, 3)
    stream.append("uns.v1.acme.p1._tag.t0", b"\xff poison")
    fill(stream, 3, 3)
    letters: list[DeadLetter] = []
    is_away = True

    async def keep(letter: DeadLetter) -> None:
        if is_away:
            raise Unreachable("dead-letter stream is away")
        letters.append(letter)

    async with service(tmp_path, stream, dead_letters=keep) as historian:
        await eventually(lambda: historian.positions["H_INTEGRITY"] == 7)
        assert await total(historian) == 6
        assert (await historian.stats()).dead_letters_waiting == 1
    is_away = False
    async with service(tmp_path, stream, dead_letters=keep) as historian:
        await eventually(lambda: len(letters) == 1)
        assert (letters[0].payload, letters[0].subject) == (b"\xff poison", "uns.v1.acme.p1._tag.t0")
        assert letters[0].source == "H_INTEGRITY:0:4"


class Requests:
    """A request server in memory."""

    def __init__(self) -> None:
        self.handlers: dict[str, RequestHandler] = {}

    @asynccontextmanager
    async def serve(self, subject: str, handler: RequestHandler) -> AsyncIterator[None]:
        self.handlers[subject] = handler
        yield
        del self.handlers[subject]

    async def ask(self, body: dict[str, Any] | bytes) -> list[Reply]:
        request = body if isinstance(body, bytes) else json.dumps(body).encode()
        return [r async for r in self.handlers["millstream.historian.query"](request)]


async def test_requests_are_answered_in_small_parts_and_a_closing_one(tmp_path: Path) -> None:
    stream, requests = MemoryStream("H_INTEGRITY"), Requests()
    for i in range(30_000):
        stream.append(f"uns.v1.acme.p1._tag.{'long-name-' * 5}{i % 3000}", payload(float(i), T0 + i))
    async with service(tmp_path, stream, requests=requests) as historian:
        await eventually(lambda: historian.positions["H_INTEGRITY"] == 30_000)
        replies = await requests.ask({"kind": "range", "tags": ["*"], "limit": 100_000})
        assert replies[-1] == Reply(b"", (("Ms-Status", "done"),))
        assert 2 < len(replies) < 20
        assert max(len(r.payload) for r in replies) <= 512 * 1024
        table = pa.concat_tables([pa.ipc.open_stream(r.payload).read_all() for r in replies[:-1]])
        assert table.num_rows == 30_000
        assert table.column_names == ["tag", "kind", "timestamp", "value", "quality"]
        assert table.column("value").to_pylist() == [float(i) for i in range(30_000)]
        assert len(set(table.column("tag").to_pylist())) == 3000


@pytest.mark.parametrize(
    "body", [b"nonsense", {"kind": "last", "tags": ["nobody/knows:it"]}, {"kind": "range", "tags": []}]
)
async def test_a_bad_request_gets_one_error_reply(tmp_path: Path, body: Any) -> None:
    requests = Requests()
    async with service(tmp_path, MemoryStream("H_INTEGRITY"), requests=requests):
        (reply,) = await requests.ask(body)
        ((name, text),) = reply.headers
        assert name == "Ms-Error"
        assert json.loads(text)["code"] in ("MS-0320", "MS-0500")
        assert text.isascii()


async def test_a_second_process_is_refused(tmp_path: Path) -> None:
    async with service(tmp_path, MemoryStream("H_INTEGRITY")):
        code = (
            "import sys; from pathlib import Path; from millstream.historian._store import HistoryStore\n"
            "try: HistoryStore(Path(sys.argv[1])).open()\nexcept Exception as e: print(type(e).__name__, e.code)"
        )
        process = await asyncio.create_subprocess_exec(
            os.sys.executable,
            "-c",
            code,
            str(tmp_path),
            stdout=asyncio.subprocess.PIPE,  # type: ignore[attr-defined]
        )
        out, _ = await process.communicate()
    assert out.decode().split() == [FencedError.__name__, "MS-0421"]


async def test_old_days_are_sealed_by_themselves_and_queries_do_not_notice(tmp_path: Path) -> None:
    stream = MemoryStream("H_INTEGRITY")
    fill(stream, 1000)
    options = HistorianOptions(commit_every_s=0.02, watch_every_s=0.02, maintain_every_s=0.05)
    async with service(tmp_path, stream, options=options) as historian:
        counts = set()
        async with asyncio.timeout(60):
            while not list((tmp_path / "days").glob("*.parquet")) or historian.positions["H_INTEGRITY"] < 1000:
                if historian.positions["H_INTEGRITY"] == 1000:
                    counts.add(await total(historian))
                await asyncio.sleep(0.002)
        counts.add(await total(historian))
        assert counts == {1000}


async def test_a_reader_that_fails_is_asked_again(tmp_path: Path) -> None:
    stream = MemoryStream("H_INTEGRITY")
    fill(stream, 10)
    failures = iter([Unreachable("no link"), RuntimeError("a bug")])

    class Flaky:
        async def read(self, name: str, **options: Any) -> AsyncIterator[Sequence[Received]]:
            error = next(failures, None)
            if error is not None:
                raise error
            async for batch in MemoryReader(stream).read(name, **options):
                yield batch

    reader: Any = Flaky()
    async with HistorianService(reader, tmp_path, streams=("H_INTEGRITY",), options=FAST) as historian:
        await eventually(lambda: historian.positions["H_INTEGRITY"] == 10)
        assert await total(historian) == 10


async def test_too_many_waiting_queries_are_refused(tmp_path: Path) -> None:
    async with service(tmp_path, MemoryStream("H_INTEGRITY")) as historian:
        historian._queries_waiting = 32
        with pytest.raises(HistoryStoreError, match="too many queries"):
            await historian.query(Count(tags=("*",)))


async def test_history_that_is_held_stores_what_it_has_and_reads_no_more_until_it_is_let_go(tmp_path: Path) -> None:
    stream, held = MemoryStream("H"), asyncio.Event()
    fill(stream, 10)
    async with service(tmp_path, stream, is_held=held.is_set) as historian:
        await eventually(lambda: historian.positions["H"] == 10)
        held.set()
        fill(stream, 5, first=10)
        await eventually(lambda: historian.positions["H"] == 15)  # the list that was under way
        fill(stream, 10, first=15)
        await asyncio.sleep(0.3)
        assert historian.positions["H"] == 15
        held.clear()
        await eventually(lambda: historian.positions["H"] == 25)
        assert await total(historian) == 25


async def test_a_query_that_takes_too_long_is_stopped_and_the_next_one_is_answered(tmp_path: Path) -> None:
    stream = MemoryStream("H")
    fill(stream, 10)
    async with service(tmp_path, stream, options=replace(FAST, query_s_max=1e-6)) as historian:
        await eventually(lambda: historian.positions["H"] == 10)
        with pytest.raises(QueryStopped, match="too long"):
            await total(historian)
    async with service(tmp_path, stream) as historian:
        assert await total(historian) == 10


def test_a_query_under_way_ends_within_moments_of_its_stop() -> None:
    running, has_begun = Running(), threading.Event()

    def ask() -> None:
        with duckdb.connect() as connection, running.holding(connection.cursor()) as cursor:
            has_begun.set()
            cursor.execute("SELECT sum(a.range * b.range) FROM range(1000000) a, range(1000000) b").fetchall()

    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask)
        assert has_begun.wait(60)
        while not answer.done():  # a stop that comes before the engine has begun is not heard
            running.stop()
            wait([answer], timeout=0.05)
        with pytest.raises(duckdb.InterruptException):
            answer.result()
    with pytest.raises(QueryStopped), running.holding(duckdb.connect()):
        pass


async def test_a_fault_in_one_query_is_told_to_who_asked_and_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(query: object) -> None:
        raise ZeroDivisionError(query)

    requests, question = Requests(), {"kind": "last", "tags": ["*"]}
    async with service(tmp_path, MemoryStream("H"), requests=requests) as historian:
        with monkeypatch.context() as patch:
            patch.setattr(historian, "query", broken)
            (reply,) = await requests.ask(question)
            assert "fault of the historian" in dict(reply.headers)["Ms-Error"]
        assert dict((await requests.ask(question))[-1].headers) == {"Ms-Status": "done"}
