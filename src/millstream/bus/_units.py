"""What both publishers need of a unit: its bounds and the header block of a message."""

from __future__ import annotations

from functools import lru_cache

from millstream.sdk import Message

UNIT_MESSAGES_MAX = 900  # leaves room for controls and the record in an atomic batch of 1,000


@lru_cache(maxsize=4096)
def _header_lines(content_type: str | None, samples_count: int, headers: tuple[tuple[str, str], ...]) -> bytes:
    lines = []
    if content_type is not None:
        lines.append(f"Content-Type: {content_type}\r\n")
    if samples_count != 1:
        lines.append(f"Ms-Count: {samples_count}\r\n")
    for name, value in headers:
        if not name or any(c in name for c in ":\r\n ") or "\r" in value or "\n" in value:
            raise ValueError(f"not a header: {name!r}: {value!r}")
        lines.append(f"{name}: {value}\r\n")
    return "".join(lines).encode()


def header_lines(message: Message) -> bytes:
    """The header lines of a message without version line and end; empty when it needs none. Raises ValueError."""
    if message.content_type is None and message.samples_count == 1 and not message.headers:
        return b""
    return _header_lines(message.content_type, message.samples_count, message.headers)


def encode_headers(message: Message) -> bytes | None:
    """The whole header block of a message, or None."""
    lines = header_lines(message)
    return b"NATS/1.0\r\n" + lines + b"\r\n" if lines else None
