"""``node.json``: where a running node is and how to enter it; for the command line and the SDK on the same machine."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import psutil

from millstream.kernel import write_private
from millstream.sdk import TlsFiles

NODE_FILE = "node.json"


class NodeFile:
    """The file of one running node, written when the node is ready and removed when it stops."""

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / NODE_FILE
        self.fields: dict[str, Any] = {}

    def update(self, **fields: Any) -> None:
        """Write the file anew with these fields added; None takes one away."""
        self.fields = {k: v for k, v in {**self.fields, **fields}.items() if v is not None}
        write_private(self.path, json.dumps(self.fields, indent=1) + "\n")

    @contextlib.asynccontextmanager
    async def hold(self, fields: Mapping[str, Any]) -> AsyncIterator[None]:
        """The file stands there while in the scope. Keys as in the SDK's `NodeAddress`."""
        self.update(pid=os.getpid(), **fields)
        try:
            yield
        finally:
            self.path.unlink(missing_ok=True)


def node_tls(files: TlsFiles | None) -> dict[str, str] | None:
    """By what a client on this machine knows the node's server; the entry `tls` of the file."""
    if files is None:
        return None
    named = {"ca_file": files.ca_file, "certificate": files.certificate, "server_name": files.server_name}
    return {key: str(value) for key, value in named.items() if value is not None}


def tls_of(named: Mapping[str, str] | None) -> TlsFiles | None:
    """What `node_tls` has written."""
    if named is None:
        return None
    ca_file, certificate = (Path(path) if (path := named.get(key)) else None for key in ("ca_file", "certificate"))
    return TlsFiles(ca_file=ca_file, certificate=certificate, server_name=named.get("server_name"))


class ProcessMeter:
    """Memory and processor time of this process and, if it is ours, its server."""

    def __init__(self) -> None:
        self._own = psutil.Process()

    def read(self, server_pid: int | None) -> dict[str, float]:
        """`rss_mb` and `cpu_s` of this process, `server_rss_mb` and `server_cpu_s` of the server."""
        rss_mb, cpu_s = _usage(self._own)
        figures = {"rss_mb": rss_mb, "cpu_s": cpu_s}
        if server_pid is not None:
            with contextlib.suppress(psutil.Error):
                figures["server_rss_mb"], figures["server_cpu_s"] = _usage(psutil.Process(server_pid))
        return figures


def _usage(process: psutil.Process) -> tuple[float, float]:
    times = process.cpu_times()
    return round(process.memory_info().rss / 1e6, 1), round(times.user + times.system, 2)
