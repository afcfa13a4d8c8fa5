"""Counts what a session may leave behind: tasks, threads and open files (sockets are files)."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Resources:
    """What is held at one moment."""

    tasks: int
    threads: int
    files: tuple[str, ...]

    def is_more_than(self, before: Resources) -> bool:
        """Whether something is held that was not; what others let go of meanwhile does not matter."""
        new_files = Counter(self.files) - Counter(before.files)
        return self.tasks > before.tasks or self.threads > before.threads or bool(new_files)


def held_resources() -> Resources:
    """Count now. Threads of asyncio's own executor do not count, they are kept for reuse."""
    tasks = sum(1 for task in asyncio.all_tasks() if not task.done())
    threads = sum(1 for thread in threading.enumerate() if not thread.name.startswith("asyncio_"))
    files: list[str] = []
    for entry in os.listdir("/proc/self/fd"):  # Linux; the list itself needs a descriptor, which is gone by then
        try:
            files.append(os.readlink(f"/proc/self/fd/{entry}"))
        except OSError:
            continue
    return Resources(tasks, threads, tuple(sorted(files)))


async def assert_nothing_left(before: Resources, what: str, *, deadline_s: float = 3.0) -> None:
    """Wait until no more is held than `before`; AssertionError that names the rest after `deadline_s`."""
    loop = asyncio.get_running_loop()
    end = loop.time() + deadline_s
    while True:
        now = held_resources()
        is_clean = now.tasks <= before.tasks and now.threads <= before.threads and len(now.files) <= len(before.files)
        if is_clean:
            return
        if loop.time() > end:
            break
        gc.collect()
        await asyncio.sleep(0.01)
    left = list(now.files)
    for name in before.files:
        if name in left:
            left.remove(name)
    tasks = [task.get_name() for task in asyncio.all_tasks()]
    raise AssertionError(
        f"{what} left behind: {now.tasks - before.tasks} tasks ({tasks}), "
        f"{now.threads - before.threads} threads, files {left}"
    )
