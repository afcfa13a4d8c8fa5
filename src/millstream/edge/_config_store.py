"""What an edge keeps of its configuration from afar: `state.json` and the revisions that it refers to, in
``data_dir/config``. Each file is written beside and renamed, and synced: a crash leaves the old one or the new one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection
from pathlib import Path
from typing import Protocol

import msgspec

from millstream.bus import disk_error, write_private
from millstream.edge._config_state import Held, SiteState
from millstream.kernel import DecodeError
from millstream.protocols.site_config import decode_revision

FOLDER, STATE_FILE = "config", "state.json"


class ConfigShelf(Protocol):
    """Where the state and the revisions are kept: this box's disk, or what the boxes of a site share."""

    async def load(self) -> SiteState:
        """The state; that of an edge which was never configured from afar when there is none. Raises PlantError."""
        ...

    async def save(self, state: SiteState) -> None:
        """Replace the state, durably. Raises PlantError."""
        ...

    async def keep(self, payload: bytes, held: Held) -> None:
        """Keep a revision, as it came. Raises PlantError."""
        ...

    async def document(self, held: Held) -> str:
        """The document of a kept revision. Raises PlantError."""
        ...

    async def clean(self, state: SiteState) -> None:
        """Remove revisions that nothing refers to. What cannot be removed stays."""
        ...

    async def keep_module(self, digest: str, path: Path) -> None:
        """Have a module, which is whole at `path`, wherever the site's configuration may come to run. Raises
        PlantError."""
        ...

    async def module(self, digest: str) -> bytes | None:
        """A module that another box of the site has kept; None: there is no other box. Raises PlantError."""
        ...

    async def clean_modules(self, needed: Collection[str]) -> None:
        """Remove modules that no configuration names. What cannot be removed stays."""
        ...

    async def chain(self) -> bytes | None:
        """The newest chain of trust that another box of the site has seen; None: there is none, or no other box."""
        ...

    async def keep_chain(self, chain: bytes) -> None:
        """Tell it the other boxes. Raises FencedError when another box has told since `chain` was asked, PlantError."""
        ...


class DiskShelf:
    """A store on this box's disk, which does not hold the loop up."""

    def __init__(self, store: ConfigStore) -> None:
        self._store = store

    async def load(self) -> SiteState:
        """See `ConfigShelf`."""
        return await asyncio.to_thread(self._store.load)

    async def save(self, state: SiteState) -> None:
        """See `ConfigShelf`."""
        await asyncio.to_thread(self._store.save, state)

    async def keep(self, payload: bytes, held: Held) -> None:
        """See `ConfigShelf`."""
        await asyncio.to_thread(self._store.keep, payload, held)

    async def document(self, held: Held) -> str:
        """See `ConfigShelf`."""
        return await asyncio.to_thread(self._store.document, held)

    async def clean(self, state: SiteState) -> None:
        """See `ConfigShelf`."""
        await asyncio.to_thread(self._store.clean, state)

    async def keep_module(self, digest: str, path: Path) -> None:
        """It is on this disk."""

    async def module(self, digest: str) -> bytes | None:
        """Nobody else's."""
        return None

    async def clean_modules(self, needed: Collection[str]) -> None:
        """Whoever fetches them does."""

    async def chain(self) -> bytes | None:
        """Nobody else's."""
        return None

    async def keep_chain(self, chain: bytes) -> None:
        """It lies beside the pin."""


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
            payload = path.read_bytes()
        except OSError as error:
            raise DecodeError(
                "a kept configuration cannot be read", where=str(path), got=error.strerror, code="MS-2409"
            ) from error
        return text_of(payload, self._edge, held, str(path))

    def clean(self, state: SiteState) -> None:
        """Remove revisions that nothing refers to. What cannot be removed stays."""
        kept = {f"{name}.json" for name in names_used(state)}
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
    return f"{name_of(held)}.json"


def name_of(held: Held) -> str:
    """Of a revision, where it is kept."""
    return f"r{held.revision}-{held.digest.removeprefix('sha256:')[:16]}"


def names_used(state: SiteState) -> set[str]:
    """Of the revisions that a state refers to."""
    return {name_of(held) for held in (state.healthy, state.candidate) if held is not None}


def text_of(payload: bytes, edge: str, held: Held, where: str) -> str:
    """The document of a revision as it was kept. Raises DecodeError when it is not what it was."""
    revision, text = decode_revision(payload, edge)
    if revision.digest != held.digest:
        raise DecodeError("a kept configuration is another one", where=where, code="MS-2409")
    return text
