"""One document of an agent, on a connection of its own."""

from __future__ import annotations

from millstream.http import Document, GetOptions, Words, get
from millstream.sdk import TlsFiles

AGENT = Words("agent", "an MTConnect agent", "mtconnect")


async def get_xml(url: str, *, timeout_s: float, bytes_max: int, files: TlsFiles | None = None) -> Document:
    """The answer of `url`. Raises Unreachable, AuthError, ProtocolViolation, ConfigError."""
    options = GetOptions("text/xml, application/xml", timeout_s, bytes_max, files)
    return await get(url, options, AGENT)
