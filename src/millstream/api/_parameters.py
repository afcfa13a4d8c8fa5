"""Query strings to the historian's query model. The table of parameters is also what the OpenAPI description says."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import msgspec

from millstream.historian import (
    AGGREGATES,
    EVENT_KINDS,
    SAMPLE_KINDS,
    AsOf,
    Count,
    Events,
    Last,
    QualityFilter,
    Query,
    Range,
    Window,
    decode_query,
)
from millstream.kernel import ConfigError, DecodeError, parse_duration_s, suggest

ROWS_DEFAULT = 10_000
ROWS_MAX = 100_000  # of one answer over HTTP; who needs more takes several ranges, or Arrow from the SDK
_TIME = re.compile(r"(\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2})(?:\.(\d{1,9}))?(Z|[+-]\d{2}:\d{2})\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a query string: its field in the model, its form, and what it is for."""

    name: str
    field: str
    form: str  # names, time, times, duration, count, flag, quality, aggregates, name, kind, kinds, event_kind
    about: str
    is_required: bool = False


_TAG = Parameter("tag", "tags", "names", 'a tag\'s name or a pattern such as "acme/p1*"; may stand several times', True)
_KIND = Parameter("kind", "data_kind", "kind", f"of what kind: {', '.join(SAMPLE_KINDS)}; left out: tag")
_KINDS = Parameter("kind", "data_kind", "kinds", f"{_KIND.about}; or as often as tag, for each of them in their order")
_EVENT_KIND = Parameter("kind", "data_kind", "event_kind", "event or alarm; left out: event")
_START = Parameter(
    "start", "start_ns", "time", "first moment: RFC 3339, ns since 1970, now, or relative such as -15min"
)
_END = Parameter("end", "end_ns", "time", "first moment that no longer counts; in the form of start")
_QUALITY = Parameter("quality", "quality", "quality", "any, usable (not bad) or good")
_AS_RECORDED = Parameter("as_recorded", "as_recorded", "flag", "also what later samples of the same time correct")
_LIMIT = Parameter("limit", "limit", "count", f"rows at most, up to {ROWS_MAX}")

QUERIES: Mapping[str, tuple[type[Query], str, tuple[Parameter, ...]]] = {
    "last": (Last, "The newest sample of each tag", (_TAG, _KIND)),
    "range": (
        Range,
        "Samples as stored, by time",
        (
            _TAG,
            _KINDS,
            _START,
            _END,
            _QUALITY,
            _LIMIT,
            Parameter("descending", "descending", "flag", "newest first"),
            _AS_RECORDED,
        ),
    ),
    "window": (
        Window,
        "Aggregates over windows of time",
        (
            _TAG,
            _KIND,
            _START,
            _END,
            Parameter("every", "every_ns", "duration", 'length of a window, e.g. "1min"', True),
            Parameter("aggregate", "aggregates", "aggregates", ", ".join(AGGREGATES)),
            _QUALITY,
            _LIMIT,
        ),
    ),
    "asof": (
        AsOf,
        "The newest sample at or before each reference time",
        (
            _TAG,
            _KIND,
            _START,
            _END,
            Parameter("reference", "reference", "name", "a tag whose sample times are the reference"),
            Parameter("every", "every_ns", "duration", "or: a reference time every so often"),
            Parameter("time", "times_ns", "times", "or: the reference times themselves"),
            Parameter("max_age", "max_age_ns", "duration", "leave out what is older"),
            _QUALITY,
            _LIMIT,
        ),
    ),
    "count": (Count, "How many samples each tag has", (_TAG, _KIND, _START, _END, _QUALITY, _AS_RECORDED)),
    "events": (
        Events,
        "Events or alarms, by time",
        (
            _TAG,
            _EVENT_KIND,
            Parameter("type", "type", "name", "a CloudEvents type; a final * stands for any ending"),
            Parameter("without", "without", "name", "a CloudEvents type that is left out; a final * as of `type`"),
            _START,
            _END,
            _LIMIT,
            Parameter("descending", "descending", "flag", "newest first"),
        ),
    ),
}


def parse_time_ns(text: str, now_ns: int) -> int:
    """UTC ns of an RFC 3339 time (to the ns), a number of ns, "now", or "-15min". Raises DecodeError."""
    try:
        if re.fullmatch(r"-?\d{1,20}", text):
            return int(text)
        if text == "now":
            return now_ns
        if text.startswith(("-", "+")):
            return now_ns + round(parse_duration_s(text[1:]) * 1e9) * (-1 if text[0] == "-" else 1)
        match = _TIME.match(text)
        if match is not None:
            zone = "+00:00" if match[3] in "Zz" else match[3]
            seconds = datetime.datetime.fromisoformat(match[1] + zone).timestamp()
            return int(seconds) * 10**9 + int((match[2] or "0").ljust(9, "0"))
    except (ValueError, OverflowError, ConfigError) as error:
        raise _bad(text, "a time") from error
    raise _bad(text, "a time: RFC 3339 with zone, ns since 1970, now, or relative such as -15min")


def _bad(text: str, expected: str) -> DecodeError:
    return DecodeError("parameter is malformed", expected=expected, got=repr(text[:80]), code="MS-0320")


def _duration_ns(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) < 20:
        return int(text)
    try:
        return round(parse_duration_s(text) * 1e9)
    except ConfigError as error:
        raise _bad(text, 'a duration such as "500ms" or "1min", or ns') from error


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= len(text) < 10):
        raise _bad(text, "a whole number")
    if int(text) > ROWS_MAX:
        raise _bad(text, f"at most {ROWS_MAX}")
    return int(text)


def _choice(known: Sequence[str]) -> Callable[[str], str]:
    def choose(text: str) -> str:
        """One of `known`. Raises DecodeError."""
        if text not in known:
            raise _bad(text, " or ".join(known))
        return text

    return choose


def flag(text: str) -> bool:
    """Whether it is set. Raises DecodeError (MS-0320)."""
    if text not in ("true", "false", "1", "0", ""):
        raise _bad(text, "true or false")
    return text not in ("false", "0")


def parse_query(kind: str, pairs: Sequence[tuple[str, str]], now_ns: int) -> Query:
    """A query from the pairs of a query string. Raises DecodeError (MS-0320), naming an unknown parameter's
    neighbour."""
    _, _, parameters = QUERIES[kind]
    known = {p.name: p for p in parameters}
    fields: dict[str, Any] = {"kind": kind}
    for name, text in pairs:
        if name == "format":
            continue
        parameter = known.get(name)
        if parameter is None:
            near = suggest(name, known)
            raise DecodeError(
                "unknown parameter",
                where=name,
                expected=", ".join(known),
                code="MS-0320",
                next_step=f"did you mean {near}?" if near else None,
            )
        value = _parse(parameter, text, now_ns)
        if parameter.form in ("names", "times", "aggregates"):
            fields.setdefault(parameter.field, []).append(value)
        elif parameter.field in fields:
            raise DecodeError("parameter stands twice", where=name, code="MS-0320")
        else:
            fields[parameter.field] = value
    for parameter in parameters:
        if parameter.is_required and parameter.field not in fields:
            raise DecodeError("parameter is missing", where=parameter.name, expected=parameter.about, code="MS-0320")
    if "limit" in {p.name for p in parameters}:
        fields.setdefault("limit", ROWS_DEFAULT)
    if kind == "window":
        fields.setdefault("end_ns", now_ns)
        fields.setdefault("start_ns", fields["end_ns"] - 3600 * 10**9)
    return decode_query(msgspec.json.encode(fields))


def parse_queries(kind: str, pairs: Sequence[tuple[str, str]], now_ns: int) -> list[Query]:
    """As `parse_query`; one for each kind of data where each tag has one of its own. Raises DecodeError."""
    kinds = [text for name, text in pairs if name == "kind"]
    if kind != "range" or len(kinds) < 2:
        return [parse_query(kind, pairs, now_ns)]
    tags = [text for name, text in pairs if name == "tag"]
    if len(tags) != len(kinds):
        raise DecodeError(
            "kinds do not fit the tags", where="kind", expected=f"one for all, or one for each of {len(tags)} tags",
            got=str(len(kinds)), code="MS-0320",
        )  # fmt: skip
    rest = [(name, text) for name, text in pairs if name not in ("kind", "tag")]
    found = []
    for one in dict.fromkeys(kinds):
        of_kind = [("tag", tag) for tag, its in zip(tags, kinds, strict=True) if its == one]
        found.append(parse_query(kind, [*rest, ("kind", one), *of_kind], now_ns))
    return found


def _parse(parameter: Parameter, text: str, now_ns: int) -> Any:
    forms: dict[str, Callable[[str], Any]] = {
        "names": str,
        "name": str,
        "time": lambda t: parse_time_ns(t, now_ns),
        "times": lambda t: parse_time_ns(t, now_ns),
        "duration": _duration_ns,
        "count": _count,
        "flag": flag,
        "quality": _choice(get_args(QualityFilter)),
        "aggregates": _choice(AGGREGATES),
        "kind": _choice(SAMPLE_KINDS),
        "kinds": _choice(SAMPLE_KINDS),
        "event_kind": _choice(EVENT_KINDS),
    }
    try:
        return forms[parameter.form](text)
    except DecodeError as error:
        error.where = parameter.name
        raise
