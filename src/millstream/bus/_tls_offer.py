"""Whether a client speaks TLS with a server, from what it was told and what the server says of itself in clear."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from millstream.bus._credentials import Credentials
from millstream.kernel import Unreachable

TLS_GOODBYE_S = 1.0  # how long the peer may take to end TLS in order before the socket is closed


def wants_tls(url: str, credentials: Credentials | None) -> bool:
    """True when this client says nothing in clear: the URL says so, or it was given whom to believe."""
    return urlsplit(url).scheme == "tls" or (credentials is not None and credentials.tls is not None)


def check_offer(info: Mapping[str, Any], where: str) -> None:
    """To be called with the server's INFO by a client that wants TLS, before it says anything. Raises Unreachable
    (MS-2511): somebody between the two may have taken the offer out."""
    if not (info.get("tls_required") or info.get("tls_available")):
        raise Unreachable(
            "the server offers no TLS", where=where, expected="an encrypted link", got="one in clear", code="MS-2511",
            next_step="nothing was sent to it; give the server a `tls` section, or find out who answers in its place",
        )  # fmt: skip
