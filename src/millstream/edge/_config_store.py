"""What an edge keeps of its configuration from afar: `state.json` and the revisions that it refers to, in
``data_dir/config``. Each file is written beside and renamed, and synced: a crash leaves the old one or the new one."""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

from millstream.bus import disk_error, write_private
from millstream.edge._config_state import Held, SiteState
from millstream.kernel import DecodeError
from millstream.protocols.site_config import decode_revision

FOLDER, STATE_FILE = "config", "state.json"


class ConfigStore:
    """The folder of one edge. All calls block."""

    def __init__(self, data_dir: Path, edge: str) -> None:
        self.folder = data_dir / FOLDER
        self._edge = edge

    def load(self) -> SiteState:
        """The state; that of an edge which was never configured from afar when there is none. Raises DecodeError."""
        try:
            return msgspec.json.decode((self.folder / STATE_FILE).read_bytes(), type=SiteState)
        except FileNotFoundError:
            return SiteState()
        except OSError as error:
            raise disk_error(error, self.folder) from error
        except msgspec.DecodeError as error:
            raise DecodeError(
                "the state of the configuration cannot be read", where=str(self.folder / STATE_FILE),
                got=str(error)[:120], next_step="the hub's newest revision is taken anew", code="MS-2409",
            ) from error  # fmt: skip

    def save(self, state: SiteState) -> None:
        """Replace the state. Raises PlantError."""
        self._write(STATE_FILE, msgspec.json.encode(state).decode())

    def keep(self, payload: bytes, held: Held) -> None:
        """Keep a revision, as it came. Raises PlantError."""
        self._write(_file_of(held), payload.decode("utf-8"))

    def document(self, held: Held) -> str:
        """The document of a kept revision. Raises DecodeError when it is gone or is not what it was."""
        path = self.folder / _file_of(held)
        try:
            revision, text = decode_revision(path.read_bytes(), self._edge)
        except OSError as error:
            raise DecodeError(
                "a kept configuration cannot be read", where=str(path), got=error.strerror, code="MS-2409"
            ) from error
        if revision.digest != held.digest:
            raise DecodeError("a kept configuration is another one", where=str(path), code="MS-2409")
        return text

    def clean(self, state: SiteState) -> None:
        """Remove revisions that nothing refers to. What cannot be removed stays."""
        kept = {_file_of(held) for held in (state.healthy, state.candidate) if held is not None}
        with contextlib.suppress(OSError):
            for path in self.folder.glob("r*.json*"):
                if path.name not in kept:
                    path.unlink()

    def _write(self, name: str, text: str) -> None:
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            write_private(self.folder / name, text)
        except OSError as error:
            raise disk_error(error, self.folder) from error


def _file_of(held: Held) -> str:
    return f"r{held.revision}-{held.digest.removeprefix('sha256:')[:16]}.json"
