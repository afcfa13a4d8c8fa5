"""Sparkplug B 3.0 payloads as values: datatypes, metrics, templates, data sets, properties (chapter 6). Pure data.

A metric of a DATA message carries neither its name nor its datatype; both stand in the birth. So a decoded metric keeps
its value as it was on the wire (`Raw`), and `sparkplug_value.interpret` reads it once the datatype is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, TypeAlias

PAYLOAD_BYTES_MAX = 4 << 20  # of one message; what brokers let through at most is mostly less
METRICS_COUNT_MAX = 100_000  # in one payload; a metric can be as small as two bytes, its object cannot
SEQ_COUNT = 256  # seq and bdSeq count 0 to 255, then 0 again

BD_SEQ = "bdSeq"
REBIRTH = "Node Control/Rebirth"
QUALITY = "Quality"
"""Name of the property that carries a metric's quality (6.4.11)."""


class DataType(IntEnum):
    """Codes of the field ``datatype`` (6.4.16)."""

    UNKNOWN = 0
    INT8 = 1
    INT16 = 2
    INT32 = 3
    INT64 = 4
    UINT8 = 5
    UINT16 = 6
    UINT32 = 7
    UINT64 = 8
    FLOAT = 9
    DOUBLE = 10
    BOOLEAN = 11
    STRING = 12
    DATETIME = 13
    TEXT = 14
    UUID = 15
    DATASET = 16
    BYTES = 17
    FILE = 18
    TEMPLATE = 19
    PROPERTY_SET = 20
    PROPERTY_SET_LIST = 21
    INT8_ARRAY = 22
    INT16_ARRAY = 23
    INT32_ARRAY = 24
    INT64_ARRAY = 25
    UINT8_ARRAY = 26
    UINT16_ARRAY = 27
    UINT32_ARRAY = 28
    UINT64_ARRAY = 29
    FLOAT_ARRAY = 30
    DOUBLE_ARRAY = 31
    BOOLEAN_ARRAY = 32
    STRING_ARRAY = 33
    DATETIME_ARRAY = 34


BASIC_TYPES = frozenset(DataType(code) for code in range(1, 15))
"""What data set columns and template parameters may be (6.4.14, 6.4.15)."""
PROPERTY_TYPES = BASIC_TYPES | {DataType.PROPERTY_SET, DataType.PROPERTY_SET_LIST}
METRIC_TYPES = frozenset(DataType) - {DataType.UNKNOWN, DataType.PROPERTY_SET, DataType.PROPERTY_SET_LIST}

Cell: TypeAlias = "bool | int | float | str"


class Raw(NamedTuple):
    """A value as it was on the wire: which field of the oneof, and what stood there, integers still unsigned."""

    field: str
    value: RawValue


@dataclass(frozen=True, slots=True)
class MetaData:
    """What a metric says about itself beside its value (6.4.7)."""

    is_multi_part: bool | None = None
    content_type: str | None = None
    size: int | None = None
    seq: int | None = None
    file_name: str | None = None
    file_type: str | None = None
    md5: str | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True)
class Property:
    """One property; `value` None is null."""

    datatype: DataType
    value: Cell | PropertySet | tuple[PropertySet, ...] | None


PropertySet: TypeAlias = Mapping[str, Property]


@dataclass(frozen=True, slots=True)
class DataSet:
    """A table; a cell may be None."""

    columns: tuple[str, ...]
    types: tuple[DataType, ...]
    rows: tuple[tuple[Cell | None, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a template; `value` None where a definition gives no default."""

    name: str
    datatype: DataType
    value: Cell | None = None


@dataclass(frozen=True, slots=True)
class Template:
    """A definition, or an instance that refers to one by the name of its metric."""

    is_definition: bool
    template_ref: str | None = None
    version: str | None = None
    metrics: tuple[Metric, ...] = ()
    parameters: tuple[Parameter, ...] = ()


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric as it was on the wire. `raw` is None when it is null or has no value.

    `fault` says what of it could not be read; the metrics beside it are not touched by that. Times are ms, UTC.
    """

    name: str | None = None
    alias: int | None = None
    timestamp_ms: int | None = None
    datatype: int | None = None
    raw: Raw | None = None
    is_null: bool = False
    is_historical: bool = False
    is_transient: bool = False
    metadata: MetaData | None = None
    properties: PropertySet | None = None
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Payload:
    """One message. `timestamp_ms` is when it was sent."""

    timestamp_ms: int | None = None
    metrics: tuple[Metric, ...] = ()
    seq: int | None = None
    uuid: str | None = None
    body: bytes | None = None


RawValue: TypeAlias = "bool | int | float | str | bytes | DataSet | Template | PropertySet | tuple[PropertySet, ...]"
SparkplugValue: TypeAlias = "RawValue | list[int] | list[float] | list[bool] | list[str]"
