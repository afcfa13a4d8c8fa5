"""Patterns of paths: what a person writes to name one tag, a place, or many tags.

``acme/plant1/press:temperature`` is one tag; ``acme/plant1`` is a place and everything below it; ``*`` stands for one
level or part of one, ``**`` for any number of levels: ``acme/*/press*:**``, ``**:spindle/speed``. A star in a name is
written ``%2A``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from millstream.kernel import DecodeError
from millstream.model import AssetPath, TagPath
from millstream.protocols.uns_subject import PREFIX, UnsAddress, escape_token

KINDS = ("tag", "event", "state", "count", "kpi", "alarm", "cmd", "ack", "meta", "context")
_QUOTED = {"%2F": "/", "%3A": ":", "%2A": "*", "%25": "%"}


@dataclass(frozen=True, slots=True)
class Pattern:
    """One pattern, checked. `asset` and `names` hold one part a level, still in their text form."""

    text: str
    asset: tuple[str, ...]
    names: tuple[str, ...]
    _memo: dict[UnsAddress, bool] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def parse(cls, text: str | AssetPath | TagPath) -> Pattern:
        """From text or a path. Raises DecodeError with what a pattern looks like."""
        raw = str(text)
        asset, colon, names = raw.partition(":")
        # Without a colon it is a place: the place itself and all below it.
        asset_parts = tuple(asset.split("/")) if asset else ("**",)
        if not colon and asset_parts[-1] != "**":
            asset_parts = (*asset_parts, "**")
        name_parts = tuple(names.split("/")) if colon else ("**",)
        if ":" in names or not all(asset_parts) or not all(name_parts) or any(c < " " or c == "\x7f" for c in raw):
            raise DecodeError(
                "not a path or pattern",
                expected='levels with "/", a colon, the name, such as "acme/plant1/press:temperature" or "acme/**:**"',
                got=repr(raw[:80]),
                code="MS-0580",
            )
        return cls(raw, asset_parts, name_parts)

    @property
    def is_exact(self) -> bool:
        """True when it names exactly one tag."""
        return not any("*" in part for part in (*self.asset, *self.names))

    @property
    def tag(self) -> TagPath:
        """The one tag of an exact pattern. Raises DecodeError when a name cannot be one."""
        return TagPath(AssetPath(tuple(map(_unquote, self.asset))), tuple(map(_unquote, self.names)))

    def subject_filter(self, contract: str) -> str:
        """The narrowest NATS filter that lets everything through that `matches` accepts."""
        tokens: list[str] = []
        for part in (*self.asset, None, *self.names):
            if part == "**":
                return PREFIX + ".".join([*tokens, ">"])
            tokens.append(contract if part is None else "*" if "*" in part else escape_token(_unquote(part)))
        return PREFIX + ".".join(tokens)

    def matches(self, address: UnsAddress) -> bool:
        """True when the place and the names of `address` fit, whatever its contract."""
        known = self._memo.get(address)
        if known is None:
            known = _fits(self.asset, address.asset.levels) and _fits(self.names, address.names)
            if len(self._memo) < 65_536:  # as many as subjects are kept decoded
                self._memo[address] = known
        return known

    def fits_path(self, path: str) -> bool:
        """True when it fits a tag's (or event's) path in its text form. Raises DecodeError for another text."""
        tag = TagPath.parse(path)
        return self.matches(UnsAddress(tag.asset, "_tag", tag.names))


def contract_of(kind: str) -> str:
    """The contract of a kind of data: "tag" -> "_tag". Raises DecodeError that lists the kinds."""
    if kind not in KINDS:
        raise DecodeError("unknown kind of data", expected=", ".join(KINDS), got=repr(kind), code="MS-0580")
    return f"_{kind}"


def covers(one: Pattern, other: Pattern) -> bool:
    """True when `one` surely fits every path that `other` fits."""
    return _covers(one.asset, other.asset) and _covers(one.names, other.names)


def overlap(one: Pattern, other: Pattern) -> bool:
    """True unless there surely is no path that fits both."""
    return _meet(one.asset, other.asset) and _meet(one.names, other.names)


def _covers(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    if not one or not other:
        return not other and all(part == "**" for part in one)
    if one[0] == "**":
        return any(_covers(one[1:], other[skip:]) for skip in range(len(other) + 1))
    if other[0] == "**":
        return False
    return _covers_one(one[0], other[0]) and _covers(one[1:], other[1:])


def _covers_one(one: str, other: str) -> bool:
    if "*" in other:
        return one in ("*", other)
    return _fits_one(one, _unquote(other))


def _meet(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    if not one or not other:
        return all(part == "**" for part in (*one, *other))
    if one[0] == "**":
        return any(_meet(one[1:], other[skip:]) for skip in range(len(other) + 1)) or _meet(one, other[1:])
    if other[0] == "**":
        return _meet(other, one)
    return _meet_one(one[0], other[0]) and _meet(one[1:], other[1:])


def _meet_one(one: str, other: str) -> bool:
    if "*" not in one:
        return _fits_one(other, _unquote(one))
    if "*" not in other:
        return _fits_one(one, _unquote(other))
    fixed = [(part.partition("*")[0], part.rpartition("*")[2]) for part in (one, other)]
    (start, end), (start2, end2) = fixed
    is_start = start.startswith(start2) or start2.startswith(start)
    return is_start and (end.endswith(end2) or end2.endswith(end))


def _fits(parts: tuple[str, ...], names: tuple[str, ...]) -> bool:
    if not parts:
        return not names
    head, rest = parts[0], parts[1:]
    if head == "**":
        return any(_fits(rest, names[skip:]) for skip in range(len(names) + 1))
    return bool(names) and _fits_one(head, names[0]) and _fits(rest, names[1:])


def _fits_one(part: str, name: str) -> bool:
    if "*" not in part:
        return _unquote(part) == name
    return re.fullmatch(".*".join(re.escape(_unquote(piece)) for piece in part.split("*")), name, re.DOTALL) is not None


def _unquote(part: str) -> str:
    return re.sub("%2F|%3A|%2A|%25", lambda match: _QUOTED[match.group()], part)
