"""A PostgreSQL of its own: a cluster in a temporary folder, on loopback, run by an unprivileged user."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pg8000.dbapi
import pg8000.exceptions

import peers  # tools/
from millstream.kernel import free_port

USER = "nobody"  # PostgreSQL refuses to run as root
PASSWORD = "right horse"
WAIT_S = 60.0


class Postgres:
    """The cluster's server; it can be killed and started again on the same port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            self._user = {"user": USER, "group": subprocess.check_output(["id", "-gn", USER], text=True).strip()}
            shutil.chown(folder, **self._user)
        folder.chmod(0o755)

    @property
    def url(self) -> str:
        """For SQLAlchemy."""
        return f"postgresql+pg8000://reader@127.0.0.1:{self.port}/postgres"

    def _run(self, program: str, *words: str) -> None:
        path = peers.program_path(program)
        assert path is not None
        subprocess.run(
            [path, *words], check=True, cwd=self._folder, stdout=subprocess.DEVNULL, extra_groups=[], **self._user
        )

    def create(self) -> None:
        """Make the cluster, with a password for whoever comes by the network."""
        password_file = self._folder / "password"
        password_file.write_text(PASSWORD)
        password_file.chmod(0o644)
        self._run(
            "initdb", "-D", str(self._folder / "data"), "-U", "postgres", "--pwfile", str(password_file), "-N",
            "--auth-host=scram-sha-256", "--auth-local=trust", "-E", "UTF8", "--locale=C",
        )  # fmt: skip

    def start(self) -> None:
        """Start, and wait until it answers."""
        path = peers.program_path("postgres")
        assert path is not None
        self._process = subprocess.Popen(
            [
                path, "-D", str(self._folder / "data"), "-p", str(self.port), "-c", "listen_addresses=127.0.0.1",
                "-c", f"unix_socket_directories={self._folder}", "-c", "fsync=off", "-c", "autovacuum=off",
            ],
            cwd=self._folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, extra_groups=[],
            start_new_session=True, **self._user,
        )  # fmt: skip
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                self.run("SELECT 1")
                return
            except (pg8000.exceptions.Error, OSError):
                assert self._process.poll() is None, f"postgres ended with {self._process.returncode}"
                assert time.monotonic() < deadline, "postgres did not answer in time"
                time.sleep(0.05)

    def stop(self) -> None:
        """As a power loss: it cuts every connection and ends without a checkpoint."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(WAIT_S)
            self._process = None

    def run(self, statement: str, rows: list[tuple[Any, ...]] | None = None) -> list[tuple[Any, ...]]:
        """As the owner, by the socket in the folder."""
        connection = pg8000.dbapi.connect("postgres", unix_sock=str(self._folder / f".s.PGSQL.{self.port}"))
        try:
            cursor = connection.cursor()
            if rows is None:
                cursor.execute(statement)
            else:
                cursor.executemany(statement, rows)
            found = [tuple(row) for row in cursor.fetchall()] if cursor.description else []
            connection.commit()
            return found
        finally:
            connection.close()


@contextmanager
def postgres() -> Iterator[Postgres]:
    """A running server with a user ``reader``."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    server = Postgres(folder)
    try:
        server.create()
        server.start()
        server.run(f"CREATE ROLE reader LOGIN PASSWORD '{PASSWORD}'")
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
