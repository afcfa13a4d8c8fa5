"""A file as the folder shows it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Seen:
    """`size` is that on the disk, also of a packed file."""

    path: Path
    inode: int
    size: int
    mtime_ns: int

    @property
    def name(self) -> str:
        """Within the folder."""
        return self.path.name

    @property
    def is_packed(self) -> bool:
        """By its name."""
        return self.name.lower().endswith(".gz")
