"""SHDR, the adapter protocol of MTConnect agents, without I/O: bytes in, observations out (read side), plus PING/PONG.

A line is ``time|key|value[|key|value...]``; the number of fields after a key depends on its data item: five for a
condition (level, native code, native severity, qualifier, text), two for a message, three for a time series (count,
rate, values), one for all else. ``*`` starts a command line, ``@`` an asset command. A field in double quotes may hold
``\\|``; outside quotes a backslash is a backslash, since programs are named ``TNC:\\DIR\\NAME.H`` (the reference agent
reads it so too). Every line is counted: as data, command, asset, blank or bad; nothing is skipped in silence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache
from typing import TypeAlias

from millstream.model import BAD_DATA_UNAVAILABLE, BAD_TYPE_MISMATCH, GOOD, Quality, Value

LINE_BYTES_MAX = 1 << 18  # the longest line seen on a real machine has 4 KiB
ASSET_BYTES_MAX = 4 << 20  # a cutting tool with all its measurements has some 100 KiB
BAD_BYTES_MAX = 1 << 16  # of a refused line, this much is kept for the dead-letter stream
KEY_LENGTH_MAX = 256
LEVELS = frozenset({"normal", "warning", "fault", "unavailable"})
_MULTILINE = "--multiline--"
_TIME = re.compile(r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,18}))?(Z|[+-]\d\d:?\d\d)?$", re.ASCII)
_NUMBER = re.compile(r"^[+-]?\d+(?:\.\d*)?$", re.ASCII)


class Kind(Enum):
    """How many fields a data item has, and how its value reads."""

    AUTO = "auto"
    SAMPLE = "sample"
    INTEGER = "integer"
    EVENT = "event"
    CONDITION = "condition"
    MESSAGE = "message"
    TIME_SERIES = "time_series"
    THREE_SPACE = "three_space"
    DATA_SET = "data_set"
    TABLE = "table"


_FIELDS_COUNT = {Kind.CONDITION: 5, Kind.MESSAGE: 2, Kind.TIME_SERIES: 3}


@dataclass(frozen=True, slots=True)
class Observation:
    """One data item's report. `time_ns` is UTC, None when the line has no time; `fields` are still text."""

    key: str
    kind: Kind
    fields: tuple[str, ...]
    time_ns: int | None
    duration_s: float | None = None


@dataclass(frozen=True, slots=True)
class Asset:
    """An asset command: ``@ASSET@``, ``@UPDATE_ASSET@``, ``@REMOVE_ASSET@``, ``@REMOVE_ALL_ASSETS@``."""

    command: str
    fields: tuple[str, ...]
    time_ns: int | None


@dataclass(frozen=True, slots=True)
class Command:
    """A line that starts with ``*``, such as ``* PONG 10000`` or ``*adapterVersion: 3``, without the star."""

    text: str

    @property
    def heartbeat_ms(self) -> int | None:
        """The period that a PONG asks for, None when this is no PONG."""
        words = self.text.split()
        if len(words) == 2 and words[0] == "PONG" and words[1].isascii() and words[1].isdigit():
            return int(words[1][:9])
        return None


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is no SHDR; `raw` is cut at BAD_BYTES_MAX."""

    raw: bytes
    reason: str


Event: TypeAlias = Observation | Asset | Command | BadLine


@dataclass(slots=True)
class LineCounts:
    """What became of every line so far. `total` is the sum of the others (lines of one asset text all count)."""

    total: int = 0
    data: int = 0
    asset: int = 0
    command: int = 0
    blank: int = 0
    bad: int = 0


@dataclass(slots=True)
class _Text:
    """A multi-line field that is still open: the line it stands in, and what has come so far."""

    head: str
    end: str
    parts: list[str] = field(default_factory=list)
    size_bytes: int = 0

    def raw(self) -> bytes:
        """All of it, as it came."""
        return "\n".join([self.head + self.end, *self.parts]).encode()


class ShdrParser:
    """Incremental: feed chunks as they come, get events in order. Holds at most one line or one asset text.

    `kinds` says what each data item is (from Devices.xml); an unknown one is one value, or a condition when the line
    has its shape. `now_ns` of `feed` is only used as the base of relative times (milliseconds since an unnamed start).
    """

    def __init__(self, kinds: Mapping[str, Kind] | None = None) -> None:
        self.counts = LineCounts()
        self._kinds = dict(kinds or {})
        self._rest = b""
        self._is_skipping = False
        self._text: _Text | None = None
        self._relative_base_ns: int | None = None

    def feed(self, data: bytes, now_ns: int = 0) -> list[Event]:
        """Take the next bytes; the events that they complete, oldest first."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        events: list[Event] = []
        for line in lines:
            if self._is_skipping:
                self._is_skipping = False
                continue
            self._take(line, now_ns, events)
        if len(self._rest) > LINE_BYTES_MAX:
            if not self._is_skipping:
                self._refuse(self._rest, f"line is longer than {LINE_BYTES_MAX} bytes", events)
                self._is_skipping = True
            self._rest = b""
        return events

    def finish(self, now_ns: int = 0) -> list[Event]:
        """The stream has ended: what is left is a last line without its line break, or a cut asset."""
        events: list[Event] = []
        rest, self._rest = self._rest, b""
        if rest and not self._is_skipping:
            self._take(rest, now_ns, events)
        if self._text is not None:
            self.counts.bad += 1
            self.counts.asset -= 1
            events.append(_bad(self._text.raw(), "stream ended inside a multi-line text"))
            self._text = None
        self._is_skipping = False
        return events

    def _take(self, raw: bytes, now_ns: int, events: list[Event]) -> None:
        if len(raw) > LINE_BYTES_MAX:
            self._refuse(raw, f"line is longer than {LINE_BYTES_MAX} bytes", events)
            return
        try:
            line = raw.decode("utf-8").rstrip("\r")
        except UnicodeDecodeError as error:
            self._refuse(raw, f"line is not UTF-8: {error.reason} at byte {error.start}", events)
            return
        self.counts.total += 1
        if self._text is not None:
            self._continue_text(self._text, line, events)
        elif not line.strip():
            self.counts.blank += 1
        elif line.startswith("*"):
            self.counts.command += 1
            events.append(Command(line[1:].strip()))
        else:
            try:
                self._data(line, now_ns, events)
            except ValueError as error:
                self.counts.bad += 1
                events.append(_bad(raw, str(error)))

    def _refuse(self, raw: bytes, reason: str, events: list[Event]) -> None:
        self.counts.total += 1
        self.counts.bad += 1
        events.append(_bad(raw, reason))

    def _data(self, line: str, now_ns: int, events: list[Event]) -> None:
        fields = split_fields(line)
        if len(fields) < 3:
            raise ValueError("line is no SHDR: expected time|key|value")
        time_ns, duration_s = self._time(fields[0], now_ns)
        if fields[1].startswith("@"):
            self._asset(line, fields, time_ns, events)
            return
        found: list[Event] = []
        at = 1
        while at < len(fields):
            key = fields[at].rpartition(":")[2].strip()
            if not key or len(key) > KEY_LENGTH_MAX:
                raise ValueError(f"key number {at} is empty or longer than {KEY_LENGTH_MAX} characters")
            kind = self._kind(key, fields, at)
            count = _FIELDS_COUNT.get(kind, 1)
            values = tuple(fields[at + 1 : at + 1 + count])
            if not values:
                raise ValueError(f"key {key!r} has no value")
            found.append(Observation(key, kind, values, time_ns, duration_s))
            at += 1 + count
        self.counts.data += 1
        events.extend(found)

    def _kind(self, key: str, fields: list[str], at: int) -> Kind:
        kind = self._kinds.get(key)
        if kind is not None:
            return kind
        rest = fields[at + 1 :]
        if len(rest) != 5 or rest[0].lower() not in LEVELS:
            return Kind.AUTO
        # A condition fills the line; behind other items it is one when its fields cannot be pairs (a key is empty).
        return Kind.CONDITION if at == 1 or not (rest[1] and rest[3]) else Kind.AUTO

    def _time(self, text: str, now_ns: int) -> tuple[int | None, float | None]:
        stamp, at, span = text.strip().partition("@")
        duration_s: float | None = None
        if at:
            if not _NUMBER.match(span):
                raise ValueError(f"duration {span[:40]!r} is no number")
            duration_s = float(span)
        if not stamp:
            return None, duration_s
        if _NUMBER.match(stamp) and len(stamp) < 20:
            offset_ns = int(float(stamp) * 1_000_000)
            if self._relative_base_ns is None:
                self._relative_base_ns = now_ns - offset_ns
            return self._relative_base_ns + offset_ns, duration_s
        return parse_time_ns(stamp), duration_s

    def _asset(self, line: str, fields: list[str], time_ns: int | None, events: list[Event]) -> None:
        if fields[-1].startswith(_MULTILINE):
            self.counts.asset += 1
            self._text = _Text(line[: line.rindex(_MULTILINE)], fields[-1])
            return
        self.counts.asset += 1
        events.append(Asset(fields[1], tuple(fields[2:]), time_ns))

    def _continue_text(self, text: _Text, line: str, events: list[Event]) -> None:
        if line.strip() == text.end:
            self._text = None
            self.counts.asset += 1
            fields = split_fields(text.head)
            time_ns, _ = self._time(fields[0], 0)
            events.append(Asset(fields[1], (*fields[2:-1], "\n".join(text.parts)), time_ns))
            return
        text.size_bytes += len(line) + 1
        if text.size_bytes > ASSET_BYTES_MAX:
            self._text = None
            self.counts.bad += 1
            events.append(_bad(text.raw(), f"multi-line text is longer than {ASSET_BYTES_MAX} bytes"))
            return
        self.counts.asset += 1
        text.parts.append(line)


def _bad(raw: bytes, reason: str) -> BadLine:
    return BadLine(raw[:BAD_BYTES_MAX], reason)


def split_fields(line: str) -> list[str]:
    """The fields of one line; only a quoted field may hold an escaped pipe."""
    if '"' not in line:
        return [text.strip() for text in line.split("|")]
    fields: list[str] = []
    at = 0
    while at <= len(line):
        text, at = _quoted(line, at) or _plain(line, at)
        fields.append(text)
    return fields


def _plain(line: str, start: int) -> tuple[str, int]:
    end = line.find("|", start)
    end = len(line) if end < 0 else end
    return line[start:end].strip(), end + 1


def _quoted(line: str, start: int) -> tuple[str, int] | None:
    """The quoted field at `start` and the start of the next one; None when no quote closes it before a pipe."""
    at = start + len(line[start:]) - len(line[start:].lstrip())
    if at >= len(line) or line[at] != '"':
        return None
    taken: list[str] = []
    at += 1
    while at < len(line):
        char = line[at]
        if char == "\\" and at + 1 < len(line) and line[at + 1] in '|"\\':
            taken.append(line[at + 1])
            at += 2
        elif char == "|":
            return None
        elif char == '"' and (after := line[at + 1 :].lstrip()[:1]) in ("", "|"):
            end = len(line) if not after else line.index("|", at)
            return "".join(taken), end + 1
        else:
            taken.append(char)
            at += 1
    return None


@lru_cache(maxsize=256)
def _second_ns(text: str, zone: str) -> int:
    moment = datetime.fromisoformat(text + ("+00:00" if zone in ("", "Z") else zone)).astimezone(UTC)
    return int(moment.timestamp()) * 1_000_000_000


def parse_time_ns(text: str) -> int:
    """UTC ns of an ISO 8601 time with any number of decimals; without a zone it is UTC. Raises ValueError."""
    match = _TIME.match(text)
    if match is None:
        raise ValueError(f"time {text[:40]!r} is not ISO 8601, e.g. 2018-06-06T09:44:03.746Z")
    seconds, fraction, zone = match.groups()
    try:
        whole_ns = _second_ns(seconds, zone or "")
    except (ValueError, OverflowError) as error:
        raise ValueError(f"time {text[:40]!r} does not exist: {error}") from None
    return whole_ns + (int(fraction.ljust(9, "0")[:9]) if fraction else 0)


def is_unavailable(text: str) -> bool:
    """The standard's word for "no value", in any case, since real adapters write Unavailable too."""
    return text.strip().upper() == "UNAVAILABLE"


def decode_value(kind: Kind, fields: tuple[str, ...]) -> tuple[Value | None, Quality]:
    """The value of one observation as data, with its quality; text that does not fit its kind is a type mismatch.

    Condition: ``{"level", "native_code", "native_severity", "qualifier", "text"}`` with an upper-case level. Message:
    ``{"native_code", "text"}``. Three space and time series: list of floats. Data set: mapping; table: mapping of
    mappings. AUTO gives a float when the text is a number, else the text.
    """
    if kind is Kind.CONDITION:
        level, code, severity, qualifier, text = (*fields, "", "", "", "", "")[:5]
        if is_unavailable(level):
            return None, BAD_DATA_UNAVAILABLE
        if level.lower() not in LEVELS:
            return None, BAD_TYPE_MISMATCH
        return {
            "level": level.upper(),
            "native_code": code,
            "native_severity": severity,
            "qualifier": qualifier,
            "text": text,
        }, GOOD
    text = fields[-1]
    if is_unavailable(text):
        return None, BAD_DATA_UNAVAILABLE
    try:
        return _plain_value(kind, fields, text), GOOD
    except ValueError:
        return None, BAD_TYPE_MISMATCH


def _plain_value(kind: Kind, fields: tuple[str, ...], text: str) -> Value:
    if kind is Kind.SAMPLE:
        return float(text)
    if kind is Kind.INTEGER:
        return int(text)
    if kind is Kind.MESSAGE:
        return {"native_code": fields[0] if len(fields) > 1 else "", "text": text}
    if kind in (Kind.THREE_SPACE, Kind.TIME_SERIES):
        return [float(part) for part in text.split()]
    if kind in (Kind.DATA_SET, Kind.TABLE):
        return parse_data_set(text, is_table=kind is Kind.TABLE)
    if kind is Kind.AUTO:
        try:
            return float(text)
        except ValueError:
            return text
    return text


_ENTRY = re.compile(r"""\s*([^\s=]+)(?:=(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|\{([^}]*)\}|(\S*)))?""")


def parse_data_set(text: str, *, is_table: bool = False) -> Value:
    """``a=1 b="two words" c={..}`` as a mapping; a key without value was removed at the source: None is left out.

    Numbers become floats. Raises ValueError when a table's entry is no row.
    """
    found: dict[str, Value] = {}
    for match in _ENTRY.finditer(text):
        key, double, single, braces, bare = match.groups()
        if key.startswith(":"):
            continue  # a reset trigger such as ":MANUAL", not an entry
        if braces is not None:
            found[key] = parse_data_set(braces) if is_table else braces
            continue
        raw = next((part for part in (double, single, bare) if part is not None), None)
        if raw is None:
            continue
        if is_table:
            raise ValueError(f"table entry {key!r} is no row")
        found[key] = re.sub(r"\\(.)", r"\1", raw) if bare is None else _number_or_text(raw)
    return found


def _number_or_text(text: str) -> Value:
    try:
        return float(text)
    except ValueError:
        return text


PING = b"* PING\n"


@dataclass(slots=True)
class Heartbeat:
    """The agent's side of ``* PING`` / ``* PONG period``: how often to ask, and how long a silence may last.

    An adapter that never answers a PING has no heartbeat and is never declared silent. Any data is a sign of life.
    """

    interval_s: float = 10.0
    is_answered: bool = False

    def heard_pong(self, period_ms: int) -> None:
        """The adapter names its pace; taken within 100 ms to 5 min."""
        self.is_answered = True
        self.interval_s = min(max(period_ms, 100), 300_000) / 1000

    @property
    def silence_max_s(self) -> float | None:
        """Nothing for this long means that the adapter is gone; None without a heartbeat."""
        return 2 * self.interval_s if self.is_answered else None


def decode_event(event: Observation | Asset) -> tuple[str, Value | None, Quality]:
    """The key, value and quality of a data item or of an asset command, whose key is the command itself.

    An asset is ``{"fields": [id, type, text]}`` as far as the command has them.
    """
    if isinstance(event, Asset):
        return event.command, {"fields": list(event.fields)}, GOOD
    value, quality = decode_value(event.kind, event.fields)
    return event.key, value, quality
