"""The configurations that the hub has of a site, and what is in them."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from millstream.bus import CONFIG, CONFIG_PREFIX, Transport, get_all
from millstream.kernel import DecodeError
from millstream.protocols.site_config import Revision, decode_revision
from millstream.sdk import Received

PAGE_BYTES = 1 << 20


def kept_configs(connection: Transport, edge: str) -> AsyncGenerator[Received, None]:
    """What the hub still has for a site, oldest first. Raises Unreachable."""
    return get_all(connection, CONFIG, CONFIG_PREFIX + edge, bytes_max=PAGE_BYTES)


def revision_in(message: Received | None, edge: str) -> tuple[Revision, str] | None:
    """The revision and its document; None when there is none, or one that cannot be read."""
    try:
        return None if message is None else decode_revision(message.payload, edge)
    except DecodeError:
        return None
