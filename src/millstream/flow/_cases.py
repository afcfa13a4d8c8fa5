"""Inputs and outputs of a flow as lines of JSON, so that people write and read them.

Input: ``{"time": "1.5s", "path": "acme/plant1/press:barrier", "value": true}``. `time` is RFC 3339 or a duration since
2026-01-01T00:00:00Z. May follow: `kind`, `quality` ("Bad", a number), `unit`, `arrival` (when it comes in; else at its
time, and never before the line above), for events `type` and `data`. ``{"now": "90s"}`` lets time pass.

Output: the same keys in the same order, times in RFC 3339; `revision` on a corrected result, and
``{"rejected": ...}`` at the end for inputs that went into quarantine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from millstream.flow._codec import EVENT_KINDS, REVISION_HEADER, decode_facts
from millstream.flow._drive import STREAM, Outcome
from millstream.kernel import ConfigError, DecodeError, PlantError, parse_duration_s
from millstream.model import BAD, GOOD, UNCERTAIN, Quality, TagPath
from millstream.protocols.cloudevents import CloudEvent, encode_event, format_time, parse_time_ns
from millstream.protocols.nats_wire import VERSION_LINE, encode_header_lines
from millstream.protocols.uns_pattern import contract_of
from millstream.protocols.uns_payload import decode_value, encode_sample, encode_value
from millstream.protocols.uns_subject import decode_subject, tag_subject
from millstream.sdk import Message, Received

EPOCH_NS = parse_time_ns("2026-01-01T00:00:00Z")
_QUALITIES = {"Good": GOOD, "Uncertain": UNCERTAIN, "Bad": BAD}
_LINE_KEYS = frozenset(("time", "path", "value", "kind", "quality", "unit", "arrival", "type", "data"))
_RECORDED_KEYS = frozenset(("quality_code", "time_ns", "ingest_ns", "revision"))  # of recordings, `tail --json`


def read_lines(text: str, name: str = "input.jsonl") -> list[Received | int]:
    """What arrives, in order; a number is a moment of silence (UTC ns). Raises ConfigError with the line."""
    arrivals: list[Received | int] = []
    newest_ns = 0
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            raw = msgspec.json.decode(line)
            if not isinstance(raw, dict):
                raise DecodeError("not an object", expected='{"time": .., "path": .., "value": ..}')
            if set(raw) == {"now"}:
                newest_ns = max(newest_ns, _time_ns(raw["now"]))
                arrivals.append(newest_ns)
                continue
            received = _received(raw, number, newest_ns)
        except (PlantError, msgspec.DecodeError, UnicodeDecodeError) as error:
            what = error.what if isinstance(error, PlantError) else f"not JSON: {error}"
            got = error.got if isinstance(error, PlantError) else None
            raise ConfigError(what, where=f"{name}:{number}", got=got or line[:80]) from error
        newest_ns = received.stored_time_ns
        arrivals.append(received)
    return arrivals


def _received(raw: dict[str, Any], seq: int, newest_ns: int) -> Received:
    unknown = set(raw) - _LINE_KEYS - _RECORDED_KEYS
    if unknown or "path" not in raw or "time" not in raw:
        raise DecodeError(
            "unknown key" if unknown else "a line needs time and path", expected=", ".join(sorted(_LINE_KEYS)),
            got=", ".join(sorted(unknown)) or None,
        )  # fmt: skip
    kind, time_ns = str(raw.get("kind", "tag")), _time_ns(raw["time"])
    arrival_ns = max(newest_ns, _time_ns(raw["arrival"]) if "arrival" in raw else time_ns)
    subject = tag_subject(TagPath.parse(str(raw["path"])), contract_of(kind))
    if kind in EVENT_KINDS:
        event = CloudEvent(
            id=str(seq), source="/test", type=str(raw.get("type", "test")), data=raw.get("data"), time_ns=time_ns
        )
        headers, payload = encode_event(event)
        block = VERSION_LINE + b"\r\n" + encode_header_lines(tuple(headers.items())) + b"\r\n"
        return Received(subject, payload, block, seq, arrival_ns)
    value = decode_value(msgspec.json.encode(raw.get("value")))
    quality = _quality(raw.get("quality_code", raw.get("quality", 0)))
    payload = encode_sample(
        value, quality=quality, source_time_ns=time_ns, ingest_time_ns=arrival_ns, unit=raw.get("unit")
    )
    return Received(subject, payload, None, seq, arrival_ns)


def _time_ns(text: Any) -> int:
    if not isinstance(text, str):
        raise DecodeError("not a time", expected='"2026-01-31T06:00:00Z" or "90s"', got=repr(text))
    try:
        return EPOCH_NS + round(parse_duration_s(text) * 1e9)
    except ConfigError:
        return parse_time_ns(text)


def _quality(raw: Any) -> Quality:
    if isinstance(raw, str):
        if raw not in _QUALITIES:
            raise DecodeError("not a quality", expected="Good, Uncertain, Bad or a number", got=repr(raw))
        return _QUALITIES[raw]
    return Quality(int(raw))


def write_lines(outcomes: Sequence[Outcome]) -> list[str]:
    """What came out: one line an output, those of later partitions behind; then what was put into quarantine."""
    lines = [_line(message) for outcome in outcomes for message in outcome.messages]
    for outcome in outcomes:
        for rejected in outcome.rejected:
            said: dict[str, Any] = {"rejected": rejected.reason, "code": rejected.code}
            if rejected.stream == STREAM:
                said["line"] = rejected.received.seq
            lines.append(msgspec.json.encode(said).decode())
    return lines


def _line(message: Message) -> str:
    address = decode_subject(message.subject)
    kind, said = address.contract[1:], dict(message.headers)
    block = VERSION_LINE + b"\r\n" + encode_header_lines(message.headers) + b"\r\n"
    [fact] = decode_facts(kind, Received(message.subject, message.payload, block, 0, 0))
    line: dict[str, Any] = {"time": format_time(fact.time_ns), "path": str(address.tag), "kind": kind}
    if kind in EVENT_KINDS:
        line |= {"type": fact.type, "data": fact.value}
    else:
        line["value"] = msgspec.Raw(encode_value(fact.value))
        if fact.quality:
            line["quality"] = fact.quality.label
        if fact.unit is not None:
            line["unit"] = fact.unit
    if REVISION_HEADER in said:
        line["revision"] = int(said[REVISION_HEADER])
    return _plain(line)


def _plain(line: dict[str, Any]) -> str:
    return msgspec.json.encode(msgspec.json.decode(msgspec.json.encode(line))).decode()


def tidy_lines(text: str, name: str = "expected.jsonl") -> list[str]:
    """Expected outputs in the form of `write_lines`: blanks and the way a number is written do not count; blank lines
    and comments (#) are left out. Raises ConfigError with the line."""
    lines = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                lines.append(msgspec.json.encode(msgspec.json.decode(line)).decode())
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise ConfigError(f"not JSON: {error}", where=f"{name}:{number}", got=line[:80]) from error
    return lines
