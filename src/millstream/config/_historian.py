"""The history that a node keeps, as its file says it."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from millstream.config._flow import duration_or_never
from millstream.config._types import BufferSize, Section, Size
from millstream.kernel import DecodeError
from millstream.protocols.uns_pattern import Pattern
from millstream.sdk import ConfigPath, Duration, SecretRef

RULES_COUNT_MAX = 256
DurationOrNever = Annotated[
    float | Literal["never"],
    BeforeValidator(duration_or_never),
    WithJsonSchema({"type": "string", "examples": ["90d", "never"]}),
]


def _pattern(text: str) -> str:
    try:
        Pattern.parse(text)
    except DecodeError as error:
        raise ValueError(f"{error.what}: {text!r:.60}") from error
    return text


class KeepConfig(Section):
    """How long the samples and rollups of some paths are kept."""

    paths: Annotated[tuple[Annotated[str, AfterValidator(_pattern)], ...], Field(min_length=1, max_length=64)]
    """Paths or patterns, such as those of a contract: `acme/plant1/press*:vibration/**`."""
    retention: DurationOrNever | None = None
    """Age at which samples are dropped, or `never`; left out: as for all others."""
    minute_rollups: DurationOrNever | None = None
    """Age at which aggregates of minutes are dropped, or `never`; left out: as for all others."""
    hour_rollups: DurationOrNever | None = None
    """Age at which aggregates of hours are dropped, or `never`; left out: as for all others."""


class HistorianConfig(Section):
    """The embedded history."""

    dir: ConfigPath | None = None
    """Folder of the history; left out: `data_dir/historian`."""
    hot_window: Duration = 86400.0
    """Age at which samples move from the hot table into sealed parts."""
    retention: Duration | None = None
    """Age at which samples and events are dropped; left out: never."""
    minute_rollups: DurationOrNever = "never"
    """Age at which aggregates of minutes are dropped; never before their samples."""
    hour_rollups: DurationOrNever = "never"
    """Age at which aggregates of hours are dropped; never before their samples."""
    rules: tuple[KeepConfig, ...] = Field(default=(), max_length=RULES_COUNT_MAX)
    """What is kept for other times; the first rule that fits a path decides."""
    max_bytes: BufferSize | None = None
    """Bytes on disk, about: beyond it the oldest days go first, their rollups after all samples; left out: no bound."""
    max_memory: Size = 256 << 20
    """Memory of the query engine."""
    query_timeout: Duration = Field(default=20.0, ge=0.1, le=3600.0)
    """Time that one question may take; then it is stopped and says so."""


def _postgres_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "postgresql":
        raise ValueError("expected postgresql://host:port/database")
    if ":" in parts.netloc.rpartition("@")[0] or "password" in dict(parse_qsl(parts.query)):
        raise ValueError("a password is not written into the url, refer to it with 'password'")
    return url


class PostgresConfig(Section):
    """A PostgreSQL that holds the history, as a hypertable where the database has the extension TimescaleDB."""

    type: Literal["postgresql"]
    """The engine."""
    url: Annotated[str, AfterValidator(_postgres_url)]
    """The database as libpq names it, without a password: `postgresql://host:5432/plant?sslmode=verify-full`."""
    user: str | None = None
    """Who logs in; left out: as the url says."""
    password: SecretRef | None = None
    """The password of the user."""
    schema_name: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]*$", max_length=30)] = "millstream"
    """The schema of all tables, made when it is not there; a tenant's has `_` and its name added."""


def _clickhouse_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("expected https://host:port, the server's HTTP interface")
    if "@" in parts.netloc or parts.query:
        raise ValueError("neither user, password nor settings are written into the url: see 'user' and 'password'")
    return url


class ClickhouseConfig(Section):
    """A ClickHouse that holds the history."""

    type: Literal["clickhouse"]
    """The engine."""
    url: Annotated[str, AfterValidator(_clickhouse_url)]
    """The server's HTTP interface: `https://host:8443`."""
    user: str | None = None
    """Who logs in; left out: `default`."""
    password: SecretRef | None = None
    """The password of the user."""
    schema_name: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]*$", max_length=30)] = "millstream"
    """The database of all tables, made when it is not there; a tenant's has `_` and its name added."""


class HubHistorianConfig(HistorianConfig):
    """The history of a hub: in a folder of its own, or on a server."""

    engine: Annotated[PostgresConfig | ClickhouseConfig, Field(discriminator="type")] | None = None
    """The server that holds it; left out: the embedded one, DuckDB with sealed days in Parquet."""

    @model_validator(mode="after")
    def _fits(self) -> HubHistorianConfig:
        if self.engine is not None and (self.dir is not None or self.max_bytes is not None):
            raise ValueError("'dir' and 'max_bytes' are of the embedded history, not of an 'engine'")
        return self


class EdgeHistorianConfig(HistorianConfig):
    """The history of an edge: for questions at the site when the hub is away, and for the hub to ask. It is
    always bounded."""

    retention: Duration = 30 * 86400.0
    """Age at which samples and events are dropped."""
    max_bytes: BufferSize = 4 << 30
    """Bytes on disk, about: beyond it the oldest days go first, their rollups after all samples."""
    max_memory: Size = 128 << 20
    """Memory of the query engine."""
