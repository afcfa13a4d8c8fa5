"""Real nodes and devices as processes, in a temporary folder, for the scenarios that measure whole processes."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from bench._report import Row
from millstream.bus import Credentials, RawConnection
from millstream.kernel import Unreachable
from millstream.rig import Child

POLL_S = 0.1
ROOT = str(Path(__file__).resolve().parents[1])


class Rig:
    """Processes that are stopped, and a folder that is removed, when the scope ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.children: list[Child] = []

    async def start(self, name: str, arguments: list[str]) -> Child:
        """``python -m arguments``."""
        if ROOT not in os.environ.get("PYTHONPATH", "").split(os.pathsep):  # processes of bench/ run elsewhere
            os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), ROOT]))
        child = await Child.start(name, arguments, self.folder)
        self.children.append(child)
        return child

    async def start_node(self, role: str, document: Mapping[str, Any]) -> tuple[Child, Mapping[str, Any]]:
        """An edge or a hub, and its node.json. JSON is YAML."""
        path = self.folder / f"{role}.yaml"
        path.write_text(json.dumps(document), encoding="utf-8")
        child = await self.start(role, ["millstream", role, "-c", str(path)])
        return child, await child.wait_file(self.folder / role / "node.json")


@asynccontextmanager
async def open_rig() -> AsyncIterator[Rig]:
    """A rig in a folder of its own."""
    rig = Rig(Path(tempfile.mkdtemp(prefix="millstream-bench-")))
    try:
        yield rig
    finally:
        for child in reversed(rig.children):
            await child.stop()
        shutil.rmtree(rig.folder, ignore_errors=True)


def plain_connection(node: Mapping[str, Any]) -> RawConnection:
    """A connection to a node with the rights of its own tools."""
    credentials = Credentials(str(node["user"]), str(node["password"]))
    return RawConnection(str(node["nats_url"]), credentials=credentials, name="bench")


class Meter:
    """Processor time and memory of a node's own process and of its nats-server."""

    def __init__(self, pid: int) -> None:
        self._node = psutil.Process(pid)
        self._servers = [c for c in self._node.children(recursive=True) if "nats-server" in c.name()]

    def cpu_s(self) -> tuple[float, float]:
        """Of the process, and of its server."""
        return _cpu_s(self._node), sum(_cpu_s(s) for s in self._servers)

    def rss_mb(self) -> tuple[float, float]:
        """Of the process, and of its server."""
        return self._node.memory_info().rss / 1e6, sum(s.memory_info().rss for s in self._servers) / 1e6


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def tree_cpu_s(pid: int) -> float:
    """Processor time of a process with all that it started."""
    process = psutil.Process(pid)
    return sum(map(_cpu_s, (process, *process.children(recursive=True))))


def slope_mb_per_h(points: list[tuple[float, float]]) -> float:
    """The least-squares slope of (seconds, MB), as MB an hour."""
    n = len(points)
    mean_s, mean_mb = sum(p[0] for p in points) / n, sum(p[1] for p in points) / n
    spread = sum((p[0] - mean_s) ** 2 for p in points)
    return 0.0 if not spread else sum((p[0] - mean_s) * (p[1] - mean_mb) for p in points) / spread * 3600


async def poll(is_done: Any, *, timeout_s: float, what: str, every_s: float = POLL_S) -> None:
    """Wait until the coroutine function says so."""
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                with suppress(Unreachable):  # a node whose server starts again is asked again
                    if await is_done():
                        return
                await asyncio.sleep(every_s)
    except TimeoutError:
        raise SystemExit(f"bench: {what} did not happen within {timeout_s:g} s") from None


__all__ = ["Meter", "Rig", "Row", "open_rig", "plain_connection", "poll", "slope_mb_per_h", "tree_cpu_s"]
