"""A history in ClickHouse, whose own engine is the peer: each row once through kill -9 of either side and through what
its client and server may do to an insert, and the answers of the embedded history."""

from __future__ import annotations

import asyncio
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from clickhouse_peer import PASSWORD, Clickhouse
from history_kit import T0, TAGS, S, rows_of
from server_suite import (
    Filled,
    check_a_copy,
    check_a_stopped_question,
    check_all_questions,
    check_retention,
    check_rollups,
    check_values_times_and_corrections,
    check_what_is_beside,
    kill_again_and_again,
)
from test_kill_nine import Server

from millstream.historian import ClickhouseServer, Last, Range, Window
from millstream.historian._clickhouse_engine import ClickhouseQuestions, ClickhouseUpkeep
from millstream.historian._clickhouse_link import ClickhouseLink
from millstream.historian._clickhouse_store import ClickhouseStore
from millstream.historian._last import LastValues
from millstream.historian._store import DAY_NS, Commit, HistoryStoreError, Position
from millstream.historian._tags import TagDictionary
from millstream.kernel import FencedError

pytestmark = pytest.mark.needs("chdb")
SEEN = (
    "n < (SELECT max(value) FROM state WHERE kind = 'order') AND NOT arrayExists(v -> n >= v.1 AND n < v.2, "
    "(SELECT groupArray((number, value)) FROM state FINAL WHERE kind = 'void'))"
)
STORED = (
    "SELECT count(), count(DISTINCT number) FROM (SELECT toString(value) AS number FROM samples "
    f"UNION ALL SELECT toString(toFloat64(id)) FROM events WHERE {SEEN})"
)
POSITIONS = "SELECT value FROM state FINAL WHERE kind = 'position'"


@contextmanager
def clickhouse() -> Iterator[Clickhouse]:
    """One that runs; it may be killed and started meanwhile."""
    folder = Path(tempfile.mkdtemp(prefix="ch-"))
    made = Clickhouse(folder)
    try:
        made.start()
        yield made
    finally:
        made.kill()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def database() -> Iterator[Clickhouse]:
    with clickhouse() as made:
        yield made


def server_of(database: Clickhouse, name: str) -> ClickhouseServer:
    return ClickhouseServer(database.url, "plant", lambda: PASSWORD, name)


class InClickhouse(Filled):
    """A store in ClickHouse."""

    def empty(self) -> None:
        with self.store.reading() as link:
            for table in ("readings", "rollups", "events", "tags", "last_value"):
                link.run(f"TRUNCATE TABLE {table}")
        self.store.last = LastValues()

    def settle(self) -> None:
        with self.store.reading() as link:
            for table in ("readings", "rollups", "events"):  # waits for what is under way
                link.run(f"ALTER TABLE {table} DELETE WHERE 0 SETTINGS mutations_sync = 1")

    def questions(self, tags: TagDictionary) -> ClickhouseQuestions:
        return ClickhouseQuestions(self.store, tags)


@pytest.fixture
def filled(database: Clickhouse) -> Iterator[InClickhouse]:
    made = InClickhouse(ClickhouseStore(server_of(database, "asked")))
    yield made
    made.store.close()


def test_all_questions_agree_with_the_reference(filled: InClickhouse) -> None:
    check_all_questions(filled, examples=4)


def test_values_times_and_corrections_are_those_of_the_embedded_history(filled: InClickhouse) -> None:
    check_values_times_and_corrections(filled)


def test_what_is_beside_the_rows_is_stored_with_them_and_a_repeat_is_not(filled: InClickhouse) -> None:
    check_what_is_beside(filled)


async def test_each_tag_is_kept_as_its_rule_says(filled: InClickhouse) -> None:
    await check_retention(
        filled, lambda store, book, on_writer, clock: ClickhouseUpkeep(store, book, on_writer=on_writer, clock=clock)
    )


async def test_windows_have_the_same_numbers_after_the_samples_went(
    filled: InClickhouse, database: Clickhouse, tmp_path: Path
) -> None:
    await check_rollups(
        filled, lambda store, book, on_writer, clock: ClickhouseUpkeep(store, book, on_writer=on_writer, clock=clock),
        tmp_path, server_of(database, "rolled"),
    )  # fmt: skip


def test_a_backup_has_all_of_it_and_another_server_takes_it(
    filled: InClickhouse, database: Clickhouse, tmp_path: Path
) -> None:
    check_a_copy(filled, tmp_path, server_of(database, "restored"))


def test_what_an_earlier_writer_still_stores_does_not_count(filled: InClickhouse, database: Clickhouse) -> None:
    """Its process was killed, or its connection; the server was slow with what it had sent."""
    already = filled.store.counters().get("messages", 0)
    filled.add([S(TAGS[0], T0, 1.0)], counts={"messages": 1})
    old, server = filled.store, filled.store.server
    filled.store = ClickhouseStore(server)
    filled.store.open()
    try:
        filled.engine = filled.questions(filled.tags)
        rows = filled.columns([S(TAGS[0], T0 + 1, 2.0)])
        batch = Commit(Position("H", 1, filled.seq + 1), filled.seq, rows, counts={"messages": 1})
        link, end = old._links.writer, old.next_order + 2
        assert link is not None
        with pytest.raises(FencedError, match="another process"):  # its rows are stored, and seen by nobody
            old._send(link, batch, end)
        old._is_fenced = False
        old._commit(link, old._state.after(batch, end))  # not even now
        assert filled.store.position("H", 1).last_seq == filled.seq
        assert filled.store.commit(batch)
        filled.store.reopen()
        samples = rows_of(filled.ask(Range(tags=TAGS)))
        assert [(row["timestamp"], row["value"]) for row in samples] == [(T0, 1.0), (T0 + 1, 2.0)]
        assert (filled.store.rows_count(), filled.store.counters()["messages"] - already) == (2, 2)
        assert database.run("SELECT count() FROM samples", "asked") == [(2,)]
        assert database.run("SELECT count() FROM readings", "asked") == [(3,)]
        filled.store.sweep(2**62)  # the server takes out what nobody sees
        filled.settle()
        assert database.run("SELECT count() FROM readings", "asked") == [(2,)]
        filled.store.sweep(2**62)
        assert filled.store.seen() == f"n < {filled.store.next_order}"
        with pytest.raises(FencedError, match="another process"):
            old.commit(Commit(Position("H", 1, filled.seq + 2), filled.seq + 1, rows))
        with pytest.raises(FencedError, match="another process"):
            old.reopen()
    finally:
        old.close()


def test_an_insert_that_is_sent_twice_or_swallowed_is_noticed_before_it_counts(
    filled: InClickhouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert = ClickhouseLink.insert

    def twice(link: ClickhouseLink, name: str, columns: Any, token: str) -> None:
        insert(link, name, columns, token)
        if name == "readings":  # by the client over a new connection; the server has forgotten the token over a restart
            insert(link, name, columns, token + " forgotten")

    def swallowed(link: ClickhouseLink, name: str, columns: Any, token: str) -> None:
        if name != "readings":
            insert(link, name, columns, token)

    for wrong in (twice, swallowed):
        monkeypatch.setattr(ClickhouseLink, "insert", wrong)
        with pytest.raises(HistoryStoreError, match="other rows than it was sent"):
            filled.add([S(TAGS[0], T0, 1.0)])
        filled.seq -= 1
        monkeypatch.setattr(ClickhouseLink, "insert", insert)
        assert filled.store.position("H", 1).last_seq == filled.seq
        assert filled.add([S(TAGS[0], T0, 1.0)])
    assert len(rows_of(filled.ask(Range(tags=TAGS)))) == 2


def test_a_wrong_password_a_server_that_is_away_and_a_long_question_are_told_apart(filled: InClickhouse) -> None:
    good = filled.store.server
    with pytest.raises(HistoryStoreError) as caught:
        ClickhouseStore(ClickhouseServer(good.url, good.user, lambda: "wrong", good.database)).open()
    assert caught.value.code == "MS-0424"
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        with pytest.raises(HistoryStoreError) as caught:
            ClickhouseStore(ClickhouseServer(url, good.user, lambda: PASSWORD, good.database)).open()
    assert caught.value.code == "MS-0423"
    check_a_stopped_question(filled)
    with pytest.raises(HistoryStoreError, match="longer than all times"):
        filled.ask(Window(tags=TAGS, start_ns=-5, end_ns=5, every_ns=2**63))


def test_retention_drops_whole_partitions_and_single_rows(filled: InClickhouse) -> None:
    filled.add([S(TAGS[0], T0 + day * DAY_NS, float(day)) for day in (0, 40, 80)])
    filled.store.drop_whole("readings", T0 + 79 * DAY_NS)
    left = {row["value"] for row in rows_of(filled.ask(Range(tags=TAGS)))}
    assert 80.0 in left
    assert 0.0 not in left
    filled.store.drop([filled.tags.intern(TAGS[0])], T0 + 79 * DAY_NS)
    filled.settle()
    assert [row["value"] for row in rows_of(filled.ask(Range(tags=TAGS)))] == [80.0]
    filled.store.save_last()
    filled.add([S(TAGS[1], T0, 7.0)])
    filled.store.reopen()  # from the checkpoint and what came later
    assert [row["value"] for row in rows_of(filled.ask(Last(tags=TAGS)))] == [80.0, 7.0]
    assert filled.store.oldest_ns() == T0


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    found = Server(tmp_path)
    await found.start()
    yield found
    found.kill()


async def test_kills_of_the_sink_and_of_the_database_leave_every_row_once(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "history"
    folder.mkdir()
    (folder / "password").write_text(PASSWORD)
    with clickhouse() as database:

        def restart() -> None:
            database.kill()
            database.start()

        total, last_seq = await kill_again_and_again(server, folder, database.url, restart, cycles=2)
        stored = await asyncio.to_thread(database.run, STORED, "millstream")
        positions = await asyncio.to_thread(database.run, POSITIONS, "millstream")
    assert stored == [(total, total)]
    assert positions == [(last_seq,)]
