"""HTTP as a source of values: addresses, what a status means, Retry-After, signatures of webhooks. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from millstream.kernel import DecodeError
from millstream.model import (
    BAD,
    BAD_DATA_UNAVAILABLE,
    BAD_NO_COMMUNICATION,
    BAD_NODE_ID_UNKNOWN,
    BAD_NOT_READABLE,
    GOOD,
    Quality,
)
from millstream.protocols.mqtt_mapping import Step, parse_path

RETRY_AFTER_S_MAX = 3600.0  # what a server may ask for
BAD_USER_ACCESS_DENIED = Quality(0x801F0000)
BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses after which trying again helps (RFC 9110, 15.5 and 15.6; RFC 6585, 4; RFC 8470, 5.2)."""

_QUALITIES = {
    403: BAD_USER_ACCESS_DENIED,
    404: BAD_NODE_ID_UNKNOWN,
    405: BAD_NOT_READABLE,
    406: BAD_NOT_READABLE,
    410: BAD_NODE_ID_UNKNOWN,
}


@dataclass(frozen=True, slots=True)
class Resource:
    """What to ask for, relative to the configured URL, and the steps into the answer; None: the whole answer."""

    path: str
    steps: tuple[Step, ...] | None


def parse_resource(text: str) -> Resource:
    """From ``path#$.member``, ``path`` (the whole answer) or ``$.member`` (of the URL itself). Raises DecodeError."""
    path, mark, inner = ("", "#", text) if text.startswith("$") else text.partition("#")
    if any(char.isspace() or ord(char) < 32 for char in path):
        raise DecodeError("path has a blank or a control character", expected="%20 for a blank", got=repr(text))
    if "://" in path or path.startswith("//"):
        raise DecodeError("address leaves the configured URL", expected="path#$.member", got=repr(text))
    if mark and not inner.startswith("$"):
        raise DecodeError("address has a '#' without a JSON path", expected="path#$.member", got=repr(text))
    return Resource(path, parse_path(inner) if mark else None)


def quality_of(status: int) -> Quality:
    """What a status says of the values that were asked for."""
    if 200 <= status < 300:
        return GOOD
    if status in _QUALITIES:
        return _QUALITIES[status]
    if status in BUSY:
        return BAD_DATA_UNAVAILABLE
    if 500 <= status < 600:
        return BAD_NO_COMMUNICATION
    return BAD_NOT_READABLE if 300 <= status < 500 else BAD


def retry_after_s(text: str | None, now_ns: int) -> float:
    """Seconds that Retry-After asks for (RFC 9110, 10.2.3), bounded; 0 when it is absent or malformed."""
    if text is None:
        return 0.0
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:10]), RETRY_AFTER_S_MAX)
    try:
        due_s = parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return 0.0
    return min(max(0.0, due_s - now_ns / 1e9), RETRY_AFTER_S_MAX)


def is_bearer(header: str | None, secret: str) -> bool:
    """Whether an Authorization header carries the token (RFC 6750, 2.1); takes as long for a wrong one."""
    scheme, _, token = (header or "").strip().partition(" ")
    return hmac.compare_digest(token.strip().encode(), secret.encode()) and scheme.lower() == "bearer"


def is_signed(body: bytes, header: str | None, secret: str) -> bool:
    """Whether a header carries HMAC-SHA256 of the body, in hex or base64, alone or behind ``sha256=``."""
    given = (header or "").strip().removeprefix("sha256=")
    expected = hmac.new(secret.encode(), body, hashlib.sha256).digest()
    try:
        raw = bytes.fromhex(given)
    except ValueError:
        try:
            raw = base64.b64decode(given, validate=True)
        except (binascii.Error, ValueError):
            raw = b""
    return hmac.compare_digest(raw, expected)
