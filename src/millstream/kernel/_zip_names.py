"""Names in a zip that somebody else made."""

from __future__ import annotations

import stat
import zipfile
from pathlib import PurePosixPath


def leads_out(file: zipfile.ZipInfo) -> bool:
    """Whether a member of a zip would be placed outside of the folder that it is unpacked into, or is a link or another
    thing that is neither file nor folder."""
    parts, mode = PurePosixPath(file.filename).parts, file.external_attr >> 16
    return (
        not parts or file.filename.startswith("/") or ".." in parts or "\\" in file.filename
        or ":" in file.filename or "\0" in file.filename or stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR)
    )  # fmt: skip
