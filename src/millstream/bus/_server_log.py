"""Reading what a nats-server says: its log file, its start errors, its monitoring pages."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from pathlib import Path
from typing import Any

from millstream.kernel import PlantError, Unreachable

LINES_MAX = 1000
READ_BYTES_MAX = 1_000_000
HTTP_TIMEOUT_S = 3.0
HTTP_BYTES_MAX = 16_000_000


class LogTail:
    """New lines of a log file that the server itself rotates by size."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._inode = 0
        self._offset = 0

    def skip_to_end(self) -> None:
        """Forget what stands there now."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            self._inode, self._offset = 0, 0
            return
        self._inode, self._offset = status.st_ino, status.st_size

    def peek(self) -> list[str]:
        """The new lines; they stay new."""
        return self._read()[0]

    def take(self) -> list[str]:
        """The new lines, at most the newest 1,000."""
        with contextlib.suppress(FileNotFoundError):
            status = self.path.stat()
            if (status.st_ino, status.st_size) == (self._inode, self._offset):
                return []
        lines, self._inode, self._offset = self._read()
        return lines

    def _read(self) -> tuple[list[str], int, int]:
        try:
            with self.path.open("rb") as file:
                status = self.path.stat()
                start = self._offset if status.st_ino == self._inode and status.st_size >= self._offset else 0
                start = max(start, status.st_size - READ_BYTES_MAX)
                file.seek(start)
                raw = file.read(READ_BYTES_MAX)
        except FileNotFoundError:
            return [], self._inode, self._offset
        end = raw.rfind(b"\n") + 1
        return raw[:end].decode("utf-8", "replace").splitlines()[-LINES_MAX:], status.st_ino, start + end


_START_PROBLEMS = (
    (
        re.compile(r"address already in use"),
        "MS-0601",
        "a port is taken",
        "end the program that uses it (ss -ltnp shows it), or set another port",
    ),
    (
        re.compile(r"bind: |lookup .* no such host"),
        "MS-0601",
        "a port cannot be opened",
        "set a port above 1023 and an address of this machine",
    ),
    (
        re.compile(r"stor(?:e|age) dir|jetstream|could not open|permission denied|no space left", re.IGNORECASE),
        "MS-0602",
        "the store cannot be used",
        "check owner, free space and health of the disk below `data_dir`",
    ),
    (
        re.compile(r"parse error|unknown field|error parsing", re.IGNORECASE),
        "MS-0600",
        "nats-server refuses its configuration",
        "this server is too old or too new for this Millstream",
    ),
)


def explain_start(lines: list[str], *, where: str, log_path: Path) -> PlantError:
    """The one clear error for a server that ended while starting."""
    faults = [line for line in lines if "[FTL]" in line or "[ERR]" in line or line.startswith("nats-server:")]
    for pattern, code, what, next_step in _START_PROBLEMS:
        for line in faults:
            if pattern.search(line):
                return PlantError(what, where=where, got=_message(line), next_step=next_step, code=code)
    got = _message(faults[-1]) if faults else (_message(lines[-1]) if lines else "no message")
    return PlantError("nats-server does not start", where=where, got=got, next_step=f"read {log_path}", code="MS-0600")


def _message(line: str) -> str:
    """A log line without process id, time and level."""
    return re.sub(r"^\[\d+\] \S+ \S+ \[\w+\] ", "", line).strip()


async def http_get_json(host: str, port: int, path: str) -> Any:
    """GET a small JSON page of a local server, whatever its status. Raises Unreachable."""
    try:
        async with asyncio.timeout(HTTP_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(f"GET {path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                raw = await reader.read(-1)
            finally:
                writer.close()
        body = raw[:HTTP_BYTES_MAX].partition(b"\r\n\r\n")[2]
        return json.loads(body)
    except (OSError, TimeoutError, ValueError) as error:
        raise Unreachable(
            "the server's monitor does not answer", where=f"{host}:{port}{path}", got=str(error) or type(error).__name__
        ) from error
