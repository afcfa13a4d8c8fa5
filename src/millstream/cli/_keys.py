"""The operator's key store as commands see it: where it is, its passphrase, and the hub's file beside it."""

from __future__ import annotations

import getpass
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter

from millstream.kernel import ConfigError

if TYPE_CHECKING:
    from millstream.trust import Trust

KEYS_GROUP = Group("Key store", sort_key=88)
PASSPHRASE_VARIABLE = "MILLSTREAM_PASSPHRASE"  # noqa: S105 (the name of a variable)
KEYS_FILE, HUB_FILE = "operator.keys", "hub.trust"


@Parameter(name="*")
@dataclass(frozen=True)
class Keys:
    """The operator's key store.

    Parameters
    ----------
    trust
        Folder of the key store and of the hub's `hub.trust`.
    passphrase_file
        File with the passphrase; left out: MILLSTREAM_PASSPHRASE, or it is asked for.
    """

    trust: Annotated[Path, Parameter(env_var="MILLSTREAM_TRUST", group=KEYS_GROUP)] = Path("trust")
    passphrase_file: Annotated[Path | None, Parameter(group=KEYS_GROUP)] = None

    @property
    def path(self) -> Path:
        """The encrypted file."""
        return self.trust / KEYS_FILE

    @property
    def hub_path(self) -> Path:
        """What the hub reads."""
        return self.trust / HUB_FILE

    def passphrase(self, *, is_new: bool = False) -> str:
        """From file, environment or terminal, in this order. Raises ConfigError."""
        if self.passphrase_file is not None:
            try:
                return self.passphrase_file.read_text(encoding="utf-8").strip()
            except OSError as error:
                raise ConfigError(
                    "the passphrase cannot be read", where=str(self.passphrase_file), got=str(error), code="MS-2101"
                ) from error
        if (given := os.environ.get(PASSPHRASE_VARIABLE)) is not None:
            return given
        if not sys.stdin.isatty():
            raise ConfigError(
                "no passphrase", expected=f"--passphrase-file, {PASSPHRASE_VARIABLE}, or a terminal", code="MS-2101"
            )
        first = getpass.getpass("Passphrase of the key store: ")
        if is_new and getpass.getpass("Once more: ") != first:
            raise ConfigError("the two passphrases differ", code="MS-2101")
        return first

    def load(self) -> Trust:
        """What is kept. Raises ConfigError, AuthError."""
        from millstream.trust import load_keys

        return load_keys(self.path, self.passphrase())

    @contextmanager
    def changing(self) -> Iterator[Trust]:
        """Let the block change what is kept; then the hub's file is written anew. Nothing is kept when it raises."""
        from millstream.trust import changing_keys

        with changing_keys(self.path, self.passphrase()) as trust:
            yield trust
        self.write_hub_file(trust)

    def write_hub_file(self, trust: Trust) -> None:
        """Sign what differs from the file before; a hub that watches this file takes it within a second."""
        from millstream.bus import write_private
        from millstream.trust import make_bundle

        write_private(self.hub_path, make_bundle(trust, now_s(), self._hub_file()))

    def _hub_file(self) -> str | None:
        """The text of the one before; None when it is not there or cannot be read."""
        try:
            return self.hub_path.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            return None


NO_KEYS = Keys()


def now_s() -> int:
    """Unix seconds, as tokens have them."""
    return int(time.time())


def who() -> str:
    """Who acts, for the audit."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def check_absent(path: Path, what: str) -> None:
    """Raises ConfigError when the file is there."""
    if path.exists():
        raise ConfigError(f"{what} is there already", where=str(path), next_step="name another file, or remove it")
