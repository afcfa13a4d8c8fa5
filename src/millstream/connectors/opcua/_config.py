"""What a person writes to connect to an OPC UA server."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from millstream.sdk import ConfigPath, ConnectorConfig, Duration, SecretRef, Strict


class SecurityPolicy(StrEnum):
    """Security policies (OPC 10000-7). The deprecated ones (Basic128Rsa15, Basic256) are not offered."""

    NONE = "none"
    BASIC256SHA256 = "basic256sha256"
    AES128_SHA256_RSA_OAEP = "aes128_sha256_rsa_oaep"
    AES256_SHA256_RSA_PSS = "aes256_sha256_rsa_pss"


class SecurityMode(StrEnum):
    """Message security mode (OPC 10000-4, 7.20)."""

    SIGN = "sign"
    SIGN_AND_ENCRYPT = "sign_and_encrypt"


class Security(Strict):
    """How the link is protected. Unprotected only when `policy: none` is written."""

    policy: SecurityPolicy = SecurityPolicy.BASIC256SHA256
    """The security policy; `none` sends everything in clear."""
    mode: SecurityMode = SecurityMode.SIGN_AND_ENCRYPT
    """Sign only, or sign and encrypt."""
    certificate: ConfigPath | None = None
    """This client's certificate (.der or .pem); its subjectAltName holds the application URI."""
    private_key: ConfigPath | None = None
    """The private key of the certificate (.pem or .der)."""
    private_key_password: SecretRef | None = None
    """The password of the private key, if it has one."""
    server_certificate: ConfigPath | None = None
    """The server's certificate, if one server is to be believed and no other. Without it and without `pki` the one
    that the server shows is taken, and a warning logged: the link is then encrypted, but the server is not
    authenticated."""
    pki: ConfigPath | None = None
    """A folder with own/, trusted/, issuers/ and rejected/; made at the first start. A server whose certificate (or
    whose authority) is not in trusted/ is refused and its certificate written to rejected/: move it to trusted/ to
    accept it. Revocation lists (*.crl) lie in trusted/ or issuers/. Without `certificate` and `private_key` ours are
    made in own/."""
    crl_required: bool = False
    """Refuse a certificate that an authority signed whose fresh revocation list is not in `pki`."""

    @model_validator(mode="after")
    def _certificate_is_there(self) -> Security:
        if (self.certificate is None) != (self.private_key is None):
            raise ValueError("'certificate' and 'private_key' belong together")
        if self.policy is not SecurityPolicy.NONE and self.certificate is None and self.pki is None:
            raise ValueError(
                "a security policy needs 'certificate' and 'private_key', or a folder 'pki' to make them in; on a "
                "trusted network write 'policy: none'"
            )
        if self.pki is not None and self.server_certificate is not None:
            raise ValueError("'server_certificate' believes one server; with 'pki', put it into its folder trusted/")
        return self


class Subscription(Strict):
    """Limits of the subscriptions that the connector makes."""

    items_max: int = Field(default=5000, ge=1)
    """Monitored items of one subscription; more make a second one."""
    queue_size_min: int = Field(default=50, ge=1)
    """Least queue of a monitored item in the server. The queue is 2 * publishing_interval / sampling_interval + 1, so
    that one late publish cycle loses nothing, but not less than this: some servers drop silently when it is full."""
    queue_size_max: int = Field(default=10_000, ge=1)
    """Greatest queue of a monitored item in the server."""
    notifications_max: int = Field(default=20_000, ge=1)
    """Most notifications of one publish response."""
    requests_max: int = Field(default=4, ge=1, le=50)
    """Publish requests in flight."""
    samples_held_max: int = Field(default=200_000, ge=1000)
    """Samples held in memory. At half of it no more publish requests are sent: the server queues, and so the back-
    pressure reaches it. Afterwards the link is opened anew where a tag has history, so that nothing is missing. Beyond
    it samples are dropped and counted as a gap at the source."""
    keep_alive_interval: Duration = 5.0
    """The server says at least this often that a subscription lives; three missing ones mean a dead link."""


class OpcUaConfig(ConnectorConfig):
    """An OPC UA server and how to talk to it."""

    endpoint: str = Field(examples=["opc.tcp://192.168.10.20:4840"])
    """The server's address."""
    endpoints: tuple[str, ...] = Field(default=(), max_length=9)
    """Further servers of the same redundant set: the one with the highest ServiceLevel is followed, and left when its
    level falls or it is gone. Values that were missed are read from the next one's history."""
    security: Security
    """Protection of the link; must be written, so that nobody talks in clear by accident."""
    user: str | None = None
    """User name; without it the session is anonymous."""
    password: SecretRef | None = None
    """Where the user's password lies."""
    user_certificate: ConfigPath | None = None
    """A user's certificate (.der or .pem) instead of a name and password."""
    user_private_key: ConfigPath | None = None
    """Its private key (.pem or .der)."""
    user_private_key_password: SecretRef | None = None
    """The password of that key, if it has one."""
    allow_clear_password: bool = False
    """Send the password in clear when the server offers no other way (policy none). Off: refuse instead."""
    application_uri: str | None = None
    """This client's application URI; by default the one in the certificate."""
    request_timeout: Duration = 4.0
    """Longest wait for one answer of the server."""
    check_interval: Duration = 1.0
    """A link that was silent for this long is checked with a small read."""
    bad_tag_retry: Duration = 60.0
    """How often tags that the server refused (unknown node) are tried again."""
    backfill: bool = True
    """Fill gaps from the server's history (HistoryRead) after the link was away, for tags that have history."""
    backfill_page: int = Field(default=1000, ge=1, le=100_000)
    """Values of one tag in one history request."""
    session_timeout: Duration = 60.0
    """The server forgets a session that was silent for this long."""
    channel_lifetime: Duration = Field(default=3600.0, ge=1.0)
    """Lifetime of the secure channel's keys; they are renewed at three quarters of what the server grants."""
    message_bytes_max: int = Field(default=64 * 1024 * 1024, ge=65536)
    """Longest message accepted from the server."""
    browse_nodes_max: int = Field(default=200_000, ge=1)
    """Browsing stops after this many nodes."""
    browse_properties: bool = False
    """Browsing lists properties of variables too (limits, units, enumeration texts)."""
    load_structures: bool = True
    """Read the server's own structure definitions when a tag has such a type, so that they become mappings."""
    subscription: Subscription = Subscription()
    """Limits of the subscriptions."""

    @field_validator("endpoint", "endpoints")
    @classmethod
    def _endpoint_is_opc_tcp(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for endpoint in (value,) if isinstance(value, str) else value:
            cls._check_endpoint(endpoint)
        return value

    @classmethod
    def _check_endpoint(cls, value: str) -> None:
        try:
            parts = urlsplit(value)
            port = parts.port
        except ValueError as error:
            raise ValueError(f"not an endpoint: {error}") from error
        if parts.scheme != "opc.tcp" or not parts.hostname or port is None:
            raise ValueError('expected "opc.tcp://host:port"')
        if parts.username or parts.password:
            raise ValueError("no credentials in the endpoint: use 'user' and 'password: {file: ...}'")

    @model_validator(mode="after")
    def _servers_differ(self) -> OpcUaConfig:
        if len({self.endpoint, *self.endpoints}) != 1 + len(self.endpoints):
            raise ValueError("'endpoint' and 'endpoints' name one server twice")
        if self.endpoints and self.security.server_certificate is not None:
            raise ValueError("'server_certificate' believes one server; trust several with the folder 'pki'")
        return self

    @model_validator(mode="after")
    def _user_and_password_belong_together(self) -> OpcUaConfig:
        if (self.user is None) != (self.password is None):
            raise ValueError("'user' and 'password' belong together")
        if (self.user_certificate is None) != (self.user_private_key is None):
            raise ValueError("'user_certificate' and 'user_private_key' belong together")
        if self.user is not None and self.user_certificate is not None:
            raise ValueError("a session has one user: either 'user' or 'user_certificate'")
        return self


class TagOptions(Strict):
    """Options of one tag."""

    mode: Literal["subscribe", "poll", "events", "method"] = "subscribe"
    """`poll` reads the tag each publishing interval: only for servers without subscriptions. `events` takes the events
    and alarms of the node, which has to be a notifier, as the Server object i=2253 is for all; the tag itself is true
    while they are received. `method` reads nothing: what is written to the tag are the arguments of a call."""
    method_object: str | None = None
    """With `method`: the address of the object that it is called on, where several have it."""
    event_type: str | None = None
    """With `events`: only those of this type or below, as an address; i=2782 are the conditions and alarms."""
    event_fields: tuple[str, ...] = Field(default=(), max_length=50)
    """With `events`: further fields, as paths of browse names below the event (`Pressure`, `2:Tool/2:Number`)."""
    severity_min: int = Field(default=1, ge=1, le=1000)
    """With `events`: only those that are at least as severe."""
    queue_size: int | None = Field(default=None, ge=1)
    """Queue of the monitored item in the server; 1 keeps the latest value only."""
    deadband_absolute: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """The server reports only changes greater than this."""
    deadband_percent: float | None = Field(default=None, gt=0, le=100)
    """The same in percent of the tag's EURange, where the server has one."""
    backfill: bool = True
    """Fill this tag's gaps from the server's history."""

    @model_validator(mode="after")
    def _options_fit(self) -> TagOptions:
        if self.mode != "events" and (self.event_type or self.event_fields or self.severity_min > 1):
            raise ValueError("'event_type', 'event_fields' and 'severity_min' go with 'mode: events'")
        if self.mode != "method" and self.method_object is not None:
            raise ValueError("'method_object' goes with 'mode: method'")
        if self.deadband_absolute is not None and self.deadband_percent is not None:
            raise ValueError("a tag has one deadband: either 'deadband_absolute' or 'deadband_percent'")
        return self
