"""ClickHouse's engine of its own, behind its HTTP protocol, on loopback: see tests/peers/chdb_server.py."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import clickhouse_connect

import peers  # tools/
from millstream.kernel import free_port

PASSWORD = "right horse"
WAIT_S = 60.0
SCRIPT = peers.PEERS_DIR / "chdb_server.py"


class Clickhouse:
    """The server; it can be killed and started again on the same port, over the same folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    @property
    def url(self) -> str:
        """Of its HTTP interface."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start, and wait until it answers."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [peers.venv_python("chdb"), SCRIPT, str(self.port), str(self._folder / "data"), PASSWORD], stderr=log
            )
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                assert self._process.poll() is None, f"it ended with {self._process.returncode}"
                assert time.monotonic() < deadline, "it did not answer in time"
                time.sleep(0.05)

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(WAIT_S)
            self._process = None

    def run(self, statement: str, database: str) -> list[tuple[Any, ...]]:
        """As a client of its own."""
        with clickhouse_connect.get_client(
            host="127.0.0.1",
            port=self.port,
            username="plant",
            password=PASSWORD,
            database=database,
            dedicated_pool=True,
        ) as client:
            return [tuple(row) for row in client.query(statement).result_rows]
