"""How to reach a broker: what the configurations of all that speak MQTT have in common."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from millstream.sdk import ConfigPath, ConnectorConfig, Duration, SecretRef

Version = Annotated[Literal["3.1.1", "5"], BeforeValidator(lambda value: str(value))]


class BrokerConfig(ConnectorConfig):
    """Which broker, and who we are there."""

    host: str | None = None
    """The broker's name or address."""
    port: int = Field(default=1883, ge=1, le=65535)
    """Its port; with TLS often 8883."""
    version: Version = "3.1.1"
    """MQTT 3.1.1 or 5."""
    client_id: str | None = None
    """This client's name there. No two clients may share it: the broker would cut one off for the other."""
    user: str | None = None
    """User name."""
    secret: SecretRef | None = None
    """The password, by reference."""
    tls: bool = False
    """Encrypt, and check the broker's certificate."""
    ca_file: ConfigPath | None = None
    """Certificates to trust instead of the system's."""
    certificate: ConfigPath | None = None
    """Our certificate, PEM, for brokers that ask for one."""
    key: ConfigPath | None = None
    """Its private key, PEM without a password; left out, it stands in the certificate's file."""
    crl_file: ConfigPath | None = None
    """List of revoked certificates, PEM, from the authority in `ca_file`."""
    keepalive: Duration = Field(default=30.0, ge=1.0, le=65_535.0)
    """Time between signs of life; twice as long without one and the link counts as lost."""
    connect_timeout: Duration = 5.0
    """How long connecting may take, and the answer to a subscription."""

    @model_validator(mode="after")
    def _login_fits(self) -> Self:
        if self.secret is not None and not self.user:
            raise ValueError("'secret' needs 'user'")
        if not self.tls and (self.ca_file or self.certificate or self.key or self.crl_file):
            raise ValueError("certificates need 'tls: true'")
        if self.key is not None and self.certificate is None:
            raise ValueError("'key' needs 'certificate'")
        return self
