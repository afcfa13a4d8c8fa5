"""Recordings as rows: the one shape into which every format is read."""

from __future__ import annotations

import csv
import gzip
import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeAlias, cast

from millstream.connectors.replay._config import ReplayConfig
from millstream.kernel import DecodeError
from millstream.model import GOOD, Quality, Value
from millstream.protocols.mtconnect_xml import parse_devices
from millstream.protocols.shdr import BadLine, Command, ShdrParser, decode_event, parse_time_ns
from millstream.protocols.uns_payload import decode_value

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

CHUNK_BYTES = 1 << 16
LINE_BYTES_MAX = 1 << 20  # of csv and jsonl; a longer line is one bad frame, cut here
_TIME_UNITS_NS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}

Item: TypeAlias = tuple[str, "Value | None", Quality]


@dataclass(slots=True)
class Row:
    """One step of a recording. `time_ns` is as recorded (the end of the span for arrays), None without a clock.

    `arrays` holds the channels of a waveform, each of shape (n,), `array_offsets_ns` their times since the
    recording's start, float64 of shape (n,).
    """

    time_ns: int | None
    items: list[Item] = field(default_factory=list)
    bad: tuple[bytes, str] | None = None
    arrays: dict[str, npt.NDArray[np.generic]] = field(default_factory=dict)
    array_offsets_ns: npt.NDArray[np.float64] | None = None


def open_bytes(path: Path) -> IO[bytes]:
    """The file's bytes, unpacked when it is gzip."""
    return cast("IO[bytes]", gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def text_rows(config: ReplayConfig) -> Generator[Row, None, None]:
    """The rows of a shdr, csv or jsonl file, in file order. Raises OSError, EOFError, DecodeError."""
    with open_bytes(config.file) as stream:
        if config.resolved_format == "shdr":
            yield from _shdr_rows(stream, config)
        elif config.resolved_format == "csv":
            yield from _csv_rows(stream, config)
        else:
            yield from _jsonl_rows(stream, config)


def _shdr_rows(stream: IO[bytes], config: ReplayConfig) -> Iterator[Row]:
    kinds = parse_devices(config.devices_file.read_bytes()).kinds() if config.devices_file else None
    parser = ShdrParser(kinds)
    while True:
        chunk = stream.read(CHUNK_BYTES)
        for event in parser.feed(chunk) if chunk else parser.finish():
            if isinstance(event, BadLine):
                yield Row(None, bad=(event.raw, event.reason))
            elif not isinstance(event, Command):
                yield Row(event.time_ns, [decode_event(event)])
        if not chunk:
            return


def _lines(stream: IO[bytes]) -> Iterator[tuple[bytes, str | None]]:
    """Raw line and its text; the text is None when it is too long or no UTF-8."""
    while raw := stream.readline(LINE_BYTES_MAX):
        is_cut = not raw.endswith(b"\n") and len(raw) == LINE_BYTES_MAX
        line = raw
        while is_cut and line and not line.endswith(b"\n"):
            line = stream.readline(LINE_BYTES_MAX)
        try:
            text = None if is_cut else raw.decode("utf-8-sig").strip("\r\n")
        except UnicodeDecodeError:
            text = None
        yield raw.rstrip(b"\r\n"), text


def _csv_rows(stream: IO[bytes], config: ReplayConfig) -> Iterator[Row]:
    header: list[str] | None = None
    time_at = 0
    for raw, text in _lines(stream):
        cells = next(csv.reader([text], delimiter=config.delimiter), []) if text is not None else None
        if cells is None:
            yield Row(None, bad=(raw, "line is too long or not UTF-8"))
        elif header is None:
            header = [cell.strip() for cell in cells]
            time_at = _time_column(header, config)
        elif len(cells) != len(header):
            if cells:
                yield Row(None, bad=(raw, f"expected {len(header)} columns, got {len(cells)}"))
        else:
            yield _csv_row(raw, header, cells, time_at, config)


def _time_column(header: list[str], config: ReplayConfig) -> int:
    if config.time_column is None:
        return 0
    if config.time_column not in header:
        raise DecodeError(
            f"no column {config.time_column!r}", where=str(config.file), got=", ".join(header)[:200], code="MS-0306"
        )
    return header.index(config.time_column)


def _csv_row(raw: bytes, header: list[str], cells: list[str], time_at: int, config: ReplayConfig) -> Row:
    try:
        time_ns = read_time_ns(cells[time_at].strip(), config.time_unit)
    except ValueError as error:
        return Row(None, bad=(raw, str(error)))
    pairs = zip(header, cells, strict=True)
    items: list[Item] = [
        (name, _number_or_text(cell.strip()), GOOD)
        for at, (name, cell) in enumerate(pairs)
        if at != time_at and cell.strip()
    ]
    return Row(time_ns, items)


def _number_or_text(text: str) -> Value:
    try:
        return float(text)
    except ValueError:
        return text


def _jsonl_rows(stream: IO[bytes], config: ReplayConfig) -> Iterator[Row]:
    for raw, text in _lines(stream):
        if text is None:
            yield Row(None, bad=(raw, "line is too long or not UTF-8"))
            continue
        if not text.strip():
            continue
        try:
            record = decode_value(text)
            if not isinstance(record, dict) or not isinstance(record.get("tag"), str) or "value" not in record:
                raise ValueError('expected {"tag": text, "time": .., "value": ..}')
            stamp = record.get("time")
            time_ns = None if stamp is None else read_time_ns(str(stamp), config.time_unit)
            quality = Quality(_integer(record.get("quality", 0)))
            value = cast("Value | None", record["value"])
            if value is None and not quality.is_bad:
                raise ValueError("a record without value needs a bad quality")
            yield Row(time_ns, [(cast("str", record["tag"]), value, quality)])
        except (ValueError, DecodeError) as error:
            yield Row(None, bad=(raw, str(error)))


def _integer(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 0xFFFFFFFF:
        return value
    raise ValueError("quality is no StatusCode")


def read_time_ns(text: str, unit: str) -> int:
    """UTC ns of a time in a file. Raises ValueError."""
    if unit == "iso":
        return parse_time_ns(text.replace(" ", "T", 1))
    whole = _TIME_UNITS_NS[unit]
    if text.lstrip("-").isdigit() and text.isascii():
        return int(text) * whole
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"time {text!r} is not finite")
    return int(number * whole)
