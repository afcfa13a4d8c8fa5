"""How a client of the bus logs in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from millstream.bus._permissions import PEOPLE, VIEW_API, inbox_of
from millstream.kernel import ConfigError
from millstream.protocols.nats_jwt import KeyPair, parse_creds, read_token
from millstream.sdk import TlsFiles


@dataclass(frozen=True, slots=True)
class Credentials:
    """Nothing, user and password, or a creds file (JWT and nkey seed); and with `tls` whom we believe to be the server.
    With it nothing is said to a server that does not show a certificate."""

    user: str | None = None
    password: str | None = field(default=None, repr=False)
    creds_file: Path | None = None
    tls: TlsFiles | None = None


def inbox_prefix(credentials: Credentials, info: Mapping[str, Any]) -> str:
    """Below what a client hears replies, given its server's INFO: a user with a key of its own below that, the clients
    of a node below the node's name. Raises ConfigError."""
    if credentials.creds_file is not None:
        token, key = read_creds(credentials.creds_file)
        return f"_INBOX.{read_token(token).tag('inbox') or key.public}"
    # Boxes of one node have servers of different names; what their hub lets them hear bears the node's.
    name = "domain" if info.get("cluster") else "server_name"
    return inbox_of(info.get("domain"), str(info.get(name, "")))


def api_prefix(credentials: Credentials) -> str:
    """Where this login asks JetStream: people see their plant's through their own account, under another name."""
    if credentials.creds_file is None:
        return "$JS.API"
    return VIEW_API if read_token(read_creds(credentials.creds_file)[0]).tag("role") in PEOPLE else "$JS.API"


def places_of(credentials: Credentials) -> Sequence[str]:
    """Below what a person may look and ask, as subjects; nothing for who is not bounded."""
    if credentials.creds_file is None:
        return ()
    return read_token(read_creds(credentials.creds_file)[0]).tags("path")


def read_creds(path: Path) -> tuple[str, KeyPair]:
    """Token and key of a creds file. Raises ConfigError."""
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("credentials cannot be read", where=str(path), got=str(error)) from error
    return parse_creds(text, where=str(path))
