"""A nats-server for one measurement, with delayed syncs on request."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil


class BenchServer:
    """Loopback only, its own temporary store. `kind` is integrity (synced) or throughput (default sync)."""

    def __init__(self, kind: str, sync_delay_ms: int = 0) -> None:
        self._root = Path(tempfile.mkdtemp(prefix="millstream-bench-"))
        sync = "always" if kind == "integrity" else "2m"
        config = self._root / "server.conf"
        config.write_text(
            f'listen: "127.0.0.1:-1"\nports_file_dir: "{self._root}"\n'
            f'jetstream {{ store_dir: "{self._root}/js", sync_interval: {sync} }}\n'
        )
        command = [self.program(), "-c", str(config)]
        if sync_delay_ms:
            inject = f"inject=fsync,fdatasync:delay_exit={sync_delay_ms * 1000}"
            command = ["strace", "-f", "--seccomp-bpf", "-qq", "-e", "trace=fsync,fdatasync", "-e", inject,
                       "-o", "/dev/null", *command]  # fmt: skip
        with (self._root / "log").open("wb") as log:
            self._process = subprocess.Popen(command, stderr=log)
        self.url = self._wait()

    @staticmethod
    def program() -> str:
        """The nats-server of this environment."""
        return shutil.which("nats-server", path=str(Path(sys.executable).parent)) or "nats-server"

    def _wait(self) -> str:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            for ports in self._root.glob("*.ports"):
                text = ports.read_text()
                if text.strip():
                    return str(json.loads(text)["nats"][0])
            time.sleep(0.02)
        raise RuntimeError((self._root / "log").read_text())

    def _server(self) -> psutil.Process:
        process = psutil.Process(self._process.pid)
        return next(iter(process.children()), process)

    def usage(self) -> tuple[float, float]:
        """CPU seconds and peak resident MB so far."""
        server = self._server()
        times = server.cpu_times()
        status = Path(f"/proc/{server.pid}/status").read_text()
        peak_kib = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
        return round(times.user + times.system, 3), round(peak_kib / 1024, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.kill(self._server().pid, signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            os.kill(self._server().pid, signal.SIGKILL)
            self._process.wait()
        shutil.rmtree(self._root)


@cache
def has_slow_disk() -> bool:
    """Whether syncs can be delayed here: strace is present and may trace."""
    program = shutil.which("strace")
    if program is None:
        return False
    command = [program, "-f", "--seccomp-bpf", "-qq", "-e", "trace=fsync", "-o", "/dev/null", "true"]
    return subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode == 0
