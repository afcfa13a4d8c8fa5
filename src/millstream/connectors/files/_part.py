"""Parts of a file: what fits one batch, with how far the file is read behind it."""

from __future__ import annotations

from dataclasses import dataclass, field

from millstream.connectors.files._table import Entry
from millstream.model import Sample

SAMPLES_BATCH_MAX = 800  # one unit of the store holds 900 messages, and a position must lie in the unit of its data
ROWS_BATCH_MAX = 500
BAD_BYTES_MAX = 1 << 16  # of a row that goes to the dead letters


@dataclass(slots=True)
class Part:
    """Samples and bad rows up to `entry`."""

    entry: Entry
    samples: list[Sample] = field(default_factory=list)
    frames_bad: list[tuple[bytes, str]] = field(default_factory=list)
    rows_count: int = 0

    @property
    def has_content(self) -> bool:
        """It holds anything that the runtime would store."""
        return bool(self.samples or self.frames_bad)

    def is_full_for(self, samples_count: int) -> bool:
        """It has to end before a row of so many samples, unless it is empty."""
        is_full = self.rows_count >= ROWS_BATCH_MAX or len(self.samples) + samples_count > SAMPLES_BATCH_MAX
        return is_full and self.rows_count > 0
