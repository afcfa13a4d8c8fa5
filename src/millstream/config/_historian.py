"""The history that a node keeps, as its file says it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from millstream.config._flow import duration_or_never
from millstream.config._types import BufferSize, Section, Size
from millstream.kernel import DecodeError
from millstream.protocols.uns_pattern import Pattern
from millstream.sdk import ConfigPath, Duration

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


class EdgeHistorianConfig(HistorianConfig):
    """The history of an edge: for questions at the site when the hub is away, and for the hub to ask. It is
    always bounded."""

    retention: Duration = 30 * 86400.0
    """Age at which samples and events are dropped."""
    max_bytes: BufferSize = 4 << 30
    """Bytes on disk, about: beyond it the oldest days go first, their rollups after all samples."""
    max_memory: Size = 128 << 20
    """Memory of the query engine."""
