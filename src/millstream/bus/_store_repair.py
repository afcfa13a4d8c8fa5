"""A stream that nats-server cannot read any more is set aside, so that the node starts with all the others.

nats-server writes the description of a stream with `persist_mode: async` without a sync, when it is made and when it is
changed. After a power loss within the next half minute it finds a torn one, gives the stream up, and calls itself
unhealthy for ever. Measured with 2.15.1 and a file system that forgets what was not synced.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from millstream.kernel import PlantError

FOLDER = "set-aside"
MADE_NS_MAX = 30_000_000_000  # from its folder to its first answer, on a machine that is full
SET_ASIDE_MAX = 64  # in one start; a node has fewer streams
_LOST = re.compile(r"stream '(?P<account>[^' ]+) > (?P<stream>[^']+)' could not be recovered")


class LostStreamError(PlantError):
    """A stream cannot be recovered by its server."""

    default_code = "MS-0624"

    def __init__(self, account: str, stream: str) -> None:
        super().__init__("a stream cannot be read any more", where=stream)
        self.account = account
        self.stream = stream


def find_lost(health: str) -> LostStreamError | None:
    """The stream that a health page complains of; None when it complains of something else."""
    match = _LOST.search(health)
    return LostStreamError(match["account"], match["stream"]) if match is not None else None


def problem_of(health: Mapping[str, Any], data_dir: Path, now_ns: int) -> str | None:
    """What a running server's health page complains of; None: nothing, or a stream that it is making or has just
    deleted. Its folder is there before the stream is, and a hub makes hundreds when many tenants begin."""
    if health.get("status") == "ok":
        return None
    problem = str(health.get("error") or health.get("status"))
    lost = find_lost(problem)
    return None if lost is not None and _is_being_made(data_dir, lost, now_ns) else problem


def _is_being_made(data_dir: Path, lost: LostStreamError, now_ns: int) -> bool:
    try:
        made_ns = _folder(data_dir, lost).stat().st_mtime_ns
    except FileNotFoundError:
        return True
    return now_ns - made_ns < MADE_NS_MAX


def set_aside(data_dir: Path, lost: LostStreamError, now_ns: int) -> Path:
    """Move the stream's folder out of the store of a server that does not run; where to. Raises OSError."""
    found = _folder(data_dir, lost)
    kept = data_dir / FOLDER / f"{lost.stream}-{now_ns}"
    kept.parent.mkdir(mode=0o700, exist_ok=True)
    found.rename(kept)
    return kept


def sync_descriptions(data_dir: Path) -> None:
    """Put the descriptions of all streams on the disk, so that from now on a power loss tears none. Raises OSError."""
    streams = data_dir / "jetstream" / "jetstream"
    for folder in streams.glob("*/streams/*"):
        for path in (folder / "meta.inf", folder / "meta.sum", folder, folder.parent):
            _sync(path)


class Descriptions:
    """Those of a server's streams. Whoever asks for them to be on the disk while that is done shares the next turn:
    tenants begin by the hundred, and each turn looks at all streams."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._is_busy = asyncio.Lock()
        self._next: asyncio.Task[None] | None = None

    async def sync(self) -> None:
        """Return when all that are there now are on the disk. Raises OSError."""
        if self._next is None:
            self._next = asyncio.create_task(self._take_turn())
        await asyncio.shield(self._next)

    async def _take_turn(self) -> None:
        async with self._is_busy:
            self._next = None
            await asyncio.to_thread(sync_descriptions, self._data_dir)


def _folder(data_dir: Path, lost: LostStreamError) -> Path:
    return data_dir / "jetstream" / "jetstream" / lost.account / "streams" / lost.stream


def _sync(path: Path) -> None:
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return  # a stream that was deleted meanwhile
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
