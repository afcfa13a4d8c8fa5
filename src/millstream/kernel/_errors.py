"""The error tree. Each class has a stable code whose cause and remedy stand in ``errors.toml``.

    PlantError                MS-0001  anything Millstream raises on purpose
    ├── ConfigError           MS-0100  the configuration is wrong: refuse to start
    ├── Unreachable           MS-0200  no link: close, back off with jitter, open again
    ├── AuthError             MS-0201  credentials refused: stop until they change, tell a person
    ├── ProtocolViolation     MS-0202  the peer broke its protocol: keep the frame, open again
    ├── DecodeError           MS-0300  a payload or subject is malformed: dead-letter stream
    ├── FencedError           MS-0400  another instance owns this writer: stop
    ├── StoreFullError        MS-0401  the stream's bound is reached: hold the source back
    └── NotFoundError         MS-0500  no such tag, stream, record

A subclass or an instance may carry a more exact code (``code="MS-0301"``) that the registry lists too.
"""

from __future__ import annotations

from typing import ClassVar


class PlantError(Exception):
    """Base of every error that Millstream raises on purpose: what, where, expected and got, next step."""

    default_code: ClassVar[str] = "MS-0001"

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        expected: str | None = None,
        got: str | None = None,
        next_step: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.expected = expected
        self.got = got
        self.next_step = next_step
        self.code = code or self.default_code

    def __str__(self) -> str:
        parts = [f"{self.where}: {self.what}" if self.where else self.what]
        if self.expected is not None:
            parts.append(f"expected {self.expected}")
        if self.got is not None:
            parts.append(f"got {self.got}")
        text = ", ".join(parts)
        if self.next_step:
            text += f"; {self.next_step}"
        return f"{text} [{self.code}]"

    def as_dict(self) -> dict[str, str | None]:
        """The error as the CLI and the HTTP API print it with ``--json``."""
        return {
            "code": self.code,
            "message": self.what,
            "where": self.where,
            "expected": self.expected,
            "got": self.got,
            "hint": self.next_step,
        }


class ConfigError(PlantError):
    """The configuration cannot work; raised at construction, never later."""

    default_code = "MS-0100"


class Unreachable(PlantError):
    """The peer cannot be reached; the supervisor backs off (at least `retry_after_s`) and opens again."""

    default_code = "MS-0200"

    def __init__(
        self,
        what: str,
        *,
        retry_after_s: float = 0.0,
        where: str | None = None,
        expected: str | None = None,
        got: str | None = None,
        next_step: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(what, where=where, expected=expected, got=got, next_step=next_step, code=code)
        self.retry_after_s = retry_after_s


class AuthError(PlantError):
    """The peer refused the credentials; retrying would lock accounts, so a person has to act."""

    default_code = "MS-0201"


class ProtocolViolation(PlantError):
    """The peer broke its protocol; `frame` (raw bytes, may be empty) goes to the dead-letter stream."""

    default_code = "MS-0202"

    def __init__(
        self,
        what: str,
        *,
        frame: bytes = b"",
        where: str | None = None,
        expected: str | None = None,
        got: str | None = None,
        next_step: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(what, where=where, expected=expected, got=got, next_step=next_step, code=code)
        self.frame = frame


class DecodeError(PlantError):
    """A payload, subject or address is malformed; the reason is in `what`."""

    default_code = "MS-0300"


class FencedError(PlantError):
    """Another instance writes under the same name; going on would count twice."""

    default_code = "MS-0400"


class StoreFullError(PlantError):
    """The store's bound is reached; nothing was stored and nothing may be acknowledged."""

    default_code = "MS-0401"


class NotFoundError(PlantError):
    """The named thing does not exist."""

    default_code = "MS-0500"
