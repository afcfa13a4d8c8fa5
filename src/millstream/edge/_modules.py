"""Modules of flows at an edge: fetched from the hub chunk by chunk, proven, kept by their digest.

What happens if it is killed here? A module counts as there once its bytes, synced, have its name; before that they lie
in a part with a note of how far it is, and the next attempt goes on from there. What the disk made of a part after a
power failure is found by the digest, and then it is fetched once more from its beginning.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from io import BufferedRandom, BufferedReader
from pathlib import Path

import msgspec

from millstream.bus import StreamApi, disk_error
from millstream.kernel import AuthError, Clock, DecodeError, NotFoundError, PlantError
from millstream.protocols.module import (
    CHUNK_BYTES,
    MODULES,
    Manifest,
    StoredModule,
    chunks_subject,
    decode_info,
    info_subject,
)
from millstream.sdk import Log, Received

FOLDER = "modules"
UNUSED_BYTES_MAX = 128 << 20  # of modules that neither configuration needs; those used last stay
ROOM_BYTES = 64 << 20  # of the disk that fetching leaves free
CHUNK_TIMEOUT_S = 60.0  # 32 KiB over a very slow link
ASKS_COUNT, ASK_AGAIN_S = 3, 1.0  # before something counts as missing
PART, NOTE = ".part", ".note"

Prove = Callable[[Manifest], None]
"""Raises AuthError for a module that nobody vouches for who may."""


class _Note(msgspec.Struct):
    """How far a part is: of which upload, the sequence of its last chunk, its bytes."""

    nuid: str
    seq: int
    size: int


class ModuleStore:
    """The modules of one edge, in ``data_dir/modules``, or in another folder."""

    def __init__(self, data_dir: Path, clock: Clock, log: Log, folder: str = FOLDER) -> None:
        self.folder = data_dir / folder
        self._clock = clock
        self._log = log
        self.fetching: dict[str, object] | None = None
        """What is on its way: digest, bytes there, bytes in all."""

    def path(self, digest: str) -> Path:
        """Where a module lies, or would."""
        return self.folder / digest.removeprefix("sha256:")

    def has(self, digest: str) -> bool:
        """Whether a module is there, whole (blocking: it is read)."""
        try:
            with self.path(digest).open("rb") as file:
                return digest_of(file) == digest
        except OSError:
            return False

    def has_part(self, digest: str) -> bool:
        """Whether fetching a module has begun and not ended (blocking)."""
        return self.path(digest).with_suffix(NOTE).exists()

    def drop_others(self, digest: str, count_max: int) -> list[str]:
        """Of all modules and parts but this one keep the newest (blocking). The names of those that went."""
        names: dict[str, int] = {}
        with contextlib.suppress(OSError):
            for path in self.folder.iterdir():
                names[path.stem] = max(names.get(path.stem, 0), path.stat().st_mtime_ns)
        names.pop(digest.removeprefix("sha256:"), None)
        gone = sorted(names, key=names.__getitem__, reverse=True)[count_max:]
        for name in gone:
            for path in self.folder.glob(f"{name}*"):
                path.unlink(missing_ok=True)
        return gone

    async def fetch(self, digest: str, hub: StreamApi, prove: Prove) -> None:
        """Have a module here. Raises Unreachable when the hub does not answer (call it again, it goes on),
        NotFoundError (MS-2440), DecodeError (MS-2441), PlantError (MS-2442: the disk is full), AuthError (MS-2443)."""
        if await asyncio.to_thread(self.has, digest):
            return
        found = await self._patiently(lambda: hub.last(MODULES, info_subject(digest)))
        stored = None if found is None else decode_info(found.payload, digest)
        if stored is None:
            raise NotFoundError(
                "the hub has no such module", where=digest, next_step="`millstream code push` stores it", code="MS-2440"
            )
        proven = _proven(stored, prove)
        try:
            await self._get(stored, hub)
        except OSError as error:
            raise disk_error(error, self.folder) from error
        finally:
            self.fetching = None
        self._log.info("module fetched", digest=digest, file=proven.file, author=proven.author)

    async def put(self, digest: str, data: bytes) -> None:
        """Have a module that came another way, and is proven. Raises PlantError (MS-2442: the disk is full)."""
        try:
            await asyncio.to_thread(self._put_whole, digest, data)
        except OSError as error:
            raise disk_error(error, self.folder) from error

    def _put_whole(self, digest: str, data: bytes) -> None:
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self._check_room(len(data))
        path = self.path(digest)
        path.with_suffix(PART).write_bytes(data)
        if not _finish(path, digest):
            raise DecodeError("another module came", where=digest, expected=digest, code="MS-2441")

    async def _get(self, stored: StoredModule, hub: StreamApi) -> None:
        manifest, path = stored.manifest, self.path(stored.manifest.digest)
        note = await asyncio.to_thread(self._open_part, stored)
        self._check_room(manifest.size_bytes - note.size)
        is_resumed = note.size > 0
        await self._append(stored, note, hub)
        if not await asyncio.to_thread(_finish, path, manifest.digest):
            if is_resumed:  # a power failure may have kept the note and not the bytes
                return await self._get(stored, hub)
            raise DecodeError(
                "what the hub has is another module", where=manifest.digest, expected=manifest.digest, code="MS-2441"
            )
        return None

    async def _append(self, stored: StoredModule, note: _Note, hub: StreamApi) -> None:
        """The chunks that are missing."""
        digest, size = stored.manifest.digest, stored.manifest.size_bytes
        path, subject = self.path(digest), chunks_subject(stored.nuid)
        while note.size < size:
            self.fetching = {"digest": digest, "bytes": note.size, "of_bytes": size}
            chunk = await self._patiently(partial(hub.next, MODULES, note.seq + 1, subject, timeout_s=CHUNK_TIMEOUT_S))
            if chunk is None:
                raise NotFoundError(
                    "the hub has only a part of the module", where=digest, expected=f"{size} bytes",
                    got=f"{note.size} bytes", next_step="push it again", code="MS-2440",
                )  # fmt: skip
            if not 0 < len(chunk.payload) <= min(CHUNK_BYTES * 32, size - note.size):
                raise DecodeError("the hub has more than the module", where=digest, code="MS-2441")
            note.seq, note.size = chunk.seq, note.size + len(chunk.payload)
            await asyncio.to_thread(_put, path, chunk.payload, note)

    async def _patiently(self, ask: Callable[[], Awaitable[Received | None]]) -> Received | None:
        """At a hub of several boxes the one that answers may know of it a moment later."""
        for _ in range(ASKS_COUNT - 1):
            if (found := await ask()) is not None:
                return found
            await self._clock.sleep(ASK_AGAIN_S)
        return await ask()

    def _open_part(self, stored: StoredModule) -> _Note:
        """What is there of a module, cut to what its note vouches for."""
        path = self.path(stored.manifest.digest)
        self.folder.mkdir(mode=0o700, exist_ok=True)
        part, noted = path.with_suffix(PART), path.with_suffix(NOTE)
        try:
            note = msgspec.json.decode(noted.read_bytes(), type=_Note)
            if note.nuid == stored.nuid and part.stat().st_size >= note.size:
                os.truncate(part, note.size)
                return note
        except (FileNotFoundError, msgspec.DecodeError):
            pass
        part.write_bytes(b"")
        noted.unlink(missing_ok=True)
        return _Note(stored.nuid, 0, 0)

    def _check_room(self, wanted_bytes: int) -> None:
        free = shutil.disk_usage(self.folder).free
        if free < wanted_bytes + ROOM_BYTES:
            raise PlantError(
                "the disk is too full for the module", where=str(self.folder), expected=f"{wanted_bytes} bytes and "
                f"{ROOM_BYTES >> 20} MiB beside", got=f"{free} bytes", next_step="make room, and put it again",
                code="MS-2442",
            )  # fmt: skip

    def clean(self, needed: Collection[str]) -> None:
        """Drop what has not been needed for longest, down to the bound, and parts of what nobody wants (blocking)."""
        names = {digest.removeprefix("sha256:") for digest in needed}
        unused: list[tuple[int, int, Path]] = []
        with contextlib.suppress(OSError):
            for path in self.folder.iterdir():
                if path.stem in names:
                    os.utime(path)
                elif path.suffix in (PART, NOTE):
                    path.unlink()
                elif path.is_file():
                    unused.append((path.stat().st_mtime_ns, path.stat().st_size, path))
            kept = 0
            for _, size, path in sorted(unused, reverse=True):
                kept += size
                if kept > UNUSED_BYTES_MAX:
                    path.unlink()


def _proven(stored: StoredModule, prove: Prove) -> Manifest:
    """The manifest of somebody who may vouch for it here: one is enough. Raises AuthError (MS-2443)."""
    refusal: AuthError | None = None
    for manifest in stored.manifests:
        try:
            prove(manifest)
        except AuthError as error:
            refusal = error
        else:
            return manifest
    assert refusal is not None
    raise AuthError(
        f"the module is refused: {refusal.what}", where=stored.manifest.digest, expected=refusal.expected,
        got=refusal.got, code="MS-2443",
    ) from refusal  # fmt: skip


def digest_of(file: BufferedReader | BufferedRandom) -> str:
    """As `module_digest` of all that is in a file, which need not fit into memory."""
    return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def _put(path: Path, data: bytes, note: _Note) -> None:
    """One chunk, and then the note of it."""
    with path.with_suffix(PART).open("ab") as file:
        file.write(data)
    fresh = path.with_suffix(".new")
    fresh.write_bytes(msgspec.json.encode(note))
    fresh.replace(path.with_suffix(NOTE))


def _finish(path: Path, digest: str) -> bool:
    """Give a whole part its name, synced; False, and it is gone, when it is another one."""
    part = path.with_suffix(PART)
    with part.open("rb+") as file:
        is_it = digest_of(file) == digest
        os.fsync(file.fileno())
    path.with_suffix(NOTE).unlink(missing_ok=True)
    if not is_it:
        part.unlink()
        return False
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return True
