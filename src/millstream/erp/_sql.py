"""A database as a source and a sink: rows by a key that only grows, and rows put there."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from millstream.config import ConfirmConfig, ReadConfig, SqlSystem
from millstream.erp._rows import fields_of
from millstream.erp._systems import Confirmation, Page, Refused, filled
from millstream.kernel import ConfigError, DecodeError, ProtocolViolation, Unreachable
from millstream.protocols.sql_window import Window, digest_of

if TYPE_CHECKING:
    from millstream.connectors.sql import Link

REFUSED = "MS-1703"  # the connector's word for a query or statement that the database refuses


class SqlDatabase:
    """One database. Made by `open_sql`."""

    def __init__(self, system: SqlSystem, password: str | None) -> None:
        from millstream.connectors.sql import Turn

        self._system, self._password, self._turn = system, password, Turn()

    async def pages(self, read: ReadConfig, position: str | None) -> AsyncGenerator[Page, None]:
        """Rows from the last key on, each once, as the SQL connector reads them."""
        from millstream.connectors.sql import Ask

        sql = read.sql
        if sql is None:
            raise AssertionError("checked with the file")
        more: dict[str, Any] = {"overlap": f"{sql.overlap:g}s", "overlap_steps": sql.overlap_steps}
        async with self._link(read.name, table=sql.table, query=sql.query, key=sql.key, **more) as (link, config):
            names = tuple(dict.fromkeys((*sql.key, *fields_of(read))))
            there = await link.columns()
            if lacking := [name for name in names if name not in there]:
                raise Refused("there is no such column", where=read.name, got=", ".join(lacking), code="MS-2806")
            try:
                raw = None if position is None else base64.b64decode(position)
                window = Window.decode(raw, config.window_overlap())
                while True:
                    limit = read.page_rows + len(window.seen)
                    rows = await link.rows(Ask(names, window.low, limit))
                    marked = [(tuple(row[: len(sql.key)]), digest_of(row)) for row in rows]
                    fresh = window.fresh(marked)
                    for index in fresh:
                        window.take(*marked[index])
                    found = [dict(zip(names, rows[index], strict=True)) for index in fresh]
                    yield Page(found, base64.b64encode(window.encode()).decode())
                    if len(rows) < limit or not fresh:
                        return
            except DecodeError as error:
                raise ProtocolViolation(error.what, where=read.name, got=error.got, code="MS-2802") from error

    async def confirm(self, config: ConfirmConfig, confirmation: Confirmation) -> str:
        """One row in one transaction; a higher revision of it stands."""
        from millstream.connectors.sql import Put

        sql = config.sql
        if sql is None:
            raise AssertionError("checked with the file")
        row = Put(
            sql.table, filled(sql.key, confirmation.values), filled(sql.columns, confirmation.values),
            (sql.revision, confirmation.revision),
        )  # fmt: skip
        async with self._link(config.name, is_writable=True, table=sql.table, key=(sql.revision,)) as (link, _):
            try:
                return "set" if await link.put(row) else "known"
            except Unreachable as error:
                if error.code != REFUSED:
                    raise
                raise Refused("the database refuses the row", where=sql.table, got=error.got) from error

    @asynccontextmanager
    async def _link(self, name: str, *, is_writable: bool = False, **more: Any) -> AsyncIterator[tuple[Link, Any]]:
        """A connection for one look. Raises Unreachable, AuthError, ConfigError."""
        from millstream.connectors.sql import Link, SqlConfig

        system = self._system
        given: Mapping[str, Any] = {
            "url": system.url, "file": system.file, "connect_args": system.connect_args,
            "connect_timeout": f"{system.timeout:g}s", "query_timeout": f"{system.timeout:g}s", **more,
        }  # fmt: skip
        try:
            config = SqlConfig.model_validate(given)
        except ValidationError as error:
            raise ConfigError(error.errors()[0]["msg"], where=name, code="MS-2805") from error
        link = Link(config, self._turn, is_writable=is_writable)
        try:
            await link.open(self._password)
            yield link, config
        finally:
            await link.close()


@asynccontextmanager
async def open_sql(system: SqlSystem) -> AsyncIterator[SqlDatabase]:
    """The database; it is asked when something is to be read or written. Raises ConfigError."""
    if find_spec("sqlalchemy") is None:
        raise ConfigError("databases need SQLAlchemy", next_step="pip install 'millstream[sql]'", code="MS-0106")
    password = await asyncio.to_thread(system.secret.resolve) if system.secret is not None else None
    yield SqlDatabase(system, password)
