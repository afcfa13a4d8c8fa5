"""A session with a database: ask for rows from the last key on, leave out what is taken, wait, ask again."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence

from millstream.connectors.sql._config import SqlConfig, SqlTagOptions
from millstream.connectors.sql._link import Ask, Link
from millstream.kernel import DecodeError, ProtocolViolation, Unreachable
from millstream.model import Sample
from millstream.protocols.row_mapping import Column, Row, RowMap
from millstream.protocols.sql_window import Key, Window, digest_of
from millstream.sdk import Batch, ConnectorTools, NodeInfo, Position, Tag

SAMPLES_BATCH_MAX = 800  # one unit of the store holds 900 messages, and a position must lie in the unit of its data
BAD_BYTES_MAX = 1 << 16


class SqlSession:
    """Streamed and browsable; rewinds to any row."""

    def __init__(self, link: Link, columns: Sequence[str], config: SqlConfig, tools: ConnectorTools) -> None:
        self._link = link
        self._there = columns
        self._config = config
        self._tools = tools

    async def browse(self, root: str | None = None) -> AsyncGenerator[NodeInfo, None]:
        """The columns of the table or query."""
        for name in self._there:
            if root is None or name.startswith(root):
                yield NodeInfo(address=name, name=name)

    async def stream(self, tags: Sequence[Tag], resume: Position | None) -> AsyncGenerator[Batch, None]:
        """All rows from the beginning (or from now on), or from right after `resume`; then what comes, for ever.

        Raises Unreachable, AuthError when the link breaks; ProtocolViolation when the key cannot serve as one.
        """
        row_map = self._row_map(tags)
        names = self._names(row_map)
        try:
            window = Window.decode(resume, self._config.window_overlap())
            if resume is None:
                yield await self._beginning(row_map, window)
            while True:
                ask = Ask(names, window.low, self._config.batch_rows + len(window.seen))
                rows = await self._link.rows(ask)
                for batch in self._batches(rows, row_map, names, window):
                    yield batch
                if len(rows) < ask.limit:
                    await self._tools.clock.sleep(self._config.poll_interval)
        except DecodeError as error:
            if error.code == "MS-0307":
                raise
            raise ProtocolViolation(
                error.what, where=self._config.where, expected=error.expected, got=error.got, code=error.code
            ) from error

    def _row_map(self, tags: Sequence[Tag]) -> RowMap:
        columns = tuple(
            Column(tag.key, tag.address, SqlTagOptions.model_validate(dict(tag.options)).data_type) for tag in tags
        )
        return RowMap(columns, self._config.time_rule(), self._config.long_layout(), self._config.when_missing)

    def _names(self, row_map: RowMap) -> tuple[str, ...]:
        """What to ask for: the key first, then what the tags need and the database has."""
        needed = [*self._config.key, *row_map.missing(()), *self._config.id_columns]
        lacking = [name for name in needed if name not in self._there]
        if lacking:
            raise Unreachable(
                f"there is no column {', '.join(lacking)}",
                where=self._config.where,
                expected=f"one of {', '.join(self._there)}"[:300],
                code="MS-1703",
            )
        present = [name for name in (*row_map.needed, *self._config.id_columns) if name in self._there]
        return tuple(dict.fromkeys((*self._config.key, *present)))

    async def _beginning(self, row_map: RowMap, window: Window) -> Batch:
        """A position before any row, so that `start: now` holds over a crash; and tags whose column is not there."""
        if self._config.start == "now":
            window.last = await self._link.last_key()
            if window.last is not None:
                await self._skip_to_now(window, row_map)
        return Batch(row_map.unknown(self._there), position=Position(window.encode()))

    async def _skip_to_now(self, window: Window, row_map: RowMap) -> None:
        """Rows that are within the window now do not count as new ones."""
        names = self._names(row_map)
        limit = self._config.batch_rows
        while True:
            rows = await self._link.rows(Ask(names, window.low, limit + len(window.seen)))
            marked = [(self._key(row), self._digest(row, names)) for row in rows]
            fresh = window.fresh(marked)
            for index in fresh:
                window.take(*marked[index])
            if len(rows) < limit or not fresh:
                return

    def _batches(
        self, rows: Sequence[Sequence[object]], row_map: RowMap, names: tuple[str, ...], window: Window
    ) -> Iterator[Batch]:
        samples: list[Sample] = []
        frames_bad: list[tuple[bytes, str]] = []
        is_new = False
        marked = [(self._key(row), self._digest(row, names)) for row in rows]
        for index in window.fresh(marked):
            row = dict(zip(names, rows[index], strict=True))
            found = self._read(row, row_map, frames_bad)
            if samples and len(samples) + len(found) > SAMPLES_BATCH_MAX:
                yield Batch(samples, position=Position(window.encode()), frames_bad=frames_bad)
                samples, frames_bad = [], []
            samples += found
            window.take(*marked[index])
            is_new = True
        if is_new:
            yield Batch(samples, position=Position(window.encode()), frames_bad=frames_bad)

    def _read(self, row: Row, row_map: RowMap, frames_bad: list[tuple[bytes, str]]) -> list[Sample]:
        try:
            return row_map.samples(row)
        except DecodeError as error:
            key = ", ".join(f"{name}={row[name]!r:.60}" for name in self._config.key)
            frames_bad.append((repr(row).encode("utf-8", "replace")[:BAD_BYTES_MAX], f"row {key}: {error.what}"))
            return []

    def _key(self, row: Sequence[object]) -> Key:
        return tuple(row[: len(self._config.key)])

    def _digest(self, row: Sequence[object], names: tuple[str, ...]) -> str:
        ids = self._config.id_columns
        return digest_of([row[names.index(name)] for name in (*self._config.key, *ids)] if ids else row)
