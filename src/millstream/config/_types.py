"""The building blocks of configuration models: names, paths, sizes, and the strict base."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, WithJsonSchema

from millstream.kernel import ConfigError, DecodeError
from millstream.model import AssetPath
from millstream.sdk import SecretRef, Strict

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$"  # it is a part of stream names, subjects and file names
HUB_DOMAIN = "hub"
_SIZES = {"": 1, "B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SIZES |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*$")
_URL_SCHEMES = ("nats", "tls", "ws", "wss")


class Section(Strict):
    """One section of a file: frozen, unknown keys refused, documented by its attribute docstrings."""

    model_config = ConfigDict(arbitrary_types_allowed=True)


def _name(value: object) -> object:
    if isinstance(value, str) and not re.match(NAME_PATTERN, value):
        raise ValueError(
            f"not a name: {value!r:.60}, expected 1 to 32 of letters, digits, '_' and '-', a letter or digit first"
        )
    return value


def _edge_name(value: str) -> str:
    if value == HUB_DOMAIN:
        raise ValueError(f"{value!r} is the domain of every hub, name the edge otherwise")
    return value


def _size(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = _SIZE.match(value)
    if match is None or match.group(2) not in _SIZES:
        raise ValueError(f'not a size: {value!r:.60}, expected e.g. "512MiB" or "4GB"')
    return int(float(match.group(1)) * _SIZES[match.group(2)])


def parse_size(text: str) -> int:
    """Bytes of a size such as "50GB". Raises ConfigError."""
    try:
        found = _size(text)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    assert isinstance(found, int)
    return found


def _path_text(value: object) -> object:
    if isinstance(value, AssetPath):
        return str(value)
    if isinstance(value, str):
        try:
            AssetPath.parse(value.removeprefix("/"))
        except DecodeError as error:
            raise ValueError(f"not a path: {error.what}") from error
    return value


def _text(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, bool | float):
        raise ValueError("ambiguous without quotes: write it as text, such as '1.10' or 'true'")
    return value


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"not a URL: {error}") from error
    if parts.scheme not in _URL_SCHEMES or not host:
        raise ValueError('not a URL of a NATS server, expected e.g. "nats://hub.example:7422"')
    if parts.username or parts.password:
        raise ValueError("no credentials in a URL: use 'user' and 'secret'")
    return value


def _host(value: str) -> str:
    if not value or any(c.isspace() or c in "/@" for c in value):
        raise ValueError("not a host name or address")
    return value


def _http_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"not a URL: {error}") from error
    if parts.scheme not in ("http", "https") or not host or parts.username or parts.query or parts.fragment:
        raise ValueError('not the address of pages, expected e.g. "https://plant.example"')
    return value


def is_loopback(host: str) -> bool:
    """Whether what listens there can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


Name = Annotated[str, BeforeValidator(_name), WithJsonSchema({"type": "string", "pattern": NAME_PATTERN})]
"""A node's or connector's name: 1 to 32 of letters, digits, ``_`` and ``-``."""

EdgeName = Annotated[Name, AfterValidator(_edge_name)]
"""A name of an edge: it is its JetStream domain, too."""

Size = Annotated[
    int,
    BeforeValidator(_size),
    Field(gt=0),
    WithJsonSchema({"type": ["string", "integer"], "examples": ["512MiB", "4GB"]}),
]
"""Written "512MiB" in YAML, bytes in code."""

BUFFER_BYTES_MIN = 16 << 20  # a buffer smaller than a few storage blocks would thrash, and large messages never fit


def _buffer_size(value: int) -> int:
    if value < BUFFER_BYTES_MIN:
        raise ValueError(f"too small for a buffer: {value} bytes, expected at least {BUFFER_BYTES_MIN >> 20}MiB")
    return value


BufferSize = Annotated[Size, AfterValidator(_buffer_size)]
"""A size that a stream on disk can have."""

PathText = Annotated[str, BeforeValidator(_path_text), WithJsonSchema({"type": "string", "examples": ["acme/plant1"]})]
"""An asset path in its text form."""

Address = Annotated[
    str,
    BeforeValidator(_text),
    Field(min_length=1, max_length=4096),
    WithJsonSchema({"type": ["string", "integer"]}),
]
"""A source's own notation; a bare integer is taken as its digits."""

Url = Annotated[str, AfterValidator(_url)]
"""The URL of a NATS server, without credentials."""

HttpUrl = Annotated[str, AfterValidator(_http_url)]
"""An address of pages: scheme, host, port, perhaps a path."""

Host = Annotated[str, AfterValidator(_host)]
"""A host name or an address to listen on."""

Port = Annotated[int, Field(ge=0, le=65535, strict=True)]
"""A TCP port; 0 takes a free one."""


def dump_text(value: Any) -> str:
    """A configuration value as one short line for a message."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def check_ports(ports: Mapping[str, int | None]) -> None:
    """Raise ValueError when two listeners want the same port."""
    seen: dict[int, str] = {}
    for name, port in ports.items():
        if port and seen.setdefault(port, name) != name:
            raise ValueError(f"'{seen[port]}' and '{name}' both are {port}")


def check_foreign(url: str | None, user: str | None, secret: SecretRef | None, ca_file: Path | None) -> None:
    """Raise ValueError when credentials are given for a server that we start ourselves."""
    if url is None and (user is not None or secret is not None or ca_file is not None):
        raise ValueError(
            "'user', 'secret' and 'ca_file' belong to 'url'; a server that is started here makes its own credentials"
        )
    if (user is None) != (secret is None):
        raise ValueError("'user' and 'secret' belong together")
