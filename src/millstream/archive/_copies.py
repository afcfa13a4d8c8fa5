"""A copy of a hub's history, given out piece by piece to who makes a backup."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

import msgspec

from millstream.historian import HistorianService, copied_files, prove_history
from millstream.kernel import NotFoundError
from millstream.protocols.history_job import COPY_PART_BYTES, CopiedFile, CopyAnswer, CopyPart

READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class _Copy:
    id: str
    folder: Path
    files: frozenset[str]


class HistoryCopies:
    """One copy at a time: the next one replaces it."""

    def __init__(self, historian: HistorianService) -> None:
        self._historian = historian
        self._copy: _Copy | None = None

    async def begin(self) -> CopyAnswer:
        """Make a copy, prove it and list it. Raises HistoryStoreError."""
        await self.end()
        folder = await self._historian.copy()
        files, proof = await asyncio.to_thread(_looked_at, folder)
        self._copy = _Copy(secrets.token_hex(16), folder, frozenset(file.name for file in files))
        return CopyAnswer(self._copy.id, files, proof)

    async def part(self, asked: CopyPart) -> bytes:
        """A piece of a file; empty at its end. Raises NotFoundError for a copy that is not there any more."""
        copy = self._copy
        if copy is None or copy.id != asked.id or asked.file not in copy.files:
            raise NotFoundError(
                "this copy of the history is gone", where=asked.file, next_step="begin the backup again", code="MS-0433"
            )
        return await asyncio.to_thread(_piece, copy.folder / asked.file, asked.offset)

    async def end(self) -> None:
        """Remove it."""
        copy, self._copy = self._copy, None
        if copy is not None:
            await asyncio.to_thread(shutil.rmtree, copy.folder, ignore_errors=True)


def _looked_at(folder: Path) -> tuple[tuple[CopiedFile, ...], dict[str, object]]:
    proof = msgspec.to_builtins(prove_history(folder))
    return tuple(_described(folder, name) for name in copied_files(folder)), proof


def _described(folder: Path, name: str) -> CopiedFile:
    digest, size = hashlib.sha256(), 0
    with (folder / name).open("rb") as file:
        while part := file.read(READ_BYTES):
            digest.update(part)
            size += len(part)
    return CopiedFile(name, size, digest.hexdigest())


def _piece(path: Path, offset: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(COPY_PART_BYTES)
