"""The folder with device descriptions (IODD), for browsing. Blocking."""

from __future__ import annotations

from pathlib import Path

from millstream.kernel import ConfigError, DecodeError
from millstream.protocols.iodd import CODE, DOCUMENT_BYTES_MAX, UNITS, Description, parse_description, parse_units
from millstream.sdk import Log

FILES_COUNT_MAX = 500
UNITS_FILE = "IODD-StandardUnitDefinitions"
STANDARD_FILES = "IODD-Standard"


def read_descriptions(folder: Path, log: Log) -> dict[tuple[int, int], Description]:
    """Descriptions by vendor and device number; what cannot be read is logged and passed over. Raises ConfigError."""
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".xml")
    except OSError as error:
        raise ConfigError(
            f"iodd_folder cannot be read: {error.strerror}", where=str(folder), next_step="correct 'iodd_folder'",
            code=CODE,
        ) from error  # fmt: skip
    if len(files) > FILES_COUNT_MAX:
        raise ConfigError(
            "iodd_folder holds too many files", where=str(folder), expected=f"at most {FILES_COUNT_MAX}", code=CODE
        )
    units = dict(UNITS)
    found: dict[tuple[int, int], Description] = {}
    for path in sorted(files, key=lambda path: not path.name.startswith(UNITS_FILE)):
        try:
            if path.name.startswith(UNITS_FILE):
                units |= parse_units(_content(path))
            elif not path.name.startswith(STANDARD_FILES):
                description = parse_description(_content(path), units)
                found[description.vendor_id, description.device_id] = description
        except (OSError, DecodeError) as error:
            log.warning("device description cannot be read", file=path.name, error=str(error))
    return found


def _content(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(DOCUMENT_BYTES_MAX + 1)
