"""TLS of the HTTP interface: the newest certificate at each handshake, so that none is stale and no link is cut."""

from __future__ import annotations

import ssl
from pathlib import Path


def server_context(certificate: Path) -> ssl.SSLContext:
    """For a server that shows `certificate`, one file with its key; it is read again when it was replaced. Raises
    OSError, ssl.SSLError."""
    newest = _Newest(certificate)
    context = _load(certificate)
    context.sni_callback = newest.choose  # called at each handshake, also of a client that names no server
    return context


class _Newest:
    def __init__(self, certificate: Path) -> None:
        self._path = certificate
        self._mark = certificate.stat().st_mtime_ns
        self._context: ssl.SSLContext | None = None

    def choose(self, link: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """Let `link` go on with the newest; with the one before while that cannot be read."""
        try:
            mark = self._path.stat().st_mtime_ns
            if mark != self._mark:
                self._context, self._mark = _load(self._path), mark
        except OSError:  # ssl.SSLError is one
            pass
        if self._context is not None:
            link.context = self._context


def _load(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context
