"""Contracts: what the values below some paths promise, in versions that never change once they are published.

A contract says of the samples (or events) of one kind: the JSON Schema of the value (of an event: of its data), the
unit, and the column types of Arrow blocks. It is stored as JSON under the key ``<name>.<version>``; the newest version
of a name counts, also when that says that it is not enforced. A subject that several contracts cover keeps them all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import msgspec
import numpy as np

from millstream.kernel import ConfigError, DecodeError, PlantError, parse_duration_s
from millstream.model import Block, Value
from millstream.protocols.contract_schema import REASON_LENGTH_MAX, Schema, Validator, check_schema, narrowings
from millstream.protocols.uns_pattern import Pattern, contract_of, covers
from millstream.protocols.uns_payload import BlockRecord, SampleRecord, to_json_form
from millstream.protocols.uns_subject import decode_subject

SAMPLE_KINDS = ("tag", "count", "kpi", "state")
EVENT_KINDS = ("event", "alarm", "cmd", "ack")
COLUMN_TYPES = (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64", "string",
    "binary", "json",
)  # fmt: skip
KEPT = ("retention", "minute_rollups", "hour_rollups")
"""How long samples and their aggregates are kept, as the configuration of a history says it."""
CONTRACTS_COUNT_MAX = 1000
PATHS_COUNT_MAX = 64
SUBJECTS_COUNT_MAX = 200_000  # of which it is remembered what holds for them
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}\Z")
_BAD = 0x80000000
_SAFE_INT = 2**63
_COLUMN_OF = {bool: "bool", int: "int64", float: "float64", str: "string", bytes: "binary"}
_SCALAR_KEYWORDS = frozenset({"type", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})


@dataclass(frozen=True, slots=True)
class Contract:
    """One version of one contract; version 0 is not published yet. `paths` are patterns, `columns` the types that the
    value column of a block may have (empty: any), `event_type` is a CloudEvents type that may end with ``*``. How long
    a history keeps the samples and their aggregates is said as ``90d`` or ``never``; None: as for all others."""

    name: str
    kind: str
    paths: tuple[str, ...]
    schema: Schema = True
    unit: str | None = None
    columns: tuple[str, ...] = ()
    event_type: str | None = None
    description: str | None = None
    is_enforced: bool = True
    version: int = 0
    published_ns: int = 0
    retention: str | None = None
    minute_rollups: str | None = None
    hour_rollups: str | None = None

    def kept(self) -> dict[str, str]:
        """What it says of `KEPT`, as it says it."""
        said = {name: getattr(self, name) for name in KEPT}
        return {name: text for name, text in said.items() if text is not None}

    @property
    def label(self) -> str:
        """As letters and errors name it: ``press-temperature/3``."""
        return f"{self.name}/{self.version}"

    def as_dict(self) -> dict[str, Any]:
        """As it is stored and printed; what is not said is left out."""
        raw: dict[str, Any] = {"name": self.name, "version": self.version, "kind": self.kind, "paths": list(self.paths)}
        raw |= {"schema": self.schema}
        optional = {
            "unit": self.unit, "columns": list(self.columns), "event_type": self.event_type,
            "description": self.description, **self.kept(), "published_ns": self.published_ns,
        }  # fmt: skip
        raw |= {name: value for name, value in optional.items() if value}
        return raw if self.is_enforced else {**raw, "enforced": False}


def check_contract(contract: Contract) -> list[tuple[tuple[str | int, ...], str]]:
    """What is wrong with a contract: where in it, and what; empty when nothing is."""
    found: list[tuple[tuple[str | int, ...], str]] = []
    if not _NAME.match(contract.name):
        found.append((("name",), "expected 1 to 63 of a-z, 0-9 and -, beginning with a letter or digit"))
    if contract.kind not in (*SAMPLE_KINDS, *EVENT_KINDS):
        found.append((("kind",), f"expected one of {', '.join((*SAMPLE_KINDS, *EVENT_KINDS))}"))
    if not 1 <= len(contract.paths) <= PATHS_COUNT_MAX:
        found.append((("paths",), f"expected 1 to {PATHS_COUNT_MAX} paths or patterns"))
    for index, path in enumerate(contract.paths):
        try:
            Pattern.parse(path).subject_filter("_tag")
        except DecodeError as error:
            found.append((("paths", index), f"{error.what}, expected {error.expected}"))
    for index, column in enumerate(contract.columns):
        if column not in COLUMN_TYPES:
            found.append((("columns", index), f"expected one of {', '.join(COLUMN_TYPES)}"))
    is_event = contract.kind in EVENT_KINDS
    if is_event and (contract.unit or contract.columns):
        found.append((("unit" if contract.unit else "columns",), f"only samples have it, not kind {contract.kind}"))
    if contract.event_type is not None and not is_event:
        found.append((("event_type",), f"only events have it, not kind {contract.kind}"))
    for name, text in contract.kept().items():
        if is_event:
            found.append(((name,), f"only samples have it, not kind {contract.kind}"))
        try:
            kept_s(text)
        except ConfigError:
            found.append(((name,), f"expected a duration such as 90d, or never, got {text!r:.40}"))
    return found + [(("schema", *where), what) for where, what in check_schema(contract.schema)]


def kept_s(text: str) -> float | None:
    """Seconds of what a contract says of `KEPT`; None: for ever. Raises ConfigError."""
    return None if text == "never" else parse_duration_s(text)


# -- stored form ------------------------------------------------------------------------------------------------------


class _Record(msgspec.Struct):
    name: str
    kind: str
    paths: tuple[str, ...]
    version: int
    schema: Any = True
    unit: str | None = None
    columns: tuple[str, ...] = ()
    event_type: str | None = None
    description: str | None = None
    enforced: bool = True
    published_ns: int = 0
    retention: str | None = None
    minute_rollups: str | None = None
    hour_rollups: str | None = None


_decoder = msgspec.json.Decoder(_Record)


def contract_key(contract: Contract) -> str:
    """The key of a version in the bucket."""
    return f"{contract.name}.{contract.version}"


def encode_contract(contract: Contract) -> bytes:
    """One version as JSON."""
    return msgspec.json.encode(contract.as_dict())


def decode_contract(payload: bytes) -> Contract:
    """Inverse of `encode_contract`. Raises DecodeError, also for one that a newer Millstream may understand."""
    try:
        raw = _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DecodeError(f"not a contract: {error}", got=repr(payload[:80]), code="MS-0331") from error
    contract = Contract(
        raw.name, raw.kind, raw.paths, raw.schema, raw.unit, raw.columns, raw.event_type, raw.description,
        raw.enforced, raw.version, raw.published_ns, raw.retention, raw.minute_rollups, raw.hour_rollups,
    )  # fmt: skip
    troubles = check_contract(contract)
    if troubles or contract.version < 1:
        where, what = troubles[0] if troubles else (("version",), "expected 1 or more")
        raise DecodeError(f"{'.'.join(map(str, where))}: {what}", where=f"contract {contract.label}", code="MS-0331")
    return contract


def newest_versions(contracts: Iterable[Contract]) -> dict[str, Contract]:
    """By name the version that counts."""
    found: dict[str, Contract] = {}
    for contract in contracts:
        if contract.name not in found or found[contract.name].version < contract.version:
            found[contract.name] = contract
    return dict(sorted(found.items()))


# -- comparing --------------------------------------------------------------------------------------------------------

Verdict = Literal["new", "same", "additive", "breaking"]


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two versions, in words. Breaking: what was valid may not be any more."""

    is_breaking: bool
    where: str
    what: str

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {"kind": "breaking" if self.is_breaking else "additive", "where": self.where, "what": self.what}


def compare(old: Contract | None, new: Contract) -> tuple[Verdict, list[Change]]:
    """What a new version changes. Additive: whatever was valid stays valid, of every message there can be."""
    if old is None:
        return "new", []
    changes = list(_changes(old, new))
    if any(change.is_breaking for change in changes):
        return "breaking", changes
    is_same = replace(new, version=0, published_ns=0) == replace(old, version=0, published_ns=0)
    return ("same" if is_same else "additive"), changes


def _changes(old: Contract, new: Contract) -> Iterable[Change]:
    if old.is_enforced != new.is_enforced:
        yield Change(new.is_enforced, "enforced", "enforced now" if new.is_enforced else "no longer enforced")
    strict = new.is_enforced
    if old.kind != new.kind:
        yield Change(strict, "kind", f"{old.kind} is now {new.kind}")
    if old.description != new.description:
        yield Change(False, "description", "said in other words")
    if old.unit != new.unit:
        yield Change(strict and new.unit is not None, "unit", f"{old.unit or 'none'} is now {new.unit or 'not said'}")
    if old.columns != new.columns:
        kept = not new.columns or (bool(old.columns) and set(old.columns) <= set(new.columns))
        yield Change(strict and not kept, "columns", f"{_list(old.columns)} is now {_list(new.columns)}")
    if old.event_type != new.event_type:
        is_wider = not _type_covers(old.event_type, new.event_type)
        yield Change(strict and is_wider, "event_type", f"{old.event_type or 'all'} is now {new.event_type or 'all'}")
    yield from _path_changes(old, new, strict=strict)
    yield from _keep_changes(old, new)
    if old.schema != new.schema:
        reasons = narrowings(old.schema, new.schema)
        for reason in reasons:
            yield Change(strict, "schema", reason)
        if not reasons:
            yield Change(False, "schema", "takes more than before, or the same")


def _keep_changes(old: Contract, new: Contract) -> Iterable[Change]:
    """Breaking unless all that is kept now surely stays: a history would drop the rest."""
    for name in KEPT:
        before, after = old.kept().get(name), new.kept().get(name)
        if before != after:
            is_longer = after is not None and (
                (end_s := kept_s(after)) is None
                or (before is not None and (begun_s := kept_s(before)) is not None and end_s >= begun_s)
            )
            text = f"{before or 'not said'} is now {after or 'not said'}"
            yield Change(not is_longer, name, text if is_longer else f"{text}: what is older is dropped")


def _path_changes(old: Contract, new: Contract, *, strict: bool) -> Iterable[Change]:
    before, after = [Pattern.parse(p) for p in old.paths], [Pattern.parse(p) for p in new.paths]
    for pattern in after:
        if not any(covers(known, pattern) for known in before):
            yield Change(strict, "paths", f"{pattern.text} was not checked before")
    for pattern in before:
        if not any(covers(known, pattern) for known in after):
            yield Change(False, "paths", f"{pattern.text} is no longer checked, or not all of it")


def _list(columns: Sequence[str]) -> str:
    return ", ".join(columns) or "any"


def _type_covers(one: str | None, other: str | None) -> bool:
    """Every event type that fits `other` fits `one`."""
    if one is None or one == other:
        return True
    return other is not None and one.endswith("*") and other.startswith(one[:-1])


# -- checking ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Violation:
    """Why a message does not keep a contract. `is_type`: it is of another type, not merely out of range."""

    contract: str
    reason: str
    is_type: bool = False

    def __str__(self) -> str:
        return f"contract {self.contract}: {self.reason}"


class ContractBroken(PlantError):
    """A message does not keep a contract; it was not stored as data."""

    default_code = "MS-0330"


class Rule:
    """One enforced contract, compiled. `violations_count` since it was compiled, `told_count` is its reader's."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self.patterns = tuple(Pattern.parse(path) for path in contract.paths)
        self.violations_count = 0
        self.told_count = 0
        self._validator = Validator(contract.schema)
        self.is_valid = self._validator.is_valid
        self.is_free = contract.schema is True or contract.schema == {}
        self._bounds = _scalar_bounds(contract.schema)

    def broken(self, reason: str, *, is_type: bool = False) -> Violation:
        """Count and describe."""
        self.violations_count += 1
        return Violation(self.contract.label, reason, is_type)

    def explain(self, form: Any) -> Violation:
        """Of a value that `is_valid` refused."""
        said = self._validator.reason(form) or ("not valid", "")
        return self.broken(said[0], is_type=said[1] == "type")

    def is_range_valid(self, values: np.ndarray[Any, Any]) -> bool:
        """True when smallest and largest prove that all are valid; False means nothing."""
        if self._bounds is None or values.dtype.kind not in self._bounds[0]:
            return False
        _, low, low_open, high, high_open = self._bounds
        least: float = values.min().item()
        most: float = values.max().item()
        if not (-np.inf < least and most < np.inf):
            return False
        return (least > low if low_open else least >= low) and (most < high if high_open else most <= high)


def _scalar_bounds(schema: Schema) -> tuple[str, float, bool, float, bool] | None:
    """Of a schema of plain numbers: the NumPy kinds it takes and its bounds; None for any other."""
    if isinstance(schema, bool) or schema.get("type") not in ("number", "integer"):
        return None
    said = {k for k in schema if not k.startswith("x-") and k not in ("title", "description", "examples", "default")}
    if said - _SCALAR_KEYWORDS:
        return None
    low = max((schema.get("minimum", -np.inf), False), (schema.get("exclusiveMinimum", -np.inf), True))
    high = min((schema.get("maximum", np.inf), 1), (schema.get("exclusiveMaximum", np.inf), 0))
    kinds = "iuf" if schema["type"] == "number" else "iu"
    return kinds, low[0], low[1] and low[0] > -np.inf, high[0], high[1] == 0 and high[0] < np.inf


class SubjectCheck:
    """What holds for one subject: the rules of all contracts that cover it. A null or a bad quality promises nothing
    and is not checked; the caller sees to that."""

    __slots__ = ("_rules", "_values", "_with_columns", "_with_unit")

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = tuple(rules)
        self._values = tuple(rule for rule in rules if not rule.is_free)
        self._with_unit = tuple(rule for rule in rules if rule.contract.unit is not None)
        self._with_columns = tuple(rule for rule in rules if rule.contract.columns)

    def find(self, value: Value, unit: str | None = None) -> Violation | None:
        """The first thing wrong with one value; a unit that is not said is not wrong."""
        if unit is not None:
            for rule in self._with_unit:
                if unit != rule.contract.unit:
                    return rule.broken(f"unit is {unit!r}, expected {rule.contract.unit!r}")
        kind = type(value)
        if kind is not str and kind is not bool and (kind is not int or abs(value) >= _SAFE_INT):  # type: ignore[arg-type]
            form: Any = to_json_form(value)
        else:
            form = value
        for rule in self._values:
            try:
                if not rule.is_valid(form):
                    return rule.explain(form)
            except (ValueError, TypeError, OverflowError, RecursionError) as error:
                return rule.broken(f"cannot be checked: {str(error)[:REASON_LENGTH_MAX]}", is_type=True)
        return None

    def find_in(
        self, values: np.ndarray[Any, Any] | Sequence[Value | None], quality: np.ndarray[Any, Any] | None = None,
        unit: str | None = None,
    ) -> Violation | None:  # fmt: skip
        """The first thing wrong with a block; it ends at the first value that is wrong."""
        found = self.find_columns(values)
        if found is not None:
            return found
        rows: Sequence[int] = range(len(values)) if quality is None else np.flatnonzero(quality < _BAD).tolist()
        if not rows:
            return None
        if isinstance(values, np.ndarray):
            usable = values if len(rows) == len(values) else values[rows]
            if self._is_sure(usable, unit):
                return None
            listed: Sequence[Value | None] = usable.tolist()
        else:
            listed = [values[row] for row in rows]
        for row, value in zip(rows, listed, strict=True):
            violation = None if value is None else self.find(value, unit)
            if violation is not None:
                return replace(violation, reason=f"row {row} of {len(values)}: {violation.reason}")
        return None

    def _is_sure(self, values: np.ndarray[Any, Any], unit: str | None) -> bool:
        is_unit_right = unit is None or all(unit == rule.contract.unit for rule in self._with_unit)
        return is_unit_right and all(rule.is_range_valid(values) for rule in self._values)

    def find_columns(self, values: np.ndarray[Any, Any] | Sequence[Value | None]) -> Violation | None:
        """The value column's type against what the contracts allow."""
        if not self._with_columns:
            return None
        column = column_type(values)
        for rule in self._with_columns:
            if column is not None and column not in rule.contract.columns:
                reason = f"value column is {column}, expected {_list(rule.contract.columns)}"
                return rule.broken(reason, is_type=True)
        return None

    def find_event(self, event_type: str, data: Any) -> Violation | None:
        """The first thing wrong with an event's data."""
        for rule in self._rules:
            if not _type_covers(rule.contract.event_type, event_type):
                continue
            try:
                if not rule.is_valid(data):
                    return rule.explain(data)
            except (ValueError, TypeError, OverflowError, RecursionError) as error:
                return rule.broken(f"cannot be checked: {str(error)[:REASON_LENGTH_MAX]}", is_type=True)
        return None

    def find_record(self, record: SampleRecord | BlockRecord) -> Violation | None:
        """The first thing wrong with a decoded message of samples."""
        if isinstance(record, BlockRecord):
            return self.find_in(record.values, record.quality, record.unit)
        is_usable = record.value is not None and record.quality < _BAD
        return self.find(record.value, record.unit) if is_usable else None


def column_type(values: np.ndarray[Any, Any] | Sequence[Value | None]) -> str | None:
    """The type that a block's value column has; None when there is no value to tell it by."""
    if isinstance(values, np.ndarray):
        return {"S": "binary", "U": "string", "O": "json"}.get(values.dtype.kind) or str(values.dtype.name)
    kinds = {type(value) for value in values if value is not None}
    return None if not kinds else _COLUMN_OF.get(next(iter(kinds)), "json") if len(kinds) == 1 else "json"


def check_block(check: SubjectCheck, block: Block, unit: str | None) -> Violation | None:
    """The first thing wrong with a block that is to be stored."""
    quality = None if block.quality is None else np.asarray(block.quality, np.uint32)
    return check.find_in(block.values, quality, unit)


class ContractBook:
    """All contracts that count, compiled once each, and what holds for each subject, found once each."""

    def __init__(self, contracts: Iterable[Contract] = (), revision: int = 0) -> None:
        self.revision = revision
        self.contracts = newest_versions(contracts)
        self.rules: list[Rule] = []
        for contract in list(self.contracts.values())[:CONTRACTS_COUNT_MAX]:
            if contract.is_enforced:
                self.rules.append(Rule(contract))
        self._checks: dict[str, SubjectCheck | None] = {}

    def __bool__(self) -> bool:
        return bool(self.rules)

    def check_of(self, subject: str) -> SubjectCheck | None:
        """What holds for a subject; None when nothing does, or it is not of the namespace."""
        if not self.rules:
            return None
        if subject in self._checks:
            return self._checks[subject]
        try:
            address = decode_subject(subject)
        except DecodeError:
            return None
        rules = [
            rule for rule in self.rules
            if contract_of(rule.contract.kind) == address.contract and any(p.matches(address) for p in rule.patterns)
        ]  # fmt: skip
        check = SubjectCheck(rules) if rules else None
        if len(self._checks) < SUBJECTS_COUNT_MAX:
            self._checks[subject] = check
        return check
