"""The history that a node keeps, as its file says it."""

from __future__ import annotations

from pydantic import Field

from millstream.config._types import BufferSize, Section, Size
from millstream.sdk import ConfigPath, Duration


class HistorianConfig(Section):
    """The embedded history."""

    dir: ConfigPath | None = None
    """Folder of the history; left out: `data_dir/historian`."""
    hot_window: Duration = 86400.0
    """Age at which samples move from the hot table into sealed parts."""
    retention: Duration | None = None
    """Age at which history is dropped; left out: never."""
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
    """Age at which history is dropped."""
    max_bytes: BufferSize = 4 << 30
    """Bytes on disk, about: beyond it the oldest days go first, their rollups after all samples."""
    max_memory: Size = 128 << 20
    """Memory of the query engine."""
