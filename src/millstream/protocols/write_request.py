"""Writing to a machine over NATS: what is asked of an edge, and what it answers. JSON both ways.

A request names one tag and one value in the tag's unit, and when it is too late for it. The same `id` again is the same
request: it is answered, not carried out twice.
"""

from __future__ import annotations

import math
from typing import Any, Literal, TypeAlias

import msgspec

from millstream.kernel import DecodeError
from millstream.model import Value

VALUE_BYTES_MAX = 65_536
NESTING_MAX = 8  # lists in lists, structures in structures
ID_CHARS_MAX = 64
WHO_CHARS_MAX = 128

State: TypeAlias = Literal["done", "refused", "failed", "unknown"]
"""`refused`: nothing was sent to the machine. `failed`: the machine did not take it. `unknown`: it may have."""


class WriteRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One write. `tag` is the tag's path; `value` None is a null; `expires_ns` UTC ns; `who` names the person or
    program for the audit."""

    id: str
    tag: str
    value: Any
    expires_ns: int
    who: str


class WriteAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of it. `read_back` is what the machine showed afterwards, in the tag's unit; `answer` what it gave
    back itself, as the output of a method that was called."""

    id: str
    state: State
    time_ns: int
    code: str | None = None
    reason: str | None = None
    read_back: Any = None
    answer: Any = None


class WritableTag(msgspec.Struct, frozen=True, omit_defaults=True):
    """A tag that may be written, and within which bounds."""

    tag: str
    interval_s: float
    unit: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    allow_null: bool = False


_decoder = msgspec.json.Decoder(WriteRequest)


def decode_write(payload: bytes) -> WriteRequest:
    """The request. Raises DecodeError (MS-2000)."""
    if len(payload) > 2 * VALUE_BYTES_MAX:
        raise _malformed("too long", f"{len(payload)} bytes")
    try:
        request = _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed(str(error), repr(payload[:80])) from error
    if not 0 < len(request.id) <= ID_CHARS_MAX or not 0 < len(request.who) <= WHO_CHARS_MAX or not request.tag:
        raise _malformed(f"id (1 to {ID_CHARS_MAX}), who (1 to {WHO_CHARS_MAX}) and tag are texts that are not empty")
    if not is_writable_value(request.value):
        raise _malformed("not a value that can be written", repr(request.value)[:80])
    return request


def encode_write(request: WriteRequest) -> bytes:
    """The request as JSON. Raises DecodeError for a value that JSON has not."""
    if not is_writable_value(request.value):
        raise _malformed("not a value that can be written", repr(request.value)[:80])
    return msgspec.json.encode(request)


def is_writable_value(value: object, depth: int = 0) -> bool:
    """A null, or a bool, a finite number, a text, and lists and mappings of these: arrays, structures, arguments."""
    if value is None:
        return depth == 0
    if isinstance(value, dict):
        return all(isinstance(name, str) for name in value) and is_writable_value([*value.values()], depth)
    if isinstance(value, list):
        return depth < NESTING_MAX and all(is_writable_value(item, depth + 1) for item in value)
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, str):
        return len(value) <= VALUE_BYTES_MAX
    return isinstance(value, bool | int)


def is_same(written: Value | None, shown: Value | None) -> bool:
    """Whether a machine shows what was written to it; numbers within what a 32-bit float holds."""
    if isinstance(written, list):
        is_alike = isinstance(shown, list) and len(shown) == len(written)
        return is_alike and all(is_same(a, b) for a, b in zip(written, shown, strict=True))  # type: ignore[arg-type]
    if isinstance(written, dict) and isinstance(shown, dict):
        return written.keys() == shown.keys() and all(is_same(part, shown[name]) for name, part in written.items())
    if isinstance(written, int | float) and isinstance(shown, int | float):  # True is 1, for coils and words
        return written == shown or math.isclose(written, shown, rel_tol=1e-6, abs_tol=1e-9)
    return written == shown


def _malformed(why: str, got: str | None = None) -> DecodeError:
    return DecodeError(
        f"not a write request: {why}", expected="JSON with id, tag, value, expires_ns, who", got=got, code="MS-2000"
    )
