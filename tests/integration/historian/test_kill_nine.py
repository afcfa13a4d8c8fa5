"""kill -9 of the historian while a real nats-server feeds it: every row once. The control shows that the check can
fail."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import duckdb
import pytest

import warm
from millstream.bus import Credentials, GroupCommitPublisher, RawConnection, StreamApi
from millstream.protocols.cloudevents import CloudEvent, encode_event
from millstream.protocols.uns_payload import encode_sample
from millstream.sdk import Message

NATS_SERVER = shutil.which("nats-server", path=str(Path(sys.executable).parent)) or "nats-server"
SINK = Path(__file__).with_name("sink_process.py")
STREAM = "H_INTEGRITY"
CYCLES = 10
MESSAGES_PER_CYCLE = 1200
T0 = 1_700_000_000 * 10**9


class Server:
    """One nats-server on a free port."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    async def start(self) -> None:
        config = self.root / "server.conf"
        config.write_text(
            f'listen: "127.0.0.1:{self.port or -1}"\nports_file_dir: "{self.root}"\n'
            f'jetstream {{ store_dir: "{self.root}/js", sync_interval: always }}\n'
            'accounts { PLANT: { jetstream: enabled, users: [{user: edge, password: "only-for-tests"}] } }\n'
        )
        ports = self.root / f"nats-server_{self._spawn(config)}.ports"
        await eventually(lambda: ports.exists() and ports.read_text().strip() != "")
        self.port = int(json.loads(ports.read_text())["nats"][0].rpartition(":")[2])

    def _spawn(self, config: Path) -> int:
        with (self.root / "server.log").open("ab") as log:
            self.process = subprocess.Popen([NATS_SERVER, "-c", str(config)], stderr=log)
        return self.process.pid

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


async def eventually(is_so: Callable[[], bool], seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not is_so():
            await asyncio.sleep(0.02)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    found = Server(tmp_path)
    await found.start()
    yield found
    found.kill()


def connect(server: Server) -> RawConnection:
    return RawConnection(server.url, credentials=Credentials("edge", "only-for-tests"))


async def make_stream(connection: RawConnection) -> None:
    await StreamApi(connection).request(
        f"STREAM.CREATE.{STREAM}",
        {
            "name": STREAM,
            "subjects": ["uns.v1.>"],
            "allow_atomic": True,
            "allow_direct": True,
            "storage": "file",
        },
    )


def messages(first: int, count: int) -> list[Message]:
    return [message(i) for i in range(first, first + count)]


def message(number: int) -> Message:
    """Tags, counts and KPIs under the same paths; every fifth is an event."""
    time_ns = T0 + number * 10**6
    if number % 5 == 4:
        headers, payload = encode_event(CloudEvent(str(number), "/press", "com.acme.stopped", number, time_ns))
        return Message("uns.v1.acme.p1._event.stopped", payload, headers.pop("Content-Type"), 0, tuple(headers.items()))
    kind = ("tag", "count", "kpi")[number % 3]
    payload = encode_sample(number, quality=0, source_time_ns=time_ns, ingest_time_ns=T0)
    return Message(f"uns.v1.acme.p1._{kind}.t{number % 17}", payload)


def start_sink(server: Server, folder: Path, mode: str) -> subprocess.Popen[bytes]:
    with (folder.parent / "sink.log").open("ab") as log:
        return subprocess.Popen(warm.python(str(SINK), server.url, str(folder), mode), stderr=log)


def stored(folder: Path) -> tuple[int, int, int]:
    """Rows and events, distinct ones, position."""
    with duckdb.connect(str(folder / "hot.duckdb"), read_only=True) as con:
        rows, distinct = con.execute(
            "SELECT count(*), count(DISTINCT number) FROM"
            " (SELECT value AS number FROM readings UNION ALL SELECT id::DOUBLE FROM events)"
        ).fetchall()[0]
        position = con.execute("SELECT coalesce(max(last_seq), 0) FROM sink_pos WHERE stream = ?", [STREAM]).fetchall()[
            0
        ][0]
    return rows, distinct, position


def position_of(folder: Path) -> int:
    """As the running sink says."""
    path = folder / "position"
    return int(path.read_text()) if path.exists() else 0


async def run_cycles(server: Server, folder: Path, mode: str, *, cycles: int, kill_server: bool = False) -> int:
    """Publish while the sink is killed again and again; the number of samples published."""
    chance = random.Random(20_26)
    total = 0
    async with connect(server) as connection:
        await make_stream(connection)
    for cycle in range(cycles):
        for name in ("started", "unacknowledged"):
            (folder / name).unlink(missing_ok=True)
        sink = start_sink(server, folder, mode)
        async with (
            connect(server) as connection,
            GroupCommitPublisher(connection, STREAM, ledger_subject="uns.v1.acme.p1._ledger.e1.integrity") as publisher,
        ):
            await eventually((folder / "started").exists)
            for _ in range(4):
                await publisher.submit(messages(total, MESSAGES_PER_CYCLE // 4))
                total += MESSAGES_PER_CYCLE // 4
                await asyncio.sleep(
                    chance.uniform(0.0, 0.15)
                )  # the moment of the kill is what varies, nothing is waited for
            await publisher.flush()
            if mode == "naive":
                await eventually((folder / "unacknowledged").exists)
            await asyncio.sleep(chance.uniform(0.0, 0.05))
        sink.kill()
        sink.wait()
        if kill_server and cycle % 3 == 1:
            server.kill()
            await server.start()
    return total


async def test_ten_kills_of_the_sink_and_three_of_the_server_leave_every_row_once(
    server: Server, tmp_path: Path
) -> None:
    folder = tmp_path / "history"
    total = await run_cycles(server, folder, "exact", cycles=CYCLES, kill_server=True)
    async with connect(server) as connection:
        last_seq = (await StreamApi(connection).state(STREAM)).last_seq
    sink = start_sink(server, folder, "exact")
    try:
        await eventually(lambda: position_of(folder) == last_seq)
    finally:
        sink.kill()
        sink.wait()
    warm.settle()
    rows, distinct, position = stored(folder)
    assert position == last_seq
    assert distinct == total
    assert rows == total


async def test_the_control_that_stores_the_position_afterwards_counts_twice(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "history"
    await run_cycles(server, folder, "naive", cycles=2)
    warm.settle()
    rows, distinct, _ = stored(folder)
    assert rows > distinct
