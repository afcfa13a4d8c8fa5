"""The form of what an edge keeps in its data directory, so that no version runs over data that it does not understand.

`DATA_FORMAT` is raised when what is written changes so that an older version would read it wrongly or not at all;
`READABLE_BY` is the oldest format whose versions can read what this one writes. A version notes both in the data
directory when it starts. One that is too old for what the note says does not start, and an update to a version whose
data the one before could not read is refused, since there would be no way back.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from millstream.kernel import ConfigError, write_private

DATA_FORMAT = 1
READABLE_BY = 1
FILE = "data_format.json"


class DataNote(msgspec.Struct, frozen=True):
    """Which version wrote last, in which form, and from which form on it can be read."""

    data_format: int
    readable_by: int
    version: str


def read_note(data_dir: Path) -> DataNote | None:
    """None: there is none (a new folder, or one of a version that wrote no notes), or none that can be read."""
    try:
        return msgspec.json.decode((data_dir / FILE).read_bytes(), type=DataNote)
    except (OSError, msgspec.DecodeError):
        return None


def check_data(data_dir: Path, own: int = DATA_FORMAT) -> None:
    """Raise ConfigError (MS-2457) when the data of this folder are of a version that is too new for format `own`."""
    note = read_note(data_dir)
    if note is not None and note.readable_by > own:
        raise ConfigError(
            "the data of this node were written by a newer version, which this one cannot read", where=str(data_dir),
            expected=f"data that format {own} can read", code="MS-2457", next_step=f"install {note.version} or newer",
            got=f"data of {note.version}, for {note.readable_by} and newer",
        )  # fmt: skip


def note_data(data_dir: Path, version: str) -> None:
    """Say who writes from now on. Raises OSError."""
    wanted = DataNote(DATA_FORMAT, READABLE_BY, version)
    if read_note(data_dir) != wanted:
        write_private(data_dir / FILE, msgspec.json.encode(wanted).decode())
