"""Places: asset paths (ISA-95 equipment hierarchy, IEC 62264-1 clause 5.3) and tag paths in their text form.

Text form of a tag: ``enterprise/site/area/work_center/work_unit:group/.../name``; levels below the enterprise may be
left out, further free levels may follow. ``/`` and ``:`` and ``%`` inside a name are written ``%2F``, ``%3A``,
``%25``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from millstream.kernel import DecodeError

LEVEL_NAMES = ("enterprise", "site", "area", "work_center", "work_unit")
LEVELS_COUNT_MAX = 12  # NATS matches subjects by token; sixteen tokens keep its matching cache effective
NAME_LENGTH_MAX = 128  # characters of one level, group or name
_CONTROL = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


def _quote(name: str) -> str:
    return name.replace("%", "%25").replace("/", "%2F").replace(":", "%3A")


def _unquote(text: str) -> str:
    return text.replace("%2F", "/").replace("%3A", ":").replace("%25", "%")


def check_name(name: str, what: str) -> None:
    """Refuse what cannot be one token: empty, too long, control characters, unpaired surrogates."""
    if not name:
        raise DecodeError(f"{what} is empty", expected="at least one character", code="MS-0301")
    if len(name) > NAME_LENGTH_MAX:
        raise DecodeError(
            f"{what} is too long", expected=f"at most {NAME_LENGTH_MAX} characters", got=str(len(name)), code="MS-0301"
        )
    if _CONTROL.search(name):
        raise DecodeError(f"{what} has a control character", got=ascii(name), code="MS-0301")


@dataclass(frozen=True, slots=True)
class AssetPath:
    """A place in the equipment hierarchy: one name a level, the enterprise first."""

    levels: tuple[str, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.levels) <= LEVELS_COUNT_MAX:
            raise DecodeError(
                "asset path has a wrong number of levels",
                expected=f"1 to {LEVELS_COUNT_MAX}",
                got=str(len(self.levels)),
                code="MS-0301",
            )
        for i, name in enumerate(self.levels):
            check_name(name, LEVEL_NAMES[i] if i < len(LEVEL_NAMES) else f"level {i}")

    @classmethod
    def parse(cls, text: str) -> AssetPath:
        """From the text form ``acme/plant1/machining``. Raises DecodeError."""
        return cls(tuple(_unquote(part) for part in text.split("/")))

    def __str__(self) -> str:
        return "/".join(_quote(name) for name in self.levels)

    def __truediv__(self, name: str) -> AssetPath:
        return AssetPath((*self.levels, name))

    def contains(self, other: AssetPath) -> bool:
        """True when `other` is this place or lies below it."""
        return other.levels[: len(self.levels)] == self.levels


@dataclass(frozen=True, slots=True)
class TagPath:
    """The one name of a tag: where it is, and its groups and name there."""

    asset: AssetPath
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.names) <= LEVELS_COUNT_MAX:
            raise DecodeError(
                "tag path has a wrong number of names",
                expected=f"1 to {LEVELS_COUNT_MAX}",
                got=str(len(self.names)),
                code="MS-0301",
            )
        for name in self.names:
            check_name(name, "tag name")

    @classmethod
    def parse(cls, text: str) -> TagPath:
        """From the text form ``acme/plant1/machining/mazak1:spindle/speed``. Raises DecodeError."""
        asset, colon, names = text.partition(":")
        if not colon:
            raise DecodeError(
                "not a tag path", expected="asset levels, a colon, the tag's name", got=repr(text), code="MS-0301"
            )
        return cls(AssetPath.parse(asset), tuple(_unquote(part) for part in names.split("/")))

    @property
    def name(self) -> str:
        """The last name, without its groups."""
        return self.names[-1]

    def __str__(self) -> str:
        return f"{self.asset}:" + "/".join(_quote(name) for name in self.names)
