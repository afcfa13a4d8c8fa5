"""MQTT topics and payloads: filters (MQTT 5.0, 4.7), nats-server's subjects for topics, values in payloads. Pure.

A tag's address is a topic, with a JSON path behind it where only a part of the payload is meant:
``scale/count#$.n``, ``press/state#$.axes[0].x``, ``press/state#$['a b']``. A ``#`` cannot stand in a topic, so this
is never ambiguous.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from millstream.kernel import DecodeError
from millstream.model import Block, Value

TOPIC_BYTES_MAX = 65_535  # MQTT 5.0, 1.5.4
DEPTH_MAX = 64  # of nested JSON; json itself gives up at about a thousand
NATS_MQTT_PREFIX = "$MQTT.msgs."  # what nats-server's listener puts before the subject in ``$MQTT_msgs``
UNITS_NS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
INT_MIN, INT_MAX = -(1 << 63), (1 << 64) - 1

DataType: TypeAlias = Literal["auto", "float", "int", "bool", "text", "bytes"]
Step: TypeAlias = "str | int"

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\Z")
_SPECIAL = {"nan": float("nan"), "inf": float("inf"), "+inf": float("inf"), "-inf": float("-inf")}
_BOOLS = {"true": True, "false": False}
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d{1,9})\]|\['([^']*)'\]|\[\"([^\"]*)\"\]")
_PLAIN_NAME = re.compile(r"[^.\[\]'\"\s]+\Z")
_ABSENT = object()


# -- topics -----------------------------------------------------------------------------------------------------------


def check_topic(topic: str) -> None:
    """Refuse what cannot be published to: empty, too long, with wildcards or NUL. Raises DecodeError."""
    _check_text(topic, "topic")
    if "+" in topic or "#" in topic:
        raise DecodeError("topic has a wildcard", expected="one topic", got=ascii(topic), code="MS-0300")


def check_filter(pattern: str) -> None:
    """Refuse a malformed topic filter (MQTT 5.0, 4.7.1). Raises DecodeError."""
    _check_text(pattern, "topic filter")
    levels = pattern.split("/")
    for i, level in enumerate(levels):
        is_wrong_hash = "#" in level and (level != "#" or i != len(levels) - 1)
        if is_wrong_hash or ("+" in level and level != "+"):
            raise DecodeError(
                "topic filter has a misplaced wildcard",
                expected="'+' as a whole level, '#' as the whole last level",
                got=ascii(pattern),
            )


def _check_text(text: str, what: str) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise DecodeError(f"{what} is not Unicode text", got=ascii(text)) from None
    if not 1 <= size <= TOPIC_BYTES_MAX or "\0" in text:
        raise DecodeError(f"{what} is empty, too long or has a NUL", got=ascii(text)[:200])


def matches(pattern: str, topic: str) -> bool:
    """Whether `topic` is taken by the filter; ``#`` takes its parent level too, ``$`` topics need a literal ``$``."""
    if topic.startswith("$") and pattern[:1] in ("+", "#"):
        return False
    wanted, levels = pattern.split("/"), topic.split("/")
    for i, level in enumerate(wanted):
        if level == "#":
            return True
        if i >= len(levels) or level not in ("+", levels[i]):
            return False
    return len(levels) == len(wanted)


def covers(wide: str, narrow: str) -> bool:
    """Whether every topic that `narrow` (a filter or a topic) takes is taken by `wide` as well."""
    if narrow.startswith("$") and wide[:1] in ("+", "#"):
        return False
    ours, theirs = wide.split("/"), narrow.split("/")
    for i, level in enumerate(ours):
        if level == "#":
            return True
        if i >= len(theirs) or theirs[i] == "#" or level not in ("+", theirs[i]):
            return False
    return len(ours) == len(theirs)


def fewest(patterns: Sequence[str]) -> list[str]:
    """Filters that take all that `patterns` take, no topic by two of them: a broker may deliver once for each.

    One that another covers is left out. Two that only overlap, as ``a/+/c`` and ``a/b/+``, become the narrowest one
    that covers both; what it takes beyond them is for the receiver to leave out.
    """
    wide: list[str] = []
    topics: list[str] = []
    for pattern in dict.fromkeys(patterns):
        if "+" not in pattern and "#" not in pattern:
            topics.append(pattern)  # two topics never overlap, and there may be ten thousand of them
            continue
        new = pattern
        while (other := next((each for each in wide if overlap(each, new)), None)) is not None:
            wide.remove(other)
            new = _cover(other, new)
        wide.append(new)
    return [*wide, *(topic for topic in topics if not any(overlap(each, topic) for each in wide))]


def overlap(one: str, other: str) -> bool:
    """Whether there is a topic that both filters take."""
    if one.startswith("$") != other.startswith("$"):
        return False  # a wildcard does not stand for a first level with $
    ours, theirs = one.split("/"), other.split("/")
    for our, their in zip(ours, theirs, strict=False):
        if "#" in (our, their):
            return True
        if our != their and "+" not in (our, their):
            return False
    shorter, longer = sorted((ours, theirs), key=len)
    return len(shorter) == len(longer) or longer[len(shorter)] == "#"


def _cover(one: str, other: str) -> str:
    if covers(one, other):
        return one
    if covers(other, one):
        return other
    ours, theirs = one.split("/"), other.split("/")
    levels: list[str] = []
    for our, their in zip(ours, theirs, strict=False):
        if "#" in (our, their):
            return "/".join([*levels, "#"])
        levels.append(our if our == their else "+")
    return "/".join(levels if len(ours) == len(theirs) else [*levels, "#"])


def literal_prefix(pattern: str) -> tuple[str, ...]:
    """The levels before the first wildcard."""
    levels = pattern.split("/")
    for i, level in enumerate(levels):
        if level in ("+", "#"):
            return tuple(levels[:i])
    return tuple(levels)


def subject_of_topic(topic: str) -> str:
    """The NATS subject that nats-server gives an MQTT topic: ``/`` is ``.``, ``.`` is ``//``, an empty level ``/``.

    Raises DecodeError for a blank, for which the server closes the connection.
    """
    if any(char.isspace() for char in topic):
        raise DecodeError("topic has a blank, which nats-server refuses", got=ascii(topic))
    levels = topic.split("/")
    return ".".join(level.replace(".", "//") or "/" for level in levels)


def topic_of_subject(subject: str) -> str:
    """The MQTT topic behind a subject of nats-server, with or without the ``$MQTT.msgs.`` of its store."""
    levels = subject.removeprefix(NATS_MQTT_PREFIX).split(".")
    return "/".join("" if level == "/" else level.replace("//", ".") for level in levels)


# -- addresses --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Address:
    """A topic, and the steps into its JSON payload; `steps` is None when the whole payload is the value."""

    topic: str
    steps: tuple[Step, ...] | None = None


def parse_address(text: str) -> Address:
    """From ``topic`` or ``topic#$.path``. Raises DecodeError."""
    topic, mark, path = text.partition("#")
    if mark and not path.startswith("$"):
        raise DecodeError(
            "address has a '#' without a JSON path", expected="topic or topic#$.member", got=ascii(text), code="MS-0300"
        )
    check_topic(topic)
    return Address(topic, parse_path(path) if mark else None)


def parse_path(text: str) -> tuple[Step, ...]:
    """A JSON path of members and indexes: ``$``, ``$.a.b``, ``$.a[0]``, ``$['a b']``. Raises DecodeError."""
    if not text.startswith("$"):
        raise DecodeError("not a JSON path", expected="$.member, $[0] or $['member']", got=ascii(text))
    steps: list[Step] = []
    at = 1
    while at < len(text):
        match = _STEP.match(text, at)
        if match is None:
            raise DecodeError("not a JSON path", expected="$.member, $[0] or $['member']", got=ascii(text))
        name, index, single, double = match.groups()
        steps.append(int(index) if index is not None else next(n for n in (name, single, double) if n is not None))
        at = match.end()
    return tuple(steps)


def member_path(members: Sequence[str]) -> str | None:
    """The path to a member of nested objects, for `parse_path`; None when a name has both kinds of quotes."""
    path = "$"
    for name in members:
        if _PLAIN_NAME.match(name):
            path += f".{name}"
        elif "'" not in name or '"' not in name:
            path += f'["{name}"]' if "'" in name else f"['{name}']"
        else:
            return None
    return path


# -- payloads ---------------------------------------------------------------------------------------------------------


class Payload:
    """One payload, decoded at most once however many tags read it."""

    __slots__ = ("_document", "_reason", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self._document: object = _ABSENT
        self._reason: str | None = None

    def document(self) -> object:
        """The payload as JSON. Raises DecodeError."""
        if self._document is _ABSENT and self._reason is None:
            try:
                self._document = _loads(self.raw)
            except DecodeError as error:
                self._reason = error.what
        if self._reason is not None:
            raise DecodeError(self._reason, got=ascii(self.raw[:80]))
        return self._document

    def at(self, steps: Sequence[Step] | None) -> object:
        """What the steps lead to: the document's part, or `ABSENT`. Raises DecodeError."""
        if steps is None:
            return self.whole()
        found = self.document()
        for step in steps:
            if isinstance(found, dict):
                found = found.get(step, ABSENT)
            elif isinstance(found, list) and isinstance(step, int) and step < len(found):
                found = found[step]
            else:
                return ABSENT
        return found

    def whole(self) -> object:
        """The whole payload: JSON, or a number, truth value or text written plainly. Raises DecodeError."""
        text = self.text()
        stripped = text.strip()
        if not stripped:
            raise DecodeError("payload is empty")
        if stripped[0] in '{["' or stripped in ("null", "NaN", "Infinity", "-Infinity"):
            return self.document()
        return plain_value(text)

    def text(self) -> str:
        """The payload as UTF-8. Raises DecodeError."""
        try:
            return self.raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DecodeError(f"payload is not UTF-8 (byte {error.start})", got=ascii(self.raw[:80])) from None


ABSENT: object = object()
"""A path that the payload does not have."""


def _loads(raw: bytes) -> object:
    try:
        document: object = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DecodeError(f"payload is not UTF-8 (byte {error.start})") from None
    except RecursionError:
        raise DecodeError("payload is nested too deeply") from None
    except ValueError as error:
        raise DecodeError(f"payload is not JSON: {error}") from None
    return document


def plain_value(text: str) -> Value:
    """A number, truth value or text that is not JSON: ``21.5``, ``+3``, ``TRUE``, ``running``."""
    stripped = text.strip()
    lower = stripped.lower()
    if lower in _BOOLS:
        return _BOOLS[lower]
    if lower in _SPECIAL:
        return _SPECIAL[lower]
    match = _NUMBER.match(stripped)
    if match is None or len(stripped) > 400:
        return text
    if match[2] is None and "." not in match[1]:
        return int(stripped)
    return float(stripped)


def to_value(found: object, data_type: DataType = "auto") -> Value | None:
    """A JSON value as a tag's value; None for null. Raises DecodeError when it is not of `data_type`."""
    if found is None:
        return None
    if data_type == "auto":
        return _checked(found, 0)
    if data_type == "text":
        return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
    if isinstance(found, str):
        found = plain_value(found)
    if data_type == "bool" and (isinstance(found, bool) or found in (0, 1)):
        return bool(found)
    if data_type == "float" and isinstance(found, int | float) and not isinstance(found, bool):
        try:
            return float(found)
        except OverflowError:
            raise DecodeError("number is too large for a float") from None
    if data_type == "int" and not isinstance(found, bool):
        if isinstance(found, float) and found.is_integer():
            found = int(found)
        if isinstance(found, int):
            return _checked(found, 0)
    raise DecodeError(f"value is not of type {data_type}", got=ascii(found)[:80])


def _checked(found: object, depth: int) -> Value:
    if isinstance(found, bool | float | str):
        return found
    if isinstance(found, int):
        if not INT_MIN <= found <= INT_MAX:
            raise DecodeError("integer has more than 64 bits", got=f"{found.bit_length()} bits")
        return found
    if depth > DEPTH_MAX:
        raise DecodeError("payload is nested too deeply", expected=f"at most {DEPTH_MAX} levels")
    if isinstance(found, list):
        return [_checked(item, depth + 1) for item in found if item is not None or _refuse_null()]
    if isinstance(found, dict):
        return {name: _checked(item, depth + 1) for name, item in found.items() if item is not None}
    raise DecodeError("value is of no known type", got=type(found).__name__)


def _refuse_null() -> bool:
    raise DecodeError("array has a null")


def is_block(found: object) -> bool:
    """Whether this is a series: exactly ``t0_ns``, ``dt_ns`` and ``values``."""
    return isinstance(found, dict) and found.keys() == {"t0_ns", "dt_ns", "values"}


def to_block(key: str, found: Mapping[str, object]) -> Block:
    """A series of numbers or truth values, the first at ``t0_ns`` (UTC), each ``dt_ns`` later. Raises DecodeError."""
    start_ns, step_ns, values = found["t0_ns"], found["dt_ns"], found["values"]
    if type(start_ns) is not int or type(step_ns) is not int or not isinstance(values, list) or not values:
        raise DecodeError("series is malformed", expected="integers t0_ns and dt_ns, and values with at least one")
    if step_ns < 0 or not INT_MIN <= start_ns <= start_ns + step_ns * len(values) < 1 << 63:
        raise DecodeError("times of a series do not fit", expected="nanoseconds since 1970", got=f"{start_ns}")
    kinds = {type(value) for value in values}
    times = start_ns + step_ns * np.arange(len(values), dtype=np.int64)
    if kinds == {bool}:
        return Block(key, times, np.array(values, np.bool_))
    if not kinds <= {int, float}:
        raise DecodeError("series holds other things than numbers", got=", ".join(sorted(k.__name__ for k in kinds)))
    try:
        return Block(key, times, np.array(values, np.int64 if kinds == {int} else np.float64))
    except OverflowError:
        raise DecodeError("number of a series is too large") from None


def to_time_ns(found: object, unit: Literal["ns", "us", "ms", "s"]) -> int:
    """A time of a payload, as UTC nanoseconds: a number in `unit` since 1970. Raises DecodeError."""
    if isinstance(found, str):
        found = plain_value(found)
    if isinstance(found, bool) or not isinstance(found, int | float) or found != found or abs(found) > 1e22:
        raise DecodeError("timestamp is not a number", got=ascii(found)[:80])
    factor = UNITS_NS[unit]
    if isinstance(found, int):
        time_ns = found * factor
    else:  # whole and broken part apart, since a float of seconds has no room for nanoseconds
        whole = int(found)
        time_ns = whole * factor + round((found - whole) * factor)
    if not INT_MIN <= time_ns < 1 << 63:
        raise DecodeError("timestamp is out of range", got=ascii(found)[:80])
    return time_ns


def leaves(found: object, names: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    """Each value of nested JSON objects with the member names that lead there; arrays and series are values."""
    if not isinstance(found, dict) or is_block(found):
        yield names, found
        return
    if len(names) > DEPTH_MAX:
        raise DecodeError("payload is nested too deeply", expected=f"at most {DEPTH_MAX} levels")
    for name, value in found.items():
        yield from leaves(value, (*names, name))
