"""Rows of tables (files, databases) as samples: times, values, wide and long layouts. Pure.

A row is a mapping of column names to cells: text (CSV) or typed values (JSON, Parquet, SQL). In the wide layout each
column is a tag; in the long one a row is one sample, with the tag's name in a column of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from typing import Literal, TypeAlias
from uuid import UUID
from zoneinfo import ZoneInfo

from millstream.kernel import DecodeError
from millstream.model import BAD_DATA_UNAVAILABLE, BAD_NODE_ID_UNKNOWN, BAD_TYPE_MISMATCH, GOOD, Quality, Sample, Value
from millstream.protocols.mqtt_mapping import ABSENT, UNITS_NS, DataType, plain_value, to_value
from millstream.protocols.shdr import parse_time_ns

NS = 1_000_000_000
TIME_NS_MIN, TIME_NS_MAX = -(1 << 63), (1 << 63) - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

WhenMissing: TypeAlias = Literal["ignore", "bad"]
Row: TypeAlias = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Instant:
    """A time that a source gives in nanoseconds since 1970; a local one counts as if its zone were UTC."""

    time_ns: int
    is_local: bool = False


def find_zone(name: str) -> tzinfo:
    """The time zone of that name, e.g. Europe/Berlin. Raises ValueError when this machine does not know it."""
    if name.upper() == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"time zone {name!r} is not known on this machine: {error}") from None


@dataclass(frozen=True, slots=True)
class TimeRule:
    """Where a row has its time and how it is written.

    `form` is iso, s, ms, us, ns (numbers since 1970, UTC), or a format as strptime takes it. Several columns are joined
    by a blank, e.g. a date and a time of day. Times without a zone are of `zone`; the hour that a change from summer
    time repeats is taken as its first.
    """

    columns: tuple[str, ...]
    form: str = "iso"
    zone: tzinfo = UTC

    def read(self, row: Row) -> int:
        """UTC ns. Raises DecodeError, also when the cell is empty."""
        cells = [_cell(row, name) for name in self.columns]
        if any(cell is ABSENT or cell is None or cell == "" for cell in cells):
            raise DecodeError("row has no time", expected=f"a time in {', '.join(self.columns)}")
        try:
            time_ns = self._read(cells)
        except (ValueError, OverflowError) as error:
            raise DecodeError(f"time cannot be read: {error}") from None
        if not TIME_NS_MIN <= time_ns <= TIME_NS_MAX:
            raise DecodeError("time is out of range", got=repr(cells)[:80])
        return time_ns

    def _read(self, cells: Sequence[object]) -> int:
        if len(cells) == 2 and isinstance(cells[0], date) and isinstance(cells[1], time):
            return self._of_datetime(datetime.combine(cells[0], cells[1]))
        if len(cells) > 1:
            return self._of_text(" ".join(str(cell).strip() for cell in cells))
        cell = cells[0]
        if isinstance(cell, Instant):
            return self._shifted(cell.time_ns) if cell.is_local else cell.time_ns
        if isinstance(cell, datetime):
            return self._of_datetime(cell)
        if isinstance(cell, date):
            return self._of_datetime(datetime.combine(cell, time()))
        if isinstance(cell, int | float | Decimal) and not isinstance(cell, bool):
            return _of_number(cell, self.form)
        return self._of_text(str(cell).strip())

    def _of_datetime(self, moment: datetime) -> int:
        span = (moment if moment.tzinfo is not None else moment.replace(tzinfo=self.zone)) - _EPOCH
        return (span.days * 86_400 + span.seconds) * NS + span.microseconds * 1_000

    def _of_text(self, text: str) -> int:
        if self.form in UNITS_NS:
            return _of_number(Decimal(text) if _is_number(text) else text, self.form)
        if self.form != "iso":
            return self._of_datetime(datetime.strptime(text, self.form))  # noqa: DTZ007 - a zone is given right after
        text = text.replace(" ", "T", 1)
        time_ns = parse_time_ns(text)
        clock = text.partition("T")[2]
        return time_ns if any(mark in clock for mark in "Zz+-") else self._shifted(time_ns)

    def _shifted(self, local_ns: int) -> int:
        """From a local time, counted as if it were UTC, to UTC."""
        if self.zone is UTC:
            return local_ns
        local = (_EPOCH + timedelta(seconds=local_ns // NS)).replace(tzinfo=self.zone)
        offset = local.utcoffset()
        return local_ns - (int(offset.total_seconds()) * NS if offset is not None else 0)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and "_" not in text
    except ValueError:
        return False


def _of_number(cell: object, form: str) -> int:
    unit_ns = UNITS_NS.get(form)
    if unit_ns is None:
        raise ValueError(f"{cell!r:.40} is a number, expected {form}")
    if isinstance(cell, int):
        return cell * unit_ns
    if isinstance(cell, float | Decimal) and math.isfinite(cell):
        return int(Decimal(str(cell)) * unit_ns)  # a float of seconds has no room for nanoseconds
    raise ValueError(f"{cell!r:.40} is not a number of {form}")


@dataclass(frozen=True, slots=True)
class Column:
    """A tag and where it stands: its column (wide), or its name in the tag column (long)."""

    key: str
    name: str
    data_type: DataType = "auto"


@dataclass(frozen=True, slots=True)
class LongLayout:
    """One sample a row: the columns of tag, value and (if any) quality, an OPC UA status code."""

    tag_column: str
    value_column: str
    quality_column: str | None = None


@dataclass(frozen=True, slots=True)
class RowMap:
    """Which samples a row gives, in the order of the tags. `decimal_mark` is that of numbers written as text."""

    columns: tuple[Column, ...]
    time: TimeRule | None = None
    long: LongLayout | None = None
    when_missing: WhenMissing = "ignore"
    decimal_mark: str = "."
    null_values: frozenset[str] = frozenset()
    _by_name: dict[str, list[Column]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        for column in self.columns:
            self._by_name.setdefault(column.name, []).append(column)

    @property
    def needed(self) -> tuple[str, ...]:
        """The columns that are read at all."""
        names = [*(self.time.columns if self.time is not None else ())]
        if self.long is None:
            names += [column.name for column in self.columns]
        else:
            quality = self.long.quality_column
            names += [self.long.tag_column, self.long.value_column, *([quality] if quality else [])]
        return tuple(dict.fromkeys(names))

    def unknown(self, present: Iterable[str]) -> list[Sample]:
        """A bad sample for each tag whose column is not there (wide layout), without a time."""
        if self.long is not None:
            return []
        there = set(present)
        return [Sample(c.key, None, BAD_NODE_ID_UNKNOWN) for c in self.columns if c.name not in there]

    def missing(self, present: Iterable[str]) -> list[str]:
        """Columns without which no row can be read: those of the time, and of the long layout."""
        there = set(present)
        needed = list(self.time.columns if self.time is not None else ())
        if self.long is not None:
            needed += [self.long.tag_column, self.long.value_column]
        return [name for name in needed if name not in there]

    def samples(self, row: Row) -> list[Sample]:
        """What the row says; a cell of the wrong type gives a bad sample. Raises DecodeError when its time, or in the
        long layout its quality, cannot be read: then nothing of the row can be placed."""
        time_ns = self.time.read(row) if self.time is not None else None
        if self.long is not None:
            return self._long_samples(row, self.long, time_ns)
        found: list[Sample] = []
        for column in self.columns:
            found += self._sample(column, _cell(row, column.name), GOOD, time_ns)
        return found

    def _long_samples(self, row: Row, layout: LongLayout, time_ns: int | None) -> list[Sample]:
        name = _cell(row, layout.tag_column)
        quality = _quality(_cell(row, layout.quality_column)) if layout.quality_column is not None else GOOD
        columns = self._by_name.get(str(name).strip(), ())
        cell = _cell(row, layout.value_column)
        return [sample for column in columns for sample in self._sample(column, cell, quality, time_ns)]

    def _sample(self, column: Column, cell: object, quality: Quality, time_ns: int | None) -> list[Sample]:
        if cell is ABSENT or cell is None or (isinstance(cell, str) and cell in self.null_values):
            if quality.is_bad:
                return [Sample(column.key, None, quality, time_ns)]
            return [] if self.when_missing == "ignore" else [Sample(column.key, None, BAD_DATA_UNAVAILABLE, time_ns)]
        try:
            value = cell_value(cell, column.data_type, self.decimal_mark)
        except DecodeError:
            return [Sample(column.key, None, BAD_TYPE_MISMATCH, time_ns)]
        return [Sample(column.key, value, quality, time_ns)]


def cell_value(cell: object, data_type: DataType = "auto", decimal_mark: str = ".") -> Value:
    """A cell as a tag's value. Text that is a number is a float when the type is auto. Raises DecodeError."""
    if isinstance(cell, Instant):
        cell = (_EPOCH + timedelta(microseconds=cell.time_ns // 1000)).isoformat()
    elif isinstance(cell, datetime | date | time):
        cell = cell.isoformat()
    elif isinstance(cell, Decimal):
        cell = float(cell)
    elif isinstance(cell, timedelta):
        cell = cell.total_seconds()
    elif isinstance(cell, UUID):
        cell = str(cell)
    elif isinstance(cell, bytes | bytearray | memoryview):
        if data_type in ("auto", "bytes"):
            return bytes(cell)
        raise DecodeError(f"bytes are not of type {data_type}")
    if isinstance(cell, str) and data_type != "text":
        return _of_text(cell, data_type, decimal_mark)
    value = to_value(cell, data_type)
    if value is None:
        raise DecodeError("cell is empty")
    return value


def _of_text(text: str, data_type: DataType, decimal_mark: str) -> Value:
    plain = text.strip()
    if decimal_mark != ".":
        plain = plain.replace(decimal_mark, ".", 1)
    if data_type == "auto":
        number = plain_value(plain)
        return float(plain) if isinstance(number, int | float) and not isinstance(number, bool) else text
    value = to_value(plain, data_type)
    if value is None:
        raise DecodeError("cell is empty")
    return value


def _cell(row: Row, name: str) -> object:
    return row.get(name, ABSENT)


def _quality(cell: object) -> Quality:
    if cell is ABSENT or cell is None or cell == "":
        return GOOD
    try:
        code = int(str(cell), 0)
    except ValueError:
        raise DecodeError("quality is no status code", got=repr(cell)[:80]) from None
    if not 0 <= code <= 0xFFFFFFFF:
        raise DecodeError("quality is no status code", got=repr(cell)[:80])
    return Quality(code)
