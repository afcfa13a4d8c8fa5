"""The text lines of an Acme device: requests out, answers in. No I/O.

A request is ``READ <address>``, ``WRITE <address> <JSON>`` or ``LIST``; an answer is ``OK <JSON>`` or ``NO <reason>``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from millstream.kernel import DecodeError
from millstream.model import BAD, BAD_NODE_ID_UNKNOWN, BAD_OUT_OF_RANGE, GOOD, Quality, Value

LINE_BYTES_MAX = 1 << 16
_REASONS = {"unknown": BAD_NODE_ID_UNKNOWN, "range": BAD_OUT_OF_RANGE}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one request; `reason` is set when the quality is not good."""

    value: Value | None
    quality: Quality = GOOD
    reason: str | None = None


def is_address(text: str) -> bool:
    """True when the text fits between the blanks of a request."""
    return text.isascii() and text.isprintable() and bool(text) and " " not in text


def read_request(address: str) -> bytes:
    """Asks for one value."""
    return f"READ {address}\n".encode()


def write_request(address: str, value: Value) -> bytes:
    """Sets one value."""
    return f"WRITE {address} {json.dumps(value)}\n".encode()


def list_request() -> bytes:
    """Asks for all addresses."""
    return b"LIST\n"


def parse_answer(line: bytes) -> Answer:
    """One answer. Raises DecodeError when the line is none; a refusal is an answer with a bad quality."""
    try:
        kind, _, rest = line.decode("utf-8").strip().partition(" ")
        if kind == "NO":
            return Answer(None, _REASONS.get(rest, BAD), rest or "refused")
        if kind != "OK":
            raise ValueError(kind)
        return Answer(json.loads(rest))
    except (ValueError, RecursionError) as error:
        raise DecodeError("line is no answer", expected="OK <JSON> or NO <reason>", got=repr(line[:80])) from error
