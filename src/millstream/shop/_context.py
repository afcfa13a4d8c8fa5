"""What a plant knows beside its machines' data: equipment, products, orders, operators, reasons. Pure.

Equipment is that of ISA-95 (IEC 62264-1): places with a level, some of them instances of typed templates, with
relations. Everything is a fact under a path of its own, ``acme/plant1/press:order/4711-10``; the newest fact of a path
counts, and a fact may say that it is removed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from millstream.kernel import DecodeError, PlantError
from millstream.model import AssetPath, TagPath
from millstream.protocols.cloudevents import CloudEvent, format_time, parse_time_ns
from millstream.protocols.uns_subject import tag_subject

EVENT_TYPE = "millstream.context"
FACTS = ("template", "asset", "relation", "product", "order", "operator", "reason")
LEVELS = ("enterprise", "site", "area", "work_center", "work_unit", "equipment_module", "control_module")
"""Levels of equipment from the top; the last two are those of ISA-88 below a work unit."""
PROBLEMS_MAX = 50
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")
_TYPES: Mapping[str, type] = {"number": float, "text": str, "bool": bool}
_REASON_KINDS = ("planned", "unplanned", "scrap", "rework")


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that is known, at its path; `data` is JSON, `what` one of `FACTS`."""

    path: str
    what: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a row cannot be taken (`is_doubt`: it is taken, with a doubt)."""

    file: str
    line: int
    text: str
    is_doubt: bool = False

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table, with where it stands."""

    file: str
    line: int
    cells: Mapping[str, str]


@dataclass(slots=True)
class ContextTables:
    """Rows by what they are (`FACTS`), and the facts that they make. `place` is where a plant-wide fact stands. Orders
    of one machine that overlap are refused, or with `overlaps_are_doubts` taken with a doubt."""

    place: str
    rows: Mapping[str, Sequence[Row]]
    known_products: Mapping[str, float] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    overlaps_are_doubts: bool = False

    def facts(self) -> list[Fact]:
        """Everything, in the order in which one needs the other. Look at `problems` afterwards."""
        found: list[Fact] = []
        for what, make in (
            ("template", self._templates), ("asset", self._assets), ("relation", self._relations),
            ("product", self._products), ("order", self._orders), ("operator", self._operators),
            ("reason", self._reasons),
        ):  # fmt: skip
            found += make(self.rows.get(what, ()))
        seen: dict[str, Fact] = {}
        for fact in found:
            if fact.path in seen:
                self._problem(Row("", 0, {}), f"twice: {fact.path}")
            seen[fact.path] = fact
        return list(seen.values())

    # -- equipment ----------------------------------------------------------------------------------------------------

    def _templates(self, rows: Iterable[Row]) -> list[Fact]:
        found: dict[str, dict[str, dict[str, Any]]] = {}
        for row in rows:
            name, of, type_ = (row.cells.get(cell, "") for cell in ("template", "property", "type"))
            if self._is_id(row, "template", name) and self._is_id(row, "property", of):
                if type_ not in _TYPES:
                    self._problem(row, f"type is one of {', '.join(_TYPES)}, got {type_!r}")
                needed = row.cells.get("required", "").lower() in ("yes", "true", "1")
                found.setdefault(name, {})[of] = {"type": type_, "required": needed}
        return [Fact(f"{self.place}:template/{n}", "template", {"properties": of}) for n, of in found.items()]

    def _assets(self, rows: Iterable[Row]) -> list[Fact]:
        templates = {fact.path.rpartition("/")[2]: fact.data for fact in self._templates(self.rows.get("template", ()))}
        found = []
        for row in rows:
            path, level, name = (row.cells.get(cell, "") for cell in ("path", "level", "template"))
            if not self._is_place(row, path):
                continue
            if level not in LEVELS:
                self._problem(row, f"level is one of {', '.join(LEVELS)}, got {level!r}")
            properties = {
                key: cell for key, cell in row.cells.items()
                if cell and key not in ("path", "level", "template", "description")
            }  # fmt: skip
            typed = self._typed(row, name, templates.get(name), properties)
            data = {"level": level, "template": name, "description": row.cells.get("description", ""), **typed}
            found.append(Fact(f"{path}:asset", "asset", {k: v for k, v in data.items() if v not in ("", {})}))
        return found

    def _typed(
        self, row: Row, name: str, template: Mapping[str, Any] | None, given: Mapping[str, str]
    ) -> dict[str, Any]:
        if not name:
            return {"properties": dict(given)}
        if template is None:
            self._problem(row, f"no such template: {name!r}")
            return {}
        properties: dict[str, Any] = {}
        for of, rule in template["properties"].items():
            text = given.get(of, "")
            if not text:
                if rule["required"]:
                    self._problem(row, f"template {name} needs {of}")
                continue
            try:
                properties[of] = _cell(text, rule["type"])
            except ValueError:
                self._problem(row, f"{of} is a {rule['type']}, got {text!r}")
        for of in given:
            if of not in template["properties"]:
                self._problem(row, f"template {name} has no {of}")
        return {"properties": properties}

    def _relations(self, rows: Iterable[Row]) -> list[Fact]:
        found = []
        for row in rows:
            source, relation, target = (row.cells.get(cell, "") for cell in ("from", "relation", "to"))
            if self._is_place(row, source) and self._is_place(row, target) and self._is_id(row, "relation", relation):
                path = f"{source}:relation/{relation}/{target.replace('/', '.')}"
                found.append(Fact(path, "relation", {"relation": relation, "to": target}))
        return found

    # -- products and orders ------------------------------------------------------------------------------------------

    def _products(self, rows: Iterable[Row]) -> list[Fact]:
        found = []
        for row in rows:
            product, cycle_s = row.cells.get("product", ""), self._number(row, "ideal_cycle_s")
            if self._is_id(row, "product", product) and cycle_s is not None:
                data = {"ideal_cycle_s": cycle_s, "name": row.cells.get("name", "")}
                found.append(Fact(f"{self.place}:product/{product}", "product", data))
        return found

    def _orders(self, rows: Iterable[Row]) -> list[Fact]:
        cycles = {**self.known_products}
        for row in self.rows.get("product", ()):
            if (cycle_s := self._number(row, "ideal_cycle_s", tell=False)) is not None:
                cycles[row.cells.get("product", "")] = cycle_s
        taken: list[tuple[str, int, int | None, str, Row]] = []
        found = []
        for row in rows:
            order, asset, product = (row.cells.get(cell, "") for cell in ("order", "asset", "product"))
            operation = row.cells.get("operation", "")
            start_ns, end_ns = self._time(row, "start"), self._time(row, "end")
            if not (self._is_id(row, "order", order) and self._is_place(row, asset)):
                continue
            if start_ns is None:
                self._problem(row, "an order has a start")
                continue
            if end_ns is not None and end_ns <= start_ns:
                self._problem(row, "an order ends behind its start")
            if product not in cycles:
                self._problem(row, f"no such product: {product!r}")
                continue
            name = f"{order}-{operation}" if operation else order
            taken.append((asset, start_ns, end_ns, name, row))
            data = {
                "order": order, "operation": operation, "product": product, "ideal_cycle_s": cycles[product],
                "start": format_time(start_ns), "end": None if end_ns is None else format_time(end_ns),
                "quantity": self._number(row, "quantity", needed=False),
            }  # fmt: skip
            data = {key: value for key, value in data.items() if value not in (None, "")}
            found.append(Fact(f"{asset}:order/{name}", "order", data))
        self._look_at_overlaps(taken)
        return found

    def _look_at_overlaps(self, taken: list[tuple[str, int, int | None, str, Row]]) -> None:
        """Two orders of one machine at once cannot be; one without an end, behind which another begins, may be."""
        taken.sort(key=lambda each: (each[0], each[1]))
        for (asset, _, end_ns, name, row), (other, start_ns, _, later, _) in pairwise(taken):
            if asset != other:
                continue
            if end_ns is None:
                self._problem(row, f"{name} has no end, and {later} begins behind it", is_doubt=True)
            elif end_ns > start_ns:
                text = f"{name} and {later} overlap at {asset}"
                self._problem(row, text, is_doubt=self.overlaps_are_doubts)

    # -- people and reasons -------------------------------------------------------------------------------------------

    def _operators(self, rows: Iterable[Row]) -> list[Fact]:
        found = []
        for row in rows:
            operator, asset = row.cells.get("operator", ""), row.cells.get("asset", "")
            start_ns, end_ns = self._time(row, "start"), self._time(row, "end")
            if not (self._is_id(row, "operator", operator) and self._is_place(row, asset)):
                continue
            if start_ns is None or (end_ns is not None and end_ns <= start_ns):
                self._problem(row, "an operator has a start, and ends behind it")
                continue
            data = {"operator": operator, "name": row.cells.get("name", ""), "start": format_time(start_ns)}
            if end_ns is not None:
                data["end"] = format_time(end_ns)
            found.append(Fact(f"{asset}:operator/{operator}/{start_ns // 10**9}", "operator", data))
        return found

    def _reasons(self, rows: Iterable[Row]) -> list[Fact]:
        rows = list(rows)
        parents = {row.cells.get("reason", ""): row.cells.get("parent", "") for row in rows}
        found = []
        for row in rows:
            reason, parent, kind = (row.cells.get(cell, "") for cell in ("reason", "parent", "kind"))
            if not self._is_id(row, "reason", reason):
                continue
            if parent and parent not in parents:
                self._problem(row, f"no such parent: {parent!r}")
            elif len(way := _way_up(reason, parents)) > len(set(way)):
                self._problem(row, f"a reason above itself: {' < '.join(way)}")
            if kind and kind not in _REASON_KINDS:
                self._problem(row, f"kind is one of {', '.join(_REASON_KINDS)}, got {kind!r}")
            data = {"name": row.cells.get("name", ""), "parent": parent, "kind": kind}
            found.append(Fact(f"{self.place}:reason/{reason}", "reason", {k: v for k, v in data.items() if v}))
        return found

    # -- cells --------------------------------------------------------------------------------------------------------

    def _problem(self, row: Row, text: str, *, is_doubt: bool = False) -> None:
        problem = Problem(row.file, row.line, text, is_doubt)
        if problem not in self.problems and len(self.problems) < PROBLEMS_MAX:
            self.problems.append(problem)

    def _is_id(self, row: Row, name: str, text: str) -> bool:
        if _ID.match(text):
            return True
        self._problem(row, f"{name} is 1 to 64 letters, digits, _, - and ., got {text[:70]!r}")
        return False

    def _is_place(self, row: Row, text: str) -> bool:
        try:
            AssetPath.parse(text)
        except PlantError as error:
            self._problem(row, f"not a place: {text!r} ({error.what})")
            return False
        return True

    def _number(self, row: Row, name: str, *, needed: bool = True, tell: bool = True) -> float | None:
        text = row.cells.get(name, "")
        try:
            value = _cell(text, "number") if text else None
        except ValueError:
            value = None
        is_fine = value is None if not text else value is not None and value > 0
        if tell and (not is_fine or (needed and value is None)):
            self._problem(row, f"{name} is a number above 0, got {text!r}")
        return value if is_fine else None

    def _time(self, row: Row, name: str) -> int | None:
        text = row.cells.get(name, "")
        if not text:
            return None
        try:
            return parse_time_ns(text)
        except DecodeError:
            self._problem(row, f"{name} is a time with its zone, such as 2026-01-31T06:00:00+01:00, got {text!r}")
            return None


def fact_event(fact: Fact, who: str, id: str, time_ns: int) -> tuple[str, CloudEvent]:
    """Where a fact is stored, and as which event. Raises DecodeError."""
    if fact.what not in FACTS:
        raise DecodeError("not a sort of fact", expected=", ".join(FACTS), got=fact.what, code="MS-2711")
    event = CloudEvent(
        id, "/context", f"{EVENT_TYPE}.{fact.what}", dict(fact.data), time_ns, fact.path, extensions={"who": who}
    )
    return tag_subject(TagPath.parse(fact.path), "_context"), event


def _cell(text: str, type_: str) -> Any:
    if type_ == "number":
        value = float(text)
        if value != value or value in (float("inf"), float("-inf")):
            raise ValueError(text)
        return value
    if type_ == "bool":
        if text.lower() not in ("yes", "true", "no", "false"):
            raise ValueError(text)
        return text.lower() in ("yes", "true")
    return text


def _way_up(reason: str, parents: Mapping[str, str]) -> list[str]:
    """The reasons above one, ending where it comes round."""
    way = [reason]
    while (above := parents.get(way[-1], "")) and above in parents:
        way.append(above)
        if way.count(above) > 1:
            break
    return way
