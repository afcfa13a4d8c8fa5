"""What a backup holds, as its last file: written when all else is on disk, so that a backup that was cut has none."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec

from millstream.historian import HistoryProof
from millstream.kernel import PlantError, write_private

MANIFEST = "manifest.json"
FORMAT = 1
READ_BYTES = 1 << 20
HISTORY = "history"
"""Its folder in a backup."""


class StreamProof(msgspec.Struct, frozen=True):
    """What the stream in a snapshot holds, read from a server that was made from it: count and range of its messages,
    one digest over all of them in order, and the ledger's recount of each origin."""

    messages: int
    first_seq: int
    last_seq: int
    digest: str
    accounts: dict[str, dict[str, int | bool]] = {}


class StreamEntry(msgspec.Struct, frozen=True):
    """One stream: its snapshot's file, and what nats-server wants back beside it."""

    name: str
    file: str
    bytes: int
    sha256: str
    config: dict[str, Any]
    state: dict[str, Any]
    proof: StreamProof


class FileEntry(msgspec.Struct, frozen=True):
    """One other file, by its path in the backup."""

    file: str
    bytes: int
    sha256: str


class HistoryEntry(msgspec.Struct, frozen=True):
    """The history: its files, and what a hub counted in them."""

    files: tuple[FileEntry, ...]
    proof: HistoryProof


class PartEntry(msgspec.Struct, frozen=True):
    """What is kept of one tenant, or of who runs the hub: a backup in a folder of its own, by its list of contents."""

    name: str
    folder: str
    sha256: str
    is_tenant: bool


class Manifest(msgspec.Struct, frozen=True):
    """The whole backup; of a hub with tenants its `parts`."""

    format: int
    hub: str
    version: str
    made: str
    streams: tuple[StreamEntry, ...]
    files: tuple[FileEntry, ...] = ()
    history: HistoryEntry | None = None
    parts: tuple[PartEntry, ...] = ()


class _Sealed(msgspec.Struct, frozen=True):
    sha256: str
    manifest: msgspec.Raw


def refuse(reason: str, *, where: Path, got: str | None = None) -> PlantError:
    """A backup that must not be used."""
    return PlantError(
        f"this backup cannot be used: {reason}", where=str(where), got=got,
        next_step="take another one; nothing was changed", code="MS-2620",
    )  # fmt: skip


def save_manifest(folder: Path, manifest: Manifest) -> None:
    """Write and sync it; from here on the folder is a backup."""
    raw = msgspec.json.encode(manifest)
    sealed = _Sealed(hashlib.sha256(raw).hexdigest(), msgspec.Raw(raw))
    write_private(folder / MANIFEST, msgspec.json.encode(sealed).decode())


def load_manifest(folder: Path, *, is_checked: bool = True) -> Manifest:
    """The manifest of a folder whose files are all there and whole; they are looked at with `is_checked` only. Raises
    PlantError (MS-2620) with the reason."""
    path = folder / MANIFEST
    try:
        sealed = msgspec.json.decode(path.read_bytes(), type=_Sealed)
        if hashlib.sha256(sealed.manifest).hexdigest() != sealed.sha256:
            raise refuse("its list of contents was changed", where=path)
        manifest = msgspec.json.decode(sealed.manifest, type=Manifest)
    except FileNotFoundError as error:
        reason = "it has no list of contents: it was cut before its end, or is no backup"
        raise refuse(reason, where=folder) from error
    except msgspec.DecodeError as error:
        raise refuse("its list of contents is broken", where=path, got=str(error)) from error
    if manifest.format != FORMAT:
        raise refuse("another Millstream made it", where=path, got=f"format {manifest.format}")
    if is_checked:
        _check(folder, manifest)
    return manifest


def _check(folder: Path, manifest: Manifest) -> None:
    entries: list[StreamEntry | FileEntry] = [*manifest.streams, *manifest.files]
    entries += manifest.history.files if manifest.history is not None else ()
    for entry in entries:
        _check_file(folder, entry)
    for part in manifest.parts:
        _check_part(folder, part)


def _check_part(folder: Path, part: PartEntry) -> None:
    path = folder / part.folder
    if not path.resolve().is_relative_to(folder.resolve()):
        raise refuse("a part of it lies elsewhere", where=path)
    load_manifest(path)
    if file_sha256(path / MANIFEST) != part.sha256:
        raise refuse("a part of it is of another backup", where=path)


def _check_file(folder: Path, entry: StreamEntry | FileEntry) -> None:
    path = folder / entry.file
    if not path.resolve().is_relative_to(folder.resolve()):
        raise refuse("a file of it lies elsewhere", where=path)
    try:
        size = path.stat().st_size
    except OSError as error:
        raise refuse("a file is missing", where=path, got=error.strerror) from error
    if size != entry.bytes:
        raise refuse("a file was cut or changed", where=path, got=f"{size} bytes instead of {entry.bytes}")
    if file_sha256(path) != entry.sha256:
        raise refuse("a file was changed", where=path, got="another checksum")


def file_sha256(path: Path) -> str:
    """Of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(READ_BYTES):
            digest.update(part)
    return digest.hexdigest()
