"""Connections to a PostgreSQL server. The only place that knows its driver (ADBC: Arrow in and
out) and its errors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from millstream.historian._server import HistoryLoginError, HistoryServerError
from millstream.historian._store import HistoryStoreError
from millstream.kernel import needs_extra

if TYPE_CHECKING:
    import pyarrow as pa

CONNECT_TIMEOUT_S = 10
_REFUSALS = ("authentication", "pg_hba.conf", "role ", "no password supplied")
_OUT_OF_RANGE = "22003"
_GONE = ("08", "57P")  # classes of SQLSTATE after which a connection is beyond use


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """Where a history lies: `url` as libpq takes it (``postgresql://host:port/database?sslmode=verify-full``), without
    a password; `password` is asked at each connection. All tables are in `schema`."""

    url: str
    user: str | None = None
    password: Callable[[], str] | None = None
    schema: str = "millstream"

    @property
    def place(self) -> str:
        """For messages."""
        parts = urlsplit(self.url)
        return f"{parts.netloc.rpartition('@')[2]}{parts.path} schema {self.schema}"

    def conninfo(self) -> str:
        """For libpq; holds the password. Raises what reading that raises."""
        parts = urlsplit(self.url)
        user, _, hosts = parts.netloc.rpartition("@")
        user = user if self.user is None else quote(self.user, safe="")
        if self.password is not None:
            user += ":" + quote(self.password(), safe="")
        words = {
            "connect_timeout": str(CONNECT_TIMEOUT_S),
            "application_name": "millstream",
            "keepalives_idle": "30",
            "tcp_user_timeout": "30000",
            **dict(parse_qsl(parts.query)),
            "client_encoding": "UTF8",
        }
        netloc = f"{user}@{hosts}" if user else hosts
        return urlunsplit(("postgresql", netloc, parts.path, urlencode(words, quote_via=quote), ""))


class PostgresLink:
    """One connection; each statement is a transaction of its own unless `transaction` is open. One thread at a time,
    but for `interrupt`."""

    def __init__(self, server: PostgresServer) -> None:
        """Connect. Raises HistoryServerError, HistoryLoginError, ConfigError."""
        driver, self._error = _load_driver()
        self._where = server.place
        self.is_broken = False
        self._lock = threading.Lock()
        self._cursor: Any = None
        conninfo = server.conninfo()
        try:
            self._connection = driver.connect(conninfo, autocommit=True)
        except self._error as error:
            raise self._refused(error) from None  # its text may hold more than a log should
        self.run(f"SET search_path TO {identifier(server.schema)}", doing="choose its schema")
        self.run("SET client_min_messages TO warning", doing="be set up")

    def _refused(self, error: Exception) -> HistoryStoreError:
        what = _first_line(error)
        if "FATAL" in what and any(word in what for word in _REFUSALS):
            return HistoryLoginError(
                "history's server refuses the login", where=self._where, got=what.partition("FATAL:")[2].strip(),
                next_step="check user and password of historian.engine, and the server's pg_hba.conf",
            )  # fmt: skip
        return HistoryServerError(
            "history's server cannot be reached", where=self._where, got=what,
            next_step="start it, or correct historian.engine",
        )  # fmt: skip

    def close(self) -> None:
        """Close; also a broken one."""
        try:
            self._connection.close()
        except self._error:
            self.is_broken = True

    @contextmanager
    def faults(self, doing: str) -> Iterator[None]:
        """The one place where the driver's errors become ours."""
        try:
            yield
        except self._error as error:
            state = getattr(error, "sqlstate", None)
            self.is_broken = self.is_broken or state is None or state.startswith(_GONE)
            kind = HistoryServerError if self.is_broken else HistoryStoreError
            next_step = "ask for windows or tags with smaller numbers" if state == _OUT_OF_RANGE else None
            raise kind(
                f"history cannot {doing}: {_first_line(error)}", where=self._where, next_step=next_step
            ) from error

    def run(self, sql: str, parameters: Sequence[object] = (), *, doing: str = "be changed") -> None:
        """A statement without an answer. Raises HistoryStoreError."""
        with self._using(doing) as cursor:
            cursor.execute(sql, list(parameters) or None)

    def run_each(self, sql: str, rows: Sequence[tuple[object, ...]], *, doing: str = "be changed") -> None:
        """The same statement for each row. Raises HistoryStoreError."""
        if rows:
            with self._using(doing) as cursor:
                cursor.executemany(sql, list(rows))

    def ask(self, sql: str, parameters: Sequence[object] = (), *, doing: str = "read") -> pa.Table:
        """The answer of a statement. Raises HistoryStoreError."""
        with self._using(doing) as cursor:
            cursor.execute(sql, list(parameters) or None)
            return cursor.fetch_arrow_table()

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """The answer as rows. Raises HistoryStoreError."""
        table = self.ask(sql, parameters)
        return list(zip(*(column.to_pylist() for column in table.columns), strict=True))

    def parts(self, sql: str, *, doing: str = "read") -> Iterator[pa.Table]:
        """A long answer, piece by piece. Raises HistoryStoreError."""
        import pyarrow as pa

        with self._using(doing) as cursor:
            cursor.execute(sql)
            try:
                for batch in cursor.fetch_record_batch():
                    yield pa.Table.from_batches([batch])
            except (pa.ArrowException, OSError) as error:
                self.is_broken = True
                raise HistoryServerError(f"history cannot {doing}: {_first_line(error)}", where=self._where) from error

    def insert(self, name: str, table: pa.Table) -> None:
        """Rows into one of our own tables by COPY; the columns' types are the table's. Raises HistoryStoreError."""
        if len(table):
            with self._using("store rows") as cursor:
                cursor.adbc_ingest(name, table, mode="append")

    @contextmanager
    def transaction(self, doing: str) -> Iterator[None]:
        """All or nothing; when the answer to the commit is lost, nobody knows. Raises HistoryStoreError."""
        self.run("BEGIN", doing=doing)
        is_committed = False
        try:
            yield
            self.run("COMMIT", doing=doing)
            is_committed = True
        finally:
            if not is_committed:
                self._roll_back()

    def _roll_back(self) -> None:
        try:
            self.run("ROLLBACK")
        except HistoryStoreError:
            self.is_broken = True  # whatever was open ends with the connection

    def interrupt(self) -> None:
        """End the statement under way, from another thread."""
        with self._lock:
            if self._cursor is not None:
                try:
                    self._cursor.adbc_cancel()
                except self._error:
                    return  # it has just ended, or the server is gone: either way it is over

    @contextmanager
    def _using(self, doing: str) -> Iterator[Any]:
        with self.faults(doing), self._connection.cursor() as cursor:
            with self._lock:
                self._cursor = cursor
            try:
                yield cursor
            finally:
                with self._lock:
                    self._cursor = None


def identifier(name: str) -> str:
    """A name inside SQL."""
    return '"' + name.replace('"', '""') + '"'


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__


def _load_driver() -> tuple[Any, type[Exception]]:
    with needs_extra("a history in PostgreSQL", "postgresql"):
        import adbc_driver_manager
        import adbc_driver_postgresql.dbapi
    return adbc_driver_postgresql.dbapi, adbc_driver_manager.Error
