"""Configuration of the SQL connector."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Literal

from pydantic import Field, model_validator

from millstream.protocols.mqtt_mapping import DataType
from millstream.protocols.sql_window import Overlap
from millstream.sdk import ConfigPath, Duration, RowConfig, SecretRef, Strict

_URL = re.compile(r"[a-z0-9_]+(\+[a-z0-9_]+)?://")
_PASSWORD = re.compile(r"://[^/@]*:[^/@]*@|[?&](password|pwd)=", re.IGNORECASE)
_QUERY = re.compile(r"\s*(select|with)\b", re.IGNORECASE)


class SqlConfig(RowConfig):
    """Which database, which rows, and what their columns mean."""

    url: str | None = None
    """The database as SQLAlchemy names it, e.g. postgresql+psycopg://user@host:5432/mes; without a password."""
    file: ConfigPath | None = None
    """A SQLite file, in place of url."""
    secret: SecretRef | None = None
    """The password of the user in url."""
    connect_args: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """What the driver takes beside, e.g. sslmode or timeout; see its documentation."""
    table: str | None = None
    """The table or view to read, with its schema if needed: mes.results."""
    query: str | None = None
    """A SELECT in place of table, without ORDER BY and LIMIT; it is used as a sub-query."""
    key: tuple[str, ...] = Field(min_length=1, max_length=4)
    """The column that only grows (a number or a time); several are compared one after the other."""
    id_columns: tuple[str, ...] = ()
    """What tells rows with the same key apart; left out: all columns that are read."""
    overlap: Duration = 0.0
    """Keys that are times: rows may come so much later than ones with a higher key (long transactions)."""
    overlap_steps: int = Field(default=0, ge=0)
    """Keys that are numbers: the same, as a difference of keys."""
    start: Literal["beginning", "now"] = "beginning"
    """The first start takes all rows, or only those that come from then on."""
    poll_interval: Duration = Field(default=5.0, ge=0.005)
    """Pause after a query that gave no more rows."""
    batch_rows: int = Field(default=500, ge=1, le=10_000)
    """Rows of one query."""
    connect_timeout: Duration = 10.0
    """How long connecting may take."""
    query_timeout: Duration = 30.0
    """How long one query may take."""

    @model_validator(mode="after")
    def _fits(self) -> SqlConfig:
        if (self.url is None) == (self.file is None):
            raise ValueError("give exactly one of 'url' and 'file'")
        if self.url is not None:
            if _URL.match(self.url) is None:
                raise ValueError("url is not of the form dialect+driver://user@host/database")
            if _PASSWORD.search(self.url):
                raise ValueError("url holds a password, which a configuration never does: use 'secret'")
        if (self.table is None) == (self.query is None):
            raise ValueError("give exactly one of 'table' and 'query'")
        if self.query is not None and (_QUERY.match(self.query) is None or ";" in self.query):
            raise ValueError("query is not one SELECT (or WITH ... SELECT) without a semicolon")
        if self.overlap and self.overlap_steps:
            raise ValueError("give overlap or overlap_steps, not both")
        if (self.overlap or self.overlap_steps) and len(self.key) > 1:
            raise ValueError("an overlap needs a key of one column")
        return self

    def window_overlap(self) -> Overlap:
        """The overlap as the window takes it."""
        return Overlap(timedelta(seconds=self.overlap), self.overlap_steps)

    @property
    def where(self) -> str:
        """The database, for messages."""
        return self.url if self.url is not None else str(self.file)


class SqlTagOptions(Strict):
    """Options of one tag."""

    data_type: DataType = "auto"
    """What the value is; auto: as the database types it, text that is a number is a float."""
