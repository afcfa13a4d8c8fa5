"""Passwords: Argon2id hashes (RFC 9106), checked with the same work whether the user exists or not."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from millstream.kernel import ConfigError, Unreachable, needs_extra

if TYPE_CHECKING:
    from argon2 import PasswordHasher

T = TypeVar("T")
PASSWORD_LENGTH_MIN, PASSWORD_LENGTH_MAX = 12, 256
HASHING_AT_ONCE_MAX = 2  # 64 MiB of memory each
WAITING_MAX = 16  # more are asked to come again: a queue of guesses keeps everybody else out


def hasher() -> PasswordHasher:
    """Argon2id with the parameters that the library recommends. Raises ConfigError when it is missing."""
    with needs_extra("log-in with a password", "login"):
        from argon2 import PasswordHasher
    return PasswordHasher()


def hash_password(password: str, name: str) -> str:
    """The text to keep. Raises ConfigError for a password that is too short, or the user's own name."""
    if not PASSWORD_LENGTH_MIN <= len(password) <= PASSWORD_LENGTH_MAX or name.lower() in password.lower():
        raise ConfigError(
            "not a good password", where=name, code="MS-2120",
            expected=f"{PASSWORD_LENGTH_MIN} to {PASSWORD_LENGTH_MAX} characters, without the user's name in it",
        )  # fmt: skip
    hashed: str = hasher().hash(password)
    return hashed


class Passwords:
    """Checks in threads of their own. Enter it before use."""

    def __init__(self) -> None:
        self._hasher = hasher()
        self._pool: ThreadPoolExecutor
        self._waiting = 0
        self._nobody = ""

    async def __aenter__(self) -> Self:
        self._pool = ThreadPoolExecutor(HASHING_AT_ONCE_MAX, "login-hash")
        self._nobody = await self._run(lambda: self._hasher.hash(secrets.token_urlsafe(16)))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self._pool.shutdown)

    async def is_right(self, kept: str | None, password: str) -> bool:
        """Whether `password` is the one that was hashed; None stands for a user that is not there. Raises Unreachable
        when too many wait."""
        if self._waiting >= WAITING_MAX:
            raise Unreachable("too many log in at this moment", retry_after_s=2.0, code="MS-2122")
        self._waiting += 1
        try:
            return await self._run(lambda: self._verify(kept, password))
        finally:
            self._waiting -= 1

    def _verify(self, kept: str | None, password: str) -> bool:
        from argon2.exceptions import InvalidHashError, VerificationError

        try:
            return self._hasher.verify(kept or self._nobody, password[:PASSWORD_LENGTH_MAX]) and kept is not None
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)
