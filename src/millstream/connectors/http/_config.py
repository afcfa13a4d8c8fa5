"""Configuration of the HTTP connector."""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from millstream.kernel import DecodeError
from millstream.protocols.mqtt_mapping import DataType, parse_path
from millstream.sdk import ConfigPath, ConnectorConfig, Duration, SecretRef, Strict

TimeUnit = Literal["ns", "us", "ms", "s", "iso"]
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")
_SECRET_HEADERS = ("authorization", "proxy-authorization", "cookie", "x-api-key")


class HttpConfig(ConnectorConfig):
    """Where values come from, and how they are found in an answer or a posted body."""

    mode: Literal["poll", "webhook"]
    """poll asks a server; webhook listens, and others post to the edge."""
    url: str | None = None
    """poll: the address, e.g. http://meter.local/api; tags may add a path to it."""
    method: Literal["GET", "POST"] = "GET"
    """poll: how to ask."""
    body: str | None = None
    """poll: what to send with POST, as JSON."""
    headers: dict[str, str] = Field(default_factory=dict)
    """poll: headers to send beside; secrets do not belong here."""
    auth: Literal["none", "basic", "bearer", "header", "hmac"] = "none"
    """poll: none, basic (user and secret), bearer or header (the secret is its value). webhook: none, bearer or hmac
    (the secret signs the body by SHA-256)."""
    user: str | None = None
    """poll: the user of basic."""
    secret: SecretRef | None = None
    """Password, token or key, by reference."""
    auth_header: str | None = None
    """The header's name: with header as X-API-Key, with hmac as X-Hub-Signature-256 (the default)."""
    ca_file: ConfigPath | None = None
    """poll with https: certificates to trust instead of the system's."""
    crl_file: ConfigPath | None = None
    """poll with https: which certificates are revoked, PEM, signed by an authority of `ca_file`."""
    certificate: ConfigPath | None = None
    """poll: our certificate, PEM, for servers that ask for one. webhook: the listener's; with it, it speaks https."""
    key: ConfigPath | None = None
    """Its private key, PEM without a password; left out, it stands in the certificate's file."""
    timeout: Duration = Field(default=5.0, gt=0, le=25)
    """poll: how long one answer may take, to its last byte. webhook: how long a request may take to come in."""
    bytes_max: int = Field(default=1 << 20, ge=64, le=4 << 20)
    """Bytes of one answer or body; what is larger is refused."""
    host: str = "127.0.0.1"
    """webhook: the address to listen on; 0.0.0.0 for all of this machine's."""
    port: int = Field(default=8088, ge=0, le=65535)
    """webhook: the port; 0 for any free one."""
    path: str = "/"
    """webhook: only requests at or below this path are taken; what follows it is the path of a tag's address."""
    items_path: str | None = None
    """webhook: where the body holds a list of events, e.g. $.events; a body that is a list is one by itself."""
    id_header: str | None = None
    """webhook: a header that names each request, as Idempotency-Key; one that comes again is not stored again."""
    answer_timeout: Duration = Field(default=10.0, gt=0, le=300)
    """webhook: how long the sender waits until its data is stored; then it is told to try again."""
    answer_status: Literal[200, 202, 204] = 200
    """webhook: what is answered once it is stored."""
    timestamp_path: str | None = None
    """Where the answer, or an event, has its time, e.g. $.time; left out: the time of its arrival."""
    timestamp_unit: TimeUnit = "iso"
    """iso, or the unit of a number since 1970."""

    @model_validator(mode="after")
    def _fits(self) -> HttpConfig:
        if self.mode == "poll":
            self._check_poll()
        elif self.auth not in ("none", "bearer", "hmac"):
            raise ValueError("a webhook's auth is none, bearer or hmac")
        if self.auth != "none" and self.secret is None:
            raise ValueError(f"auth: {self.auth} needs 'secret'")
        if (self.auth == "basic") != (self.user is not None):
            raise ValueError("'user' belongs to auth: basic")
        if self.auth == "header" and self.auth_header is None:
            raise ValueError("auth: header needs 'auth_header'")
        for name in (*self.headers, self.auth_header, self.id_header):
            if name is not None and _TOKEN.match(name) is None:
                raise ValueError(f"{name!r} is no name of a header")
        if not self.path.startswith("/"):
            raise ValueError("path begins with a slash")
        for text in (self.items_path, self.timestamp_path):
            try:
                parse_path(text or "$")
            except DecodeError as error:
                raise ValueError(str(error)) from error
        return self

    def _check_poll(self) -> None:
        parts = urlsplit(self.url or "")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.fragment:
            raise ValueError("mode poll needs 'url' of the form http://host/path")
        if parts.username is not None or parts.password is not None:
            raise ValueError("url holds credentials, which a configuration never does: use 'auth' and 'secret'")
        if self.auth == "hmac":
            raise ValueError("auth: hmac is for webhooks")
        if self.body is not None and self.method != "POST":
            raise ValueError("'body' needs method: POST")
        secret_headers = [name for name in self.headers if name.lower() in _SECRET_HEADERS]
        if secret_headers:
            raise ValueError(f"header {secret_headers[0]} holds a secret: use 'auth' and 'secret'")
        if any("\r" in value or "\n" in value for value in self.headers.values()):
            raise ValueError("a header's value has a line break")

    @property
    def where(self) -> str:
        """For messages."""
        return self.url if self.mode == "poll" and self.url is not None else f"{self.host}:{self.port}"


class HttpTagOptions(Strict):
    """Options of one tag."""

    data_type: DataType = "auto"
    """What the value is; auto: as JSON types it, of plain text as it looks."""
