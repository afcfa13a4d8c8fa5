"""A historian in a process of its own, to be killed: ``python sink_process.py URL FOLDER MODE``.

MODE "exact" is the service as it is shipped; the URL of a database as MODE is the same, into that PostgreSQL or
ClickHouse. MODE "naive" is the negative control: rows first, the position afterwards, which is what inserting and then
acknowledging does.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing
from pathlib import Path

from millstream.bus import Credentials, RawConnection, StreamApi, StreamReader
from millstream.historian import (
    ClickhouseServer,
    HistorianOptions,
    HistorianService,
    PostgresServer,
    StreamState,
    parse_created_ns,
)
from millstream.historian._decode import StreamDecoder
from millstream.historian._store import Commit, HistoryStore, Position
from millstream.historian._tags import TagDictionary
from millstream.protocols.ledger import LedgerVerifier

STREAM = "H_INTEGRITY"


class States:
    """Stream states by the management API."""

    def __init__(self, api: StreamApi) -> None:
        self._api = api

    async def state(self, stream: str) -> StreamState:
        info = await self._api.request(f"STREAM.INFO.{stream}")
        return StreamState(parse_created_ns(info["created"]), info["state"]["first_seq"], info["state"]["last_seq"])


async def exact(
    connection: RawConnection, folder: Path, server: PostgresServer | ClickhouseServer | None = None
) -> None:
    """Ingest until killed."""
    options = HistorianOptions(commit_rows=300, commit_every_s=0.02, watch_every_s=0.2, server=server)
    async with HistorianService(
        StreamReader(connection), folder, streams=(STREAM,), states=States(StreamApi(connection)), options=options
    ) as service:
        (folder / "started").touch()
        while True:  # the database refuses a second reader, so the test is told how far it is
            note(folder / "position", service.positions.get(STREAM, 0))
            await asyncio.sleep(0.05)


def note(path: Path, number: int) -> None:
    """Write a number, whole or not at all."""
    new = path.with_suffix(".new")
    new.write_text(str(number))
    new.replace(path)


async def naive(connection: RawConnection, folder: Path) -> None:
    """Rows in one transaction, the position in the next."""
    store, tags = HistoryStore(folder), TagDictionary()
    store.open()
    for entry in store.tags():
        tags.intern(entry.path, entry.kind)
    ledger = LedgerVerifier()
    decoder = StreamDecoder(STREAM, 1, tags=tags, ledger=ledger, now_ns=lambda: 0)
    (folder / "started").touch()
    acknowledged, fake = store.position(STREAM, 1).last_seq, store.next_order
    async with aclosing(StreamReader(connection).read(STREAM, start_seq=acknowledged + 1, batch_max=300)) as lists:
        async for messages in lists:
            if messages:
                fake += 1
                rows = decoder.decode(messages).rows
                store.commit(Commit(Position("rows", fake, 1), 0, rows, tags.dirty()))
                note(folder / "unacknowledged", messages[-1].seq)
                await asyncio.sleep(60.0)  # the acknowledgement is under way; so long that the kill comes before it
                store.set_position(Position(STREAM, 1, messages[-1].seq))


async def main(url: str, folder: str, mode: str) -> None:
    """Connect and run."""
    async with RawConnection(url, credentials=Credentials("edge", "only-for-tests")) as connection:
        if ":" in mode:
            make = PostgresServer if mode.startswith("postgresql:") else ClickhouseServer
            await exact(connection, Path(folder), make(mode, "plant", (Path(folder) / "password").read_text))
        else:
            await (exact if mode == "exact" else naive)(connection, Path(folder))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
