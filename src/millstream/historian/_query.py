"""The query model: what can be asked of a history, without a word of SQL. Pure; dialects render it.

The same structures are the JSON form of requests (``{"kind": "range", "tags": [..], ..}``). Times are UTC ns;
`start_ns` is included, `end_ns` is not. Tags are names or shell patterns, of one kind of data: `data_kind`.

Of a plain tag every sample counts, also of equal time. Of all other kinds, and of a tag that was ever corrected (a
sample with a revision came), there is one value a time: the one stored last. Earlier ones stay stored.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from millstream.kernel import DecodeError

ROWS_COUNT_MAX = 1_000_000  # of one answer; about 40 MB of Arrow
WINDOWS_COUNT_MAX = 500_000  # of one window query, over all tags
TIMES_COUNT_MAX = 100_000  # reference times of one as-of query
TAGS_COUNT_MAX = 10_000  # of one query, after patterns are resolved

QualityFilter: TypeAlias = Literal["any", "usable", "good"]
"""any; not bad; severity Good only (OPC 10000-4, 7.39)."""

Aggregate: TypeAlias = Literal["count", "min", "max", "mean", "sum", "first", "last", "time_weighted_mean"]
AGGREGATES: tuple[Aggregate, ...] = ("count", "min", "max", "mean", "sum", "first", "last", "time_weighted_mean")


SampleKind: TypeAlias = Literal["tag", "count", "kpi", "state"]
EventKind: TypeAlias = Literal["event", "alarm"]
SAMPLE_KINDS: tuple[SampleKind, ...] = ("tag", "count", "kpi", "state")
EVENT_KINDS: tuple[EventKind, ...] = ("event", "alarm")


class _Query(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", kw_only=True):
    tags: tuple[str, ...]


class Names(_Query, frozen=True, tag="names"):
    """What the history knows: paths with their kind and description, by name. `data_kind` None: of all kinds."""

    data_kind: SampleKind | EventKind | None = None


class Events(_Query, frozen=True, tag="events"):
    """Events or alarms by time, then path, then arrival. `type` is a CloudEvents type; a final ``*`` stands for any
    ending; those of the type `without` are left out, whatever `type` says. An event that came again with the same path,
    source, id and time is given once, as stored last."""

    data_kind: EventKind = "event"
    type: str | None = None
    without: str | None = None
    start_ns: int | None = None
    end_ns: int | None = None
    limit: int = 100_000
    descending: bool = False


class _Samples(_Query, frozen=True):
    data_kind: SampleKind = "tag"


class Last(_Samples, frozen=True, tag="last"):
    """The newest sample of each tag (greatest source time, whatever its quality). Answered from memory."""


class Range(_Samples, frozen=True, tag="range"):
    """Samples by time, then tag, then arrival. `limit` bounds the rows over all tags. `as_recorded`: also those that
    a later one of the same time corrects, in order of arrival. `layout` "typed": the value is in `number`, `integer`
    or `text` by its `type` (none, float, int, bool, text, json) instead of one column."""

    as_recorded: bool = False
    layout: Literal["value", "typed"] = "value"
    start_ns: int | None = None
    end_ns: int | None = None
    quality: QualityFilter = "any"
    limit: int = 100_000
    descending: bool = False


class Window(_Samples, frozen=True, kw_only=True, tag="window"):
    """Aggregates over windows of `every_ns`, aligned to 1970-01-01T00:00Z; a window without a sample has no row.

    `count` counts samples of any type. The others take numbers (bools as 0 and 1) and leave out NaN and infinities;
    they are null where a window has none. `time_weighted_mean` holds each value until the next sample, also into
    windows without one; while the quality does not pass the filter, time does not count (OPC 10000-13, TimeAverage,
    stepped).
    """

    start_ns: int
    end_ns: int
    every_ns: int
    aggregates: tuple[Aggregate, ...] = ("count", "min", "max", "mean")
    quality: QualityFilter = "usable"
    limit: int = 100_000


class AsOf(_Samples, frozen=True, tag="asof"):
    """For each reference time and tag: the newest sample at or before it, at most `max_age_ns` old.

    Reference times are the sample times of `reference`, or every `every_ns`, or `times_ns`: exactly one of the three.
    """

    start_ns: int | None = None
    end_ns: int | None = None
    reference: str | None = None
    every_ns: int | None = None
    times_ns: tuple[int, ...] | None = None
    max_age_ns: int | None = None
    quality: QualityFilter = "usable"
    limit: int = 100_000


class Count(_Samples, frozen=True, tag="count"):
    """How many samples each tag has in a range; `as_recorded` as in `Range`."""

    as_recorded: bool = False
    start_ns: int | None = None
    end_ns: int | None = None
    quality: QualityFilter = "any"


Query: TypeAlias = Last | Range | Window | AsOf | Count | Events | Names

_decoder: msgspec.json.Decoder[Query] = msgspec.json.Decoder(Query)


def refuse(what: str, *, expected: str | None = None, got: str | None = None, where: str | None = None) -> DecodeError:
    """The error of a query that cannot be answered."""
    return DecodeError(what, where=where, expected=expected, got=got, code="MS-0320")


def decode_query(payload: bytes) -> Query:
    """A query from JSON, checked. Raises DecodeError."""
    try:
        query = _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise refuse(f"not a query: {error}", got=repr(payload[:120])) from error
    check_query(query)
    return query


def check_query(query: Query) -> None:
    """Refuse what cannot be answered or would not end. Raises DecodeError."""
    if not query.tags:
        raise refuse("query names no tag", expected='at least one, e.g. "*"', where="tags")
    if isinstance(query, Last | Names):
        return
    for name in ("start_ns", "end_ns"):
        number = getattr(query, name)
        if number is not None and not -(2**63) <= number < 2**63:
            raise refuse("time is out of range", expected="64-bit ns since 1970", got=str(number), where=name)
    if query.start_ns is not None and query.end_ns is not None and query.end_ns < query.start_ns:
        raise refuse(
            "range ends before it starts", expected="end_ns >= start_ns", got=f"{query.start_ns}..{query.end_ns}"
        )
    if isinstance(query, Range | Window | AsOf | Events) and not 1 <= query.limit <= ROWS_COUNT_MAX:
        raise refuse("limit is out of range", expected=f"1 to {ROWS_COUNT_MAX}", got=str(query.limit), where="limit")
    if isinstance(query, Window):
        _check_window(query)
    elif isinstance(query, AsOf):
        _check_asof(query)


def _check_window(query: Window) -> None:
    if query.every_ns < 1:
        raise refuse("window is empty", expected="every_ns >= 1", got=str(query.every_ns), where="every_ns")
    if not query.aggregates:
        raise refuse("window query asks for no aggregate", expected=", ".join(AGGREGATES), where="aggregates")
    count = -(-(query.end_ns - query.start_ns) // query.every_ns) * len(query.tags)
    if "time_weighted_mean" in query.aggregates and count > WINDOWS_COUNT_MAX:
        raise refuse("too many windows", expected=f"at most {WINDOWS_COUNT_MAX}", got=str(count), where="every_ns")


def _check_asof(query: AsOf) -> None:
    if sum(x is not None for x in (query.reference, query.every_ns, query.times_ns)) != 1:
        raise refuse("reference times are not clear", expected="exactly one of reference, every_ns, times_ns")
    if query.times_ns is not None:
        if len(query.times_ns) > TIMES_COUNT_MAX:
            raise refuse(
                "too many times", expected=f"at most {TIMES_COUNT_MAX}", got=str(len(query.times_ns)), where="times_ns"
            )
        if any(not -(2**63) <= t < 2**63 for t in query.times_ns):
            raise refuse("time is out of range", expected="64-bit ns since 1970", where="times_ns")
    elif query.start_ns is None or query.end_ns is None:
        raise refuse("range is open", expected="start_ns and end_ns")
    if query.max_age_ns is not None and query.max_age_ns < 0:
        raise refuse("age is negative", got=str(query.max_age_ns), where="max_age_ns")
    if query.every_ns is None:
        return
    if query.every_ns < 1:
        raise refuse("grid is empty", expected="every_ns >= 1", got=str(query.every_ns), where="every_ns")
    assert query.start_ns is not None
    assert query.end_ns is not None
    count = -(-(query.end_ns - query.start_ns) // query.every_ns)
    if count > TIMES_COUNT_MAX:
        raise refuse(
            "too many reference times", expected=f"at most {TIMES_COUNT_MAX}", got=str(count), where="every_ns"
        )
