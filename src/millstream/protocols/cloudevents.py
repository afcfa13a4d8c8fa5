"""CloudEvents 1.0 in binary mode on NATS: attributes as ``ce-*`` headers, the data as the payload.

Follows the NATS protocol binding (working draft 1.0.3, section 3.1): header names ``ce-<attribute>``, written in lower
case because NATS keeps the case, read without regard to it; values percent-encoded (space, ``"``, ``%``, non-ASCII).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import msgspec

from millstream.kernel import DecodeError

SPEC_VERSION = "1.0"
JSON_TYPE = "application/json"
_PLAIN = re.compile(r"[!#$&-~]*")
_NAME = re.compile(r"[a-z0-9]{1,20}\Z")  # CloudEvents 1.0.2, "attribute naming convention"
_CORE = ("specversion", "id", "source", "type", "time", "subject", "datacontenttype")


@dataclass(frozen=True, slots=True)
class CloudEvent:
    """One event. `data` is what the payload holds: a JSON value, or bytes when `content_type` is not JSON.

    `time_ns` is UTC; `extensions` are further attributes (lower-case letters and digits) as text.
    """

    id: str
    source: str
    type: str
    data: Any = None
    time_ns: int | None = None
    subject: str | None = None
    content_type: str = JSON_TYPE
    extensions: Mapping[str, str] = field(default_factory=dict)


def encode_event(event: CloudEvent) -> tuple[dict[str, str], bytes]:
    """Headers and payload. Raises DecodeError when a required attribute is empty or a name is not allowed."""
    for name, text in (("id", event.id), ("source", event.source), ("type", event.type)):
        if not text:
            raise DecodeError(f"event without {name}", expected="a text that is not empty", code="MS-0381")
    attributes = {"specversion": SPEC_VERSION, "id": event.id, "source": event.source, "type": event.type}
    if event.time_ns is not None:
        attributes["time"] = format_time(event.time_ns)
    if event.subject is not None:
        attributes["subject"] = event.subject
    attributes["datacontenttype"] = event.content_type
    for name, text in event.extensions.items():
        if not _NAME.match(name) or name in _CORE:
            raise DecodeError(
                "not an extension name", expected="1 to 20 of [a-z0-9], not a core attribute", got=repr(name),
                code="MS-0381",
            )  # fmt: skip
        attributes[name] = text
    headers = {f"ce-{name}": _quote(text) for name, text in attributes.items()}
    headers["Content-Type"] = event.content_type
    return headers, _encode_data(event)


def _encode_data(event: CloudEvent) -> bytes:
    if event.data is None:
        return b""
    if event.content_type == JSON_TYPE:
        try:
            return msgspec.json.encode(event.data)
        except (TypeError, ValueError, OverflowError) as error:
            raise DecodeError(f"event data is not JSON: {error}", code="MS-0381") from error
    if isinstance(event.data, bytes):
        return event.data
    raise DecodeError(
        "event data does not fit its content type", expected=f"bytes for {event.content_type}",
        got=type(event.data).__name__, code="MS-0381",
    )  # fmt: skip


def decode_event(headers: Mapping[str, str], payload: bytes) -> CloudEvent:
    """The event in a message. Raises DecodeError with the reason."""
    attributes = {name.lower()[3:]: unquote(text) for name, text in headers.items() if name.lower().startswith("ce-")}
    missing = [name for name in ("specversion", "id", "source", "type") if not attributes.get(name)]
    if missing:
        raise DecodeError("not a CloudEvent in binary mode", expected=f"ce-{missing[0]}", code="MS-0381")
    if not attributes["specversion"].startswith("1."):
        raise DecodeError(
            "unknown CloudEvents version", expected=SPEC_VERSION, got=attributes["specversion"][:16], code="MS-0381"
        )
    content_type = attributes.get("datacontenttype") or _header(headers, "content-type") or JSON_TYPE
    data: Any = payload or None
    if payload and content_type.partition(";")[0].strip().endswith("json"):
        try:
            data = msgspec.json.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise DecodeError(f"event data is not JSON: {error}", got=repr(payload[:80]), code="MS-0381") from error
    return CloudEvent(
        attributes["id"],
        attributes["source"],
        attributes["type"],
        data,
        parse_time_ns(attributes["time"]) if "time" in attributes else None,
        attributes.get("subject"),
        content_type,
        {name: text for name, text in attributes.items() if name not in _CORE},
    )


def format_time(time_ns: int) -> str:
    """RFC 3339 in UTC with as many digits as needed: "2026-01-02T03:04:05Z", "...05.000000001Z"."""
    seconds, fraction = divmod(time_ns, 1_000_000_000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{fraction:09d}".rstrip("0") + "Z" if fraction else f"{text}Z"


_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?([Zz]|[+-]\d\d:\d\d)\Z")


def parse_time_ns(text: str) -> int:
    """Inverse of `format_time`, any offset; digits beyond nanoseconds are cut. Raises DecodeError."""
    match = _RFC3339.match(text)
    try:
        if match is None:
            raise ValueError("no match")
        zone = "+00:00" if match.group(4) in "Zz" else match.group(4)
        whole = datetime.fromisoformat(f"{match.group(1)}T{match.group(2)}{zone}")
    except ValueError as error:
        raise DecodeError("not an RFC 3339 time", got=repr(text[:40]), code="MS-0381") from error
    return int(whole.timestamp()) * 1_000_000_000 + int((match.group(3) or "0").ljust(9, "0"))


def _quote(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    return "".join(
        chr(byte) if 0x21 <= byte <= 0x7E and byte not in (0x22, 0x25) else f"%{byte:02X}" for byte in text.encode()
    )


def _header(headers: Mapping[str, str], name: str) -> str | None:
    return next((text for key, text in headers.items() if key.lower() == name), None)
