"""A disk whose power can be cut: an ext4 in a file, and the file system's own shutdown call. Linux, root.

The shutdown without a flush of the log makes the file system forget everything that no fsync has put on the disk, data
and names alike, as a power loss does; nothing has to be built or mocked. The mount lives in a mount namespace of this
process, so that it goes with the process, however that ends.
"""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import os
import shutil
import struct
from pathlib import Path
from types import TracebackType
from typing import Self

from millstream.kernel import PlantError

SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN, _IOR('X', 125, __u32)
NO_LOG_FLUSH = 2
IMAGE_BYTES = 512 << 20  # sparse: only what is written takes room
CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
MS_REC, MS_PRIVATE = 16384, 1 << 18
UNMOUNT_TRIES = 100  # a tenth of a second each: the last killed process gives its files up a moment later
PROGRAMS = ("mkfs.ext4", "mount", "umount")
SBIN = "/usr/sbin:/sbin:/usr/local/sbin"


def find_tool(name: str) -> str | None:
    """A system program, also where only root looks for it."""
    return shutil.which(name) or shutil.which(name, path=SBIN)


def why_no_power_cut() -> str | None:
    """What keeps this machine from cutting the power; None when nothing does."""
    if os.geteuid() != 0:
        return "needs root: it mounts a disk image"
    missing = [name for name in PROGRAMS if find_tool(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


def own_namespace(flags: int) -> str | None:
    """Leave the machine's mounts or network. Call it before any thread exists. The reason when it is refused."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags) != 0:
        return os.strerror(ctypes.get_errno())
    if flags & CLONE_NEWNS and libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) != 0:
        return os.strerror(ctypes.get_errno())
    return None


class PowerCutDisk:
    """Mounted at `path` while its scope is open. `cut`, end every process that uses it, `restore`."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "disk"
        self._image = folder / "disk.img"
        self.is_mounted = False

    async def __aenter__(self) -> Self:
        reason = why_no_power_cut()
        if reason is not None:
            raise PlantError("the power cannot be cut on this machine", got=reason, code="MS-0691")
        self.path.mkdir()
        with self._image.open("wb") as image:
            image.truncate(IMAGE_BYTES)
        await _run("mkfs.ext4", "-q", "-F", str(self._image))
        await self._mount()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.is_mounted:
            await asyncio.shield(self._unmount())
        self._image.unlink(missing_ok=True)

    def cut(self) -> None:
        """From now on nothing reaches the disk, and what was not synced is gone."""
        handle = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(handle, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(handle)

    async def restore(self) -> None:
        """The power is back: the file system replays its journal, as after any power loss."""
        await self._unmount()
        await self._mount()

    async def _mount(self) -> None:
        await _run("mount", "-o", "loop", str(self._image), str(self.path))
        self.is_mounted = True

    async def _unmount(self) -> None:
        for attempt in range(UNMOUNT_TRIES):
            try:
                await _run("umount", str(self.path))
                break
            except PlantError:
                if attempt == UNMOUNT_TRIES - 1:
                    await _run("umount", "--lazy", str(self.path))
                    raise
            await asyncio.sleep(0.1)
        self.is_mounted = False


async def _run(name: str, *arguments: str) -> None:
    program = find_tool(name)
    assert program is not None
    process = await asyncio.create_subprocess_exec(
        program,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    if process.returncode:
        text = output.decode("utf-8", "replace").strip()
        raise PlantError(f"{name} refuses", where=arguments[-1], got=text, code="MS-0691")
