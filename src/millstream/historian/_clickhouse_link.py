"""Connections to a ClickHouse server. The only place that knows its client (HTTP, Arrow in and out) and its errors."""

from __future__ import annotations

import io
import re
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from millstream.historian._server import HistoryLoginError, HistoryServerError
from millstream.historian._store import HistoryStoreError
from millstream.kernel import needs_extra

if TYPE_CHECKING:
    import pyarrow as pa

CONNECT_S_MAX = 10
ANSWER_S_MAX = 60  # without a sign of life; a server that works on a question sends its progress
INSERT_S_MAX = 600  # a server that still works on an insert after that gives it up
NO_DATABASE = "__default__"
EXISTS = 57
_LOGIN_CODES = frozenset((192, 193, 194, 195, 516))
_TEXT = re.compile(r"DB::Exception: (.*?)(?:\. \([A-Z_]+\)|$)", re.DOTALL)
_ASKING: dict[str, object] = {
    "output_format_arrow_string_as_string": 1,
    "max_query_size": 64 * 2**20,  # numbers of tags and times stand in the text
    "join_use_nulls": 0,
}
_STORING: dict[str, object] = {
    "async_insert": 0,  # an answer must mean that it is stored
    "insert_deduplicate": 1,
    "max_partitions_per_insert_block": 0,  # a source with a broken clock must not stop its stream
    "max_execution_time": INSERT_S_MAX,
}


@dataclass(frozen=True, slots=True)
class ClickhouseServer:
    """Where a history lies: `url` is that of the server's HTTP interface (``https://host:8443``), without a user;
    `password` is asked at each connection. All tables are in `database`."""

    url: str
    user: str | None = None
    password: Callable[[], str] | None = None
    database: str = "millstream"

    @property
    def place(self) -> str:
        """For messages."""
        return f"{urlsplit(self.url).netloc.rpartition('@')[2]} database {self.database}"


class ClickhouseLink:
    """Statements to one server, each by itself; there are no transactions. One thread at a time, but for
    `interrupt`."""

    def __init__(self, server: ClickhouseServer) -> None:
        """Connect. Raises HistoryServerError, HistoryLoginError, ConfigError."""
        connect, self._error = _load_driver()
        self._where = server.place
        self.is_broken = False
        self._lock = threading.Lock()
        self._asking: str | None = None
        self._killer: ThreadPoolExecutor | None = None
        parts = urlsplit(server.url)
        with self.faults("be reached"):
            self._client = connect(
                interface=parts.scheme,
                host=parts.hostname,
                port=parts.port or (8443 if parts.scheme == "https" else 8123),
                proxy_path=parts.path,
                username=server.user,
                password=server.password() if server.password is not None else "",
                database=NO_DATABASE,  # it may not be there yet
                connect_timeout=CONNECT_S_MAX,
                send_receive_timeout=ANSWER_S_MAX,
                autogenerate_session_id=False,  # questions and their end go beside one another
                client_name="millstream",
                dedicated_pool=True,  # closed with the connection
            )

    def use(self, database: str) -> None:
        """What names of tables stand in from here on."""
        self._client.database = database

    def close(self) -> None:
        """Close; also a broken one."""
        if self._killer is not None:
            self._killer.shutdown(wait=True)
        self._client.close()

    @contextmanager
    def faults(self, doing: str) -> Iterator[None]:
        """The one place where the client's errors become ours; `code` of them is the server's number."""
        try:
            yield
        except self._error as error:
            code, text = _told(error)
            if code in _LOGIN_CODES:
                raise HistoryLoginError(
                    "history's server refuses the login", where=self._where, got=text,
                    next_step="check user and password of historian.engine, and what the server lets this user do",
                ) from None  # fmt: skip
            if code is None:
                self.is_broken = True
                raise HistoryServerError(
                    f"history cannot {doing}: its server does not answer", where=self._where, got=text,
                    next_step="start it, or correct historian.engine",
                ) from None  # fmt: skip
            raise _Refused(code, f"history cannot {doing}: {text}", where=self._where) from error

    def run(self, sql: str, *, doing: str = "be changed") -> None:
        """A statement without an answer. Raises HistoryStoreError."""
        with self.faults(doing):
            self._client.command(sql)

    def ask(self, sql: str, *, doing: str = "read") -> pa.Table:
        """The answer of a statement. Raises HistoryStoreError."""
        import pyarrow as pa

        query_id = str(uuid.uuid4())
        with self.faults(doing):
            with self._lock:
                self._asking = query_id
            try:
                answer = self._client.raw_query(sql, fmt="ArrowStream", settings={**_ASKING, "query_id": query_id})
            finally:
                with self._lock:
                    self._asking = None
        table = pa.ipc.open_stream(answer).read_all() if answer else pa.table({})
        # The server tells which columns have no nulls; answers of every engine have the same types.
        return pa.table(dict(zip(table.column_names, table.columns, strict=True)))

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """The answer as rows. Raises HistoryStoreError."""
        table = self.ask(sql)
        return list(zip(*(column.to_pylist() for column in table.columns), strict=True))

    def parts(self, sql: str, *, doing: str = "read") -> Iterator[pa.Table]:
        """A long answer, piece by piece; one that is cut off may look like one that has ended. Raises
        HistoryStoreError."""
        import pyarrow as pa

        with self.faults(doing):
            answer = self._client.raw_stream(sql, fmt="ArrowStream", settings=_ASKING)
            try:
                answer.auto_close = False  # at the end of a short one, before it is read from the buffer
                whole = io.BufferedReader(answer)
                if whole.peek(1):
                    for batch in pa.ipc.open_stream(whole):
                        yield pa.Table.from_batches([batch])
            except (pa.ArrowException, OSError) as error:
                self.is_broken = True
                raise HistoryServerError(f"history cannot {doing}: {error}", where=self._where) from error
            finally:
                answer.close()

    def insert(self, name: str, columns: Mapping[str, Any], token: str) -> None:
        """Rows into one of our own tables, as one block: all or none. The client sends it again when the connection is
        lost over it; the server takes one `token` once, as long as it remembers. Raises HistoryStoreError."""
        import pyarrow as pa

        table = pa.table(dict(columns))
        if not len(table):
            return
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
            writer.write_table(table.combine_chunks())
        settings = {**_STORING, "max_insert_block_size": max(2**20, len(table)), "insert_deduplication_token": token}
        with self.faults("store rows"):
            self._client.raw_insert(
                name, table.column_names, sink.getvalue().to_pybytes(), fmt="ArrowStream", settings=settings
            )

    def interrupt(self) -> None:
        """End the question under way, from another thread; does not wait for the server."""
        with self._lock:
            if self._asking is None:
                return
            query_id = self._asking
        if self._killer is None:
            self._killer = ThreadPoolExecutor(1, "historian-kill")
        self._killer.submit(self._kill, query_id)

    def _kill(self, query_id: str) -> None:
        try:
            self.run(f"KILL QUERY WHERE query_id = {quoted(query_id)} ASYNC")
        except HistoryStoreError:
            return  # it has just ended, the server is gone, or the user may not: its own limits end it then


class _Refused(HistoryStoreError):
    """The server answered, and refused."""

    def __init__(self, code: int, what: str, *, where: str) -> None:
        super().__init__(what, where=where)
        self.number = code


def is_refused(error: HistoryStoreError, number: int) -> bool:
    """Whether the server gave this number as the reason."""
    return isinstance(error, _Refused) and error.number == number


def quoted(text: str) -> str:
    """Text inside SQL: whatever is not plain ASCII as its bytes."""
    return "'" + "".join(chr(b) if 32 <= b < 127 and b not in b"'\\" else f"\\x{b:02x}" for b in text.encode()) + "'"


def identifier(name: str) -> str:
    """A name inside SQL."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def _told(error: Exception) -> tuple[int | None, str]:
    """The server's number for an error, and what it says in one line."""
    text = str(error)
    said = _TEXT.search(text)
    line = " ".join((said[1] if said else text).split())[:300]
    return getattr(error, "code", None), line or type(error).__name__


def _load_driver() -> tuple[Callable[..., Any], type[Exception]]:
    with needs_extra("a history in ClickHouse", "clickhouse"):
        import clickhouse_connect
        from clickhouse_connect.driver.exceptions import ClickHouseError
    return clickhouse_connect.get_client, ClickHouseError
