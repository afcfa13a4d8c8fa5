"""The database: one connection, and its errors in one place. The only module that knows SQLAlchemy. Devices' tables are
read only; what is confirmed to an ERP is written on a connection of its own.

Drivers block, so each call runs in a thread. One that hangs cannot be ended from here: it is left alone, and nothing
new is begun until it has come back.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from millstream.connectors.sql._config import SqlConfig
from millstream.kernel import AuthError, ConfigError, PlantError, Unreachable
from millstream.protocols.sql_window import Key

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, Select

T = TypeVar("T")
_READ_ONLY = {
    "postgresql": ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "SET statement_timeout = {timeout_ms}"),
    "mysql": ("SET SESSION TRANSACTION READ ONLY",),
    "mariadb": ("SET SESSION TRANSACTION READ ONLY",),
}
_LOGIN_STATES = frozenset({"28000", "28P01"})  # SQLSTATE: invalid authorization
_LOGIN_CODES = frozenset({1044, 1045, 1017, 18456})  # MySQL, Oracle, SQL Server
_LOGIN_WORDS = ("password authentication failed", "access denied for user", "login failed for user", "ora-01017")
_QUERY_STATES = ("42", "22", "0A", "25006")  # syntax, names and rights; data; not supported; read-only


@dataclass(frozen=True, slots=True)
class Ask:
    """One query: these columns, rows from `low` on, in the order of the key, at most `limit`."""

    columns: tuple[str, ...]
    low: Key | None
    limit: int


@dataclass(frozen=True, slots=True)
class Put:
    """One row to be there: the one with these key columns, with these columns, unless it has this revision or a higher
    one already."""

    table: str
    key: Mapping[str, object]
    columns: Mapping[str, object]
    revision: tuple[str, int]


CLOSE_WAIT_S = 5.0


class Turn:
    """Calls of all links of one connector come one after the other, so that of those that hang there is at most one."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()


class Link:
    """One connection, read-only unless it is said to be `is_writable`."""

    def __init__(self, config: SqlConfig, turn: Turn, *, is_writable: bool = False) -> None:
        self._config = config
        self._is_writable = is_writable
        self._turn = turn
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._connection: Connection | None = None
        self._is_closed = False

    # -- called on the loop -------------------------------------------------------------------------------------------

    async def open(self, password: str | None) -> None:
        """Connect. Raises Unreachable, AuthError, ConfigError."""
        await self._call(lambda: self._connect(password), self._config.connect_timeout, "database does not answer")

    async def columns(self) -> tuple[str, ...]:
        """The columns that there are. Raises Unreachable."""
        return await self._call(self._columns, self._config.query_timeout, "query takes too long")

    async def rows(self, ask: Ask) -> Sequence[Sequence[object]]:
        """Rows, each with the cells of `ask.columns`. Raises Unreachable, AuthError."""
        return await self._call(lambda: self._rows(ask), self._config.query_timeout, "query takes too long")

    async def last_key(self) -> Key | None:
        """The highest key that there is; None in an empty table. Raises Unreachable."""
        return await self._call(self._last_key, self._config.query_timeout, "query takes too long")

    async def put(self, row: Put) -> bool:
        """Have a row there, in one transaction; False when it was there. Raises Unreachable, AuthError: then nobody
        knows, and to put it again is right."""
        return await self._call(lambda: self._put(row), self._config.query_timeout, "statement takes too long")

    async def close(self) -> None:
        """Close; a call that hangs closes its connection itself when it comes back."""
        self._is_closed = True
        await asyncio.shield(asyncio.to_thread(self._close_if_idle))

    async def _call(self, work: Callable[[], T], timeout_s: float, what: str) -> T:
        try:
            async with asyncio.timeout(timeout_s or None):
                await self._turn.lock.acquire()
                running = asyncio.ensure_future(asyncio.to_thread(self._guarded, work))
                running.add_done_callback(self._came_back)
                return await asyncio.shield(running)
        except TimeoutError as error:
            raise Unreachable(
                what, where=self._config.where, expected=f"within {timeout_s:g}s", code="MS-1701"
            ) from error

    def _came_back(self, running: asyncio.Future[Any]) -> None:
        self._turn.lock.release()
        if not running.cancelled():
            running.exception()  # nobody else may ask for it

    # -- called in a thread -------------------------------------------------------------------------------------------

    def _guarded(self, work: Callable[[], T]) -> T:
        import sqlalchemy.exc

        try:
            with self._lock:
                try:
                    return work()
                finally:
                    if self._is_closed:
                        self._dispose()
        except sqlalchemy.exc.SQLAlchemyError as error:
            raise fault(error, self._config.where) from error
        except OSError as error:  # drivers leak those of their sockets
            raise Unreachable(
                f"database cannot be reached: {error}", where=self._config.where, code="MS-1701"
            ) from error

    def _connect(self, password: str | None) -> None:
        import sqlalchemy as sa

        # The pool logs with a traceback that a connection, which is lost, could not be closed in peace.
        logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
        self._engine = _make_engine(self._config, password, is_writable=self._is_writable)
        statements = () if self._is_writable else _READ_ONLY.get(self._engine.dialect.name, ())
        timeout_ms = int(self._config.query_timeout * 1000)
        self._connection = self._engine.connect()
        for statement in statements:
            self._connection.execute(sa.text(statement.format(timeout_ms=timeout_ms)))
        self._connection.commit()  # a rollback would take the settings back; nothing else is ever committed

    def _alive(self) -> Connection:
        if self._connection is None:
            raise Unreachable("database is not connected", where=self._config.where, code="MS-1701")
        return self._connection

    def _execute(self, statement: Any) -> tuple[list[str], list[Sequence[object]]]:
        connection = self._alive()
        try:
            result = connection.execute(statement)
            return list(result.keys()), [tuple(row) for row in result.fetchall()]
        finally:
            connection.rollback()

    def _columns(self) -> tuple[str, ...]:
        import sqlalchemy as sa

        names, _ = self._execute(sa.text(f"SELECT * FROM ({self._source_text()}) millstream_rows WHERE 1 = 0"))
        return tuple(names)

    def _source_text(self) -> str:
        """The query; a colon is text and no parameter in it."""
        if self._config.query is not None:
            return self._config.query.replace(":", r"\:")
        quote = self._alive().dialect.identifier_preparer.quote
        return "SELECT * FROM " + ".".join(quote(part) for part in (self._config.table or "").split("."))

    def _select(self, columns: Sequence[str]) -> tuple[Select[Any], list[Any]]:
        """The statement without its bounds, and the key's columns."""
        import sqlalchemy as sa

        names = dict.fromkeys((*columns, *self._config.key))
        source = sa.text(self._source_text()).columns(*(sa.column(name) for name in names)).subquery("millstream_rows")
        keys = [source.c[name] for name in self._config.key]
        return sa.select(*(source.c[name] for name in columns)).where(*(key.is_not(None) for key in keys)), keys

    def _rows(self, ask: Ask) -> list[Sequence[object]]:
        import sqlalchemy as sa

        statement, keys = self._select(ask.columns)
        if ask.low is not None:
            *before, final = zip(keys, ask.low, strict=True)
            bound = final[0] >= final[1]
            for key, value in reversed(before):
                bound = sa.or_(key > value, sa.and_(key == value, bound))
            statement = statement.where(bound)
        _, rows = self._execute(statement.order_by(*keys).limit(ask.limit))
        return rows

    def _last_key(self) -> Key | None:
        statement, keys = self._select(self._config.key)
        _, rows = self._execute(statement.order_by(*(key.desc() for key in keys)).limit(1))
        return tuple(rows[0]) if rows else None

    def _put(self, row: Put) -> bool:
        import sqlalchemy as sa

        connection = self._alive()
        *schema, name = row.table.rsplit(".", 1)
        column, revision = row.revision
        values = {**row.key, **row.columns, column: revision}
        table = sa.table(name, *(sa.column(each) for each in values), schema=schema[0] if schema else None)
        where = [table.c[each] == value for each, value in row.key.items()]
        with connection.begin():
            found = connection.execute(sa.select(table.c[column]).where(*where).with_for_update()).fetchall()
            if not found:
                connection.execute(table.insert().values(values))
            elif any(each[0] is not None and int(each[0]) >= revision for each in found):
                return False
            else:
                connection.execute(table.update().where(*where).values(values))
        return True

    def _close_if_idle(self) -> None:
        if self._lock.acquire(timeout=CLOSE_WAIT_S):
            try:
                self._dispose()
            finally:
                self._lock.release()

    def _dispose(self) -> None:
        import sqlalchemy.exc

        connection, self._connection = self._connection, None
        engine, self._engine = self._engine, None
        try:
            if connection is not None:
                connection.close()
            if engine is not None:
                engine.dispose()
        except (sqlalchemy.exc.SQLAlchemyError, OSError):
            pass  # the link was broken already


def _make_engine(config: SqlConfig, password: str | None, *, is_writable: bool) -> Engine:
    import sqlalchemy as sa
    from sqlalchemy.pool import NullPool

    arguments: dict[str, Any] = dict(config.connect_args)
    try:
        if config.file is not None:
            path, mode = config.file.absolute().as_uri(), "rw" if is_writable else "ro"
            url = sa.URL.create("sqlite", database=path, query={"mode": mode, "uri": "true"})
            arguments.setdefault("timeout", config.query_timeout)
        else:
            url = sa.make_url(config.url or "")
            if password is not None:
                url = url.set(password=password)
        if url.get_backend_name() == "sqlite":
            arguments["check_same_thread"] = False  # calls come one after the other, but not from one thread
        return sa.create_engine(url, poolclass=NullPool, connect_args=arguments)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the driver {error.name} is missing", where=config.where, next_step=f"pip install {error.name}",
            code="MS-0106",
        ) from error  # fmt: skip
    except sa.exc.SQLAlchemyError as error:
        raise ConfigError(
            f"url cannot be used: {error}", where=config.where, expected="dialect+driver://user@host/database",
            code="MS-1700",
        ) from error  # fmt: skip


def fault(error: Exception, where: str) -> PlantError:
    """What a database error means: a refused login, a refused query, or a lost link."""
    cause = getattr(error, "orig", None) or error
    words = " ".join(_words(cause).split())[:300]
    state = _state(cause)
    codes = {part for part in getattr(cause, "args", ()) if isinstance(part, int)}
    if state in _LOGIN_STATES or codes & _LOGIN_CODES or any(word in words.lower() for word in _LOGIN_WORDS):
        return AuthError("database refuses the login", where=where, got=words, code="MS-1702")
    if not getattr(error, "connection_invalidated", False) and _is_refusal(error, state, words):
        return Unreachable(
            "database refuses the query", where=where, got=words, next_step="correct table, query or rights",
            code="MS-1703",
        )  # fmt: skip
    return Unreachable("database cannot be reached, or the link broke", where=where, got=words, code="MS-1701")


def _is_refusal(error: Exception, state: str | None, words: str) -> bool:
    import sqlalchemy.exc as exc

    if state is not None:
        return state.startswith(_QUERY_STATES)
    is_named = any(word in words for word in ("no such table", "no such column", "syntax error", "readonly"))  # SQLite
    return is_named or isinstance(error, exc.ProgrammingError | exc.DataError | exc.CompileError)


def _state(cause: object) -> str | None:
    """The SQLSTATE, where the driver tells it."""
    for name in ("sqlstate", "pgcode"):
        found = getattr(cause, name, None)
        if isinstance(found, str):
            return found
    first = next(iter(getattr(cause, "args", ())), None)
    if isinstance(first, dict) and isinstance(first.get("C"), str):  # pg8000
        return str(first["C"])
    return None


def _words(cause: object) -> str:
    first = next(iter(getattr(cause, "args", ())), None)
    return str(first.get("M", first)) if isinstance(first, dict) else str(cause)
