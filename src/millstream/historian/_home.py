"""Where a history lies: in a folder of this machine, or on a server. Each brings its store, its answers, its upkeep."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from millstream.historian._clickhouse_engine import ClickhouseQuestions, ClickhouseUpkeep
from millstream.historian._clickhouse_link import ClickhouseServer
from millstream.historian._clickhouse_store import ClickhouseStore
from millstream.historian._engine import QueryEngine, Questions
from millstream.historian._keep import KeepBook
from millstream.historian._postgres_engine import PostgresQuestions
from millstream.historian._postgres_link import PostgresServer
from millstream.historian._postgres_store import PostgresStore
from millstream.historian._server import ServerUpkeep
from millstream.historian._store import HistoryStore
from millstream.historian._storing import Store
from millstream.historian._tags import TagDictionary
from millstream.historian._upkeep import DayUpkeep, OnWriter, Upkeep
from millstream.kernel import Clock
from millstream.sdk import Log


@dataclass(frozen=True, slots=True)
class Keeping:
    """What the upkeep of either needs: which tags are kept for how long, the one thread that writes, time, the log."""

    book: KeepBook
    on_writer: OnWriter
    clock: Clock
    log: Log


class Home(Protocol):
    """A store, and what belongs to it once the dictionary is known."""

    @property
    def store(self) -> Store:
        """The same one for ever."""
        ...

    def furnish(self, tags: TagDictionary, keeping: Keeping) -> tuple[Questions, Upkeep]:
        """Answers and upkeep that use this dictionary."""
        ...


class FolderHome:
    """DuckDB and sealed days in a folder."""

    def __init__(
        self, folder: Path, *, hot_window_s: float, memory_bytes_max: int, bytes_max: int | None = None
    ) -> None:
        self.store = HistoryStore(folder, memory_bytes_max=memory_bytes_max)
        self._hot_window_s = hot_window_s
        self._bytes_max = bytes_max

    def furnish(self, tags: TagDictionary, keeping: Keeping) -> tuple[Questions, Upkeep]:
        """As `Home.furnish`."""
        engine = QueryEngine(self.store, tags)
        upkeep = DayUpkeep(
            self.store, engine, keeping.book, on_writer=keeping.on_writer, clock=keeping.clock, log=keeping.log,
            hot_window_s=self._hot_window_s, bytes_max=self._bytes_max,
        )  # fmt: skip
        return engine, upkeep


class PostgresHome:
    """A PostgreSQL."""

    def __init__(self, server: PostgresServer) -> None:
        self.store = PostgresStore(server)

    def furnish(self, tags: TagDictionary, keeping: Keeping) -> tuple[Questions, Upkeep]:
        """As `Home.furnish`."""
        upkeep = ServerUpkeep(
            self.store, keeping.book, on_writer=keeping.on_writer, clock=keeping.clock, log=keeping.log
        )  # fmt: skip
        return PostgresQuestions(self.store, tags), upkeep


class ClickhouseHome:
    """A ClickHouse."""

    def __init__(self, server: ClickhouseServer) -> None:
        self.store = ClickhouseStore(server)

    def furnish(self, tags: TagDictionary, keeping: Keeping) -> tuple[Questions, Upkeep]:
        """As `Home.furnish`."""
        upkeep = ClickhouseUpkeep(
            self.store, keeping.book, on_writer=keeping.on_writer, clock=keeping.clock, log=keeping.log
        )  # fmt: skip
        return ClickhouseQuestions(self.store, tags), upkeep


Server = PostgresServer | ClickhouseServer


def server_home(server: Server) -> Home:
    """What belongs to that make."""
    return PostgresHome(server) if isinstance(server, PostgresServer) else ClickhouseHome(server)
