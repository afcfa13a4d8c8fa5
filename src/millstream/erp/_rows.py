"""From a system's rows to the cells of a table of context. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeAlias
from uuid import UUID

import msgspec

from millstream.config import CellConfig, ReadConfig
from millstream.kernel import DecodeError
from millstream.protocols.cloudevents import format_time
from millstream.protocols.mqtt_mapping import parse_path
from millstream.protocols.row_mapping import TimeRule, find_zone
from millstream.shop import ContextTables, Fact, Row

SystemRow: TypeAlias = Mapping[str, Any]
TIMES = ("start", "end")
IDENTITY: Mapping[str, Sequence[str]] = {
    "order": ("order", "operation"), "product": ("product",), "operator": ("operator", "asset", "start"),
    "reason": ("reason",), "asset": ("path",), "relation": ("from", "relation", "to"),
    "template": ("template", "property"),
}  # fmt: skip
"""The cells by which a row is known again."""
_ODATA_2 = re.compile(r"/Date\((-?\d+)([+-]\d{4})?\)/\Z")
_DATE = re.compile(r"\d{4}-\d\d-\d\d\Z")


def at(row: object, field: str) -> Any:
    """What a field of a row holds, None when there is none."""
    if field.startswith("$"):
        steps: Sequence[str | int] = parse_path(field)
    else:
        steps = [field] if isinstance(row, Mapping) and field in row else field.split(".")
    found: Any = row
    for step in steps:
        if isinstance(found, Mapping):
            found = found.get(step)
        elif isinstance(found, Sequence) and isinstance(step, int) and step < len(found):
            found = found[step]
        else:
            return None
    return found


def fields_of(read: ReadConfig) -> list[str]:
    """The fields that a read needs."""
    cells = [read.cell(name).field for name in read.cells]
    removed = [read.removed.field] if read.removed is not None else []
    return sorted({field for field in (*cells, *removed) if field is not None})


def cells_of(read: ReadConfig, row: SystemRow) -> dict[str, str]:
    """The cells of one row, as a CSV file would hold them. Raises DecodeError that says which cell, and why."""
    found = {}
    for name in read.cells:
        cell = read.cell(name)
        try:
            text = _text(cell, row, name in TIMES)
        except DecodeError as error:
            got = at(row, cell.field) if cell.field is not None else cell.value
            raise DecodeError(f"{name}: {error.what}", got=repr(got)[:80]) from None
        if text:
            found[name] = text
    return found


def is_removed(read: ReadConfig, row: SystemRow) -> bool:
    """True for a row that takes away what it names."""
    return read.removed is not None and _plain(at(row, read.removed.field)) in read.removed.values


def identity(read: ReadConfig, row: SystemRow) -> str:
    """What a row is known by: the same again is a newer one of it. In the system's own words, so that a row that cannot
    be taken has it too."""
    cells = [read.cell(name) for name in IDENTITY[read.what] if name in read.cells]
    parts = [cell.value if cell.field is None else at(row, cell.field) for cell in cells]
    return "|".join("" if part is None else _words(part) for part in parts)


def as_json(row: SystemRow) -> dict[str, Any]:
    """A row as it can be kept and read again; times become texts."""
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(row, enc_hook=str))
    return found


def leaf_of(what: str, cells: Mapping[str, str]) -> str:
    """The last part of the path of a fact that can be removed."""
    return "-".join(text for name in IDENTITY[what] if (text := cells.get(name, "")))


def judge(
    read: ReadConfig, place: str, cells: Mapping[str, Mapping[str, str]], products: Mapping[str, float]
) -> tuple[Sequence[Fact], Mapping[str, str]]:
    """The facts of rows by identity, and why which rows are refused. What CSV files refuse is refused here too; each
    row alone, and orders that overlap are a doubt of the figures: a plan overlaps as a matter of course."""
    left = dict(cells)
    refused: dict[str, str] = {}
    while left:
        names = list(left)
        rows = [Row(read.name, number, left[name]) for number, name in enumerate(names)]
        tables = ContextTables(place, {read.what: rows}, dict(products), overlaps_are_doubts=True)
        facts = tables.facts()
        wrong = {p.line: p.text for p in reversed(tables.problems) if not p.is_doubt and p.file == read.name}
        if not wrong:
            return facts, refused
        for line, text in wrong.items():
            refused[names[line]] = text
            del left[names[line]]
    return [], refused


def _text(cell: CellConfig, row: SystemRow, is_time: bool) -> str:
    found = at(row, cell.field) if cell.field is not None else cell.value
    if found is None or found == "" or (found is False and cell.default is not None):
        return cell.default or ""
    if is_time:
        return format_time(_time_ns(cell, found))
    text = _plain(found)
    if cell.names is None:
        return text
    if text not in cell.names:
        raise DecodeError("nobody has said what this is called here")
    return cell.names[text]


def _words(found: Any) -> str:
    try:
        return _plain(found)
    except DecodeError:
        return str(found)[:100]


def _plain(found: Any) -> str:
    if isinstance(found, bool):
        return "yes" if found else "no"
    if isinstance(found, float) and found.is_integer():
        return str(int(found))
    if isinstance(found, int | float | Decimal | str | date | UUID):
        return str(found).strip()
    raise DecodeError("not a text, number or truth value")


def _time_ns(cell: CellConfig, found: Any) -> int:
    if isinstance(found, str) and (match := _ODATA_2.match(found)):
        return int(match[1]) * 1_000_000  # the offset only says how the author's clock stood
    if cell.form == "iso" and isinstance(found, str) and _DATE.match(found):
        try:
            found = date.fromisoformat(found)
        except ValueError as error:
            raise DecodeError(f"time cannot be read: {error}") from None
    if isinstance(found, date) and not isinstance(found, datetime):
        found = _moment(found, cell.at)
    rule = TimeRule(("time",), cell.form, find_zone(cell.zone))
    return rule.read({"time": found})


def _moment(day: date, clock: str) -> datetime:
    hours, _, minutes = clock.partition(":")
    return datetime(day.year, day.month, day.day) + timedelta(hours=int(hours), minutes=int(minutes))  # noqa: DTZ001
