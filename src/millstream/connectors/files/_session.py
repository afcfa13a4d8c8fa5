"""A session with a folder: look, read what is new in each file, wait, look again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from millstream.connectors.files._config import FilesConfig, FilesTagOptions
from millstream.connectors.files._packed import Opener, is_at_end
from millstream.connectors.files._parquet import parquet_columns, read_parquet
from millstream.connectors.files._part import Part
from millstream.connectors.files._seen import Seen
from millstream.connectors.files._table import Entry, Table, list_files
from millstream.connectors.files._text import Source, read_text, text_columns
from millstream.kernel import DecodeError
from millstream.protocols.row_mapping import Column, RowMap
from millstream.sdk import Batch, ConnectorTools, NodeInfo, Position, Tag

BROWSE_FILES_MAX = 20  # the newest ones; the others most likely have the same columns


@dataclass(slots=True)
class _Rest:
    """When a file was first seen as it is now, and whether its last line was taken since."""

    size: int
    mtime_ns: int
    since_ns: int
    is_read: bool = False


class FilesSession:
    """Streamed, browsable, counted; rewinds to any row."""

    def __init__(self, config: FilesConfig, tools: ConnectorTools) -> None:
        self._config = config
        self._tools = tools
        self._gaps = 0
        self.opener = Opener(config.unpacked_bytes_max)
        """Holds the packed file that is read; closed with the session."""
        self._rests: dict[int, _Rest] = {}
        self._unreadable: set[str] = set()

    def take_source_gaps(self) -> int:
        """Files that went, or were emptied, before all of them was read; how many rows that were is unknown."""
        taken, self._gaps = self._gaps, 0
        return taken

    @property
    def _source(self) -> Source:
        return Source(self._config, self.opener)

    async def browse(self, root: str | None = None) -> AsyncGenerator[NodeInfo, None]:
        """The columns of the newest files."""
        files = await asyncio.to_thread(list_files, self._config)
        known: set[str] = set()
        for seen in sorted(files, key=lambda seen: -seen.mtime_ns)[:BROWSE_FILES_MAX]:
            for name, kind in await asyncio.to_thread(_columns, self._source, seen):
                if name not in known and (root is None or name.startswith(root)):
                    known.add(name)
                    yield NodeInfo(address=name, name=name, data_type=kind, description=f"column in {seen.name}")

    async def stream(self, tags: Sequence[Tag], resume: Position | None) -> AsyncGenerator[Batch, None]:
        """All rows of all files, then what is added, for ever. Raises Unreachable when the folder cannot be read."""
        maps = {kind: self._row_map(tags, kind) for kind in ("csv", "jsonl", "parquet")}
        table = Table.decode(self._config, self.opener, resume)
        while True:
            files = await asyncio.to_thread(table.update)
            self._look_back(table, files)
            for seen in files:
                async with aclosing(self._read(seen, table, maps)) as batches:
                    async for batch in batches:
                        yield batch
            await self._tools.clock.sleep(self._config.poll_interval)

    def _row_map(self, tags: Sequence[Tag], kind: str) -> RowMap:
        columns = tuple(
            Column(tag.key, tag.address, FilesTagOptions.model_validate(dict(tag.options)).data_type) for tag in tags
        )
        return RowMap(
            columns,
            self._config.time_rule(),
            self._config.long_layout(),
            self._config.when_missing,
            self._config.decimal_mark if kind == "csv" else ".",
            frozenset(self._config.null_values if kind == "csv" else ()),
        )

    def _look_back(self, table: Table, files: Sequence[Seen]) -> None:
        """Log what happened, remember since when each file is as it is."""
        self._gaps += table.gaps_count
        table.gaps_count = 0
        for what, name in table.take_notes():
            self._tools.log.warning(what, file=name)
        now_ns = self._tools.clock.monotonic_ns()
        rests: dict[int, _Rest] = {}
        for seen in files:
            rest = self._rests.get(seen.inode)
            is_same = rest is not None and (rest.size, rest.mtime_ns) == (seen.size, seen.mtime_ns)
            rests[seen.inode] = rest if rest is not None and is_same else _Rest(seen.size, seen.mtime_ns, now_ns)
        self._rests = rests

    async def _read(self, seen: Seen, table: Table, maps: Mapping[str, RowMap]) -> AsyncGenerator[Batch, None]:
        """What is new in one file, as it was when the folder was looked at."""
        kind = self._config.format_of(seen.name) or "csv"
        while True:
            entry = await asyncio.to_thread(table.entry, seen) if seen.is_packed else table.entry(seen)
            parts = await self._parts(seen, entry, maps[kind], kind)
            for part in parts:
                table.put(part.entry)
                if part.has_content:
                    yield Batch(part.samples, position=table.encode(), frames_bad=part.frames_bad)
            if not parts:
                return

    async def _parts(self, seen: Seen, entry: Entry, row_map: RowMap, kind: str) -> Sequence[Part]:
        rest = self._rests[seen.inode]
        quiet_s = (self._tools.clock.monotonic_ns() - rest.since_ns) / 1e9
        try:
            if kind == "parquet":
                if entry.line or quiet_s < self._config.settle_time:
                    return ()
                return await asyncio.to_thread(read_parquet, row_map, seen, entry)
            is_last_taken = 0 < self._config.last_line_after <= quiet_s
            if seen.is_packed:
                if (
                    rest.is_read
                    or quiet_s < self._config.settle_time
                    or await asyncio.to_thread(is_at_end, seen, entry.offset)
                ):
                    return ()
                is_last_taken = True  # nobody adds to it
            elif seen.size <= entry.offset or (rest.is_read and not is_last_taken):
                return ()
            parts = await asyncio.to_thread(read_text, row_map, self._source, seen, entry, is_last_taken=is_last_taken)
            rest.is_read = not parts
        except OSError as error:
            self._cannot_read(seen, error)
            return ()
        self._unreadable.discard(seen.name)
        return parts

    def _cannot_read(self, seen: Seen, error: OSError) -> None:
        """Say so once; the other files go on, and this one when it can be read."""
        if seen.name not in self._unreadable and len(self._unreadable) < self._config.files_max:
            self._unreadable.add(seen.name)
            self._tools.log.warning("file cannot be read", file=seen.name, error=str(error.strerror or error))


def _columns(source: Source, seen: Seen) -> list[tuple[str, str | None]]:
    try:
        if source.config.format_of(seen.name) == "parquet":
            return list(parquet_columns(seen))
        return [(name, None) for name in text_columns(source, seen)]
    except (OSError, ValueError, DecodeError):
        return []
