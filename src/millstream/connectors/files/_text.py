"""CSV and JSON lines: whole lines from an offset on, as parts. The line that is still being written waits."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import IO

from millstream.connectors.files._config import FilesConfig
from millstream.connectors.files._packed import Opener
from millstream.connectors.files._part import BAD_BYTES_MAX, Part
from millstream.connectors.files._seen import Seen
from millstream.connectors.files._table import Entry, mark_of
from millstream.kernel import DecodeError
from millstream.model import Sample
from millstream.protocols.mqtt_mapping import ABSENT, Payload, Step, parse_path
from millstream.protocols.row_mapping import Row, RowMap

READ_BYTES = 1 << 18  # of one call: bounds memory, and how long a thread is held
LINE_BYTES_MAX = 1 << 20  # a longer line is bad and passed over


@dataclass(frozen=True, slots=True)
class _Line:
    """One line with its line break; `raw` is cut when it is too long. `end` is the offset behind it."""

    raw: bytes
    end: int
    is_too_long: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """How files are written, and how they are opened."""

    config: FilesConfig
    opener: Opener


def read_text(row_map: RowMap, source: Source, seen: Seen, entry: Entry, *, is_last_taken: bool = False) -> list[Part]:
    """What follows `entry`, at most about `READ_BYTES`; nothing when there is no whole line. Blocking.

    With `is_last_taken` a last line without a line break counts as whole. Raises OSError.
    """
    parts: list[Part] = []
    with source.opener.opened(seen) as stream:
        reader = _Rows(source.config, row_map, seen, stream)
        stream.seek(entry.offset)
        number, part = entry.line, Part(entry)
        for line in _lines(stream, entry.offset, is_last_taken=is_last_taken):
            number += 1
            samples, reason = reader.read(number, line)
            if part.is_full_for(len(samples)):
                parts.append(part)
                part = Part(part.entry)
            part.samples += samples
            if reason is not None:
                part.frames_bad.append((line.raw[:BAD_BYTES_MAX], f"line {number} of {seen.name}: {reason}"))
            part.rows_count += 1
            part.entry = replace(part.entry, offset=line.end, covered=line.end, line=number)
        if part.rows_count:
            parts.append(part)
        mtime_ns = seen.mtime_ns
        if not seen.is_packed:  # behind the reading: it may have grown since it was listed
            mtime_ns = os.fstat(stream.fileno()).st_mtime_ns
        for part in parts:
            mark = mark_of(stream, part.entry.covered) or ""
            part.entry = replace(part.entry, mark=mark, mtime_ns=mtime_ns)
    return parts


def _lines(stream: IO[bytes], start: int, *, is_last_taken: bool) -> Iterator[_Line]:
    end = start
    while end - start < READ_BYTES:
        raw = stream.readline(LINE_BYTES_MAX + 1)
        end += len(raw)
        is_too_long = len(raw) > LINE_BYTES_MAX and not raw.endswith(b"\n")
        last = raw
        while is_too_long and last and not last.endswith(b"\n"):
            last = stream.readline(LINE_BYTES_MAX)
            end += len(last)
        if not raw or not (last.endswith(b"\n") or is_last_taken):
            return
        yield _Line(raw, end, is_too_long)


class _Rows:
    """Reads lines as rows. The header is read from the file's start, wherever one goes on."""

    def __init__(self, config: FilesConfig, row_map: RowMap, seen: Seen, stream: IO[bytes]) -> None:
        self._config = config
        self._map = row_map
        self._is_csv = config.format_of(seen.name) == "csv"
        self._paths = {} if self._is_csv else {name: steps_of(name) for name in row_map.needed}
        self._header: list[str] | None = None
        self._fault: str | None = None
        if self._is_csv and config.header:
            self._header, self._fault = self._read_header(stream)

    def _read_header(self, stream: IO[bytes]) -> tuple[list[str] | None, str | None]:
        stream.seek(0)
        raw = b""
        for _ in range(self._config.skip_lines + 1):
            raw = stream.readline(LINE_BYTES_MAX)
        try:
            header = [cell.strip() for cell in self._cells(raw)]
        except DecodeError as error:
            return None, f"header cannot be read: {error.what}"
        missing = self._map.missing(header)
        return header, f"file has no column {', '.join(missing)}" if missing else None

    def read(self, number: int, line: _Line) -> tuple[list[Sample], str | None]:
        """The samples of a line, and why it is bad if it is."""
        if self._is_csv and number <= self._config.skip_lines:
            return [], None
        found: list[Sample] = []
        try:
            if line.is_too_long:
                raise DecodeError(f"it is longer than {LINE_BYTES_MAX} bytes")
            is_first = number == self._config.skip_lines + 1
            if not self._is_csv:
                row = self._json_row(line.raw)
            elif is_first and self._config.header:
                return (self._map.unknown(self._header) if self._header is not None else []), self._fault
            else:
                row = self._csv_row(line.raw)
                if row is not None and is_first:
                    found = self._map.unknown(row)
            return found if row is None else found + self._map.samples(row), None
        except DecodeError as error:
            return found, error.what if error.got is None else f"{error.what}, got {error.got}"

    def _csv_row(self, raw: bytes) -> Row | None:
        if self._fault is not None:
            raise DecodeError(self._fault)
        cells = self._cells(raw)
        if not cells:
            return None
        names = self._header if self._header is not None else [str(i + 1) for i in range(len(cells))]
        if len(cells) != len(names):
            raise DecodeError(f"expected {len(names)} columns, got {len(cells)}")
        return dict(zip(names, cells, strict=True))

    def _cells(self, raw: bytes) -> list[str]:
        text = self._text(raw)
        try:
            return next(csv.reader([text], delimiter=self._config.delimiter, strict=True), [])
        except csv.Error as error:
            raise DecodeError(f"not CSV: {error}") from None

    def _text(self, raw: bytes) -> str:
        encoding = "utf-8-sig" if self._config.encoding == "utf-8" else self._config.encoding
        try:
            text = raw.decode(encoding).rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise DecodeError(f"it is not {self._config.encoding} (byte {error.start})") from None
        if "\0" in text:
            raise DecodeError("it holds zero bytes")
        return text

    def _json_row(self, raw: bytes) -> Row | None:
        text = self._text(raw)
        if not text.strip():
            return None
        payload = Payload(text.encode())
        if not isinstance(payload.document(), dict):
            raise DecodeError("it is no JSON object")
        row = {name: payload.at(steps) for name, steps in self._paths.items()}
        return {name: cell for name, cell in row.items() if cell is not ABSENT}


def steps_of(name: str) -> tuple[Step, ...]:
    """A member's name, or a JSON path when it begins with ``$``. Raises DecodeError."""
    return parse_path(name) if name.startswith("$") else (name,)


def text_columns(source: Source, seen: Seen) -> list[str]:
    """The columns of a CSV file, or the members of the first JSON line. Blocking. Raises OSError, DecodeError."""
    config = source.config
    with source.opener.opened(seen) as stream:
        stream.seek(0)
        if config.format_of(seen.name) == "jsonl":
            document = Payload(stream.readline(LINE_BYTES_MAX) or b"{}").document()
            return list(document) if isinstance(document, dict) else []
        rows = _Rows(config, RowMap(()), seen, stream)
        if rows._header is None:
            stream.seek(0)
            return [str(i + 1) for i in range(len(rows._cells(stream.readline(LINE_BYTES_MAX))))]
        return rows._header
