"""The journal: what was read up to where, and what was confirmed, on disk before it is true."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from millstream.kernel import ConfigError

try:
    import fcntl
except ImportError:  # not on Windows: there nobody keeps a second process away
    fcntl = None  # type: ignore[assignment]

LINES_MAX = 20_000  # that say nothing any more, before the file is written anew


class Book:
    """Values of JSON by name; the newest line of a name counts. Made by `open_book`."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigError for a file that is none."""
        self._path, self._stale = path, 0
        self._values: dict[str, Any] = {}
        try:
            lines = path.read_bytes().splitlines() if path.exists() else []
            for number, line in enumerate(lines):
                try:
                    name, value = msgspec.json.decode(line, type=tuple[str, Any])
                except msgspec.DecodeError:
                    if number < len(lines) - 1:  # the last one was cut off when the process was killed: it never was
                        raise
                else:
                    self._values[name] = value
            self._rewrite()
        except (OSError, msgspec.DecodeError) as error:
            raise ConfigError(
                "the journal cannot be read", where=str(path), got=str(error)[:200], code="MS-2804"
            ) from error

    def get(self, name: str) -> Any:
        """The value, None when there is none."""
        return self._values.get(name)

    def items(self, head: str) -> list[tuple[str, Any]]:
        """Names that begin so, without that beginning, and their values."""
        return [(name.removeprefix(head), value) for name, value in self._values.items() if name.startswith(head)]

    def put(self, name: str, value: Any) -> None:
        """On disk when this returns (blocking, one small write); None takes it away. Raises OSError."""
        if self._values.get(name) == value:
            return
        with self._path.open("ab") as file:
            file.write(msgspec.json.encode((name, value)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._stale += name in self._values
        self._set(name, value)
        if self._stale > LINES_MAX:
            self._rewrite()

    def _set(self, name: str, value: Any) -> None:
        if value is None:
            self._values.pop(name, None)
        else:
            self._values[name] = value

    def _rewrite(self) -> None:
        self._values = {name: value for name, value in self._values.items() if value is not None}
        fresh = self._path.with_suffix(".new")
        with fresh.open("wb") as file:
            file.writelines(msgspec.json.encode((name, value)) + b"\n" for name, value in self._values.items())
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)
        self._stale = 0


@contextmanager
def open_book(path: Path) -> Iterator[Book]:
    """The journal, for this process alone. Raises ConfigError (MS-2804)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if fcntl is not None:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise ConfigError(
                    "another process has this journal", where=str(path), expected="one `millstream erp` a journal",
                    next_step="stop the other one, or give this one a file of its own", code="MS-2804",
                ) from error  # fmt: skip
        yield Book(path)
    finally:
        os.close(descriptor)
